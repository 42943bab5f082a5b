"""Inputs (what the world tells an experiment) and commands (what the world is told).

Neither is stored: what an input meant is in the events it caused, and commands follow from the state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from raytune_gp.failures import FailureKind
from raytune_gp.patience import Patience
from raytune_gp.trial import CheckpointRecord, Config, Observation

__all__ = [
    "Acknowledge",
    "Command",
    "Connect",
    "Input",
    "Interrupt",
    "Item",
    "NodeDrained",
    "Pack",
    "Release",
    "Resume",
    "Retain",
    "SlotsOffered",
    "Start",
    "StopRun",
    "StopTrial",
    "Suggest",
    "SuggestFailed",
    "Suggested",
    "Tick",
    "WorkerArrived",
    "WorkerVanished",
]


@dataclass(frozen=True, slots=True)
class Input:
    """Something that the world tells the experiment."""


@dataclass(frozen=True, slots=True)
class SlotsOffered(Input):
    """The executor can hold `slots` workers, where `trials_per_gpu` of them share a GPU."""

    slots: int
    trials_per_gpu: int = 1


@dataclass(frozen=True, slots=True)
class WorkerArrived(Input):
    """A requested worker answers."""

    worker: str
    node: str
    pid: int


@dataclass(frozen=True, slots=True)
class WorkerVanished(Input):
    """A worker is gone, by itself or because it was told to go."""

    worker: str
    reason: str
    failure: FailureKind = FailureKind.WORKER_LOST


@dataclass(frozen=True, slots=True)
class NodeDrained(Input):
    """The cluster takes the node away, at `deadline` (seconds since the epoch) if that is known."""

    node: str
    deadline: float | None = None


@dataclass(frozen=True, slots=True)
class Item(Input):
    """An entry of a worker's outbox: `kind` is started, report, checkpoint, leaving or ended.

    `seq` counts a worker's items from 1 without gaps; `time` is the worker's clock.
    """

    worker: str
    seq: int
    trial: str
    attempt: int
    kind: str
    time: float
    body: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Suggested(Input):
    """The searcher's answer, its configs in the journal's JSON form."""

    request: int
    suggestions: Sequence[Mapping[str, Any]]
    memory: Mapping[str, Any] | None = None
    exhausted: bool = False


@dataclass(frozen=True, slots=True)
class SuggestFailed(Input):
    """The searcher raised: the run cannot go on."""

    request: int
    error: str


@dataclass(frozen=True, slots=True)
class StopRun(Input):
    """A person or a budget asks for a gentle end."""

    reason: str


@dataclass(frozen=True, slots=True)
class StopTrial(Input):
    """A person asks to stop one trial."""

    trial: str
    reason: str


@dataclass(frozen=True, slots=True)
class Resume(Input):
    """The run goes on, with these entries of its spec changed."""

    changes: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Tick(Input):
    """Nothing but that time has passed."""


@dataclass(frozen=True, slots=True)
class Command:
    """Something that the executor is told. Sent again after a restart; a repetition has no effect."""


@dataclass(frozen=True, slots=True)
class Connect(Command):
    """Make the worker if `create`, else find it; read its outbox behind `after_seq`.

    It is one of `trials_per_gpu` that share a GPU, where that is the run's affair.
    """

    worker: str
    slot: int
    create: bool
    after_seq: int
    trials_per_gpu: int = 1


@dataclass(frozen=True, slots=True)
class Pack(Command):
    """Offer slots for so many workers on each GPU from now on."""

    trials_per_gpu: int


@dataclass(frozen=True, slots=True)
class Start(Command):
    """Run the trainable."""

    worker: str
    trial: str
    attempt: int
    config: Config
    resume_from: CheckpointRecord | None
    time_total_s: float
    patience: Patience = field(default_factory=Patience)


@dataclass(frozen=True, slots=True)
class Interrupt(Command):
    """End the attempt at its next report, by force after `grace_s` seconds.

    `mode` is stop, pause, or evict: at its next checkpoint, if it makes any.
    """

    worker: str
    trial: str
    attempt: int
    mode: str
    grace_s: float


@dataclass(frozen=True, slots=True)
class Acknowledge(Command):
    """The worker's items up to `seq` are in the journal: it may forget them."""

    worker: str
    seq: int


@dataclass(frozen=True, slots=True)
class Release(Command):
    """End the worker."""

    worker: str


@dataclass(frozen=True, slots=True)
class Suggest(Command):
    """Ask the searcher, off the message path."""

    request: int
    count: int
    start: int
    completed: Sequence[Observation]
    pending: Sequence[Config]
    memory: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Retain(Command):
    """Of the trial's checkpoints keep `paths`, and delete the others; newer ones only once it is finished."""

    trial: str
    paths: Sequence[str]
    is_finished: bool = False
