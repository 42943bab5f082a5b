"""The state of a run: what its events add up to.

`RunState.apply` is the only thing that changes it, live, in replay and in every reader of a journal. It
decides nothing: experiment.py does. What the state calls for in the world is gathered in `due`, a command
for each key, replaced or withdrawn as events come.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from raytune_gp import events as ev
from raytune_gp import messages as msg
from raytune_gp.retention import checkpoint_value, kept_checkpoints
from raytune_gp.spec import UNLIMITED, ExperimentSpec
from raytune_gp.trial import CheckpointRecord, Config, Observation, Trial, TrialStatus

__all__ = ["OpenRequest", "ReadySuggestion", "RunState", "RunStatus", "Worker", "WorkerStatus"]


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


class WorkerStatus(StrEnum):
    """REQUESTED ─► UP ─► RELEASED, and gone from the state once it is gone from the cluster."""

    REQUESTED = "REQUESTED"
    UP = "UP"
    RELEASED = "RELEASED"


@dataclass(slots=True)
class Worker:
    """An actor that holds a slot, and the attempt it has been given."""

    id: str
    slot: int
    status: WorkerStatus = WorkerStatus.REQUESTED
    trial: str | None = None
    attempt: int = 0
    seq: int = 0
    node: str = ""
    pid: int = 0


@dataclass(frozen=True, slots=True)
class ReadySuggestion:
    """A suggestion that waits for a worker.

    It was made from the first `completed` observations, and there were `arrived` of them when it came.
    """

    ref: str
    config: Config
    provenance: Mapping[str, Any]
    completed: int
    arrived: int


@dataclass(frozen=True, slots=True)
class OpenRequest:
    """A question to the searcher that has no answer yet."""

    event: ev.SuggestionsRequested
    pending: tuple[Config, ...]


@dataclass
class RunState:
    """Everything that is known about a run after `index + 1` of its events."""

    spec: ExperimentSpec = field(init=False)
    status: RunStatus = RunStatus.RUNNING
    reason: str = ""
    index: int = -1
    now: float = 0.0
    created_at: float = 0.0
    term: int = 0
    starts: int = 0
    versions: Mapping[str, str] = field(default_factory=dict)
    capacity: int | None = None
    trials: dict[str, Trial] = field(default_factory=dict)
    queue: deque[str] = field(default_factory=deque)
    running: dict[str, None] = field(default_factory=dict)
    paused: dict[str, None] = field(default_factory=dict)
    workers: dict[str, Worker] = field(default_factory=dict)
    idle: dict[str, None] = field(default_factory=dict)
    slots: dict[int, str] = field(default_factory=dict)
    incarnations: dict[int, int] = field(default_factory=dict)
    losses_in_a_row: int = 0
    observations: list[Observation] = field(default_factory=list)
    ready: deque[ReadySuggestion] = field(default_factory=deque)
    request: OpenRequest | None = None
    requests: int = 0
    suggested: int = 0
    memory: Mapping[str, Any] | None = None
    exhausted: bool = False
    borrowed: set[str] = field(default_factory=set)
    due: dict[Hashable, msg.Command] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def of(cls, events: Iterable[ev.Event]) -> RunState:
        """The state that `events` add up to, for a reader: what is due in the world is not its affair."""
        state = cls()
        for event in events:
            state.apply(event)
        state.due.clear()
        return state

    def apply(self, event: ev.Event) -> None:
        """Make `event` part of the state."""
        _APPLY[type(event)](self, event)
        self.index += 1
        self.now = event.at

    def reconnect(self) -> None:
        """Call for a connection to every live worker, behind what is journalled: a coordinator came back."""
        for worker in self.workers.values():
            create = worker.status is WorkerStatus.REQUESTED
            self.due["connect", worker.id] = msg.Connect(worker.id, worker.slot, create, worker.seq)

    # --- what readers ask ---

    @property
    def budget(self) -> float:
        """How many trials the run may still create, beyond those created and the suggestions that wait."""
        if self.exhausted or self.status is not RunStatus.RUNNING:
            return 0
        if self.spec.num_samples == UNLIMITED:
            return float("inf")
        return max(0, self.spec.num_samples - len(self.trials) - len(self.ready))

    @property
    def unfinished(self) -> int:
        """The number of trials that are waiting, running or paused."""
        return len(self.trials) - len(self.observations)

    def best(self) -> Trial | None:
        """The finished trial with the best objective in the first metric, the earliest among equals."""
        best: Trial | None = None
        for observation in self.observations:
            trial = self.trials[observation.trial_id]
            if trial.objective is None:
                continue
            if best is None or self.spec.metric.better(trial.objective[0], best.objective[0]):  # type: ignore[index]
                best = trial
        return best

    # --- the run ---

    def _run_created(self, event: ev.RunCreated) -> None:
        self.spec = ExperimentSpec.from_json(event.spec)
        self.created_at = event.at

    def _run_resumed(self, event: ev.RunResumed) -> None:
        self.spec = self.spec.changed(event.changes)
        self.status, self.reason = RunStatus.RUNNING, ""
        self.losses_in_a_row = self.starts = 0
        for trial in self.trials.values():
            trial.losses = 0

    def _term_started(self, event: ev.TermStarted) -> None:
        self.term, self.versions = event.term, event.versions
        self.starts += 1

    def _capacity_known(self, event: ev.CapacityKnown) -> None:
        self.capacity = event.slots

    def _stop_requested(self, event: ev.StopRequested) -> None:
        self.status, self.reason = RunStatus.STOPPING, event.reason
        self._forget_suggestions()
        for trial_id in self.running:
            if self.trials[trial_id].stopping is None:
                self._interrupt(self.trials[trial_id], "halt")

    def _run_ended(self, event: ev.RunEnded) -> None:
        self.status, self.reason = RunStatus(event.status), event.reason
        self._forget_suggestions()

    # --- workers ---

    def _worker_requested(self, event: ev.WorkerRequested) -> None:
        worker = Worker(event.worker, event.slot)
        self.workers[worker.id] = worker
        self.slots[event.slot] = worker.id
        self.incarnations[event.slot] = event.incarnation
        self.due["connect", worker.id] = msg.Connect(worker.id, worker.slot, True, 0)

    def _worker_up(self, event: ev.WorkerUp) -> None:
        worker = self.workers[event.worker]
        worker.status, worker.node, worker.pid = WorkerStatus.UP, event.node, event.pid
        self.idle[worker.id] = None
        self.due.pop(("connect", worker.id), None)

    def _worker_released(self, event: ev.WorkerReleased) -> None:
        worker = self.workers[event.worker]
        worker.status = WorkerStatus.RELEASED
        self.idle.pop(worker.id, None)
        self.slots.pop(worker.slot, None)
        self.due.pop(("connect", worker.id), None)
        self.due["release", worker.id] = msg.Release(worker.id)

    def _worker_lost(self, event: ev.WorkerLost) -> None:
        worker = self.workers.pop(event.worker)
        self.idle.pop(worker.id, None)
        if self.slots.get(worker.slot) == worker.id:
            del self.slots[worker.slot]
        for kind in ("connect", "release", "start", "interrupt", "acknowledge"):
            self.due.pop((kind, worker.id), None)
        released = worker.status is WorkerStatus.RELEASED
        if not released and worker.seq == 0:
            self.losses_in_a_row += 1
        if worker.trial is not None:
            trial = self.trials[worker.trial]
            trial.worker, trial.started = None, False
            if not released and trial.stopping is None:
                trial.losses += 1
                trial.error = event.reason

    def _saw(self, worker_id: str, seq: int) -> None:
        worker = self.workers[worker_id]
        worker.seq = seq
        self.starts = 0
        self.due["acknowledge", worker_id] = msg.Acknowledge(worker_id, seq)

    def _item_discarded(self, event: ev.ItemDiscarded) -> None:
        self._saw(event.worker, event.seq)

    # --- suggestions ---

    def _suggestions_requested(self, event: ev.SuggestionsRequested) -> None:
        waiting = {s.ref: s.config for s in self.ready}
        pending = tuple(waiting[ref] if ref in waiting else self.trials[ref].config for ref in event.pending)
        self.requests = event.request + 1
        self.request = OpenRequest(event, pending)
        self.due["suggest"] = msg.Suggest(
            event.request,
            event.count,
            event.start,
            tuple(self.observations[: event.completed]),
            pending,
            self.memory,
        )

    def _suggestions_ready(self, event: ev.SuggestionsReady) -> None:
        assert self.request is not None
        completed, arrived = self.request.event.completed, len(self.observations)
        for position, suggestion in enumerate(event.suggestions):
            ref = f"{event.request}/{position}"
            self.ready.append(
                ReadySuggestion(ref, suggestion["config"], suggestion["provenance"], completed, arrived)
            )
        self.suggested += len(event.suggestions)
        self.request = None
        self.memory = event.memory
        self.starts = 0
        self.exhausted = event.exhausted
        self.due.pop("suggest", None)

    def _suggestions_withdrawn(self, event: ev.SuggestionsWithdrawn) -> None:
        self._forget_suggestions()

    def _forget_suggestions(self) -> None:
        """Drop those that wait, and the open request that counted on them; their ordinals are free again."""
        if self.ready:
            self.suggested -= len(self.ready)
            self.exhausted = False
            self.ready.clear()
        self.request = None
        self.due.pop("suggest", None)

    # --- trials ---

    def _trial_created(self, event: ev.TrialCreated) -> None:
        suggestion = self.ready.popleft()
        provenance = {**suggestion.provenance, "missed": event.missed}
        self.trials[event.trial] = Trial(
            event.trial, len(self.trials), suggestion.config, provenance, event.at
        )
        self.queue.append(event.trial)

    def _attempt_assigned(self, event: ev.AttemptAssigned) -> None:
        trial, worker = self.trials[event.trial], self.workers[event.worker]
        if self.queue and self.queue[0] == trial.id:
            self.queue.popleft()
        else:
            self.queue.remove(trial.id)
        resume_from = CheckpointRecord(**event.resume_from) if event.resume_from else None
        trial.status, trial.attempt, trial.worker = TrialStatus.RUNNING, event.attempt, worker.id
        trial.started, trial.stopping, trial.resume_from = False, None, resume_from
        trial.next_config = trial.next_checkpoint = None
        trial.history.truncate(resume_from.step if resume_from else 0)
        trial.decided_step = trial.reason = None
        worker.trial, worker.attempt = trial.id, event.attempt
        self.running[trial.id] = None
        del self.idle[worker.id]
        if resume_from:
            self.borrowed.add(resume_from.path)
        self.due["start", worker.id] = msg.Start(
            worker.id, trial.id, event.attempt, trial.config, resume_from, trial.time_total_s
        )

    def _attempt_started(self, event: ev.AttemptStarted) -> None:
        self._saw(event.worker, event.seq)
        self.losses_in_a_row = 0
        trial = self.trials[event.trial]
        trial.started = True
        if trial.started_at is None:
            trial.started_at = event.at
        self.due.pop(("start", event.worker), None)

    def _reported(self, event: ev.Reported) -> None:
        self._saw(event.worker, event.seq)
        trial = self.trials[event.trial]
        trial.history.append(event.step, event.metrics, event.time)
        seconds = event.metrics.get("time_total_s")
        if isinstance(seconds, int | float):
            trial.time_total_s = float(seconds)

    def _checkpointed(self, event: ev.Checkpointed) -> None:
        self._saw(event.worker, event.seq)
        trial = self.trials[event.trial]
        value = checkpoint_value(trial, self.spec, event.step)
        trial.checkpoints.append(CheckpointRecord(event.path, event.step, event.attempt, value))
        self._retain(trial)

    def _attempt_ended(self, event: ev.AttemptEnded) -> None:
        self._saw(event.worker, event.seq)
        trial, worker = self.trials[event.trial], self.workers[event.worker]
        for kind in ("start", "interrupt"):
            self.due.pop((kind, worker.id), None)
        worker.trial = trial.worker = None
        trial.started = False
        if worker.status is WorkerStatus.UP:
            self.idle[worker.id] = None
        if event.outcome == "failed":
            trial.failures += 1
            trial.error = event.error

    def _decided(self, event: ev.Decided) -> None:
        trial = self.trials[event.trial]
        if event.action == "resume":
            del self.paused[trial.id]
            trial.status = TrialStatus.PENDING
            self.queue.append(trial.id)
            return
        trial.reason = event.reason
        if event.action in ("stop", "complete"):
            trial.decided_step = event.step
        if event.action == "exploit" and event.source is not None:
            trial.next_config = event.config
            trial.next_checkpoint = self.trials[event.source].resume_point
            if trial.next_checkpoint:
                self.borrowed.add(trial.next_checkpoint.path)
        self._interrupt(trial, event.action)

    def _interrupt(self, trial: Trial, action: str) -> None:
        if trial.stopping in ("stop", "complete") or trial.worker is None:
            return
        trial.stopping = action
        mode = "stop" if action in ("stop", "complete") else "pause"
        self.due["interrupt", trial.worker] = msg.Interrupt(
            trial.worker, trial.id, trial.attempt, mode, self.spec.grace_s
        )

    def _trial_requeued(self, event: ev.TrialRequeued) -> None:
        trial = self.trials[event.trial]
        self.running.pop(trial.id, None)
        if trial.stopping == "exploit" and trial.next_config is not None:
            trial.config, trial.resume_from = trial.next_config, trial.next_checkpoint
        else:
            trial.resume_from = trial.resume_point
        trial.status = TrialStatus.PENDING
        self.queue.appendleft(trial.id)

    def _trial_paused(self, event: ev.TrialPaused) -> None:
        trial = self.trials[event.trial]
        del self.running[trial.id]
        trial.resume_from = trial.resume_point
        trial.status = TrialStatus.PAUSED
        self.paused[trial.id] = None

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
        self._retain(trial)

    def _retain(self, trial: Trial) -> None:
        if trial.checkpoints:
            trial.checkpoints = kept_checkpoints(trial, self.spec, self.borrowed)
            self.due["retain", trial.id] = msg.Retain(trial.id, tuple(c.path for c in trial.checkpoints))


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
