"""CPU time of the Gaussian process's suggestions: `python -m benchmarks.suggestions`.

Hartmann's function in six dimensions, 4 trials pending, one thread. For each number of observations 20
suggestions are asked for in a row, one result coming in before each, with whatever refits that brings; the
first starts without hyperparameters. Then 64 suggestions at once beside 1,000 observations, and 20 in a row
beside 20,000 observations and 256 pending. Where Optuna is installed its GPSampler is timed in turns with
ours, on the same observations.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.asking import Asked
from benchmarks.measure import write
from benchmarks.synthetic import PROBLEMS
from raytune_gp.searchers.gp import GPSearcher
from raytune_gp.space import SearchSpace
from raytune_gp.trial import Config, Observation

PENDING, IN_A_ROW = 4, 20
HARTMANN = next(p for p in PROBLEMS if p.name == "hartmann6")
PEER_UP_TO = 200
"""Observations beyond which the peer takes minutes."""

Configs = list[Config]


def configs(count: int, seed: int) -> Configs:
    """`count` random configs."""
    points = np.random.default_rng(seed).random((count, 6))
    return [{f"x{i}": float(v) for i, v in enumerate(point)} for point in points]


def ours(observed: Configs, pending: Configs, count: int) -> Callable[[], Configs]:
    """A function that suggests `count` configs, and then takes in one more result."""
    done = [Observation(c, (HARTMANN.function(c),)) for c in observed]
    asked = Asked(GPSearcher(SearchSpace(HARTMANN.space), mode="min", seed=0), done, pending)
    ordinals = itertools.count(len(done) + len(pending), count)

    def suggest() -> Configs:
        found = asked.ask_many(next(ordinals), count)
        oldest = next(iter(asked.running))
        asked.tell(oldest, HARTMANN.function(asked.running[oldest]))
        return found

    return suggest


def optunas(observed: Configs, pending: Configs) -> Callable[[], None]:
    """The same of Optuna's GPSampler, one at a time."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    ranges = {name: optuna.distributions.FloatDistribution(0.0, 1.0) for name in observed[0]}
    study = optuna.create_study(sampler=optuna.samplers.GPSampler(seed=0))
    for config in observed:
        study.add_trial(
            optuna.trial.create_trial(params=config, distributions=ranges, value=HARTMANN.function(config))
        )
    for config in pending:
        study.enqueue_trial(config)
    running = [study.ask(ranges) for _ in pending]

    def suggest() -> None:
        ended = running.pop(0)
        study.tell(ended, HARTMANN.function(ended.params))
        running.append(study.ask(ranges))

    return suggest


def seconds(call: Callable[[], Any]) -> float:
    """The CPU time of one call."""
    began = time.process_time()
    call()
    return time.process_time() - began


def compare(observations: int, peer: bool, running: int = PENDING) -> dict[str, Any]:
    """Milliseconds a suggestion, the mean over IN_A_ROW, and how many times as long the peer takes."""
    known, pending = configs(observations, 0), configs(running, 1)
    suggest, other = ours(known, pending, 1), optunas(known, pending) if peer else None
    times, others = [], []
    for _ in range(IN_A_ROW):
        times.append(seconds(suggest))
        if other is not None:
            others.append(seconds(other))
    found = {"observations": observations, "ms": round(1e3 * float(np.mean(times)), 1)}
    if others:
        found |= {"optuna_ms": round(1e3 * float(np.mean(others)), 1)}
        found |= {"share_of_optuna": round(float(np.sum(times) / np.sum(others)), 3)}
    return found


def row(found: Mapping[str, Any]) -> str:
    """A line of the table."""
    line = f"{found['observations']:>6} observations: {found['ms']:>8} ms a suggestion"
    if "optuna_ms" in found:
        line += f", Optuna's GPSampler {found['optuna_ms']} ms ({found['share_of_optuna']} of it)"
    return line


def main() -> None:
    """Time what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--observations", type=int, nargs="+", default=[50, 100, 200, 500, 1000, 2000])
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    peer = importlib.util.find_spec("optuna") is not None
    compare(20, peer)  # imports, and the first calls of the libraries
    results = []
    for observations in arguments.observations:
        results.append(compare(observations, peer and observations <= PEER_UP_TO))
        print(row(results[-1]), flush=True)
    at_once = seconds(ours(configs(1000, 0), configs(PENDING, 1), 64))
    print(f"64 at once beside 1,000 observations: {at_once:.2f} s")
    many = compare(20_000, peer=False, running=256)
    print(row(many) + ", 256 pending")
    write(
        {
            "command": "OMP_NUM_THREADS=1 python -m benchmarks.suggestions",
            "ms": {str(found["observations"]): found["ms"] for found in results},
            "share_of_optuna": {
                str(found["observations"]): found["share_of_optuna"]
                for found in results
                if "share_of_optuna" in found
            },
            "seconds_for_64_at_1000": round(at_once, 2),
            "ms_at_20000_beside_256": many["ms"],
        },
        arguments.out,
    )


if __name__ == "__main__":
    main()
