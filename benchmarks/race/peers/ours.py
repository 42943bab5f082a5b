"""The searchers of this repository, asked as the product asks them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from raytune_gp.protocols import Searcher, SuggestionRequest
from raytune_gp.searchers import make_searcher
from raytune_gp.space import SearchSpace
from raytune_gp.trial import Config, Metric, Observation

__all__ = ["gp", "random", "sobol"]


class _Asked:
    """A searcher with the snapshot that it is given before each suggestion."""

    def __init__(self, searcher: Searcher):
        self._searcher = searcher
        self._running: dict[int, Config] = {}
        self._done: list[Observation] = []
        self._memory: Mapping[str, Any] | None = None

    def ask(self, ordinal: int) -> Mapping[str, Any]:
        self._searcher.update(tuple(self._done), tuple(self._running.values()))
        batch = self._searcher.suggest(SuggestionRequest(ordinal, 1, ordinal, self._memory))
        self._memory = batch.memory
        self._running[ordinal] = batch.suggestions[0].config
        return self._running[ordinal]

    def tell(self, ordinal: int, value: float | None) -> None:
        config, values = self._running.pop(ordinal), None if value is None else (value,)
        failure = "failed" if value is None else None
        self._done.append(Observation(config, values, str(ordinal), failure))


def _named(name: str, space: SearchSpace, seed: int, options: Mapping[str, Any]) -> _Asked:
    return _Asked(make_searcher(name, space, Metric("value", "min"), seed=seed, options=options))


def gp(space: SearchSpace, seed: int, trials: int, **options: Any) -> _Asked:
    """The Gaussian process; options as `GPSearcher` takes them."""
    return _named("gp", space, seed, options)


def random(space: SearchSpace, seed: int, trials: int) -> _Asked:
    """Independent draws."""
    return _named("random", space, seed, {})


def sobol(space: SearchSpace, seed: int, trials: int) -> _Asked:
    """A scrambled Sobol sequence."""
    return _named("sobol", space, seed, {})
