"""The state machine that runs an experiment: `decide`, `apply`, `commands`. No Ray, no clock, no I/O.

`decide` turns an input into events, `apply` makes an event part of the state, and `commands` reads off
the state what the world has to be told. Replaying a journal is `apply` alone: nothing is decided twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from raytune_gp import events as ev
from raytune_gp import messages as msg
from raytune_gp.crew import WorkerStatus
from raytune_gp.planning import end_of, next_step
from raytune_gp.protocols import Continue, Exploit, Pause, Scheduler, Stop
from raytune_gp.state import RunState, RunStatus
from raytune_gp.trial import Metric, Trial, TrialStatus

__all__ = ["Experiment"]

MAX_LOSSES_IN_A_ROW = 5
"""So many workers lost without one trial started between them end the run: something is wrong with all."""

StopperLike = Callable[[Trial], bool]


class Experiment:
    """Decides about one run. Takes its scheduler by constructor; the searcher is asked by command.

    `uses_results` is the searcher's: whether suggestions made ahead of time go stale. `stopper`, if
    given, is asked after each report whether the trial has met a criterion of the user's.
    """

    def __init__(
        self, scheduler: Scheduler, *, uses_results: bool = True, stopper: StopperLike | None = None
    ):
        self.state = RunState()
        self.scheduler = scheduler
        self.uses_results = uses_results
        self.stopper = stopper

    # --- the three verbs ---

    def decide(self, input: msg.Input, now: float) -> Iterator[ev.Event]:
        """The events that `input` causes at time `now`.

        Each event must be applied before the next is asked for: later ones follow from earlier ones.
        """
        now = max(now, self.state.now)
        yield from _DECIDE[type(input)](self, input, now)
        while (event := next_step(self.state, self.scheduler, self.uses_results, now)) is not None:
            yield event

    def apply(self, event: ev.Event) -> None:
        """Make `event` part of the state, and tell the scheduler."""
        self.state.apply(event)
        self.scheduler.apply(event, self.state.trials)

    def advance(self, input: msg.Input, now: float) -> list[ev.Event]:
        """Decide on `input` and apply what follows; returns the events, still to be journalled."""
        events = []
        for event in self.decide(input, now):
            self.apply(event)
            events.append(event)
        return events

    def commands(self) -> list[msg.Command]:
        """What the world has to be told and was not yet told since this object was made."""
        due = list(self.state.due.values())
        self.state.due.clear()
        return due

    def replay(self, events: Iterable[ev.Event]) -> None:
        """Apply `events` from a journal, and call for connections to the workers that should be alive."""
        for event in events:
            self.apply(event)
        self.state.reconnect()

    @property
    def deadline(self) -> float | None:
        """When a Tick is needed at the latest (seconds since the epoch), or None."""
        budget = self.state.spec.time_budget_s
        if budget is None or self.state.status is not RunStatus.RUNNING:
            return None
        return self.state.created_at + budget

    @property
    def is_over(self) -> bool:
        """Whether the run has ended and all its workers are gone."""
        return self.state.status.is_ended and not self.state.workers

    # --- inputs ---

    def _tick(self, _: msg.Tick, now: float) -> Iterator[ev.Event]:
        if self.deadline is not None and now >= self.deadline:
            yield ev.StopRequested(now, f"the time budget of {self.state.spec.time_budget_s:g} s is used up")

    def _slots_offered(self, input: msg.SlotsOffered, now: float) -> Iterator[ev.Event]:
        if input.slots != self.state.capacity:
            yield ev.CapacityKnown(now, input.slots)

    def _stop_run(self, input: msg.StopRun, now: float) -> Iterator[ev.Event]:
        if self.state.status is RunStatus.RUNNING:
            yield ev.StopRequested(now, input.reason)

    def _resume(self, input: msg.Resume, now: float) -> Iterator[ev.Event]:
        yield ev.RunResumed(now, dict(input.changes))

    def _stop_trial(self, input: msg.StopTrial, now: float) -> Iterator[ev.Event]:
        trial = self.state.trials.get(input.trial)
        if trial is None or trial.status.is_finished or trial.stopping in ("stop", "complete"):
            return
        if trial.worker is not None:
            yield ev.Decided(now, trial.id, trial.attempt, trial.step, "stop", input.reason, "user")
        else:
            yield end_of(trial, self.state.spec, TrialStatus.STOPPED, now, reason=input.reason)

    def _worker_arrived(self, input: msg.WorkerArrived, now: float) -> Iterator[ev.Event]:
        worker = self.state.workers.get(input.worker)
        if worker is not None and worker.status is WorkerStatus.REQUESTED:
            yield ev.WorkerUp(now, worker.id, input.node, input.pid)

    def _worker_vanished(self, input: msg.WorkerVanished, now: float) -> Iterator[ev.Event]:
        worker = self.state.workers.get(input.worker)
        if worker is None:
            return
        trial_id, released = worker.trial, worker.status is WorkerStatus.RELEASED
        yield ev.WorkerLost(now, worker.id, input.reason)
        if trial_id is not None:
            yield from self._after_loss(self.state.trials[trial_id], input.reason, now)
        if not released and self.state.crew.losses_in_a_row >= MAX_LOSSES_IN_A_ROW:
            yield from self._fail(
                f"{MAX_LOSSES_IN_A_ROW} workers were lost one after another without a trial started; "
                f"the last one: {input.reason}",
                now,
            )

    def _after_loss(self, trial: Trial, reason: str, now: float) -> Iterator[ev.Event]:
        if trial.stopping in ("stop", "complete"):
            yield end_of(trial, self.state.spec, _status_of(trial.stopping), now)
        elif trial.stopping is None and trial.losses > self.state.spec.max_losses:
            error = f"{trial.losses} workers were lost while they ran this trial; the last one: {reason}"
            yield end_of(trial, self.state.spec, TrialStatus.FAILED, now, failure="worker lost", reason=error)
        elif trial.stopping == "pause" and self._is_saved(trial):
            yield ev.TrialPaused(now, trial.id)
        else:
            yield ev.TrialRequeued(now, trial.id, f"worker lost: {reason}")

    @staticmethod
    def _is_saved(trial: Trial) -> bool:
        """Whether its checkpoint is as new as its last report, so that an attempt more would gain nothing."""
        return trial.resume_point is not None and trial.resume_point.step >= trial.step

    def _suggested(self, input: msg.Suggested, now: float) -> Iterator[ev.Event]:
        request = self.state.request
        if request is not None and request.request == input.request:
            yield ev.SuggestionsReady(
                now, input.request, list(input.suggestions), input.memory, input.exhausted
            )

    def _suggest_failed(self, input: msg.SuggestFailed, now: float) -> Iterator[ev.Event]:
        if self.state.request is not None and self.state.request.request == input.request:
            yield from self._fail(f"the searcher raised: {input.error}", now)

    def _item(self, item: msg.Item, now: float) -> Iterator[ev.Event]:
        worker = self.state.workers.get(item.worker)
        if worker is None or item.seq != worker.seq + 1:
            return
        trial = self.state.trials.get(item.trial)
        if trial is None or worker.trial != item.trial or worker.attempt != item.attempt:
            yield ev.ItemDiscarded(now, item.worker, item.seq, item.trial, item.attempt)
            return
        yield from _ITEM[item.kind](self, item, trial, now)

    # --- outbox items ---

    def _started(self, item: msg.Item, trial: Trial, now: float) -> Iterator[ev.Event]:
        yield ev.AttemptStarted(now, item.worker, item.seq, trial.id, item.attempt)

    def _report(self, item: msg.Item, trial: Trial, now: float) -> Iterator[ev.Event]:
        step, metrics = item.body["step"], item.body["metrics"]
        yield ev.Reported(now, item.worker, item.seq, trial.id, item.attempt, step, metrics, item.time)
        if trial.stopping in (None, "halt") and not self.state.status.is_ended:
            yield from self._decide_on(trial, bool(item.body.get("checkpoint")), now)

    def _decide_on(self, trial: Trial, checkpoint_comes: bool, now: float) -> Iterator[ev.Event]:
        def decided(action: str, reason: str, rule: str, **more: Any) -> ev.Event:
            return ev.Decided(now, trial.id, trial.attempt, trial.step, action, reason, rule, **more)

        criterion = self._met_criterion(trial)
        if criterion is not None:
            yield decided("complete", criterion, "stop/1")
        if self.state.status is RunStatus.RUNNING and getattr(self.stopper, "stop_all", bool)():
            yield ev.StopRequested(now, "the stopper ended the whole run")
            return
        if criterion is not None:
            return
        decision = self.scheduler.on_result(trial)
        rule = self.scheduler.rule
        match decision:
            case Continue():
                return
            case Stop(reason):
                yield decided("stop", reason, rule)
            case Pause(reason):
                if checkpoint_comes or trial.resume_point is not None:
                    yield decided("pause", reason, rule)
            case Exploit(source, config, reason):
                if self.state.trials[source].resume_point is not None:
                    yield decided("exploit", reason, rule, source=source, config=config)

    def _met_criterion(self, trial: Trial) -> str | None:
        """Why the trial is complete by the user's own criteria, or None."""
        metrics = trial.history.last
        modes = {m.name: m for m in self.state.spec.metrics}
        for name, limit in self.state.spec.stop.items():
            value = metrics.get(name)
            if not isinstance(value, int | float):
                continue
            metric = modes.get(name, Metric(name))
            if value == limit or metric.better(value, limit):
                return f"{name} = {value:g} reached {limit:g}"
        if self.stopper is not None and self.stopper(trial):
            return "the stopper said so"
        return None

    def _checkpoint(self, item: msg.Item, trial: Trial, now: float) -> Iterator[ev.Event]:
        yield ev.Checkpointed(
            now, item.worker, item.seq, trial.id, item.attempt, item.body["step"], item.body["path"]
        )

    def _attempt_ended(self, item: msg.Item, trial: Trial, now: float) -> Iterator[ev.Event]:
        outcome, error = item.body["outcome"], item.body.get("error")
        left = item.body.get("left")
        yield ev.AttemptEnded(
            now, item.worker, item.seq, trial.id, item.attempt, outcome, error, left is None, item.time
        )
        if left is not None and item.worker in self.state.crew.idle:
            yield ev.WorkerReleased(now, item.worker, f"trial {trial.id} left {left}")
        yield from self._after_attempt(trial, outcome, error, now)

    def _after_attempt(self, trial: Trial, outcome: str, error: str | None, now: float) -> Iterator[ev.Event]:
        spec = self.state.spec
        if trial.stopping in ("stop", "complete"):
            yield end_of(trial, self.state.spec, _status_of(trial.stopping), now)
        elif outcome == "completed":
            yield end_of(trial, self.state.spec, TrialStatus.COMPLETED, now)
        elif outcome == "interrupted":
            if trial.stopping == "pause" and trial.resume_point is not None:
                yield ev.TrialPaused(now, trial.id)
            else:
                yield ev.TrialRequeued(now, trial.id, trial.reason or self.state.reason or "interrupted")
        elif spec.max_failures == -1 or trial.failures <= spec.max_failures:
            yield ev.TrialRequeued(now, trial.id, f"retry after failure {trial.failures}")
        else:
            reason = _last_line(error)
            yield end_of(trial, self.state.spec, TrialStatus.FAILED, now, failure="error", reason=reason)
            if spec.fail_fast:
                yield from self._fail(f"trial {trial.id} failed and fail_fast is set: {reason}", now)

    def _fail(self, reason: str, now: float) -> Iterator[ev.Event]:
        if not self.state.status.is_ended:
            yield ev.RunEnded(now, RunStatus.FAILED.value, reason)


def _status_of(stopping: str) -> TrialStatus:
    return TrialStatus.COMPLETED if stopping == "complete" else TrialStatus.STOPPED


def _last_line(error: str | None) -> str:
    return (error or "").strip().rpartition("\n")[2]


_DECIDE: Mapping[type[msg.Input], Callable[[Experiment, Any, float], Iterator[ev.Event]]] = {
    msg.Tick: Experiment._tick,
    msg.SlotsOffered: Experiment._slots_offered,
    msg.StopRun: Experiment._stop_run,
    msg.Resume: Experiment._resume,
    msg.StopTrial: Experiment._stop_trial,
    msg.WorkerArrived: Experiment._worker_arrived,
    msg.WorkerVanished: Experiment._worker_vanished,
    msg.Suggested: Experiment._suggested,
    msg.SuggestFailed: Experiment._suggest_failed,
    msg.Item: Experiment._item,
}

_ITEM: Mapping[str, Callable[[Experiment, msg.Item, Trial, float], Iterator[ev.Event]]] = {
    "started": Experiment._started,
    "report": Experiment._report,
    "checkpoint": Experiment._checkpoint,
    "ended": Experiment._attempt_ended,
}
