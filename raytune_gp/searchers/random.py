"""Random search: every config drawn independently from the domains' own distributions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from raytune_gp.protocols import SuggestionBatch, SuggestionRequest
from raytune_gp.space import SearchSpace
from raytune_gp.trial import Config, Observation, Suggestion

__all__ = ["RandomSearcher"]

_STREAM = 0  # keeps these random numbers apart from others of the same seed


class RandomSearcher:
    """Independent draws: suggestion k depends on the seed and on k alone, whatever the workers do."""

    uses_results = False

    def __init__(self, space: SearchSpace, *, seed: int = 0):
        self._space = space
        self._seed = seed

    def update(self, completed: Sequence[Observation], pending: Sequence[Config]) -> None:
        """Random search learns nothing."""

    def suggest(self, request: SuggestionRequest) -> SuggestionBatch:
        """`request.count` draws, the first with ordinal `request.start`."""
        suggestions = []
        for position in range(request.count):
            rng = np.random.default_rng([self._seed, _STREAM, request.start + position])
            fixed = request.fixed[position] if request.fixed is not None else {}
            config = self._space.complete(self._space.nested(fixed), rng)
            suggestions.append(Suggestion(config, {"method": "random"}))
        return SuggestionBatch(suggestions)
