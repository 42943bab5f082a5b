"""The searchers of this repository, asked as the product asks them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.asking import Asked
from raytune_gp.searchers import make_searcher
from raytune_gp.space import SearchSpace
from raytune_gp.trial import Metric

__all__ = ["gp", "random", "sobol"]


def _named(name: str, space: SearchSpace, seed: int, options: Mapping[str, Any]) -> Asked:
    return Asked(make_searcher(name, space, Metric("value", "min"), seed=seed, options=options))


def gp(space: SearchSpace, seed: int, trials: int, **options: Any) -> Asked:
    """The Gaussian process; options as `GPSearcher` takes them."""
    return _named("gp", space, seed, options)


def random(space: SearchSpace, seed: int, trials: int) -> Asked:
    """Independent draws."""
    return _named("random", space, seed, {})


def sobol(space: SearchSpace, seed: int, trials: int) -> Asked:
    """A scrambled Sobol sequence."""
    return _named("sobol", space, seed, {})
