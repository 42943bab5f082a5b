"""The state of a run: what its events add up to.

`RunState.apply` is the only thing that changes it, live, in replay and in every reader of a journal. It
decides nothing: experiment.py does. What the state calls for in the world is gathered in `due`, a command
for each key, replaced or withdrawn as events come.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import chain
from typing import Any

from raytune_gp import events as ev
from raytune_gp import messages as msg
from raytune_gp.codec import DAMAGE
from raytune_gp.crew import STARTING_S, Crew, Due, Worker, WorkerStatus
from raytune_gp.errors import JournalLostError
from raytune_gp.failures import FailureKind
from raytune_gp.packing import AUTO, Packing
from raytune_gp.patience import Patience
from raytune_gp.retention import Loans, checkpoint_value, kept_checkpoints, needed_checkpoints
from raytune_gp.spec import UNLIMITED, ExperimentSpec
from raytune_gp.suggestions import ReadySuggestion, Suggestions
from raytune_gp.trial import CheckpointRecord, Observation, Trial, TrialStatus
from raytune_gp.unheard import Unheard, value_again
from raytune_gp.usage import merged

__all__ = ["RunState", "RunStatus"]


class RunStatus(StrEnum):
    """Where a run is in its life: RUNNING ─► STOPPING ─► STOPPED, or COMPLETED, or FAILED.

    An ended run goes back to RUNNING when it is resumed.
    """

    RUNNING = "RUNNING"
    STOPPING = "STOPPING"
    STOPPED = "STOPPED"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"

    @property
    def is_ended(self) -> bool:
        """Whether nothing more happens unless the run is resumed."""
        return self in (RunStatus.STOPPED, RunStatus.COMPLETED, RunStatus.FAILED)


@dataclass
class RunState:
    """Everything that is known about a run after `index + 1` of its events.

    `queue`, `running` and `paused` hold the ids of the trials that are not finished.
    `interval_s` is the longest that a trial ever took to its next report, in seconds. `changed` are the
    finished trials that the last snapshot does not have as they are; whoever takes one empties it.
    `worker_s` is for how long there were workers, in seconds and all together, and `busy_s` for how long they
    had attempts. `leader` is the id of the best trial, as `best` says.
    """

    spec: ExperimentSpec = field(init=False)
    status: RunStatus = RunStatus.RUNNING
    reason: str = ""
    index: int = -1
    now: float = 0.0
    created_at: float = 0.0
    term: int = 0
    starts: int = 0
    versions: Mapping[str, str] = field(default_factory=dict)
    machine: Mapping[str, str] = field(default_factory=dict)
    capacity: int | None = None
    trials: dict[str, Trial] = field(default_factory=dict)
    queue: deque[str] = field(default_factory=deque)
    running: dict[str, None] = field(default_factory=dict)
    paused: dict[str, None] = field(default_factory=dict)
    crew: Crew = field(default_factory=Crew)
    observations: list[Observation] = field(default_factory=list)
    suggestions: Suggestions = field(default_factory=Suggestions)
    loans: Loans = field(default_factory=Loans)
    unheard: Unheard = field(default_factory=Unheard)
    packing: Packing = field(default_factory=Packing)
    interval_s: float | None = None
    worker_s: float = 0.0
    busy_s: float = 0.0
    leader: str | None = None
    due: Due = field(default_factory=dict, compare=False, repr=False)
    changed: set[str] = field(default_factory=set, compare=False, repr=False)

    @classmethod
    def of(cls, events: Iterable[ev.Event]) -> RunState:
        """The state that `events` add up to, for a reader: what is due in the world is not its affair.

        Raises JournalLostError, as `follow`.
        """
        state = cls()
        state.follow(events)
        state.due.clear()
        return state

    def follow(self, events: Iterable[ev.Event], apply: Callable[[ev.Event], object] | None = None) -> None:
        """Apply events from a journal, by `apply` where it is given: that of an experiment around this state.

        Raises JournalLostError for an event that cannot follow from those before it.
        """
        for event in events:
            before = self.index
            try:
                (apply or self.apply)(event)
            except DAMAGE as error:
                if self.index > before:  # the state took it: what raises is a scheduler
                    raise
                raise JournalLostError(
                    f"the journal is damaged: event {before + 1} ({type(event).__name__}) cannot follow from "
                    f"those before it ({type(error).__name__}: {error}). Put a copy in its place"
                ) from error
        if self.index < 0:
            raise JournalLostError("the journal is damaged: it knows the run and has no event of it")

    def apply(self, event: ev.Event) -> None:
        """Make `event` part of the state."""
        seconds = event.at - self.now
        if seconds > 0 and type(event) is not ev.RunResumed:  # before which nobody knows how long it ran
            self.busy_s += seconds * len(self.running)
            self.worker_s += seconds * (len(self.running) + len(self.crew.idle))
        _APPLY[type(event)](self, event)
        self.index += 1
        self.now = event.at

    def call_again(self) -> None:
        """Make `due` what it is after a replay of all events: what was called for and is not known done."""
        self.due.clear()
        for trial in self.trials.values():
            if trial.checkpoints:
                self._delete_others(trial)
        self.suggestions.ask(self.observations, self.due)
        self._tell_share()
        self.crew.call_again(self.due)
        for trial in map(self.trials.__getitem__, self.running):
            if trial.worker is not None and not trial.started:
                self._start(trial)
            if trial.worker is not None and trial.stopping is not None:
                self._tell_to_end(trial)

    def reconnect(self) -> None:
        """Call for a connection to every live worker, behind what is journalled: a coordinator came back."""
        self.crew.reconnect(self.due)

    # --- what readers ask ---

    @property
    def workers(self) -> Mapping[str, Worker]:
        """The workers that live, by id."""
        return self.crew.workers

    @property
    def ready(self) -> Sequence[ReadySuggestion]:
        """The suggestions that wait for a worker, the oldest first."""
        return self.suggestions.ready

    @property
    def request(self) -> ev.SuggestionsRequested | None:
        """The question to the searcher that has no answer yet."""
        return self.suggestions.request

    @property
    def budget(self) -> float:
        """How many trials the run may still create, beyond those created and the suggestions that wait."""
        if self.suggestions.exhausted or self.status is not RunStatus.RUNNING:
            return 0
        if self.spec.num_samples == UNLIMITED:
            return float("inf")
        return max(0, self.spec.num_samples - len(self.trials) - len(self.ready))

    @property
    def unfinished(self) -> int:
        """The number of trials that are waiting, running or paused."""
        return len(self.trials) - len(self.observations)

    @property
    def trials_per_gpu(self) -> int:
        """How many trials share a GPU as the run decides; 1 where it is not left to the run."""
        return self.packing.trials_per_gpu if self.spec.resources.get("gpu") == AUTO else 1

    def best(self) -> Trial | None:
        """The finished trial with the best objective in the first metric, the earliest among equals."""
        return self.trials[self.leader] if self.leader is not None else None

    # --- the run ---

    def _run_created(self, event: ev.RunCreated) -> None:
        self.spec = ExperimentSpec.from_json(event.spec)
        self.created_at = event.at
        self.unheard.expect(self.spec, ())

    def _run_resumed(self, event: ev.RunResumed) -> None:
        self.spec = self.spec.changed(event.changes)
        self.status, self.reason = RunStatus.RUNNING, ""
        self.crew.losses_in_a_row = self.starts = 0
        for trial in self.trials.values():
            if trial.forgive() and trial.status.is_finished:
                self.changed.add(trial.id)
        self.unheard.expect(self.spec, self.trials.values())
        if "metrics" in event.changes:
            self.changed |= value_again(self.spec, self.trials, self.observations)
            self.leader = None
            for observation in self.observations:
                self._rank(self.trials[observation.trial_id])

    def _term_started(self, event: ev.TermStarted) -> None:
        self.term, self.versions, self.machine = event.term, event.versions, event.machine
        self.starts += 1

    def _capacity_known(self, event: ev.CapacityKnown) -> None:
        self.capacity = event.slots

    def _stop_requested(self, event: ev.StopRequested) -> None:
        self.status, self.reason = RunStatus.STOPPING, event.reason
        self.suggestions.forget(self.due)
        for trial_id in self.running:
            if self.trials[trial_id].stopping is None:
                self._interrupt(self.trials[trial_id], "halt")

    def _run_ended(self, event: ev.RunEnded) -> None:
        self.status, self.reason = RunStatus(event.status), event.reason
        self.suggestions.forget(self.due)

    # --- workers ---

    def _worker_requested(self, event: ev.WorkerRequested) -> None:
        self.crew.requested(event, self.due)

    def _worker_up(self, event: ev.WorkerUp) -> None:
        self.crew.up(event, self.due)
        waited = event.at - self.crew.workers[event.worker].requested_at
        self.worker_s += min(waited, STARTING_S)  # beyond that it has waited for its resources

    def _worker_released(self, event: ev.WorkerReleased) -> None:
        self.crew.released(event, self.due)

    def _worker_lost(self, event: ev.WorkerLost) -> None:
        worker = self.crew.lost(event, self.due)
        if worker.trial is None:
            return
        trial = self.trials[worker.trial]
        trial.worker, trial.started = None, False
        if worker.status is not WorkerStatus.RELEASED and trial.stopping is None:
            trial.tally[event.failure] += 1
            trial.error = event.reason

    def _packing_changed(self, event: ev.PackingChanged) -> None:
        before = self.trials_per_gpu
        self.packing.changed(event.trials_per_gpu)
        if self.capacity is not None and event.trials_per_gpu < before:  # until it is counted anew
            self.capacity = max(1, self.capacity * event.trials_per_gpu // before)
        self._tell_share()

    def _tell_share(self) -> None:
        if self.spec.resources.get("gpu") == AUTO:
            self.due["pack"] = msg.Pack(self.trials_per_gpu)

    def _node_draining(self, event: ev.NodeDraining) -> None:
        self.crew.draining.add(event.node)
        for worker in self.crew.workers.values():
            if worker.node == event.node and worker.trial is not None:
                left_s = 0.0 if event.deadline is None else event.deadline - event.at
                self._evict(self.trials[worker.trial], max(left_s, self.spec.grace_s))

    def _worker_leaving(self, event: ev.WorkerLeaving) -> None:
        self._heard(event.worker, event.seq)
        self._evict(self.trials[event.trial], event.grace_s)

    def _evict(self, trial: Trial, grace_s: float) -> None:
        """Have it end here, to go on elsewhere, unless it is to end anyway."""
        if trial.stopping is None:
            self._interrupt(trial, "evict", grace_s)

    def _heard(self, worker_id: str, seq: int) -> None:
        self.crew.heard(worker_id, seq, self.due)
        self.starts = 0

    def _item_discarded(self, event: ev.ItemDiscarded) -> None:
        self._heard(event.worker, event.seq)

    # --- suggestions ---

    def _suggestions_requested(self, event: ev.SuggestionsRequested) -> None:
        unfinished = (self.trials[t].config for t in (*self.running, *self.queue, *self.paused))
        self.suggestions.requested(event, self.observations, unfinished, self.due)

    def _suggestions_ready(self, event: ev.SuggestionsReady) -> None:
        self.suggestions.answered(event, len(self.observations), self.due)
        self.starts = 0

    def _suggestions_withdrawn(self, event: ev.SuggestionsWithdrawn) -> None:
        self.suggestions.forget(self.due)

    # --- trials ---

    def _trial_created(self, event: ev.TrialCreated) -> None:
        suggestion = self.suggestions.ready.popleft()
        provenance = {**suggestion.provenance, "missed": event.missed}
        self.trials[event.trial] = Trial(
            event.trial, len(self.trials), suggestion.config, provenance, event.at
        )
        self.queue.append(event.trial)

    def _attempt_assigned(self, event: ev.AttemptAssigned) -> None:
        trial = self.trials[event.trial]
        if self.queue and self.queue[0] == trial.id:
            self.queue.popleft()
        else:
            self.queue.remove(trial.id)
        resume_from = CheckpointRecord(**event.resume_from) if event.resume_from else None
        trial.status, trial.attempt, trial.worker = TrialStatus.RUNNING, event.attempt, event.worker
        trial.started, trial.stopping, trial.resume_from = False, None, resume_from
        trial.next_config = trial.next_checkpoint = None
        trial.history.truncate(resume_from.step if resume_from else 0)
        trial.decided_step = trial.decided_by = trial.reason = None
        trial.due_at = trial.deadline = None
        self.running[trial.id] = None
        self.crew.assign(event.worker, trial.id, event.attempt)
        self._settle(trial)
        self._start(trial)

    def _start(self, trial: Trial) -> None:
        assert trial.worker is not None
        patience = Patience(self.spec.report_timeout_s, self.interval_s, trial.tally[FailureKind.SILENT])
        self.due["start", trial.worker] = msg.Start(
            trial.worker,
            trial.id,
            trial.attempt,
            trial.config,
            trial.resume_from,
            trial.time_total_s,
            patience,
        )

    def _attempt_started(self, event: ev.AttemptStarted) -> None:
        self._heard(event.worker, event.seq)
        self.crew.losses_in_a_row = 0
        trial = self.trials[event.trial]
        trial.started = True
        if trial.started_at is None:
            trial.started_at = event.at
        if self.spec.trial_timeout_s is not None:
            trial.deadline = event.at + max(0.0, self.spec.trial_timeout_s - trial.time_total_s)
        self.due.pop(("start", event.worker), None)

    def _reported(self, event: ev.Reported) -> None:
        self._heard(event.worker, event.seq)
        trial = self.trials[event.trial]
        trial.history.append(event.step, event.metrics, event.time)
        seconds = event.metrics.get("time_total_s")
        if isinstance(seconds, int | float):
            trial.time_total_s = float(seconds)
        interval = event.metrics.get("time_this_iter_s")
        if isinstance(interval, int | float) and 0 <= interval < math.inf:
            self.interval_s = max(self.interval_s or 0.0, float(interval))
        self.unheard.heard(trial)

    def _checkpointed(self, event: ev.Checkpointed) -> None:
        self._heard(event.worker, event.seq)
        trial = self.trials[event.trial]
        value = checkpoint_value(trial, self.spec, event.step)
        trial.checkpoints.append(CheckpointRecord(event.path, event.step, event.attempt, value))
        self._retain(trial)

    def _attempt_ended(self, event: ev.AttemptEnded) -> None:
        self._heard(event.worker, event.seq)
        self.crew.free(event.worker, self.due)
        if event.failure == FailureKind.GPU_SHARED:
            self.packing.ran_out(self.crew.workers[event.worker].trials_per_gpu)
        trial = self.trials[event.trial]
        trial.worker, trial.started = None, False
        if event.usage:
            trial.usage = merged(trial.usage, event.usage)
            self.packing.learn(trial.id, trial.usage)
        if event.outcome == "failed":
            trial.tally[event.failure or FailureKind.ERROR] += 1
            trial.error = event.error

    def _decided(self, event: ev.Decided) -> None:
        trial = self.trials[event.trial]
        if event.action == "resume":
            del self.paused[trial.id]
            trial.status = TrialStatus.PENDING
            self.queue.append(trial.id)
            return
        trial.reason, trial.decided_by = event.reason, event.rule
        if event.action in ("stop", "complete"):
            trial.decided_step = event.step
        if event.action == "exploit" and event.source is not None:
            trial.next_config = event.config
            trial.next_checkpoint = self.trials[event.source].resume_point
            self._settle(trial)
        self._interrupt(trial, event.action)

    def _interrupt(self, trial: Trial, action: str, grace_s: float | None = None) -> None:
        if trial.stopping in ("stop", "complete") or trial.worker is None:
            return
        trial.stopping, trial.grace_s = action, grace_s or self.spec.grace_s
        self._tell_to_end(trial)

    def _tell_to_end(self, trial: Trial) -> None:
        assert trial.worker is not None
        assert trial.stopping is not None
        mode = _MODES.get(trial.stopping, "pause")
        self.due["interrupt", trial.worker] = msg.Interrupt(
            trial.worker, trial.id, trial.attempt, mode, trial.grace_s
        )

    def _trial_requeued(self, event: ev.TrialRequeued) -> None:
        trial = self.trials[event.trial]
        self.running.pop(trial.id, None)
        if trial.stopping == "exploit" and trial.next_config is not None:
            trial.config, trial.resume_from = trial.next_config, trial.next_checkpoint
        else:
            trial.resume_from = trial.resume_point
        trial.status, trial.due_at = TrialStatus.PENDING, event.due_at
        self.queue.appendleft(trial.id)
        self._settle(trial)

    def _trial_paused(self, event: ev.TrialPaused) -> None:
        trial = self.trials[event.trial]
        del self.running[trial.id]
        trial.resume_from = trial.resume_point
        trial.status = TrialStatus.PAUSED
        self.paused[trial.id] = None
        self.unheard.through(trial)
        self._settle(trial)

    def _trial_ended(self, event: ev.TrialEnded) -> None:
        trial = self.trials[event.trial]
        self.running.pop(trial.id, None)
        self.paused.pop(trial.id, None)
        if trial.status is TrialStatus.PENDING and trial.id in self.queue:
            self.queue.remove(trial.id)
        trial.status = TrialStatus(event.status)
        trial.objective = tuple(event.objective) if event.objective is not None else None
        trial.reason = event.reason or trial.reason
        trial.ended_at = event.at
        self.observations.append(Observation(trial.config, trial.objective, trial.id, event.failure))
        self.changed.add(trial.id)
        self._rank(trial)
        if event.failure == FailureKind.METRIC_MISSING:
            self.unheard.through(trial)
        self._settle(trial)
        self._retain(trial)

    def _rank(self, trial: Trial) -> None:
        """Compare a finished trial with the best of those that finished before it."""
        if trial.objective is None:
            return
        best = None if self.leader is None else self.trials[self.leader].objective
        if best is None or self.spec.metric.better(trial.objective[0], best[0]):
            self.leader = trial.id

    # --- checkpoints ---

    def _settle(self, trial: Trial) -> None:
        """Hold what `trial` goes on from, and let go of what it went on from before."""
        for path in self.loans.settle(trial.id, needed_checkpoints(trial)):
            for owner in chain((trial,), self.trials.values()):
                if any(checkpoint.path == path for checkpoint in owner.checkpoints):
                    self._retain(owner)
                    break

    def _retain(self, trial: Trial) -> None:
        if trial.checkpoints:
            trial.checkpoints = kept_checkpoints(trial, self.spec, self.loans)
            if trial.status.is_finished:
                self.changed.add(trial.id)
            self._delete_others(trial)

    def _delete_others(self, trial: Trial) -> None:
        self.due["retain", trial.id] = msg.Retain(trial.id, tuple(c.path for c in trial.checkpoints))


_MODES = {"stop": "stop", "complete": "stop", "evict": "evict"}
"""How an attempt is told to end, by why; the others pause."""

_APPLY: dict[type[ev.Event], Callable[[RunState, Any], None]] = {
    ev.RunCreated: RunState._run_created,
    ev.RunResumed: RunState._run_resumed,
    ev.TermStarted: RunState._term_started,
    ev.CapacityKnown: RunState._capacity_known,
    ev.StopRequested: RunState._stop_requested,
    ev.RunEnded: RunState._run_ended,
    ev.WorkerRequested: RunState._worker_requested,
    ev.WorkerUp: RunState._worker_up,
    ev.WorkerReleased: RunState._worker_released,
    ev.WorkerLost: RunState._worker_lost,
    ev.WorkerLeaving: RunState._worker_leaving,
    ev.NodeDraining: RunState._node_draining,
    ev.PackingChanged: RunState._packing_changed,
    ev.ItemDiscarded: RunState._item_discarded,
    ev.SuggestionsRequested: RunState._suggestions_requested,
    ev.SuggestionsReady: RunState._suggestions_ready,
    ev.SuggestionsWithdrawn: RunState._suggestions_withdrawn,
    ev.TrialCreated: RunState._trial_created,
    ev.AttemptAssigned: RunState._attempt_assigned,
    ev.AttemptStarted: RunState._attempt_started,
    ev.Reported: RunState._reported,
    ev.Checkpointed: RunState._checkpointed,
    ev.AttemptEnded: RunState._attempt_ended,
    ev.Decided: RunState._decided,
    ev.TrialRequeued: RunState._trial_requeued,
    ev.TrialPaused: RunState._trial_paused,
    ev.TrialEnded: RunState._trial_ended,
}
