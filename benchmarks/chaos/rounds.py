"""One round: a small run drawn at random, played with and without random faults in virtual time.

Experiment, loop and SQL journal are the real ones, the cluster is the simulated one. What a trial does
depends on its number and its step alone, so faults change when things happen, and never what comes of them;
under the median rule, which compares with what others have reported so far, they may change that too.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks.chaos.crashes import Crash, FragileExecutor, FragileJournal, Plan
from benchmarks.simulation import Simulation
from raytune_gp import events as ev
from raytune_gp import messages as msg
from raytune_gp.execution.simulated_cluster import Network, SimulatedCluster
from raytune_gp.experiment import Experiment
from raytune_gp.protocols import Scheduler
from raytune_gp.schedulers import FIFOScheduler, MedianStoppingRule
from raytune_gp.spec import ExperimentSpec
from raytune_gp.state import RunState
from raytune_gp.trial import Config, Metric

__all__ = ["Faults", "Lesson", "Run", "Scenario", "draw", "draw_faults", "play"]

MAX_DEATHS = 4
"""Workers that die in a round: five in a row that never started a trial end a run, as they should."""

MAX_CRASHES = 4
"""Coordinators that crash in a round: six in a row without progress end a run, as they should."""

MAX_TURNS = 5_000
"""A run that is not over after so many turns hangs."""


@dataclass(frozen=True)
class Lesson:
    """What a trial does: a score and a duration for each step; it raises on its way from step `fails_at` on.

    `once`: an attempt that resumes from there does not raise.
    """

    scores: tuple[float, ...]
    seconds: tuple[float, ...]
    fails_at: int | None = None
    once: bool = False


@dataclass(frozen=True)
class Scenario:
    """A run to play: its spec, its cluster, and what each trial does."""

    spec: ExperimentSpec
    slots: int
    nodes: int
    checkpoint_every: int
    total: int
    lessons: tuple[Lesson, ...]
    median: bool
    uses_results: bool

    @property
    def trials(self) -> int:
        """How many trials the run must make: its budget, or all that the searcher has."""
        return min(self.total, self.spec.num_samples)

    def curve(self, config: Config, first: int) -> Iterator[tuple[float, Mapping[str, Any]]]:
        """The trainable."""
        lesson = self.lessons[config["x"]]
        for step in range(first, len(lesson.scores)):
            if step == lesson.fails_at and not (lesson.once and first == step):
                raise ValueError(f"it fails after step {step}")
            yield lesson.seconds[step], {"score": lesson.scores[step]}

    def ask(self, command: msg.Suggest) -> msg.Input:
        """The searcher: suggestion k is the config `{"x": k}`, up to `total` of them."""
        numbers = range(command.start, min(command.start + command.count, self.total))
        suggestions = [{"config": {"x": k}, "provenance": {}} for k in numbers]
        return msg.Suggested(command.request, suggestions, None, len(numbers) < command.count)

    def experiment(self) -> Experiment:
        """An empty one with the run's scheduler."""
        scheduler: Scheduler = MedianStoppingRule(self.spec.metric) if self.median else FIFOScheduler()
        return Experiment(scheduler, uses_results=self.uses_results)


@dataclass(frozen=True)
class Faults:
    """What goes wrong: by the network, at points and times, and each commit with a probability.

    `crashes` are the points at which the coordinators crash, one after another, `outages` how long each is
    away; `deaths` the times at which a worker (or a node) dies. Times in seconds of virtual time.
    """

    network: Network = field(default_factory=Network)
    crashes: tuple[int, ...] = ()
    outages: tuple[float, ...] = ()
    deaths: tuple[tuple[float, bool], ...] = ()
    bad_commit: float = 0.0
    seed: int = 0


@dataclass
class Run:
    """A run that was played: what it came to, and what the world around it knows."""

    scenario: Scenario
    cluster: SimulatedCluster
    state: RunState
    events: list[ev.Event]
    points: int
    killed: set[str]
    faults: Counter[str]
    broken: list[str] = field(default_factory=list)


def draw(rng: random.Random) -> Scenario:
    """A small run."""
    samples, failures = rng.randint(1, 8), rng.randint(0, 2)
    total = samples if rng.random() < 0.8 else rng.randint(1, samples)
    spec = ExperimentSpec(
        name="chaos",
        metrics=(Metric("score", rng.choice(("max", "min"))),),
        num_samples=samples,
        max_failures=failures,
        max_losses=999,
        max_concurrent_trials=rng.choice((None, None, 2)),
        keep_checkpoints=rng.choice((None, 1, 2)),
        stop=rng.choice(({}, {}, {"training_iteration": 3.0}, {"score": 1.0})),
        report_timeout_s=None,
    )
    return Scenario(
        spec,
        slots=rng.randint(1, 4),
        nodes=rng.randint(1, 3),
        checkpoint_every=(every := rng.randint(1, 3)),
        total=total,
        lessons=tuple(_draw_lesson(rng, failures, every) for _ in range(total)),
        median=rng.random() < 0.25,
        uses_results=rng.random() < 0.7,
    )


