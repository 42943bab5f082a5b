"""Problems made of test functions: noise, cliffs, wrong scales, irrelevant and many dimensions, conditions.

Each is a classic function of the unit cube, moved so that its least value, 0, lies at a place drawn once from
the problem's name, and never in the centre, where some optimisers begin.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np

from benchmarks.race.problems.base import Config, Half, Problem, Task
from benchmarks.synthetic import PROBLEMS as CLASSICS
from raytune_gp.space import choice, loguniform, randint, uniform, when

__all__ = ["FUNCTIONS"]

Function = Callable[[np.ndarray], float]
"""Of the offsets from the optimum, d, each within [-1, 1]; 0 at 0, above 0 elsewhere."""


def levy(offsets: np.ndarray) -> float:
    """Levy: a bowl with waves on it."""
    w = 1.0 + 2.5 * offsets
    first = math.sin(math.pi * w[0]) ** 2
    middle = ((w[:-1] - 1) ** 2 * (1 + 10 * np.sin(math.pi * w[:-1] + 1) ** 2)).sum()
    return float(first + middle + (w[-1] - 1) ** 2 * (1 + math.sin(2 * math.pi * w[-1]) ** 2))


def ackley(offsets: np.ndarray) -> float:
    """Ackley: a narrow hole in a rippled plain, here within ±8 of it."""
    z = 8.0 * offsets
    distance, ripples = math.sqrt((z**2).mean()), np.cos(2 * math.pi * z).mean()
    return float(20 - 20 * math.exp(-0.2 * distance) + math.e - math.exp(ripples))


def rosenbrock(offsets: np.ndarray) -> float:
    """Rosenbrock: a bent, flat valley."""
    z = 1.0 + 2.0 * offsets
    return float((100 * (z[1:] - z[:-1] ** 2) ** 2 + (1 - z[:-1]) ** 2).sum())


def ellipsoid(offsets: np.ndarray) -> float:
    """A bowl whose steepest axis is a thousand times as steep as its flattest."""
    return float((np.logspace(0, 3, len(offsets)) * offsets**2).sum())


@dataclass(frozen=True)
class _Made:
    """How a function becomes a problem.

    Attributes:
        relevant: on how many dimensions it depends.
        irrelevant: dimensions that change nothing.
        noise: deviation of what a trial shows, relative to the function's own over the cube.
        cliff: what happens beyond the hyperplane that halves the cube: "nan", or "huge" values.
        unscaled: leading dimensions where the function follows log x, given to the optimiser as linear.
    """

    function: Function
    relevant: int
    irrelevant: int = 0
    noise: float = 0.0
    cliff: Literal["nan", "huge"] | None = None
    unscaled: int = 0


_DECADES = 6  # of the dimensions that are given on the wrong scale: 1e-6 to 1


def _made(name: str, how: _Made) -> Task:
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    optimum = 0.5 + rng.choice([-1.0, 1.0], how.relevant) * rng.uniform(0.1, 0.35, how.relevant)
    normal = rng.standard_normal(how.relevant)
    normal *= -np.sign(normal @ (optimum - 0.5))
    sample = [how.function(u - optimum) for u in rng.random((1000, how.relevant))]
    deviation = how.noise * float(np.std(sample))
    names = [f"x{i}" for i in range(how.relevant)]

    def place(config: Config) -> np.ndarray:
        values = np.array([config[name] for name in names])
        values[: how.unscaled] = 1.0 + np.log10(values[: how.unscaled]) / _DECADES
        return values

    def truth(config: Config) -> float:
        u = place(config)
        value = how.function(u - optimum)
        if how.cliff is None or normal @ (u - 0.5) < 0:
            return value
        return math.nan if how.cliff == "nan" else 1e6 * (1.0 + value)

    def shown(config: Config, rng: np.random.Generator) -> float:
        return truth(config) + deviation * float(rng.standard_normal())

    wrong = uniform(10.0**-_DECADES, 1.0)
    space = {name: wrong if i < how.unscaled else uniform(0.0, 1.0) for i, name in enumerate(names)}
    space |= {f"y{i}": uniform(0.0, 1.0) for i in range(how.irrelevant)}
    return Task(space, truth, shown if how.noise else None, best=0.0)


def _classic(position: int) -> Task:
    classic = CLASSICS[position]
    return Task(classic.space, classic.function, best=classic.optimum)


def _tree() -> Task:
    """A tree of conditions with a bowl in each of four leaves, after Jenatton et al. (2017)."""
    floors = {"aa": 0.3, "ab": 0.1, "ba": 0.0, "bb": 0.2}
    space: Mapping[str, Any] = {
        "first": choice(["a", "b"]),
        "second_a": when("first", ["a"], choice(["a", "b"])),
        "second_b": when("first", ["b"], choice(["a", "b"])),
        "shared_a": when("first", ["a"], uniform(0.0, 1.0)),
        "shared_b": when("first", ["b"], uniform(0.0, 1.0)),
        "aa": when("second_a", ["a"], uniform(-1.0, 1.0)),
        "ab": when("second_a", ["b"], uniform(-1.0, 1.0)),
        "ba": when("second_b", ["a"], uniform(-1.0, 1.0)),
        "bb": when("second_b", ["b"], uniform(-1.0, 1.0)),
    }

    def truth(config: Config) -> float:
        first = config["first"]
        leaf = first + config[f"second_{first}"]
        return float(floors[leaf] + (config[leaf] - 0.4) ** 2 + 0.5 * (config[f"shared_{first}"] - 0.2) ** 2)

    return Task(space, truth, best=0.0)


def _optimizers() -> Task:
    """A network's optimiser with the parameters that it has; plain descent diverges at high rates."""
    space: Mapping[str, Any] = {
        "depth": randint(1, 13),
        "optimizer": choice(["sgd", "adam", "adagrad"]),
        "sgd_rate": when("optimizer", ["sgd"], loguniform(1e-5, 10.0)),
        "momentum": when("optimizer", ["sgd"], uniform(0.0, 1.0)),
        "adam_rate": when("optimizer", ["adam"], loguniform(1e-6, 1.0)),
        "one_minus_beta": when("optimizer", ["adam"], loguniform(1e-4, 1.0)),
        "adagrad_rate": when("optimizer", ["adagrad"], loguniform(1e-5, 10.0)),
    }

    def truth(config: Config) -> float:
        depth = ((config["depth"] - 7) / 8) ** 2
        rate = math.log10(config[f"{config['optimizer']}_rate"])
        if config["optimizer"] == "adam":
            beta = math.log10(config["one_minus_beta"]) + 1.3
            return float(depth + 0.1 + 0.3 * (rate + 2.8) ** 2 + 0.1 * beta**2)
        if config["optimizer"] == "adagrad":
            return float(depth + 0.25 + 0.2 * (rate + 1.5) ** 2)
        effective = rate - math.log10(max(1.0 - config["momentum"], 0.01))
        if effective > 0.3:
            return math.nan
        return float(depth + 0.3 * effective**2 + (config["momentum"] - 0.85) ** 2)

    return Task(space, truth, best=0.0)


