"""How far one coordinator goes: the real experiment, searcher, scheduler and journal, with simulated workers.

    python -m benchmarks.scale --out benchmarks/results/scale.json

A case is a run in virtual time with a journal in SQLite, in a process of its own. Its workers are simulated
in the same process, so that CPU time and memory are those of both: upper bounds of a coordinator's. A trial
makes five reports under the median stopping rule, which stops about half of them early. Where the cost of a
trial grows with the run, it shows in `cpu_ms_by_part`: CPU milliseconds a trial in each tenth of the run.
Cases that are in the file are not run again.
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
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import command_line, write
from raytune_gp import events as ev
from raytune_gp import tune
from raytune_gp.execution.loop import Loop
from raytune_gp.execution.simulated import Network, SimulatedCluster, SimulatedExecutor
from raytune_gp.experiment import Experiment
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
EPOCH_S = 12.0
"""Virtual seconds a report: a trial takes a minute."""

PARTS = 10


@dataclass(frozen=True)
class Case:
    """A run: how many workers and trials, which searcher; `minutes` of CPU time after which it is ended."""

    workers: int
    trials: int
    searcher: str = "sobol"
    minutes: float = math.inf

    @property
    def name(self) -> str:
        """What the case is called in the file."""
        return f"{self.searcher}, {self.workers} workers, {self.trials} trials"


CASES = (
    Case(100, 20_000),
    Case(1_000, 20_000),
    Case(10_000, 20_000),
    Case(1_000, 100_000),
    Case(256, 20_000, "gp", minutes=6),
)


def curve(config: Mapping[str, Any], first: int) -> Iterator[tuple[float, Mapping[str, Any]]]:
    """A loss that falls to what the config is worth; epochs take up to a tenth more or less."""
    worth = (math.log10(config["lr"]) + 2) ** 2 + config["momentum"] + 0.01 * config["depth"]
    rng = np.random.default_rng(int(1e9 * config["momentum"]))
    for step in range(first + 1, REPORTS + 1):
        yield EPOCH_S * rng.uniform(0.9, 1.1), {"loss": worth + 1 / step + 0.1 * rng.normal()}


class _EnoughError(Exception):
    """The CPU time of a case is up."""


class _Meter:
    """Counts what is committed, and reads the CPU time at each part of the run."""

    def __init__(self, case: Case):
        self._case = case
        self.began = time.process_time()
        self.wall = time.perf_counter()
        self.counts = dict.fromkeys(("events", "reports", "ended", "suggested"), 0)
        self.marks = [0.0]
        self.ended_at = [0]
        self.suggest_ms: list[float] = []

    @property
    def cpu_s(self) -> float:
        return time.process_time() - self.began

    def committed(self, events: Sequence[ev.Event]) -> None:
        self.counts["events"] += len(events)
        for event in events:
            match event:
                case ev.Reported():
                    self.counts["reports"] += 1
                case ev.TrialEnded():
                    self.counts["ended"] += 1
                case ev.SuggestionsReady():
                    self.counts["suggested"] += len(event.suggestions)
                    self.suggest_ms += [s["provenance"]["milliseconds"] for s in event.suggestions]
        if self.counts["ended"] >= self.ended_at[-1] + self._case.trials / PARTS:
            self.mark()
        if self.cpu_s > 60 * self._case.minutes:
            raise _EnoughError

    def mark(self) -> None:
        self.marks.append(self.cpu_s)
        self.ended_at.append(self.counts["ended"])


def play(case: Case) -> dict[str, Any]:
    """The run of `case`, as figures."""
    space = SearchSpace(SPACE)
    spec = ExperimentSpec(
        name="scale",
        metrics=(METRIC,),
        run_id="scale",
        num_samples=case.trials,
        max_concurrent_trials=case.workers,
        space=space.describe(),
    )
    meter = _Meter(case)
    with tempfile.TemporaryDirectory() as directory:
        journal = SQLJournal(f"sqlite:///{directory}/journal.db")
        journal.create_run("scale", ev.RunCreated(0.0, spec.to_json()))
        searcher, _ = resolve_searcher(case.searcher, space, METRIC, seed=0)
        scheduler, _ = resolve_scheduler("median", METRIC)
        asker = Asker(searcher, space, seed=0)
        network = Network(suggest_s=1.0 if case.searcher == "gp" else 0.01)
        cluster = SimulatedCluster(
            curve, slots=case.workers, nodes=case.workers // 8, checkpoint_every=REPORTS + 1, network=network
        )
        loop = Loop(
            "scale",
            lambda: Experiment(scheduler(), uses_results=case.searcher == "gp"),
            journal,
            SimulatedExecutor(cluster, asker),
            on_commit=meter.committed,
        )
        loop.open()
        try:
            loop.run()
        except _EnoughError:
            meter.mark()
        journal.close()
    cpu_s, counts = meter.cpu_s, meter.counts
    spans = zip(meter.marks, meter.marks[1:], meter.ended_at, meter.ended_at[1:], strict=False)
    by_part = [round(1000 * (b - a) / max(1, n - m), 3) for a, b, m, n in spans]
    tenth = max(1, len(meter.suggest_ms) // 10)
    return {
        **asdict(case),
        "minutes": None if math.isinf(case.minutes) else case.minutes,
        **counts,
        "cpu_s": round(cpu_s, 1),
        "wall_s": round(time.perf_counter() - meter.wall, 1),
        "events_per_cpu_s": round(counts["events"] / cpu_s),
        "trials_per_cpu_s": round(counts["ended"] / cpu_s, 1),
        "cpu_ms_by_part": by_part,
        "suggest_ms_first_and_last_tenth": [
            round(float(np.mean(part)), 2) for part in (meter.suggest_ms[:tenth], meter.suggest_ms[-tenth:])
        ],
        "virtual_s": round(cluster.clock, 1),
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
