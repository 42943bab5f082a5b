"""A run in virtual time: its journal, its searcher, a simulated cluster, and the coordinator's loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self

from raytune_gp import messages as msg
from raytune_gp.execution.loop import Loop
from raytune_gp.execution.simulated import SimulatedExecutor
from raytune_gp.execution.simulated_cluster import SimulatedCluster
from raytune_gp.experiment import Experiment
from raytune_gp.protocols import Advisor
from raytune_gp.state import RunState

__all__ = ["Simulation"]


class Simulation:
    """A run whose coordinator can be made to crash and come back; the cluster outlives it.

    `run` is the run's name in `journal`, which has it already. `asker` answers for the searcher, `make` makes
    an empty experiment, `executor` a coordinator's connection to the cluster. `options` are those of `Loop`.
    """

    def __init__(
        self,
        run: str,
        journal: Any,
        cluster: SimulatedCluster,
        asker: Advisor,
        make: Callable[[], Experiment],
        *,
        executor: Callable[[SimulatedCluster, Advisor], Any] = SimulatedExecutor,
        **options: Any,
    ):
        self.name = run
        self.journal = journal
        self.cluster = cluster
        self.asker: Any = asker
        self.make = make
        self.executor: Any = None
        self.loop: Loop
        self._make_executor = executor
        self._options = options
        self.connect()

    def connect(self, wrap: Callable[[Any], Any] = lambda executor: executor) -> Self:
        """A (new) coordinator takes the run over; what it sends goes through `wrap` of its executor."""
        if self.executor is not None:
            self.executor.disconnect()
        self.executor = self._make_executor(self.cluster, self.asker)
        self.loop = Loop(self.name, lambda: self.make(), self.journal, wrap(self.executor), **self._options)
        return self

    def crash(self, outage_s: float = 0.0) -> None:
        """The coordinator is gone, and none takes its place for so long, in virtual seconds."""
        self.executor.disconnect()
        until = self.cluster.clock + outage_s
        while self.cluster.step(until):
            pass

    def start(self, first: Sequence[msg.Input] = ()) -> Self:
        """The coordinator begins, with the inputs `first`."""
        self.loop.open(first)
        return self

    def run(self, turns: int | None = 100_000) -> Self:
        """Turn until the run is over; raises TimeoutError where it is not after so many turns."""
        if turns is None:
            self.loop.run()
            return self
        for _ in range(turns):
            if self.loop.experiment.is_over:
                return self
            self.loop.turn()
        raise TimeoutError(f"not over after {turns} turns: {self.state}")

    @property
    def state(self) -> RunState:
        """What the coordinator knows."""
        return self.loop.experiment.state
