"""How far one coordinator goes: the real experiment, searcher, scheduler and journal, with simulated workers.

    python -m benchmarks.scale --out benchmarks/results/scale.json

A case is a run in virtual time with a journal in SQLite, in a process of its own. Its workers are simulated
in the same process: `cpu_s` has the CPU time of the loop (decisions and journal), of the searcher, and of the
simulation apart; memory is that of all. Virtual time goes on by what the loop computes, so that what comes
meanwhile waits, as it does for a real one, and an answer of the searcher, which works beside the loop, comes
when it is made. Where `loop_busy` is near 1 the loop does not keep up, and `events_per_cpu_s` is all that it
can do; `training` is the share of their time in which the workers had a trial's step to do.

A trial makes five reports under the median stopping rule, which stops about half of them early. Where the
cost of a trial grows with the run, it shows in `cpu_ms_by_part`: the loop's CPU milliseconds a trial in each
tenth of the run. Cases that are in the file are not run again.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import command_line, write
from benchmarks.simulation import Simulation
from raytune_gp import events as ev
from raytune_gp import tune
from raytune_gp.execution.simulated import SimulatedExecutor
from raytune_gp.execution.simulated_cluster import SimulatedCluster
from raytune_gp.experiment import Experiment
from raytune_gp.messages import Command, Input, Resume, SlotsOffered, Suggest
from raytune_gp.protocols import Advisor
from raytune_gp.schedulers import resolve_scheduler
from raytune_gp.searchers import resolve_searcher
from raytune_gp.searchers.asking import Asker
from raytune_gp.space import SearchSpace
from raytune_gp.spec import ExperimentSpec
from raytune_gp.storage.journal import SQLJournal
from raytune_gp.trial import Metric

SPACE = {
    "lr": tune.loguniform(1e-4, 1),
    "momentum": tune.uniform(0, 0.99),
    "decay": tune.loguniform(1e-6, 1e-2),
    "depth": tune.randint(1, 12),
}
METRIC = Metric("loss", "min")
REPORTS = 5
PARTS = 10


@dataclass(frozen=True)
class Case:
    """A run: how many workers and trials, which searcher, and `epoch_s` from one report to the next.

    It is ended after so many `minutes` of CPU time. It may go on from a `history` of so many trials, which
    Sobol has chosen and which count for nothing else.
    """

    workers: int
    trials: int
    searcher: str = "sobol"
    epoch_s: float = 12.0
    minutes: float = math.inf
    history: int = 0

    @property
    def name(self) -> str:
        """What the case is called in the file."""
        behind = f" behind {self.history}" if self.history else ""
        trials = f"{self.trials} trials{behind}"
        return f"{self.searcher}, {self.workers} workers, {trials}, {self.epoch_s:g} s a report"


CASES = (
    Case(10_000, 20_000),
    Case(1_000, 100_000, epoch_s=0.6),
    Case(10_000, 100_000, epoch_s=0.6),
    Case(256, 20_000, "gp"),
    *(Case(256, 1_000, "gp", minutes=1, history=history) for history in (10_000, 20_000)),
)


class BusyExecutor(SimulatedExecutor):
    """A connection to a cluster whose time goes on by the CPU time of whoever asks for inputs.

    `simulator_s` and `searcher_s` are the CPU time in which workers were simulated, and questions answered.
    """

    def __init__(self, cluster: SimulatedCluster, asker: Advisor):
        super().__init__(cluster, asker)
        self._world, self._asker = cluster, asker
        self._left_at: float | None = None
        self.simulator_s = self.searcher_s = 0.0

    def next(self, deadline: float | None) -> list[Input]:
        """Let happen what did while the loop was busy; then as any simulated executor."""
        began, world = time.process_time(), self._world
        if self._left_at is not None:
            busy_until = world.clock + began - self._left_at
            while world.step(busy_until):
                pass
        inputs = super().next(deadline)
        self._left_at = time.process_time()
        self.simulator_s += self._left_at - began
        return inputs

    def send(self, command: Command) -> None:
        """As any simulated executor; but an answer of the searcher takes the time that it takes."""
        if not isinstance(command, Suggest):
            super().send(command)
            return
        began = time.process_time()
        answer = self._asker.ask(command)
        took = time.process_time() - began
        self.searcher_s += took
        if self._left_at is not None:
            self._left_at += took
        self._later(took, lambda: self._put(answer))


def curve(config: Mapping[str, Any], first: int, epoch_s: float) -> Iterator[tuple[float, Mapping[str, Any]]]:
    """A loss that falls to what the config is worth; epochs take up to a tenth more or less."""
    worth = (math.log10(config["lr"]) + 2) ** 2 + config["momentum"] + 0.01 * config["depth"]
    rng = np.random.default_rng(int(1e9 * config["momentum"]))
    for step in range(first + 1, REPORTS + 1):
        yield epoch_s * rng.uniform(0.9, 1.1), {"loss": worth + 1 / step + 0.1 * rng.normal()}


class _EnoughError(Exception):
    """The CPU time of a case is up."""


class _Meter:
    """Counts what is committed, and reads the CPU time at each part of the run."""

    def __init__(self, case: Case):
        self._case = case
        self.counts = dict.fromkeys(("events", "reports", "ended", "suggested", "questions"), 0)
        self.marks = [0.0]
        self.ended_at = [0]
        self.suggest_ms: list[float] = []
        self._began = math.inf  # what comes before `begin` takes no time

    def begin(self, executor: BusyExecutor) -> None:
        """Count from now on, what `executor` takes apart."""
        self._began, self._executor = time.process_time(), executor
        executor.simulator_s = executor.searcher_s = 0.0

    @property
    def cpu_s(self) -> float:
        """What loop, searcher and simulator took so far."""
        return time.process_time() - self._began

    @property
    def loop_s(self) -> float:
        """What the loop took of it."""
        return self.cpu_s - self._executor.simulator_s - self._executor.searcher_s

    def committed(self, events: Sequence[ev.Event]) -> None:
        self.counts["events"] += len(events)
        for event in events:
            match event:
                case ev.Reported():
                    self.counts["reports"] += 1
                case ev.TrialEnded():
                    self.counts["ended"] += 1
                case ev.SuggestionsReady():
                    self.counts["questions"] += 1
                    self.counts["suggested"] += len(event.suggestions)
                    self.suggest_ms += [s["provenance"]["milliseconds"] for s in event.suggestions]
        if self.counts["ended"] >= self.ended_at[-1] + self._case.trials / PARTS:
            self.mark()
        if self.cpu_s > 60 * self._case.minutes:
            raise _EnoughError

    def mark(self) -> None:
        self.marks.append(self.loop_s)
        self.ended_at.append(self.counts["ended"])

    def by_part(self) -> list[float]:
        """Milliseconds of the loop for each trial that ended, in each part of the run."""
        spans = zip(self.marks, self.marks[1:], self.ended_at, self.ended_at[1:], strict=False)
        return [round(1000 * (b - a) / max(1, n - m), 3) for a, b, m, n in spans]


def drive(
    journal: SQLJournal, case: Case, clock: float, first: Sequence[Input] = ()
) -> tuple[Simulation, _Meter]:
    """Play the run in `journal` with the workers and the searcher of `case`, from `clock` on."""
    space = SearchSpace(SPACE)
    searcher, _ = resolve_searcher(case.searcher, space, METRIC, seed=0)
    scheduler, _ = resolve_scheduler("median", METRIC)
    cluster = SimulatedCluster(
        partial(curve, epoch_s=case.epoch_s),
        slots=case.workers,
        nodes=case.workers // 8,
        checkpoint_every=REPORTS + 1,
    )
    cluster.clock = clock
    meter = _Meter(case)
    run = Simulation(
        "scale",
        journal,
        cluster,
        Asker(searcher, space, seed=0),
        lambda: Experiment(scheduler(), uses_results=case.searcher == "gp"),
        executor=BusyExecutor,
        on_commit=meter.committed,
    )
    run.start(first)
    meter.begin(run.executor)
    try:
        run.run(turns=None)
    except _EnoughError:
        meter.mark()
    return run, meter


def play(case: Case) -> dict[str, Any]:
    """The run of `case`, as figures."""
    spec = ExperimentSpec(
        name="scale",
        metrics=(METRIC,),
        run_id="scale",
        num_samples=case.history or case.trials,
        space=SearchSpace(SPACE).describe(),
    )
    clock, first = 0.0, list[Input]()
    with tempfile.TemporaryDirectory() as directory:
        journal = SQLJournal(f"sqlite:///{directory}/journal.db")
        journal.create_run("scale", ev.RunCreated(0.0, spec.to_json()))
        if case.history:
            clock = drive(journal, Case(10_000, case.history, epoch_s=0.6), 0.0)[0].cluster.clock
            first = [SlotsOffered(case.workers), Resume({"num_samples": case.history + case.trials})]
        began = time.perf_counter()
        run, meter = drive(journal, case, clock, first)
        wall_s = time.perf_counter() - began
        journal.close()
    cluster, executor = run.cluster, run.executor
    virtual_s = cluster.clock - clock
    counts, loop_s = meter.counts, meter.loop_s
    tenth = max(1, len(meter.suggest_ms) // 10)
    return {
        **asdict(case),
        "minutes": None if math.isinf(case.minutes) else case.minutes,
        **counts,
        "cpu_s": {
            "loop": round(loop_s, 1),
            "searcher": round(executor.searcher_s, 1),
            "simulator": round(executor.simulator_s, 1),
        },
        "wall_s": round(wall_s, 1),
        "virtual_s": round(virtual_s, 1),
        "events_per_cpu_s": round(counts["events"] / loop_s),
        "loop_busy": round(loop_s / virtual_s, 2),
        "training": round(sum(cluster.busy_s.values()) / (case.workers * virtual_s), 2),
        "cpu_ms_by_part": meter.by_part(),
        "suggestions_a_question": round(counts["suggested"] / max(1, counts["questions"]), 1),
        "searcher_cpu_ms_a_suggestion": round(1000 * executor.searcher_s / max(1, counts["suggested"]), 2),
        "suggest_ms_first_and_last_tenth": [
            round(float(np.mean(part)), 2) for part in (meter.suggest_ms[:tenth], meter.suggest_ms[-tenth:])
        ],
        "memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--only", choices=[case.name for case in CASES], help="this case alone")
    arguments = parser.parse_args()
    out: Path | None = arguments.out
    found: dict[str, Any] = {}
    if out is not None and out.exists():
        found = json.loads(out.read_text())["cases"]
    context = multiprocessing.get_context("spawn")
    for case in CASES:
        if case.name in found or arguments.only not in (None, case.name):
            continue
        with context.Pool(1) as pool:
            found[case.name] = pool.apply(play, (case,))
        write({"command": "python -m benchmarks.scale", "cases": found}, out)


if __name__ == "__main__":
    main()
