"""What a trial costs besides its training: trials that return at once, against Ray Tune in the same process.

    python -m benchmarks.overhead --rounds 3 --out benchmarks/results/overhead.json

Both tuners use random search and reuse their actors; they take turns on one local cluster of 2 CPUs.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Mapping
from typing import Any

import ray

from benchmarks.measure import command_line, write
from raytune_gp import tune


def ours(trials: int) -> float:
    """Seconds for `trials` trials of raytune-gp, its start and end included."""

    def train(config: Mapping[str, Any]) -> None:
        tune.report({"score": config["x"]})

    with tempfile.TemporaryDirectory() as directory:
        began = time.perf_counter()
        results = tune.run(
            train,
            config={"x": tune.uniform(0, 1)},
            metric="score",
            mode="max",
            num_samples=trials,
            search_alg="random",
            storage_path=directory,
            journal=f"sqlite:///{directory}/journal.db",
            verbose=0,
        )
        seconds = time.perf_counter() - began
    assert len(results) == trials
    assert results.num_errors == 0
    return seconds


def rays(trials: int) -> float:
    """Seconds for `trials` trials of Ray Tune with `reuse_actors=True`."""
    import ray.tune

    def train(config: Mapping[str, Any]) -> None:
        ray.tune.report({"score": config["x"]})

    with tempfile.TemporaryDirectory() as directory:
        tuner = ray.tune.Tuner(
            train,
            param_space={"x": ray.tune.uniform(0, 1)},
            tune_config=ray.tune.TuneConfig(
                metric="score", mode="max", num_samples=trials, reuse_actors=True
            ),
            run_config=ray.tune.RunConfig(storage_path=directory, verbose=0),
        )
        began = time.perf_counter()
        results = tuner.fit()
        seconds = time.perf_counter() - began
    assert len(results) == trials
    assert results.num_errors == 0
    return seconds


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    mine, theirs = [], []
    for _ in range(arguments.rounds):
        mine.append(arguments.trials / ours(arguments.trials))
        theirs.append(arguments.trials / rays(arguments.trials))
    ray.shutdown()
    ratios = [a / b for a, b in zip(mine, theirs, strict=True)]
    write(
        {
            "command": "python -m benchmarks.overhead"
            f" --trials {arguments.trials} --rounds {arguments.rounds}",
            "trials_per_second": {"raytune_gp": mine, "ray_tune_reuse_actors": theirs},
            "ratio": {"median": statistics.median(ratios), "lowest": min(ratios), "highest": max(ratios)},
        },
        arguments.out,
    )


if __name__ == "__main__":
    main()
