"""A cluster in virtual time: its clock, its workers and GPUs, and a network that can lose messages.

It outlives coordinators as real workers do (simulated.py connects them to it). Messages take time, and can be
lost, doubled and delayed; workers and nodes can die. A trainable is a learning curve: what it reports, and
how long each step takes. The cluster keeps a ledger of what its workers have said, to hold a run's journal
against.
"""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from raytune_gp import messages as msg
from raytune_gp.execution.outbox import Outbox
from raytune_gp.failures import FailureKind
from raytune_gp.packing import share_of
from raytune_gp.trainable.run import Outcome
from raytune_gp.trainable.session import longest_wait_s
from raytune_gp.trial import Config

__all__ = ["Curve", "GPUs", "Network", "SimulatedCluster"]

Curve = Callable[[Config, int], Iterable[tuple[float, Mapping[str, Any]]]]
"""From a config and the step it resumes from (0: from scratch), pairs of (seconds, metrics) a step."""


@dataclass(frozen=True)
class Network:
    """How messages travel, in seconds of virtual time; `loss`, `duplication`, `delay` are probabilities.

    `suggest_s` is what the searcher takes. A delayed message takes `delay_s` more. With `jitter` each time is
    multiplied by a random factor between 1 - jitter and 1 + jitter.
    """

    latency_s: float = 0.001
    start_worker_s: float = 1.0
    suggest_s: float = 0.05
    retry_s: float = 0.5
    jitter: float = 0.0
    loss: float = 0.0
    duplication: float = 0.0
    delay: float = 0.0
    delay_s: float = 5.0


@dataclass(frozen=True)
class GPUs:
    """So many GPUs of `total_b` bytes, of which a trial of a config takes `peak_b` from start to end.

    A trial for which its GPU has too little left fails within `fails_s` seconds.
    """

    count: int
    total_b: float
    peak_b: Callable[[Config], float]
    fails_s: float = 0.1