def _draw_lesson(rng: random.Random, failures: int, checkpoint_every: int) -> Lesson:
    """Where a trial is to fail once, a retry is allowed, and there is a checkpoint to resume from."""
    steps = rng.randint(1, 5)
    fails_at = rng.randrange(steps) if rng.random() < 0.3 else None
    once = fails_at is not None and failures > 0 and fails_at % checkpoint_every == 0 and rng.random() < 0.6
    return Lesson(
        scores=tuple(math.nan if rng.random() < 0.03 else rng.gauss(0, 1) for _ in range(steps)),
        seconds=tuple(0.05 + min(3.0, rng.expovariate(1.0)) for _ in range(steps)),
        fails_at=fails_at,
        once=once,
    )


def draw_faults(rng: random.Random, calm: Run) -> Faults:
    """Faults for the run that went `calm` without any."""

    def perhaps(most: float) -> float:
        return rng.choice((0.0, rng.uniform(0, most)))

    crashes = rng.randint(0, MAX_CRASHES)
    late = [rng.randrange(rng.choice((12, calm.points))) for _ in range(crashes)]
    if late:
        late[0] = rng.randrange(calm.points)
    deaths = [
        (rng.uniform(0.3, 1.2 * calm.cluster.clock), rng.random() < 0.3)
        for _ in range(rng.randint(0, MAX_DEATHS))
    ]
    return Faults(
        Network(latency_s=0.05, jitter=0.9, loss=perhaps(0.3), duplication=perhaps(0.3), delay=perhaps(0.15)),
        crashes=tuple(late),
        outages=tuple(rng.choice((0.0, rng.uniform(0, 2), rng.uniform(0, 60))) for _ in late),
        deaths=tuple(deaths),
        bad_commit=perhaps(0.05),
        seed=rng.randrange(2**32),
    )


def play(scenario: Scenario, faults: Faults, journal: Any, run: str) -> Run:
    """Play `scenario` to its end in `journal`, as `run`. Raises TimeoutError where it hangs."""
    journal.create_run(run, ev.RunCreated(0.0, scenario.spec.to_json()))
    rng, met, broken = random.Random(faults.seed), Counter[str](), list[str]()
    cluster = SimulatedCluster(
        scenario.curve,
        slots=scenario.slots,
        nodes=scenario.nodes,
        checkpoint_every=scenario.checkpoint_every,
        network=faults.network,
        seed=faults.seed,
    )
    killed = set[str]()
    for at, whole_node in faults.deaths:
        cluster.after(at, _death(cluster, rng, killed, met, whole_node))

    def fails(what: str) -> bool:
        bad = rng.random() < faults.bad_commit
        met[what] += bad
        return bad

    fragile = FragileJournal(journal, fails=fails)
    plans = [*map(Plan, faults.crashes), Plan()]
    options: dict[str, Any] = {"sleep": lambda seconds: None, "snapshot_every": 7}
    simulation = Simulation(run, fragile, cluster, scenario, scenario.experiment, **options)
    for number, plan in enumerate(plans):
        fragile.plan = plan

        def watched(executor: Any, plan: Plan = plan) -> _Watched:
            return _Watched(FragileExecutor(executor, plan), fragile, broken)

        simulation.connect(watched)
        try:
            simulation.start().run(MAX_TURNS)
            break
        except Crash as crash:
            met[f"crash {crash}"] += 1
            simulation.crash(faults.outages[number])
    while cluster.step(None):
        pass  # what is still under way arrives: a release among it ends its worker
    events = [event for _, event in journal.read(run)]
    met += cluster.faults
    points = sum(len(plan.points) for plan in plans)
    return Run(scenario, cluster, simulation.state, events, points, killed, met, broken)


def _death(
    cluster: SimulatedCluster, rng: random.Random, killed: set[str], met: Counter[str], whole_node: bool
) -> Callable[[], None]:
    def kill() -> None:
        if not cluster.workers:
            return
        victim = cluster.workers[rng.choice(sorted(cluster.workers))]
        victims = (
            {w.id for w in cluster.workers.values() if w.node == victim.node} if whole_node else {victim.id}
        )
        if len(killed | victims) > MAX_DEATHS:
            return
        killed.update(victims)
        met["node death" if whole_node else "worker death"] += 1
        if whole_node:
            cluster.kill_node(victim.node)
        else:
            cluster.kill(victim.id)

    return kill


class _Watched:
    """An executor that notes acknowledgements and starts that run ahead of the journal."""

    def __init__(self, executor: Any, journal: FragileJournal, broken: list[str]):
        self._executor, self._journal, self._broken = executor, journal, broken
        self._retained: dict[str, set[str]] = {}

    def send(self, command: msg.Command) -> None:
        match command:
            case msg.Acknowledge() if command.seq > self._journal.heard[command.worker]:
                self._broken.append(f"acknowledged before it was committed: {command}")
            case msg.Retain():
                self._retained[command.trial] = set(command.paths)
            case msg.Start(resume_from=record) if record is not None:
                if record.path not in self._retained.get(command.trial, {record.path}):
                    self._broken.append(f"starts from a checkpoint that was let go: {command}")
        self._executor.send(command)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._executor, name)
