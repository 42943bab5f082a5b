"""Grid search: every config of a finite space, once."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from raytune_gp.errors import SpaceError
from raytune_gp.protocols import SuggestionBatch, SuggestionRequest
from raytune_gp.space import Encoding, SearchSpace
from raytune_gp.trial import Config, Observation, Suggestion

__all__ = ["GridSearcher"]

MAX_CONFIGS = 1_000_000


class GridSearcher:
    """All configs in order, the first hyperparameter slowest.

    Grid axes of the space are part of the grid: what a request says is `fixed` it goes through by itself.
    `points` is how many values, evenly spaced in the encoded scale from bound to bound, stand for a
    continuous hyperparameter; without it a continuous one is a SpaceError.
    """

    uses_results = False

    def __init__(self, space: SearchSpace, *, points: int | None = None):
        self._encoding = Encoding(space)
        axes = []
        for dimension in self._encoding.dimensions:
            if dimension.grid is not None:
                axes.append(dimension.grid)
            elif points is not None and points >= 2:
                axes.append(np.linspace(0.0, 1.0, points))
            else:
                raise SpaceError(
                    f"grid search cannot list the values of {dimension.name!r}: give it a choice, a randint "
                    f"or a quantised domain of at most 1024 values, or say points=n (2 or more)"
                )
        total = math.prod(len(axis) for axis in axes)
        if total > MAX_CONFIGS:
            shown = f"{total:,}" if total < 10**15 else f"more than 10**{len(str(total)) - 1}"
            raise SpaceError(
                f"the grid has {shown} configs, and {MAX_CONFIGS:,} is the limit: use fewer values, or "
                f'search_alg="sobol"'
            )
        self._points = self._distinct(axes)

    def _distinct(self, axes: Sequence[np.ndarray]) -> np.ndarray:
        """The grid's points, n x d; those that differ only where a condition switches them off taken once."""
        if not axes:
            return np.empty((1, 0))
        corners = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(axes))
        points = self._encoding.snap(corners)
        return points[np.sort(np.unique(points, axis=0, return_index=True)[1])]

    def __len__(self) -> int:
        return len(self._points)

    def update(self, completed: Sequence[Observation], pending: Sequence[Config]) -> None:
        """The grid is fixed from the start."""

    def suggest(self, request: SuggestionRequest) -> SuggestionBatch:
        """The configs with ordinals from `request.start`; fewer than asked for at the grid's end."""
        configs = self._encoding.decode(self._points[request.start : request.start + request.count])
        return SuggestionBatch([Suggestion(c, {"method": "grid"}) for c in configs])
