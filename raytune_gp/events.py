"""Events: the facts of a run, in the order in which they are journalled.

`Experiment.decide` turns an input into events and `RunState.apply` puts an event into the state; the
state of a run is nothing but its events. codec.py has them as JSON. Inputs and commands, which are never
stored, are in messages.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from raytune_gp.trial import Config

__all__ = [
    "AttemptAssigned",
    "AttemptEnded",
    "AttemptStarted",
    "CapacityKnown",
    "Checkpointed",
    "Decided",
    "Event",
    "ItemDiscarded",
    "NodeDraining",
    "PackingChanged",
    "Reported",
    "RunCreated",
    "RunEnded",
    "RunResumed",
    "StopRequested",
    "SuggestionsReady",
    "SuggestionsRequested",
    "SuggestionsWithdrawn",
    "TermStarted",
    "TrialCreated",
    "TrialEnded",
    "TrialPaused",
    "TrialRequeued",
    "WorkerLeaving",
    "WorkerLost",
    "WorkerReleased",
    "WorkerRequested",
    "WorkerUp",
]


@dataclass(frozen=True, slots=True)
class Event:
    """A fact, written to the journal before anything is done about it.

    `at` is seconds since the epoch as the loop read its clock, and never decreases.
    """

    registry: ClassVar[dict[str, type[Event]]] = {}
    at: float

    @classmethod
    def register(cls, event: type[Event]) -> type[Event]:
        """Make `event` known to the codec, under its class name."""
        cls.registry[event.__name__] = event
        return event


@Event.register
@dataclass(frozen=True, slots=True)
class RunCreated(Event):
    """The first event: what the run is (`ExperimentSpec` as JSON)."""

    spec: Mapping[str, Any]


@Event.register
@dataclass(frozen=True, slots=True)
class RunResumed(Event):
    """The run goes on. `changes` overrides entries of the spec (more samples, a longer budget)."""

    changes: Mapping[str, Any]


@Event.register
@dataclass(frozen=True, slots=True)
class TermStarted(Event):
    """A coordinator took over, under this term, with these versions of the software, on this machine.

    `machine` has the CPU, and of each library of linear algebra the threads and the kernels that it uses:
    what the last bits of a suggestion hang on.
    """

    term: int
    versions: Mapping[str, str]
    machine: Mapping[str, str] = field(default_factory=dict)


@Event.register
@dataclass(frozen=True, slots=True)
class CapacityKnown(Event):
    """The executor can hold `slots` workers at a time."""

    slots: int


@Event.register
@dataclass(frozen=True, slots=True)
class WorkerRequested(Event):
    """A worker is to be made: the `incarnation`-th that holds `slot`.

    Where GPUs are shared as the run says, it is one of `trials_per_gpu` on its GPU.
    """

    worker: str
    slot: int
    incarnation: int
    trials_per_gpu: int = 1


@Event.register
@dataclass(frozen=True, slots=True)
class PackingChanged(Event):
    """From now on workers are made for so many trials on each GPU; others go once they are idle."""

    trials_per_gpu: int
    reason: str


@Event.register
@dataclass(frozen=True, slots=True)
class WorkerUp(Event):
    """The worker answers, with where it lives."""

    worker: str
    node: str
    pid: int


@Event.register
@dataclass(frozen=True, slots=True)
class WorkerReleased(Event):
    """The worker is no longer wanted and is to be ended."""

    worker: str
    reason: str


@Event.register
@dataclass(frozen=True, slots=True)
class WorkerLost(Event):
    """The worker is gone; its attempt, if it had one, is lost with it. `failure` is a `FailureKind`."""

    worker: str
    reason: str
    failure: str = "worker lost"


@Event.register
@dataclass(frozen=True, slots=True)
class WorkerLeaving(Event):
    """The worker was told by others to go, and will within `grace_s` seconds (outbox item `seq`)."""

    worker: str
    seq: int
    trial: str
    attempt: int
    grace_s: float


@Event.register
@dataclass(frozen=True, slots=True)
class NodeDraining(Event):
    """The node is to go, at `deadline` (seconds since the epoch) if that is known: nothing starts there."""

    node: str
    deadline: float | None


@Event.register
@dataclass(frozen=True, slots=True)
class SuggestionsRequested(Event):
    """The searcher is asked, on the first `completed` observations and on what is pending.

    Pending are the trials that are unfinished at this event, and the suggestions that wait for a worker.
    """

    request: int
    count: int
    start: int
    completed: int


@Event.register
@dataclass(frozen=True, slots=True)
class SuggestionsReady(Event):
    """The searcher answered with `{"config", "provenance"}` each; `memory` is for the next request."""

    request: int
    suggestions: Sequence[Mapping[str, Any]]
    memory: Mapping[str, Any] | None
    exhausted: bool


@Event.register
@dataclass(frozen=True, slots=True)
class SuggestionsWithdrawn(Event):
    """Prefetched suggestions that missed too many completions are forgotten."""

    count: int
    reason: str


@Event.register
@dataclass(frozen=True, slots=True)
class TrialCreated(Event):
    """The oldest waiting suggestion is accepted; `missed` completions came after it was asked for."""

    trial: str
    missed: int


@Event.register
@dataclass(frozen=True, slots=True)
class AttemptAssigned(Event):
    """`worker` is to run `trial`; reports of earlier attempts beyond `resume_from` are superseded."""

    trial: str
    attempt: int
    worker: str
    resume_from: Mapping[str, Any] | None


@Event.register
@dataclass(frozen=True, slots=True)
class AttemptStarted(Event):
    """The trainable is running (outbox item `seq` of `worker`)."""

    worker: str
    seq: int
    trial: str
    attempt: int


@Event.register
@dataclass(frozen=True, slots=True)
class Reported(Event):
    """The trial's metrics at `step`; `time` is the worker's clock."""

    worker: str
    seq: int
    trial: str
    attempt: int
    step: int
    metrics: Mapping[str, Any]
    time: float


@Event.register
@dataclass(frozen=True, slots=True)
class Checkpointed(Event):
    """The checkpoint of `step` is safe at `path`."""

    worker: str
    seq: int
    trial: str
    attempt: int
    step: int
    path: str


@Event.register
@dataclass(frozen=True, slots=True)
class AttemptEnded(Event):
    """The attempt is over: `outcome` is completed, interrupted or failed; a `clean` worker can be reused.

    `failure` is the `FailureKind` of one that failed. `usage` is what it used, as usage.py says; None where
    nothing was measured.
    """

    worker: str
    seq: int
    trial: str
    attempt: int
    outcome: str
    error: str | None
    clean: bool
    time: float
    failure: str | None = None
    usage: Mapping[str, Any] | None = None


@Event.register
@dataclass(frozen=True, slots=True)
class ItemDiscarded(Event):
    """Outbox item `seq` belongs to a superseded attempt, and counts for nothing."""

    worker: str
    seq: int
    trial: str
    attempt: int


@Event.register
@dataclass(frozen=True, slots=True)
class Decided(Event):
    """A decision on a trial: `action` is stop, complete, pause, exploit or resume.

    Only decisions other than "go on" are logged. `rule` names what decided, with its version.
    """

    trial: str
    attempt: int
    step: int
    action: str
    reason: str
    rule: str
    source: str | None = None
    config: Config | None = None


@Event.register
@dataclass(frozen=True, slots=True)
class TrialRequeued(Event):
    """The trial waits for another attempt, until `due_at` (seconds since the epoch) at the least."""

    trial: str
    reason: str
    due_at: float | None = None


@Event.register
@dataclass(frozen=True, slots=True)
class TrialPaused(Event):
    """The trial waits with its checkpoint."""

    trial: str


@Event.register
@dataclass(frozen=True, slots=True)
class TrialEnded(Event):
    """The trial is finished. `objective` has a value for each metric, or is None with a `FailureKind`."""

    trial: str
    status: str
    objective: Sequence[float] | None
    failure: str | None
    reason: str | None


@Event.register
@dataclass(frozen=True, slots=True)
class StopRequested(Event):
    """No new trials; running ones are told to end at their next report, and can be resumed."""

    reason: str


@Event.register
@dataclass(frozen=True, slots=True)
class RunEnded(Event):
    """Nothing more happens: `status` is completed, stopped or failed."""

    status: str
    reason: str
