"""Events: the facts of a run, in the order in which they are journalled, and their JSON codec.

`Experiment.decide` turns an input into events and `RunState.apply` puts an event into the state; the
state of a run is nothing but its events. Inputs and commands, which are never stored, are in messages.py.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

from raytune_gp.errors import SchemaVersionError
from raytune_gp.kinds import check_fields
from raytune_gp.trial import Config

__all__ = [
    "DAMAGE",
    "SCHEMA_VERSION",
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
    "event_from_json",
    "event_to_json",
]

SCHEMA_VERSION = 5
"""Raised whenever an older reader could misread what is written.

4: `AttemptEnded` said nothing of what the attempt had used, `WorkerRequested` nothing of its share of a GPU.
3: `TermStarted` said nothing of the machine, and a spec neither the definition of its space nor the guesses.
2: no failure had a kind, no retry a time, and no node was drained.
1: `SuggestionsRequested` named what was pending, which follows from the events before it.
"""


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


def event_to_json(event: Event) -> str:
    """The event's body as strict JSON, without its type. NaN and infinities become `{"$float": …}`."""
    body = {f.name: getattr(event, f.name) for f in fields(event)}
    try:
        return json.dumps(body, allow_nan=False, separators=(",", ":"))
    except ValueError:
        return json.dumps(_tag_nonfinite(body), allow_nan=False, separators=(",", ":"))


def event_from_json(kind: str, body: str, version: int = SCHEMA_VERSION) -> Event:
    """The event of type `kind` that `event_to_json` wrote under schema `version`.

    Raises SchemaVersionError for a newer schema or an unknown type, and one of DAMAGE for what was never
    written.
    """
    if type(version) is not int or version < 1:
        raise ValueError(f"its schema version is {version!r}")
    if version > SCHEMA_VERSION or kind not in Event.registry:
        raise SchemaVersionError(
            f"an event of type {kind!r} has schema version {version}, and this raytune-gp reads versions up "
            f"to {SCHEMA_VERSION}: install the version that wrote this journal, or a newer one"
        )
    data = json.loads(body, object_hook=_untag) if '"$float"' in body else _decode(body)
    if version < 2 and kind == "SuggestionsRequested":
        del data["pending"]
    if not isinstance(data, dict):
        raise ValueError(f"its body is {data!r:.100}")
    event = Event.registry[kind](**data)
    check_fields(event)
    if isinstance(event, SuggestionsReady) and not all(map(_is_suggestion, event.suggestions)):
        raise ValueError("a suggestion has no config or no provenance")
    return event


def _is_suggestion(form: Any) -> bool:
    return isinstance(form, dict) and all(isinstance(form.get(k), dict) for k in ("config", "provenance"))


_decode = json.JSONDecoder().decode
"""`json.loads` without its checks of arguments: a restart decodes millions of events."""

DAMAGE = (ValueError, TypeError, LookupError, AttributeError, RecursionError, AssertionError, ArithmeticError)
"""What comes of JSON, or of events, that no version of this software wrote."""

_NONFINITE = ("nan", "inf", "-inf")


def _tag_nonfinite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": repr(value)}
    if isinstance(value, Mapping):
        return {k: _tag_nonfinite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_tag_nonfinite(v) for v in value]
    return value


def _untag(value: dict[str, Any]) -> Any:
    return float(value["$float"]) if value.get("$float") in _NONFINITE and len(value) == 1 else value
