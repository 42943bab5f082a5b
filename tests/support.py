"""What several test files share: a journal in memory, a scripted searcher, and runs in virtual time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks import simulation
from raytune_gp import events as ev
from raytune_gp import messages as msg
from raytune_gp.codec import event_from_json, event_to_json
from raytune_gp.errors import StaleTermError
from raytune_gp.execution.simulated_cluster import Curve, Network, SimulatedCluster
from raytune_gp.experiment import Experiment
from raytune_gp.protocols import Scheduler, UserRequest
from raytune_gp.schedulers import FIFOScheduler
from raytune_gp.snapshots import Part
from raytune_gp.spec import ExperimentSpec
from raytune_gp.trial import Config, Metric


class MemoryJournal:
    """A journal that lives in a list, with the codec of the real one."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str]] = []
        self.term = 0
        self.requests: list[UserRequest] = []
        self.asked = 0
        self.snapshot: list[Part] = []

    def create(self, spec: ExperimentSpec) -> None:
        self._add([ev.RunCreated(0.0, spec.to_json())])

    def _add(self, events: Sequence[ev.Event]) -> None:
        self.rows += [self._row(event) for event in events]  # all or none

    @staticmethod
    def _row(event: ev.Event) -> tuple[str, str]:
        return type(event).__name__, event_to_json(event)

    def raise_term(self, run: str) -> int:
        self.term += 1
        return self.term

    def append(
        self,
        run: str,
        term: int,
        first_index: int,
        events: Sequence[ev.Event],
        requests: Sequence[UserRequest] = (),
    ) -> None:
        if term != self.term:
            raise StaleTermError(f"{term} is not {self.term}")
        if first_index < len(self.rows):
            assert [self._row(e) for e in events] == self.rows[first_index:], "not what is there"
            return
        assert first_index == len(self.rows), (first_index, len(self.rows))
        self._add(events)
        self.requests = [r for r in self.requests if r not in requests]

    def read(self, run: str, after_index: int = -1) -> Iterator[tuple[int, ev.Event]]:
        for index, (kind, body) in enumerate(self.rows):
            if index > after_index:
                yield index, event_from_json(kind, body)

    def request(self, run: str, kind: str, body: Mapping[str, Any] | None = None) -> None:
        self.asked += 1
        self.requests.append(UserRequest(self.asked, kind, body or {}))

    def open_requests(self, run: str) -> list[UserRequest]:
        return list(self.requests)

    def keep_part(self, run: str, term: int, part: Part) -> None:
        if term != self.term:
            raise StaleTermError(f"{term} is not {self.term}")
        self.snapshot = [p for p in self.snapshot if p.position <= part.follows] + [part]

    def parts(self, run: str) -> Iterator[tuple[Part, str | None]]:
        for part in self.snapshot:
            yield part, self.rows[part.position][1] if part.position < len(self.rows) else None

    def events(self) -> list[ev.Event]:
        return [e for _, e in self.read("run")]

    def of(self, kind: type[ev.Event]) -> list[Any]:
        return [e for e in self.events() if isinstance(e, kind)]


class Numbers:
    """Stands in for an `Asker`: suggestion k is the config `{"x": k}`."""

    def __init__(self, total: int | None = None):
        self.total = total
        self.asked: list[msg.Suggest] = []

    def ask(self, command: msg.Suggest) -> msg.Input:
        self.asked.append(command)
        stop = command.start + command.count
        if self.total is not None:
            stop = min(stop, self.total)
        configs = [{"config": {"x": k}, "provenance": {}} for k in range(command.start, stop)]
        return msg.Suggested(command.request, configs, None, len(configs) < command.count)


def flat_curve(steps: int = 3, seconds: float = 1.0) -> Curve:
    """Every trial reports `score = x` in each of `steps` steps."""

    def curve(config: Config, first: int) -> Iterator[tuple[float, Mapping[str, Any]]]:
        for _ in range(first, steps):
            yield seconds, {"score": float(config["x"])}

    return curve


def noisy_curve(steps: int, seed: int = 0) -> Curve:
    """Steps of random length whose score depends on config and step alone."""

    def curve(config: Config, first: int) -> Iterator[tuple[float, Mapping[str, Any]]]:
        for step in range(first + 1, steps + 1):
            rng = np.random.default_rng([seed, int(config["x"]), step])
            yield float(rng.exponential(1.0)) + 0.01, {"score": float(rng.normal())}

    return curve


def make_spec(**settings: Any) -> ExperimentSpec:
    return ExperimentSpec(
        **{"name": "run", "metrics": (Metric("score", "max"),), "num_samples": 6, **settings}
    )


class Simulation(simulation.Simulation):
    """A run in virtual time on a journal in memory, whose suggestions are numbers, unless told otherwise."""

    def __init__(
        self,
        spec: ExperimentSpec,
        curve: Curve,
        *,
        slots: int = 2,
        scheduler: Callable[[], Scheduler] = FIFOScheduler,
        asker: Any = None,
        network: Network | None = None,
        uses_results: bool = True,
        seed: int = 0,
        journal: Any = None,
        snapshot_every: int = 10,
        gpus: Any = None,
        is_decided_on: bool = True,
    ):
        journal = journal or MemoryJournal()
        journal.create(spec)
        super().__init__(
            "run",
            journal,
            SimulatedCluster(
                curve, slots=slots, network=network, seed=seed, gpus=gpus, is_decided_on=is_decided_on
            ),
            asker or Numbers(),
            lambda: Experiment(scheduler(), uses_results=uses_results),
            sleep=lambda s: None,
            snapshot_every=snapshot_every,
        )


def replayed(events: Sequence[ev.Event], scheduler: Scheduler | None = None) -> Experiment:
    """A fresh experiment that has applied `events`."""
    experiment = Experiment(scheduler or FIFOScheduler())
    for event in events:
        experiment.apply(event)
    return experiment
