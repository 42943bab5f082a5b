"""Points of the unit cube as features in which every column's distance is Euclidean.

The surrogate's kernel is Matérn-5/2 in r² = Σ_j D_j(x, x') / ℓ_j². Each D_j is the squared Euclidean
distance between feature vectors, so the kernel is positive definite whatever the columns are:

    float, integer     the value itself:       D = (x - x')²
    categorical        a one-hot vector · √½h: D = h if x ≠ x' (Hamming), else 0
    conditional float  an arc of one radian:   D = (2 sin(|x - x'| / 2))² ≈ (x - x')² where both are active;
      or integer       1 between an active value and "inactive", the centre of the arc; 0 where both are
                       inactive (the arc kernel of Hutter & Osborne 2013, arXiv 1310.5738)
    conditional        "inactive" is one level more
      categorical

With k levels h = k / (6 (k - 1)): two levels drawn at random are 1/6 apart in the mean, as two values of a
float are, so that one prior over lengthscales serves both.

A NaN marks a column that is inactive at a point. Integers are snapped to their levels by `snap` before they
come here, which is rounding inside the kernel (Garrido-Merchán & Hernández-Lobato 2020) for every point
that is ever scored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Column", "FeatureMap", "snap"]

_SAME_LEVEL = 1e-6  # levels of a categorical lie further apart than this; encodings of one level do not


@dataclass(frozen=True)
class Column:
    """One column of the unit cube.

    `grid` holds the places of its levels in [0, 1], ascending (None: continuous). A `conditional` column
    may be inactive: it exists at a `share` of the cube's points.
    """

    grid: tuple[float, ...] | None = None
    categorical: bool = False
    conditional: bool = False
    share: float = 1.0

    def __post_init__(self) -> None:
        if self.categorical and not self.grid:
            raise ValueError("a categorical column has grid=None: give the places of its levels")


def snap(columns: Sequence[Column], x: np.ndarray) -> np.ndarray:
    """A copy of `x` (n x d) with every discrete column at the level nearest to it; NaN stays NaN."""
    snapped = x.copy()
    for j, column in enumerate(columns):
        if column.grid is None:
            continue
        grid = np.asarray(column.grid)
        middles = (grid[1:] + grid[:-1]) / 2
        nearest = grid[np.searchsorted(middles, x[:, j])]
        snapped[:, j] = np.where(np.isnan(x[:, j]), np.nan, nearest)
    return snapped


class FeatureMap:
    """Turns points (n x d, NaN where inactive) into features (n x D).

    `groups` (D) names for each feature the column whose lengthscale it is divided by.
    """

    def __init__(self, columns: Sequence[Column]):
        self.columns = tuple(columns)
        numeric = [j for j, c in enumerate(self.columns) if not c.categorical]
        self._plain = [j for j in numeric if not self.columns[j].conditional]
        self._arcs = [j for j in numeric if self.columns[j].conditional]
        self._categorical = [j for j, c in enumerate(self.columns) if c.categorical]
        self._levels = {j: np.array(self.columns[j].grid) for j in self._categorical}
        widths = [len(self._levels[j]) + self.columns[j].conditional for j in self._categorical]
        hot = [j for j, width in zip(self._categorical, widths, strict=True) for _ in range(width)]
        self.groups = np.array(self._plain + self._arcs + self._arcs + hot, dtype=np.int64)

    @property
    def plain(self) -> int:
        """How many of the first features are the values of plain numeric columns."""
        return len(self._plain)

    @property
    def dimension(self) -> int:
        """d, the number of columns."""
        return len(self.columns)

    @property
    def at_once(self) -> float:
        """How many columns exist at a point, in the mean."""
        return sum(column.share for column in self.columns)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Features (n x D) of the points `x` (n x d)."""
        parts = [x[:, self._plain]]
        if self._arcs:
            arcs = x[:, self._arcs]
            active = ~np.isnan(arcs)
            parts += [np.where(active, np.cos(arcs), 0.0), np.where(active, np.sin(arcs), 0.0)]
        parts += [self._one_hot(x[:, j], j) for j in self._categorical]
        return np.concatenate(parts, axis=1) if len(parts) > 1 else parts[0]

    def pull_back(self, x: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        """The gradient (n x d) in the points `x` of what has `gradient` (n x D) in their features.

        It is 0 in categorical and in inactive columns, which cannot move by a little.
        """
        pulled = np.zeros(x.shape)
        plain, arcs = len(self._plain), len(self._arcs)
        pulled[:, self._plain] = gradient[:, :plain]
        if arcs:
            angle = x[:, self._arcs]
            by_cos, by_sin = gradient[:, plain : plain + arcs], gradient[:, plain + arcs : plain + 2 * arcs]
            slope = by_sin * np.cos(angle) - by_cos * np.sin(angle)
            pulled[:, self._arcs] = np.where(np.isnan(angle), 0.0, slope)
        return pulled

    def _one_hot(self, values: np.ndarray, j: int) -> np.ndarray:
        hot = np.abs(values[:, None] - self._levels[j]) < _SAME_LEVEL
        if self.columns[j].conditional:
            hot = np.concatenate([hot, np.isnan(values)[:, None]], axis=1)
        levels = max(hot.shape[1], 2)
        return hot * (levels / (12.0 * (levels - 1.0))) ** 0.5
