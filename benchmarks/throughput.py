"""How many reports a coordinator journals a second, and how long a report waits for its decision.

    python -m benchmarks.throughput --out benchmarks/results/throughput.json

First a history of 20,000 finished trials is written by the simulated executor. Then the run is resumed on
Ray with 4 workers that report at a steady rate, under the median stopping rule (which compares them with
the whole history at their first report, and asks for five others at later ones). A report's time is read on
the worker's clock, its decision's on the coordinator's; both are processes of this machine. The second part
times `tune.report` itself while the coordinator fits Gaussian processes.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import ray

from benchmarks.measure import command_line, percentile, write
from benchmarks.simulation import Simulation
from raytune_gp import events as ev
from raytune_gp import tune
from raytune_gp.execution.simulated_cluster import SimulatedCluster
from raytune_gp.experiment import Experiment
from raytune_gp.schedulers import MedianStoppingRule
from raytune_gp.searchers.asking import Asker
from raytune_gp.searchers.random import RandomSearcher
from raytune_gp.settings import fingerprints
from raytune_gp.space import SearchSpace
from raytune_gp.spec import ExperimentSpec
from raytune_gp.storage.journal import SQLJournal
from raytune_gp.trial import Metric

SPACE = {"x": tune.uniform(0, 1), "y": tune.uniform(0, 1), "z": tune.loguniform(1e-3, 1)}
METRIC = Metric("score", "max")


def hammer(config: Mapping[str, Any]) -> None:
    """Report at a steady rate, and finally report how long each call of `tune.report` took (milliseconds)."""
    time.sleep(config.get("wait", 2.0))
    durations = []
    due = time.perf_counter()
    for step in range(int(config.get("steps", 6000))):
        began = time.perf_counter()
        tune.report({"score": 1 + config["x"], "step": step})
        durations.append(1000 * (time.perf_counter() - began))
        due += 1 / config.get("rate", 600)
        time.sleep(max(0.0, due - time.perf_counter()))
    tune.report({"score": 1 + config["x"], "report_ms": [round(d, 4) for d in durations]})


def call_ms(by_trial: Sequence[Sequence[float]]) -> dict[str, float]:
    """How long `tune.report` took, over all trials together and in the worst one (milliseconds)."""
    pooled = [value for trial in by_trial for value in trial]
    return {
        "calls": len(pooled),
        "p50": percentile(pooled, 0.5),
        "p99": percentile(pooled, 0.99),
        "max": max(pooled),
        "p99_of_worst_trial": max(percentile(trial, 0.99) for trial in by_trial),
    }


def write_history(url: str, storage: str, trials: int) -> None:
    """A run of `trials` finished trials with one report each, in virtual time."""

    def curve(config: Mapping[str, Any], first: int) -> Iterator[tuple[float, Mapping[str, Any]]]:
        yield 1.0, {"score": config["x"]}

    space = SearchSpace(SPACE)
    spec = ExperimentSpec(
        name="history",
        metrics=(METRIC,),
        run_id="history",
        num_samples=trials,
        storage_path=storage,
        space=space.describe(),
        fingerprints=fingerprints(hammer, space),
    )
    journal = SQLJournal(url)
    journal.create_run("history", ev.RunCreated(time.time() - 1e6, spec.to_json()))
    Simulation(
        "history",
        journal,
        SimulatedCluster(curve, slots=64),
        Asker(RandomSearcher(space), space, seed=0),
        lambda: Experiment(MedianStoppingRule(METRIC), uses_results=False),
    ).start().run(turns=None)
    journal.close()


def fan_in(directory: str, trials: int, steps: int, rate: float) -> dict[str, Any]:
    """Reports of 4 workers into a run with a history of `trials` trials."""
    url = f"sqlite:///{directory}/journal.db"
    began = time.perf_counter()
    write_history(url, directory, trials)
    history_s = time.perf_counter() - began
    began = time.perf_counter()
    tune.run(
        tune.with_parameters(_hammer_with, steps=steps, rate=rate),
        config=SPACE,
        metric="score",
        mode="max",
        search_alg="random",
        scheduler={"name": "median", "min_samples_required": 5},
        num_samples=trials + 4,
        max_concurrent_trials=4,
        name="history",
        resume=True,
        storage_path=directory,
        journal=url,
        verbose=0,
    )
    journal = SQLJournal(url)
    reports = [e for _, e in journal.read("history", 0) if isinstance(e, ev.Reported) and e.step > 1]
    journal.close()
    reports = [e for e in reports if int(e.trial) >= trials]
    times = sorted(e.at for e in reports)
    spread = times[int(0.95 * len(times))] - times[int(0.05 * len(times))]
    delays = [1000 * (e.at - e.time) for e in reports]
    return {
        "history_trials": trials,
        "history_written_s": history_s,
        "reports": len(reports),
        "reports_per_second": 0.9 * len(reports) / spread,
        "report_to_decision_ms": {
            "p50": percentile(delays, 0.5),
            "p99": percentile(delays, 0.99),
            "max": max(delays),
        },
        "report_call_ms": call_ms([e.metrics["report_ms"] for e in reports if "report_ms" in e.metrics]),
    }


def _hammer_with(config: Mapping[str, Any], steps: int, rate: float) -> None:
    hammer({**config, "steps": steps, "rate": rate})


def while_the_gp_fits(directory: str) -> dict[str, Any]:
    """`tune.report` timed in trials of a run whose searcher is the Gaussian process."""
    results = tune.run(
        tune.with_parameters(_hammer_with, steps=200, rate=100),
        config=SPACE,
        metric="score",
        mode="max",
        search_alg="gp",
        num_samples=24,
        max_concurrent_trials=4,
        name="gp",
        storage_path=directory,
        journal=f"sqlite:///{directory}/gp.db",
        verbose=0,
    )
    return {"trials": len(results), "report_call_ms": call_ms([r.metrics["report_ms"] for r in results])}


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--history", type=int, default=20_000)
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--rate", type=float, default=600.0, help="reports a second and worker")
    arguments = parser.parse_args()
    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False)
    with tempfile.TemporaryDirectory() as directory:
        result = {
            "command": f"python -m benchmarks.throughput --history {arguments.history} "
            f"--steps {arguments.steps} --rate {arguments.rate:g}",
            "fan_in": fan_in(directory, arguments.history, arguments.steps, arguments.rate),
            "while_the_gp_fits": while_the_gp_fits(directory),
        }
    ray.shutdown()
    write(result, arguments.out)


if __name__ == "__main__":
    main()
