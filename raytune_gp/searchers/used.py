"""The configs that are not to be proposed again."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np

from raytune_gp.space.encoding import Encoding

__all__ = ["Used"]

_DRAWS = 128  # random points tried before distinct configs are listed


class Used:
    """The configs of one cell of the grid that are finished or pending, as an `acquisition.region.Taken`.

    `keys` has the key of each (`SearchSpace.key`), of other cells too; what is added to it later counts.
    """

    def __init__(self, encoding: Encoding, fixed: Mapping[str, Any], keys: set[Hashable]):
        self._encoding, self._fixed, self._keys = encoding, fixed, keys

    def flags(self, x: np.ndarray) -> np.ndarray:
        """Whether the config at each of the points `x` (n x d) is used, n flags."""
        keys = self._encoding.keys_at(x, self._fixed)
        return np.array([key in self._keys for key in keys], dtype=bool)

    def another(self, rng: np.random.Generator) -> np.ndarray | None:
        """A point (d) whose config is not used, at random; None where all of the cell are.

        Of one config more than are used, one is not, so that no cell takes longer.
        """
        drawn = rng.random((_DRAWS, len(self._encoding.dimensions)))
        free = np.flatnonzero(~self.flags(drawn))
        if not len(free):
            drawn = self._encoding.distinct(len(self._keys) + 1, rng, self._fixed)
            free = np.flatnonzero(~self.flags(drawn))
        return drawn[free[0]] if len(free) else None
