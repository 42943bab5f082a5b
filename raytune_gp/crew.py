"""The workers of a run: which slots they hold, what each was given, and how much of it was heard.

The workers' part of `RunState`, which hands on the events about them. `due` is where commands that follow
are put, a command for each key.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import takewhile

from raytune_gp import events as ev
from raytune_gp import messages as msg
from raytune_gp.due import Due

__all__ = ["STARTING_S", "Crew", "Worker", "WorkerStatus"]

STARTING_S = 10.0
"""So long a worker may take to start where it has its resources, in seconds."""


class WorkerStatus(StrEnum):
    """REQUESTED ─► UP ─► RELEASED, and gone from the state once it is gone from the cluster."""

    REQUESTED = "REQUESTED"
    UP = "UP"
    RELEASED = "RELEASED"


@dataclass(slots=True)
class Worker:
    """An actor that holds a slot, the attempt it has been given, and the last outbox item heard of it."""

    id: str
    slot: int
    status: WorkerStatus = WorkerStatus.REQUESTED
    trial: str | None = None
    attempt: int = 0
    seq: int = 0
    node: str = ""
    pid: int = 0
    requested_at: float = 0.0
    trials_per_gpu: int = 1


@dataclass
class Crew:
    """All workers that live, by id, and who of them is idle, in the order in which they came to be.

    `slots` holds the worker of each slot, without those that are released; `incarnations` how many each
    slot has had. `draining` are the nodes that are to go. `losses_in_a_row` counts workers lost before they
    said a word, since a trial last started.

    `coming` are the workers that have not come yet, in the order in which they were requested, and `vacant`,
    ascending, the slots that have no worker and had one, or are below one that had. Both follow from the
    rest, and are kept so that no event has to look through all workers.
    """

    workers: dict[str, Worker] = field(default_factory=dict)
    idle: dict[str, None] = field(default_factory=dict)
    slots: dict[int, str] = field(default_factory=dict)
    incarnations: dict[int, int] = field(default_factory=dict)
    draining: set[str] = field(default_factory=set)
    losses_in_a_row: int = 0
    coming: dict[str, None] = field(init=False)
    vacant: list[int] = field(init=False)

    def __post_init__(self) -> None:
        requested = (w.id for w in self.workers.values() if w.status is WorkerStatus.REQUESTED)
        self.coming = dict.fromkeys(requested)
        known = range(max(self.incarnations, default=-1) + 1)
        self.vacant = [slot for slot in known if slot not in self.slots]

    @property
    def free_slot(self) -> int:
        """The lowest slot without a worker."""
        return self.vacant[0] if self.vacant else len(self.slots)

    def reconnect(self, due: Due) -> None:
        """Call for a connection to every worker, behind what is journalled."""
        for worker in self.workers.values():
            create = worker.status is WorkerStatus.REQUESTED
            due["connect", worker.id] = _connect(worker, create)

    def call_again(self, due: Due) -> None:
        """Call for workers that have not come, tell those to go that must, and all what was heard of them."""
        for worker in self.workers.values():
            if worker.status is WorkerStatus.REQUESTED:
                due["connect", worker.id] = _connect(worker, True)
            if worker.status is WorkerStatus.RELEASED:
                due["release", worker.id] = msg.Release(worker.id)
            if worker.seq:
                due["acknowledge", worker.id] = msg.Acknowledge(worker.id, worker.seq)

    def overdue(self, now: float) -> int:
        """How many workers have not come for longer than they take to start: they wait for a node."""
        waiting = (now - self.workers[worker].requested_at > STARTING_S for worker in self.coming)
        return sum(1 for _ in takewhile(bool, waiting))

    def requested(self, event: ev.WorkerRequested, due: Due) -> None:
        """A worker is to be made."""
        worker = Worker(event.worker, event.slot, requested_at=event.at, trials_per_gpu=event.trials_per_gpu)
        self.workers[worker.id] = worker
        self.coming[worker.id] = None
        self._occupy(event.slot)
        self.slots[event.slot] = worker.id
        self.incarnations[event.slot] = event.incarnation
        due["connect", worker.id] = _connect(worker, True)

    def up(self, event: ev.WorkerUp, due: Due) -> None:
        """A worker answers, and has nothing to do yet."""
        worker = self.workers[event.worker]
        worker.status, worker.node, worker.pid = WorkerStatus.UP, event.node, event.pid
        self.idle[worker.id] = None
        self.coming.pop(worker.id, None)
        due.pop(("connect", worker.id), None)

    def released(self, event: ev.WorkerReleased, due: Due) -> None:
        """A worker is told to go; its slot is free for another."""
        worker = self.workers[event.worker]
        worker.status = WorkerStatus.RELEASED
        self._leave(worker)
        due.pop(("connect", worker.id), None)
        due["release", worker.id] = msg.Release(worker.id)

    def lost(self, event: ev.WorkerLost, due: Due) -> Worker:
        """A worker is gone, and nothing is left to tell it. Returns it as it was."""
        worker = self.workers.pop(event.worker)
        self._leave(worker)
        for kind in ("connect", "release", "start", "interrupt", "acknowledge"):
            due.pop((kind, worker.id), None)
        if worker.status is not WorkerStatus.RELEASED and worker.seq == 0:
            self.losses_in_a_row += 1
        return worker

    def _occupy(self, slot: int) -> None:
        known = len(self.slots) + len(self.vacant)
        if slot >= known:
            self.vacant += range(known, slot)
        elif slot not in self.slots:
            del self.vacant[bisect_left(self.vacant, slot)]

    def _leave(self, worker: Worker) -> None:
        self.idle.pop(worker.id, None)
        self.coming.pop(worker.id, None)
        if self.slots.get(worker.slot) == worker.id:
            del self.slots[worker.slot]
            insort(self.vacant, worker.slot)

    def heard(self, worker_id: str, seq: int, due: Due) -> None:
        """The worker's outbox item `seq` is in the journal."""
        self.workers[worker_id].seq = seq
        due["acknowledge", worker_id] = msg.Acknowledge(worker_id, seq)

    def assign(self, worker_id: str, trial_id: str, attempt: int) -> None:
        """An idle worker is given an attempt."""
        worker = self.workers[worker_id]
        worker.trial, worker.attempt = trial_id, attempt
        del self.idle[worker_id]

    def free(self, worker_id: str, due: Due) -> None:
        """The worker's attempt is over."""
        worker = self.workers[worker_id]
        worker.trial = None
        if worker.status is WorkerStatus.UP:
            self.idle[worker_id] = None
        for kind in ("start", "interrupt"):
            due.pop((kind, worker_id), None)


def _connect(worker: Worker, create: bool) -> msg.Connect:
    return msg.Connect(worker.id, worker.slot, create, worker.seq, worker.trials_per_gpu)
