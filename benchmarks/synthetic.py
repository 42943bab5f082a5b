"""GP against random and Sobol search on test functions: `python -m benchmarks.synthetic --seeds 10`.

Each run has 40 trials, of which 4 are pending at any time: the searcher never sees the newest three
results. Prints a table and a line of JSON for each problem: the median simple regret, in how many seeds the
GP ended lower, and the CPU time of a suggestion. Use one thread (OMP_NUM_THREADS=1) for times that can be
compared.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.asking import Asked
from benchmarks.measure import write
from raytune_gp.protocols import Searcher
from raytune_gp.searchers.gp import GPSearcher
from raytune_gp.searchers.random import RandomSearcher
from raytune_gp.searchers.sobol import SobolSearcher
from raytune_gp.space import SearchSpace, choice, loguniform, randint, uniform

__all__ = ["PROBLEMS", "Problem", "Run", "run"]


@dataclass(frozen=True)
class Problem:
    """A function of a config to minimise over a space, and its least value."""

    name: str
    space: Mapping[str, Any]
    function: Callable[[Mapping[str, Any]], float]
    optimum: float


@dataclass(frozen=True)
class Run:
    """The simple regret after each trial, and the CPU seconds of a suggestion that used the results."""

    regrets: np.ndarray
    seconds: float


def branin(config: Mapping[str, Any]) -> float:
    """Branin (1972): three equal minima."""
    x, y = config["x"], config["y"]
    bowl = (y - 5.1 / (4 * math.pi**2) * x**2 + 5 / math.pi * x - 6) ** 2
    return float(bowl + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10)


_A = np.array(
    [
        [10, 3, 17, 3.5, 1.7, 8],
        [0.05, 10, 17, 0.1, 8, 14],
        [3, 3.5, 1.7, 10, 17, 8],
        [17, 8, 0.05, 10, 0.1, 14],
    ]
)
_P = 1e-4 * np.array(
    [
        [1312, 1696, 5569, 124, 8283, 5886],
        [2329, 4135, 8307, 3736, 1004, 9991],
        [2348, 1451, 3522, 2883, 3047, 6650],
        [4047, 8828, 8732, 5743, 1091, 381],
    ]
)
_C = np.array([1.0, 1.2, 3.0, 3.2])


def hartmann6(config: Mapping[str, Any]) -> float:
    """Hartmann (1973) in six dimensions."""
    x = np.array([config[f"x{i}"] for i in range(6)])
    return float(-_C @ np.exp(-(_A * (x - _P) ** 2).sum(1)))


def mixed(config: Mapping[str, Any]) -> float:
    """What tuning a network looks like: the best rate, on a log scale, moves with the optimiser."""
    best_rate, floor = {"sgd": (-1.0, 0.1), "adam": (-3.0, 0.0), "rmsprop": (-3.5, 0.2)}[config["optimizer"]]
    rate = (math.log10(config["rate"]) - best_rate) ** 2 / 2
    depth = ((config["depth"] - 11) / 8) ** 2
    return float(floor + rate + depth + (config["decay"] - 0.3) ** 2 * 2)


PROBLEMS = (
    Problem("branin", {"x": uniform(-5.0, 10.0), "y": uniform(0.0, 15.0)}, branin, 0.39788735772973816),
    Problem("hartmann6", {f"x{i}": uniform(0.0, 1.0) for i in range(6)}, hartmann6, -3.32236801141551),
    Problem(
        "mixed",
        {
            "optimizer": choice(["sgd", "adam", "rmsprop"]),
            "rate": loguniform(1e-5, 1.0),
            "depth": randint(1, 31),
            "decay": uniform(0.0, 1.0),
        },
        mixed,
        0.0,
    ),
)


def run(problem: Problem, searcher: Searcher, *, trials: int = 40, workers: int = 4) -> Run:
    """One run of `trials` with `workers` pending at any time; a trial ends when the oldest of them is due."""
    asked = Asked(searcher)
    values: list[float] = []
    times = []
    for index in range(trials):
        if index >= workers:
            asked.tell(index - workers, values[index - workers])
        began = time.process_time()
        config = asked.ask(index)
        times.append(time.process_time() - began)
        values.append(problem.function(config))
    return Run(np.minimum.accumulate(values) - problem.optimum, float(np.mean(times[trials // 2 :])))


def compare(problem: Problem, seeds: int, trials: int) -> dict[str, Any]:
    """The three searchers over `seeds` runs each, as JSON."""
    space = SearchSpace(problem.space)
    gp = [run(problem, GPSearcher(space, mode="min", seed=s), trials=trials) for s in range(seeds)]
    random = [run(problem, RandomSearcher(space, seed=s), trials=trials) for s in range(seeds)]
    sobol = [run(problem, SobolSearcher(space, seed=s), trials=trials) for s in range(seeds)]
    ends = np.array([[r.regrets[-1] for r in runs] for runs in (gp, random, sobol)])
    medians = np.median(ends, axis=1).tolist()
    return {
        "problem": problem.name,
        "seeds": seeds,
        "trials": trials,
        "median_regret": dict(zip(("gp", "random", "sobol"), medians, strict=True)),
        "gp_wins": {"random": int((ends[0] < ends[1]).sum()), "sobol": int((ends[0] < ends[2]).sum())},
        "gp_seconds_per_suggestion": float(np.mean([r.seconds for r in gp])),
    }


def row(result: Mapping[str, Any]) -> str:
    """A line of the table."""
    regret, wins, seeds = result["median_regret"], result["gp_wins"], result["seeds"]
    return (
        f"{result['problem']:<12}{regret['gp']:>12.4g}{regret['random']:>12.4g}{regret['sobol']:>12.4g}"
        f"{wins['random']:>14}/{seeds:<2}{wins['sobol']:>10}/{seeds:<2}"
        f"{result['gp_seconds_per_suggestion']:>14.3f}"
    )


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--problems", nargs="*", default=[p.name for p in PROBLEMS])
    arguments = parser.parse_args()
    titles = ("GP", "random", "Sobol")
    print(
        f"{'regret of':<12}"
        + "".join(f"{t:>12}" for t in titles)
        + f"{'wins/random':>17}{'wins/Sobol':>13}{'s/suggestion':>14}"
    )
    results = []
    for problem in PROBLEMS:
        if problem.name in arguments.problems:
            results.append(compare(problem, arguments.seeds, arguments.trials))
            print(row(results[-1]), flush=True)
    command = f"python -m benchmarks.synthetic --seeds {arguments.seeds} --trials {arguments.trials}"
    write({"command": command, "results": results}, arguments.out)


if __name__ == "__main__":
    main()
