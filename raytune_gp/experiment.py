"""The state machine that runs an experiment: `decide`, `apply`, `commands`. No Ray, no clock, no I/O.

`decide` turns an input into events, `apply` makes an event part of the state, and `commands` reads off
the state what the world has to be told. Replaying a journal is `apply` alone: nothing is decided twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from heapq import heapify, heappop, heappush
from typing import Any

from raytune_gp import events as ev
from raytune_gp import messages as msg
from raytune_gp.crew import WorkerStatus
from raytune_gp.endings import TIMEOUT_RULE, after_attempt, after_loss, end_of, run_failed
from raytune_gp.failures import FailureKind
from raytune_gp.planning import next_step
from raytune_gp.protocols import Continue, Exploit, Pause, Scheduler, Stop
from raytune_gp.state import RunState
from raytune_gp.status import RunStatus
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
        self._looked_at = float("-inf")
        self._times_up: list[tuple[float, str]] | None = None

    # --- the three verbs ---

    def decide(self, input: msg.Input, now: float) -> Iterator[ev.Event]:
        """The events that `input` causes at time `now`.

        Each event must be applied before the next is asked for: later ones follow from earlier ones.
        """
        now = self._looked_at = max(now, self.state.now)
        yield from _DECIDE[type(input)](self, input, now)
        while (event := next_step(self.state, self.scheduler, self.uses_results, now)) is not None:
            yield event

    def apply(self, event: ev.Event) -> None:
        """Make `event` part of the state, and tell the scheduler."""
        self.state.apply(event)
        self.scheduler.apply(event, self.state.trials)
        if isinstance(event, ev.AttemptStarted) and self._times_up is not None:
            at = self.state.trials[event.trial].deadline
            if at is not None:
                heappush(self._times_up, (at, event.trial))

    def advance(self, input: msg.Input, now: float) -> list[ev.Event]:
        """Decide on `input` and apply what follows; returns the events, still to be journalled."""
        events = []
        for event in self.decide(input, now):
            self.apply(event)
            events.append(event)
        return events

    def commands(self) -> list[msg.Command]:
        """What the world has to be told and was not yet told since this object was made.

        Acknowledgements come last: a report that waits for one goes on as soon as it has come, and the trial
        has to know by then whether it is to end.
        """
        due = sorted(self.state.due.values(), key=lambda command: isinstance(command, msg.Acknowledge))
        self.state.due.clear()
        return due

    def replay(self, events: Iterable[ev.Event]) -> None:
        """Apply `events` from a journal, and call for connections to the workers that should be alive.

        Raises JournalLostError, as `RunState.follow`.
        """
        self.state.follow(events, self.apply)
        self.state.reconnect()

    @property
    def deadline(self) -> float | None:
        """When a Tick is needed at the latest (seconds since the epoch), or None."""
        if self.state.status is not RunStatus.RUNNING:
            return None
        trials = self.state.trials
        due = (trials[t].due_at for t in self.state.queue)
        times = [at for at in due if at is not None and at > self._looked_at]
        if self._budget_ends_at is not None:
            times.append(self._budget_ends_at)
        if self.state.spec.trial_timeout_s is not None and (first := self._first_time_up()) is not None:
            times.append(first)
        return min(times, default=None)

    def _first_time_up(self) -> float | None:
        """When the time of a running trial is up next: on a heap, for this is asked at every turn.

        What is on top and is not so any more goes: a trial that is told to end has no time again until an
        attempt of it starts, which is then pushed.
        """
        trials, running = self.state.trials, self.state.running
        if self._times_up is None:
            times = ((at, t) for t in running if (at := trials[t].deadline) is not None)
            self._times_up = list(times)
            heapify(self._times_up)
        while self._times_up:
            at, trial_id = self._times_up[0]
            if trial_id in running and self._time_is_up_at(trials[trial_id]) == at:
                return at
            heappop(self._times_up)
        return None

    @property
    def _budget_ends_at(self) -> float | None:
        budget = self.state.spec.time_budget_s
        return None if budget is None else self.state.created_at + budget

    @staticmethod
    def _time_is_up_at(trial: Trial) -> float | None:
        """When a running trial is to be told that its time is up, if it is not told to end already."""
        return trial.deadline if trial.stopping is None else None

    @property
    def is_over(self) -> bool:
        """Whether the run has ended and all its workers are gone."""
        return self.state.status.is_ended and not self.state.workers

    # --- inputs ---

    def _tick(self, _: msg.Tick, now: float) -> Iterator[ev.Event]:
        state, spec = self.state, self.state.spec
        if state.status is not RunStatus.RUNNING:
            return
        if self._budget_ends_at is not None and now >= self._budget_ends_at:
            yield ev.StopRequested(now, f"the time budget of {spec.time_budget_s:g} s is used up")
            return
        if spec.trial_timeout_s is None:
            return
        reason = f"its time of {spec.trial_timeout_s:g} s is used up"
        for trial in [state.trials[t] for t in state.running]:
            at = self._time_is_up_at(trial)
            if at is not None and now >= at:
                yield ev.Decided(now, trial.id, trial.attempt, trial.step, "stop", reason, TIMEOUT_RULE)

    def _node_drained(self, input: msg.NodeDrained, now: float) -> Iterator[ev.Event]:
        if input.node not in self.state.crew.draining:
            yield ev.NodeDraining(now, input.node, input.deadline)

    def _slots_offered(self, input: msg.SlotsOffered, now: float) -> Iterator[ev.Event]:
        if input.trials_per_gpu == self.state.trials_per_gpu and input.slots != self.state.capacity:
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
        yield ev.WorkerLost(now, worker.id, input.reason, input.failure)
        if trial_id is not None:
            yield from after_loss(self.state, self.state.trials[trial_id], input.failure, input.reason, now)
        if not released and self.state.crew.losses_in_a_row >= MAX_LOSSES_IN_A_ROW:
            yield from run_failed(
                self.state,
                f"{MAX_LOSSES_IN_A_ROW} workers were lost one after another without a trial started; "
                f"the last one: {input.reason}",
                now,
            )

    def _suggested(self, input: msg.Suggested, now: float) -> Iterator[ev.Event]:
        request = self.state.request
        if request is not None and request.request == input.request:
            yield ev.SuggestionsReady(
                now, input.request, list(input.suggestions), input.memory, input.exhausted
            )

    def _suggest_failed(self, input: msg.SuggestFailed, now: float) -> Iterator[ev.Event]:
        if self.state.request is not None and self.state.request.request == input.request:
            yield from run_failed(self.state, f"the searcher raised: {input.error}", now)

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

    def _leaving(self, item: msg.Item, trial: Trial, now: float) -> Iterator[ev.Event]:
        ids = (item.worker, item.seq, trial.id, item.attempt)
        yield ev.WorkerLeaving(now, *ids, item.body["grace_s"])

    def _attempt_ended(self, item: msg.Item, trial: Trial, now: float) -> Iterator[ev.Event]:
        outcome, error = item.body["outcome"], item.body.get("error")
        left, failure = item.body.get("left"), item.body.get("failure")
        if failure == FailureKind.GPU_MEMORY and self.state.workers[item.worker].trials_per_gpu > 1:
            failure = FailureKind.GPU_SHARED
        ids = (item.worker, item.seq, trial.id, item.attempt)
        yield ev.AttemptEnded(
            now, *ids, outcome, error, left is None, item.time, failure, item.body.get("usage")
        )
        if left is not None and item.worker in self.state.crew.idle:
            yield ev.WorkerReleased(now, item.worker, f"trial {trial.id} left {left}")
        yield from after_attempt(self.state, trial, outcome, failure, error, now)


_DECIDE: Mapping[type[msg.Input], Callable[[Experiment, Any, float], Iterator[ev.Event]]] = {
    msg.Tick: Experiment._tick,
    msg.SlotsOffered: Experiment._slots_offered,
    msg.StopRun: Experiment._stop_run,
    msg.Resume: Experiment._resume,
    msg.StopTrial: Experiment._stop_trial,
    msg.WorkerArrived: Experiment._worker_arrived,
    msg.WorkerVanished: Experiment._worker_vanished,
    msg.NodeDrained: Experiment._node_drained,
    msg.Suggested: Experiment._suggested,
    msg.SuggestFailed: Experiment._suggest_failed,
    msg.Item: Experiment._item,
}

_ITEM: Mapping[str, Callable[[Experiment, msg.Item, Trial, float], Iterator[ev.Event]]] = {
    "started": Experiment._started,
    "report": Experiment._report,
    "checkpoint": Experiment._checkpoint,
    "leaving": Experiment._leaving,
    "ended": Experiment._attempt_ended,
}