class SimulatedCluster:
    """The clock, the workers, and what is under way between them.

    Slot i is on node i modulo `nodes`; with `gpus`, where trials share these, a worker waits until one has
    room for its share. A trial makes a checkpoint each `checkpoint_every` steps; where its reports are
    decided on they wait a moment, as those of a `Session`. `ledger` holds every item in the order in which
    workers said them, `dead` the workers that are gone and why, `faults` how many messages were lost, doubled
    and delayed.
    """

    def __init__(
        self,
        curve: Curve,
        *,
        slots: int,
        nodes: int = 1,
        checkpoint_every: int = 1,
        network: Network | None = None,
        seed: int = 0,
        gpus: GPUs | None = None,
        is_decided_on: bool = True,
    ):
        self.curve = curve
        self.gpus = gpus
        self.is_decided_on = is_decided_on
        self.slots = slots
        self.nodes = nodes
        self.checkpoint_every = checkpoint_every
        self.network = network or Network()
        self.clock = 0.0
        self.workers: dict[str, _Worker] = {}
        self.dead: dict[str, FailureKind] = {}
        self.ledger: list[msg.Item] = []
        self.faults: Counter[str] = Counter()
        self.busy_s: dict[str, float] = {}
        self.connections = itertools.count(1)
        self.rng = np.random.default_rng(seed)
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._counter = itertools.count()

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Do `action` in `seconds` of virtual time, give or take the jitter."""
        jitter = self.network.jitter
        factor = 1.0 if jitter == 0 else self.rng.uniform(1 - jitter, 1 + jitter)
        heapq.heappush(self._agenda, (self.clock + seconds * factor, next(self._counter), action))

    def step(self, deadline: float | None) -> bool:
        """Do the next thing on the agenda, if it comes before `deadline`; else let the time pass."""
        if self._agenda and (deadline is None or self._agenda[0][0] <= deadline):
            at, _, action = heapq.heappop(self._agenda)
            self.clock = max(self.clock, at)
            action()
            return True
        if deadline is not None:
            self.clock = max(self.clock, deadline)
        return False

    def chance(self, fault: str) -> bool:
        """Whether the network makes this fault (loss, duplication or delay) now."""
        probability = getattr(self.network, fault)
        happens = probability > 0 and bool(self.rng.random() < probability)
        self.faults[fault] += happens
        return happens

    def delayed(self, seconds: float) -> float:
        """How long the next message is under way, of which that is usual."""
        return seconds + (self.network.delay_s if self.chance("delay") else 0.0)

    def make_worker(self, worker_id: str, slot: int, trials_per_gpu: int) -> _Worker | None:
        """A new worker, one of so many that share a GPU; None where no GPU has room for it."""
        device = 0 if self.gpus is None else self._room_for(trials_per_gpu)
        if device is None:
            return None
        worker = _Worker(
            worker_id, f"node{slot % self.nodes}", self, trials_per_gpu=trials_per_gpu, device=device
        )
        self.workers[worker_id] = worker
        return worker

    def _room_for(self, trials_per_gpu: int) -> int | None:
        """A GPU that has room for a worker more of so many, the fullest one; None where all are taken."""
        assert self.gpus is not None
        taken = [0.0] * self.gpus.count
        for worker in self.workers.values():
            taken[worker.device] += share_of(worker.trials_per_gpu)
        share = share_of(trials_per_gpu)
        able = [device for device, used in enumerate(taken) if used + share <= 1 + 1e-9]
        return max(able, key=lambda device: taken[device], default=None)

    def kill(self, worker_id: str, failure: FailureKind = FailureKind.WORKER_LOST) -> None:
        """The worker is gone, with its outbox. Its coordinator learns of it after the latency."""
        worker = self.workers.pop(worker_id, None)
        if worker is not None:
            self.dead[worker_id] = failure
            worker.die()

    def kill_node(self, node: str) -> None:
        """The node is gone, with all its workers."""
        for worker_id in [w.id for w in self.workers.values() if w.node == node]:
            self.kill(worker_id, FailureKind.NODE_LOST)


@dataclass
class _Worker:
    """A simulated worker: an outbox, and at most one attempt that goes on by the clock."""

    id: str
    node: str
    cluster: SimulatedCluster
    outbox: Outbox = field(init=False)
    listener: Callable[[], None] = lambda: None
    on_death: Callable[[], None] = lambda: None
    connection: int = 0
    current: tuple[str, int] | None = None
    seen: set[tuple[str, int]] = field(default_factory=set)
    interrupted: set[tuple[str, int]] = field(default_factory=set)
    alive: bool = True
    trials_per_gpu: int = 1
    device: int = 0
    holds_b: float = 0.0
    _go_on: Callable[[], None] | None = None
    _reported: int = 0

    def __post_init__(self) -> None:
        self.outbox = Outbox(self.id)

    def start(self, command: msg.Start) -> None:
        key = (command.trial, command.attempt)
        if self.current is not None or key in self.seen:
            return
        self.seen.add(key)
        self.current = key
        self._say("started")
        first = command.resume_from.step if command.resume_from else 0
        if not self._take_memory(command.config):
            return
        curve = iter(self.cluster.curve(command.config, first))
        self._next(curve, first + 1, command.time_total_s)

    def _take_memory(self, config: Config) -> bool:
        """Whether this worker's GPU has as much left as the trial takes; it fails soon where it has not."""
        gpus = self.cluster.gpus
        if gpus is None:
            return True
        others = (
            w.holds_b for w in self.cluster.workers.values() if w.device == self.device and w is not self
        )
        free = gpus.total_b - sum(others)
        peak = gpus.peak_b(config)
        self.holds_b = min(peak, free)
        if peak <= free:
            return True
        out = Outcome("failed", "OutOfMemoryError: CUDA out of memory", FailureKind.GPU_MEMORY)
        self.cluster.after(gpus.fails_s, lambda: self._end(out) if self.alive else None)
        return False

    def interrupt(self, command: msg.Interrupt) -> None:
        """Remember it, for it may overtake the start; whoever goes on beyond the grace period is killed."""
        key = (command.trial, command.attempt)
        if key in self.interrupted:
            return
        self.interrupted.add(key)

        def grace_is_over() -> None:
            if self.alive and self.current == key:
                self.cluster.kill(self.id)

        self.cluster.after(command.grace_s, grace_is_over)
        if self._go_on is not None and self.current == key:
            self._go_on = None
            self._end(Outcome("interrupted"))

    def acknowledge(self, seq: int) -> None:
        """Forget what is journalled; a report among it need wait no longer."""
        self.outbox.acknowledge(seq)
        if seq >= self._reported and self._go_on is not None:
            self._continue(self._go_on)

    def _await_decision(self, took_s: float, go_on: Callable[[], None]) -> None:
        """Go on once a report that `took_s` is acknowledged, or after as long as a session waits for it."""
        if not self.cluster.is_decided_on:
            go_on()
            return
        self._go_on = go_on
        self.cluster.after(longest_wait_s(took_s), lambda: self._continue(go_on))

    def _continue(self, go_on: Callable[[], None]) -> None:
        if self.alive and self._go_on is go_on:
            self._go_on = None
            go_on()

    def die(self) -> None:
        self.alive = False
        self.on_death()

    def _next(self, curve: Iterator[tuple[float, Mapping[str, Any]]], step: int, total_s: float) -> None:
        try:
            seconds, metrics = next(curve)
        except StopIteration:
            self._end(Outcome("completed"))
            return
        except Exception as error:
            self._end(Outcome.failed(error, f"{type(error).__name__}: {error}"))
            return
        self.cluster.busy_s[self.id] = self.cluster.busy_s.get(self.id, 0.0) + seconds

        def report() -> None:
            if not self.alive:
                return
            body = {"training_iteration": step, "time_total_s": total_s + seconds, **metrics}
            saves = step % self.cluster.checkpoint_every == 0
            item = self._say("report", {"step": step, "metrics": body, "checkpoint": saves})
            self._reported = item.seq
            assert self.current is not None
            if saves:
                path = f"{self.current[0]}/{self.current[1]}/{step}"
                self._say("checkpoint", {"step": step, "path": path})
            if self.current in self.interrupted:
                self._end(Outcome("interrupted"))
            else:
                self._await_decision(seconds, lambda: self._next(curve, step + 1, total_s + seconds))

        self.cluster.after(seconds, report)

    def _end(self, outcome: Outcome) -> None:
        gpus = self.cluster.gpus
        usage: dict[str, Any] = {}
        if gpus is not None:
            usage["usage"] = {"gpu_peak_b": self.holds_b, "gpu_total_b": gpus.total_b}
        self.holds_b = 0.0
        self._say("ended", outcome.to_body(**usage))
        self.current = None

    def _say(self, kind: str, body: Mapping[str, Any] | None = None) -> msg.Item:
        assert self.current is not None
        item = self.outbox.append(*self.current, kind, self.cluster.clock, body)
        self.cluster.ledger.append(item)
        self.listener()
        return item
