"""What is taken, said in a list."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


class Among:
    """`points` are taken, and `another` is free, if there is one."""

    def __init__(self, points: Sequence[tuple[float, ...]] = (), another: tuple[float, ...] | None = None):
        self.points, self.free = points, another

    def flags(self, x: np.ndarray) -> np.ndarray:
        return np.array([tuple(point) in self.points for point in x], dtype=bool)

    def another(self, rng: np.random.Generator) -> np.ndarray | None:
        return None if self.free is None else np.array(self.free)
