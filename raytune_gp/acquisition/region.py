"""Where candidates may lie: the unit cube with its grids, fixed columns and conditions; ways to fill it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch

from raytune_gp.surrogate.features import Column, snap

__all__ = ["Region", "Taken", "sobol"]

_ENUMERABLE = 1024  # regions of at most this many points are looked at whole


class Taken(Protocol):
    """The points that stand for configs that must not be proposed again."""

    def flags(self, x: np.ndarray) -> np.ndarray:
        """Whether each of the points `x` (n x d) does, n flags."""

    def another(self, rng: np.random.Generator) -> np.ndarray | None:
        """A random point (d) that does not, not settled; None where all of the region do."""


@dataclass(frozen=True)
class Region:
    """The points that may be proposed.

    `fixed` (d) holds the values that columns must take, NaN where a column is free; `active` maps points (n
    x d) to flags (n x d), None where every column always exists.
    """

    columns: tuple[Column, ...]
    fixed: np.ndarray
    active: Callable[[np.ndarray], np.ndarray] | None = None
    free: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "free", tuple(np.flatnonzero(np.isnan(self.fixed)).tolist()))

    def settle(self, x: np.ndarray) -> np.ndarray:
        """The points of the region nearest to `x` (n x d), column by column."""
        return np.where(np.isnan(self.fixed), snap(self.columns, np.clip(x, 0.0, 1.0)), self.fixed)

    def masked(self, x: np.ndarray) -> np.ndarray:
        """`x` (n x d) as the surrogate takes it: NaN where a column is inactive."""
        return x if self.active is None else np.where(self.active(x), x, np.nan)

    def everything(self) -> np.ndarray | None:
        """Every point of the region (n x d) where they are few enough to look at, else None."""
        grids = self._grids()
        if grids is None or math.prod(len(g) for g in grids) > _ENUMERABLE:
            return None
        points = np.tile(self.fixed, (math.prod(len(g) for g in grids), 1))
        if self.free:
            points[:, list(self.free)] = np.array(list(itertools.product(*grids)))
        return points

    def _grids(self) -> list[Sequence[float]] | None:
        """The levels of each free column, or None where one of them is continuous."""
        grids = [self.columns[j].grid for j in self.free]
        return None if any(g is None for g in grids) else [g for g in grids if g is not None]


def sobol(count: int, dimension: int, seed: int, start: int = 0) -> np.ndarray:
    """Points `start` .. `start + count` of a scrambled Sobol sequence, in (0, 1)^dimension, of any seed."""
    engine = torch.quasirandom.SobolEngine(dimension, scramble=True, seed=seed % 2**64)
    if start:
        engine.fast_forward(start)
    points = engine.draw(count, dtype=torch.float64).numpy()
    return np.clip(points, 1e-9, 1.0 - 1e-9)
