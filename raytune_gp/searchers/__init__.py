"""Searchers propose configs. `make_searcher` knows them by name, and loads PyTorch only for `gp`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from raytune_gp.errors import SpecError
from raytune_gp.options import as_told, make_part, name_and_options
from raytune_gp.protocols import Searcher
from raytune_gp.space import SearchSpace
from raytune_gp.trial import Metric

__all__ = ["SEARCHERS", "check_seed", "make_searcher", "resolve_searcher"]

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
    known, options = name_and_options("search_alg", {**(options or {}), "name": name}, SEARCHERS)
    run = {"space": space, "mode": metric.mode, "seed": seed}
    searcher: Searcher = make_part("search_alg", known, _class_of(known), run, options)
    return searcher


def _class_of(name: str) -> type[Any]:
    match name:
        case "gp":
            from raytune_gp.searchers.gp import GPSearcher

            return GPSearcher
        case "random":
            from raytune_gp.searchers.random import RandomSearcher

            return RandomSearcher
        case "sobol":
            from raytune_gp.searchers.sobol import SobolSearcher

            return SobolSearcher
        case _:
            from raytune_gp.searchers.grid import GridSearcher

            return GridSearcher


def resolve_searcher(
    search_alg: str | Mapping[str, Any] | Searcher | None, space: SearchSpace, metric: Metric, seed: int
) -> tuple[Searcher, dict[str, Any]]:
    """The searcher that a user asks for, and how it is described in the journal.

    By name, as `{"name": "gp", …options}`, or the object itself. Without one it is `gp`, and where the
    space has nothing to search but grid axes, `random`, which then only walks the grid.

    Raises:
        SpecError: none of these, an unknown name or option, or a seed that cannot be.
    """
    check_seed(seed)
    if search_alg is None:
        search_alg = "gp" if space.domains else "random"
    if isinstance(search_alg, str):
        search_alg = {"name": search_alg}
    if isinstance(search_alg, Mapping):
        name, options = name_and_options("search_alg", search_alg, SEARCHERS)
        return make_searcher(name, space, metric, seed=seed, options=options), as_told(search_alg)
    if isinstance(search_alg, type) or not isinstance(search_alg, Searcher):
        raise SpecError(
            f"search_alg is {search_alg!r}; it must be a name such as 'gp', or an object with uses_results, "
            f"update and suggest"
        )
    kind = type(search_alg)
    return search_alg, {"name": kind.__name__, "class": f"{kind.__module__}.{kind.__qualname__}"}
