"""Quasi-random search: a scrambled Sobol sequence, which covers the space more evenly than chance."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import qmc

from raytune_gp.protocols import SuggestionBatch, SuggestionRequest
from raytune_gp.space import Encoding, SearchSpace
from raytune_gp.trial import Config, Observation, Suggestion

__all__ = ["SobolSearcher", "sobol_points"]


def sobol_points(dimension: int, start: int, count: int, seed: int) -> np.ndarray:
    """Points `start` to `start + count` (excluded) of the scrambled Sobol sequence, `count x dimension`.

    Owen's scrambling keeps the points inside the open unit cube. Any start and count serve: the balance
    that holds for powers of two is not needed here.
    """
    engine = qmc.Sobol(dimension, scramble=True, rng=np.random.default_rng(seed))
    if start:
        engine.fast_forward(start)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return engine.random(count)


class SobolSearcher:
    """Points of one scrambled Sobol sequence, in order. Suggestion k depends on the seed and on k alone."""

    uses_results = False

    def __init__(self, space: SearchSpace, *, seed: int = 0):
        self._encoding = Encoding(space)
        self._seed = seed

    def update(self, completed: Sequence[Observation], pending: Sequence[Config]) -> None:
        """The sequence is fixed from the start."""

    def suggest(self, request: SuggestionRequest) -> SuggestionBatch:
        """The points with ordinals from `request.start`."""
        dimension = max(1, len(self._encoding.dimensions))
        points = sobol_points(dimension, request.start, request.count, self._seed)
        points = points[:, : len(self._encoding.dimensions)]
        fixed: Sequence[Mapping[str, Any]] = request.fixed or [{}] * request.count
        configs = [self._encoding.decode(points[i : i + 1], fixed=fixed[i])[0] for i in range(request.count)]
        return SuggestionBatch([Suggestion(c, {"method": "sobol"}) for c in configs])
