"""The executor in virtual time: the real experiment, searcher, scheduler and journal, and no Ray.

A `SimulatedExecutor` is one coordinator's connection to a `SimulatedCluster`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from raytune_gp import messages as msg
from raytune_gp.execution.simulated_cluster import SimulatedCluster
from raytune_gp.failures import FailureKind
from raytune_gp.protocols import Advisor

__all__ = ["SimulatedExecutor"]

MAX_INPUTS = 500


class SimulatedExecutor:
    """One coordinator's connection to a `SimulatedCluster`. `disconnect` is what its crash looks like.

    What it has sent arrives nevertheless; a worker that hears a newer connection refuses an older one.
    """

    def __init__(self, cluster: SimulatedCluster, advisor: Advisor):
        self._cluster = cluster
        self._advisor = advisor
        self._number = next(cluster.connections)
        self._inputs: deque[msg.Input] = deque()
        self._cursors: dict[str, int] = {}
        self._connected = True
        self._asked: set[int] = set()
        self._put(msg.SlotsOffered(cluster.slots))

    def now(self) -> float:
        """Virtual seconds."""
        return self._cluster.clock

    def next(self, deadline: float | None) -> list[msg.Input]:
        """Let virtual time pass until there is an input, or the deadline is reached."""
        while not self._inputs and self._cluster.step(deadline):
            pass
        return [self._inputs.popleft() for _ in range(min(MAX_INPUTS, len(self._inputs)))]

    def close(self) -> None:
        """Nothing is held."""

    def disconnect(self) -> None:
        """The coordinator is gone: nothing reaches it any more, and what waited for it is lost."""
        self._connected = False
        self._inputs.clear()

    def send(self, command: msg.Command) -> None:
        """Carry out `command` after the network's latency, twice where it is doubled."""
        for _ in range(2 if self._cluster.chance("duplication") else 1):
            self._dispatch(command)

    def _dispatch(self, command: msg.Command) -> None:
        network = self._cluster.network
        match command:
            case msg.Connect():
                usual = network.start_worker_s if command.create else network.latency_s
                self._cluster.after(self._cluster.delayed(usual), lambda: self._connect(command))
            case msg.Pack():
                self._later(network.latency_s, lambda: self._offer(command.trials_per_gpu))
            case msg.Suggest():
                if command.request not in self._asked:
                    self._asked.add(command.request)
                    self._later(network.suggest_s, lambda: self._put(self._advisor.ask(command)))
            case msg.Release():
                self._cluster.after(
                    self._cluster.delayed(network.latency_s), lambda: self._release(command.worker)
                )
            case msg.Start() | msg.Interrupt() | msg.Acknowledge():
                self._deliver(command)

    def _deliver(self, command: msg.Start | msg.Interrupt | msg.Acknowledge) -> None:
        """Bring a command to its worker; a lost one is sent again, as Ray's calls are."""
        if self._cluster.chance("loss"):
            self._cluster.after(self._cluster.network.retry_s, lambda: self._deliver(command))
            return

        def arrive() -> None:
            worker = self._cluster.workers.get(command.worker)
            if worker is None or worker.connection > self._number:
                return
            match command:
                case msg.Start():
                    worker.start(command)
                case msg.Interrupt():
                    worker.interrupt(command)
                case msg.Acknowledge():
                    worker.acknowledge(command.seq)

        self._cluster.after(self._cluster.delayed(self._cluster.network.latency_s), arrive)

    def _offer(self, trials_per_gpu: int) -> None:
        if self._cluster.gpus is not None:
            self._put(msg.SlotsOffered(self._cluster.gpus.count * trials_per_gpu, trials_per_gpu))

    def _connect(self, command: msg.Connect) -> None:
        cluster = self._cluster
        worker = cluster.workers.get(command.worker)
        if worker is None and command.create and command.worker not in cluster.dead:
            worker = cluster.make_worker(command.worker, command.slot, command.trials_per_gpu)
            if worker is None:
                self._later(cluster.network.retry_s, lambda: self._connect(command))
                return
        if worker is None:
            self._vanished(command.worker, "it was not found")
            return
        if worker.connection > self._number:
            return
        worker.connection = self._number
        self._cursors[command.worker] = command.after_seq
        latency_s = cluster.network.latency_s
        worker.listener = lambda: self._later(cluster.delayed(latency_s), lambda: self._read(command.worker))
        worker.on_death = lambda: self._later(
            cluster.delayed(latency_s), lambda: self._vanished(command.worker, "it died")
        )
        self._put(msg.WorkerArrived(command.worker, worker.node, 0))
        self._read(command.worker)

    def _read(self, worker_id: str) -> None:
        """Take what the worker's outbox holds behind the cursor; a lost batch is read again later."""
        worker = self._cluster.workers.get(worker_id)
        if worker is None:
            return
        items = worker.outbox.read(self._cursors[worker_id])
        if not items:
            return
        if self._cluster.chance("loss"):
            self._later(self._cluster.network.retry_s, lambda: self._read(worker_id))
            return
        for _ in range(2 if self._cluster.chance("duplication") else 1):
            self._inputs.extend(items)
        self._cursors[worker_id] = items[-1].seq
        self._read(worker_id)

    def _release(self, worker_id: str) -> None:
        if worker_id in self._cluster.workers:
            self._cluster.kill(worker_id)
        else:
            self._cluster.dead.setdefault(worker_id, FailureKind.WORKER_LOST)
            self._vanished(worker_id, "it was released")

    def _vanished(self, worker_id: str, reason: str) -> None:
        failure = self._cluster.dead.get(worker_id, FailureKind.WORKER_LOST)
        self._put(msg.WorkerVanished(worker_id, reason, failure))

    def _later(self, seconds: float, action: Callable[[], None]) -> None:
        def run() -> None:
            if self._connected:
                action()

        self._cluster.after(seconds, run)

    def _put(self, input: msg.Input) -> None:
        if self._connected:
            self._inputs.append(input)
