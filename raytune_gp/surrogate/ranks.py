"""The warp of last resort: targets are the normal scores of ranks, whatever the metric's scale and tails."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri
from scipy.stats import rankdata

from raytune_gp.surrogate.transforms import Warp

__all__ = ["RankWarp"]


@dataclass(frozen=True)
class RankWarp(Warp):
    """Distinct oriented `levels` (k, ascending) of a metric and their `scores` (k): Φ⁻¹((rank - ½) / n).

    Ties share their mean rank. Linear in between, and constant beyond the best and the worst level.
    """

    sign: float
    levels: np.ndarray
    scores: np.ndarray

    @classmethod
    def fit(cls, values: np.ndarray, *, maximise: bool) -> RankWarp:
        sign = 1.0 if maximise else -1.0
        oriented = sign * values[np.isfinite(values)]
        if not len(oriented):
            raise ValueError(f"none of the {len(values)} values is finite: a warp needs at least one")
        levels, first = np.unique(oriented, return_index=True)
        scores = ndtri((rankdata(oriented) - 0.5) / len(oriented))
        return cls(sign, levels, scores[first])

    def forward(self, values: np.ndarray) -> np.ndarray:
        good = np.isfinite(values)
        targets = np.full(len(values), self.scores[0])
        targets[good] = np.interp(self.sign * values[good], self.levels, self.scores)
        return targets

    @property
    def told(self) -> tuple[float, float]:
        return float(self.scores[0]), float(self.scores[-1])

    def backward(self, targets: np.ndarray) -> np.ndarray:
        return self.sign * np.interp(targets, self.scores, self.levels)
