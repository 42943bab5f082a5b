"""Searchers propose configs. `make_searcher` knows them by name, and loads PyTorch only for `gp`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from raytune_gp.errors import SpecError
from raytune_gp.protocols import Searcher
from raytune_gp.space import SearchSpace
from raytune_gp.trial import Metric

__all__ = ["SEARCHERS", "check_seed", "make_searcher"]

SEARCHERS = ("gp", "random", "sobol", "grid")


def check_seed(seed: Any) -> None:
    """Raise SpecError unless `seed` can seed a run."""
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise SpecError(f"seed is {seed!r}; it must be a whole number of at least 0")


def make_searcher(
    name: str, space: SearchSpace, metric: Metric, *, seed: int, options: Mapping[str, Any] | None = None
) -> Searcher:
    """The searcher called `name`, one of `SEARCHERS`. Raises SpecError for an unknown name or option."""
    check_seed(seed)
    more = dict(options or {})
    try:
        match name.lower():
            case "gp":
                from raytune_gp.searchers.gp import GPSearcher

                return GPSearcher(space, mode=metric.mode, seed=seed, **more)
            case "random":
                from raytune_gp.searchers.random import RandomSearcher

                return RandomSearcher(space, seed=seed, **more)
            case "sobol":
                from raytune_gp.searchers.sobol import SobolSearcher

                return SobolSearcher(space, seed=seed, **more)
            case "grid":
                from raytune_gp.searchers.grid import GridSearcher

                return GridSearcher(space, **more)
    except TypeError as error:
        raise SpecError(f"search_alg {name!r} cannot be made: {error}") from None
    raise SpecError(f"search_alg is {name!r}; it must be one of {', '.join(SEARCHERS)}, or a searcher")
