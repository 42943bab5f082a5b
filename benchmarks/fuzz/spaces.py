"""Search spaces of odd domains."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np

from benchmarks.fuzz.attempts import CrashError
from benchmarks.fuzz.odd import altered, key, value
from raytune_gp import tune
from raytune_gp.space import Encoding, SearchSpace
from raytune_gp.space.definition import definition, space_of

__all__ = ["spaces"]

DOMAINS: tuple[Callable[..., Any], ...] = (
    tune.uniform,
    tune.quniform,
    tune.loguniform,
    tune.qloguniform,
    tune.randint,
    tune.qrandint,
    tune.lograndint,
    tune.qlograndint,
    tune.randn,
    tune.qrandn,
    tune.choice,
    tune.grid_search,
    tune.sample_from,
    tune.when,
    tune.reverse_loguniform,
)


def domain(rng: Random, depth: int) -> Any:
    """A call of a domain, sound or not."""
    if rng.random() < 0.2:
        return value(rng, depth)
    made = rng.choice(DOMAINS)
    if made is tune.when:
        values = rng.choice([["a"], [1], [True], value(rng, 1)])
        names: list[Any] = ["a", "b", "a/b", "x", "", 3]
        return tune.when(rng.choice(names), values, domain(rng, depth))
    if made in (tune.choice, tune.grid_search):
        return made([value(rng, 1) for _ in range(rng.randrange(5))] if rng.random() < 0.8 else value(rng))
    if made is tune.sample_from:
        functions = (lambda: 1, lambda config: config["x"], lambda config: config.a, lambda rng: rng.random())
        return made(rng.choice([*functions, lambda: object(), lambda: 1 / 0, None]))
    if rng.random() < 0.5:
        low, high = sorted((rng.randrange(1, 50), rng.randrange(51, 200)))
        return made(*[low, high, rng.choice([1, 2, 0.5])][: rng.choice([2, 2, 3])])
    return made(*[value(rng, 0) for _ in range(rng.choice([1, 2, 2, 3]))])


def spaces(rng: Random) -> None:
    """A space of odd domains: made, sampled, encoded, described, kept and made again."""
    config: Any = {}
    for _ in range(rng.randrange(1, 6)):
        place = config
        if rng.random() < 0.3:
            place = config.setdefault(key(rng), {})
        try:
            made = domain(rng, 1)
        except TypeError:
            continue  # a wrong number of arguments is Python's own affair
        if isinstance(place, dict):
            place[key(rng)] = made
    if rng.random() < 0.05:
        config = value(rng)
    space = SearchSpace(config)
    if math.prod(axis.size for axis in space.grid_axes.values()) > 1000:
        return
    sample = space.sample(np.random.default_rng(rng.randrange(2**32)))
    space.validate({name: v for name, v in space.flat(sample).items() if name not in space.sample_from})
    form = json.loads(json.dumps(space.to_json(sample)))
    again = space.from_json(form)
    encoding = Encoding(space)
    encoding.place([sample, again])
    decoded = encoding.decode(np.random.default_rng(0).random((3, len(encoding.dimensions))))
    space.key(decoded[0])
    space.snap(altered(rng, sample))
    said = json.dumps(space.describe(), allow_nan=True)
    kept = definition(space)
    if "leaves" in kept:
        other = space_of(json.loads(json.dumps(kept)))
        if not space.sample_from and json.dumps(other.describe()) != said:
            raise CrashError(f"not the same space: {said} and {other.describe()}")