def _problem(name: str, groups: tuple[str, ...], half: Half, how: _Made) -> Problem:
    return Problem(name, groups, half, partial(_made, name, how))


FUNCTIONS = (
    Problem("branin", ("smooth",), "develop", partial(_classic, 0)),
    Problem("hartmann6", ("smooth",), "report", partial(_classic, 1)),
    Problem("mixed-rates", ("mixed",), "develop", partial(_classic, 2)),
    Problem("tree-of-conditions", ("conditional", "mixed"), "develop", _tree),
    Problem("optimizers-with-parameters", ("conditional", "mixed"), "report", _optimizers),
    _problem("levy4-noise", ("noisy",), "develop", _Made(levy, 4, noise=0.1)),
    _problem("ellipsoid6-noise", ("noisy",), "develop", _Made(ellipsoid, 6, noise=0.1)),
    _problem("ackley5-noise", ("noisy",), "report", _Made(ackley, 5, noise=0.3)),
    _problem("rosenbrock3-noise", ("noisy",), "report", _Made(rosenbrock, 3, noise=0.1)),
    _problem("levy4-nan-cliff", ("cliffs",), "develop", _Made(levy, 4, cliff="nan")),
    _problem("rosenbrock4-huge-cliff", ("cliffs",), "develop", _Made(rosenbrock, 4, cliff="huge")),
    _problem("ackley3-nan-cliff", ("cliffs",), "report", _Made(ackley, 3, cliff="nan")),
    _problem("ellipsoid5-huge-cliff", ("cliffs",), "report", _Made(ellipsoid, 5, cliff="huge")),
    _problem("ellipsoid4-scales", ("scales",), "develop", _Made(ellipsoid, 4, unscaled=2)),
    _problem("levy5-scales", ("scales",), "report", _Made(levy, 5, unscaled=2)),
    _problem(
        "rosenbrock2-of-10", ("irrelevant", "high-dimensional"), "develop", _Made(rosenbrock, 2, irrelevant=8)
    ),
    _problem("ackley4-of-16", ("irrelevant", "high-dimensional"), "report", _Made(ackley, 4, irrelevant=12)),
    _problem("levy12", ("high-dimensional",), "develop", _Made(levy, 12)),
    _problem("ackley20", ("high-dimensional",), "develop", _Made(ackley, 20)),
    _problem("rosenbrock12", ("high-dimensional",), "report", _Made(rosenbrock, 12)),
    _problem("ellipsoid20", ("high-dimensional",), "report", _Made(ellipsoid, 20)),
)
"""The problems of this file, each in its half for good."""
