"""Which points stay where there are more than an exact posterior can take: n² memory, n³ time.

A coarse model, of few points, predicts all of them. The half with the highest means stays, and an even random
draw of the rest. Predicted means choose, not values: of noisy values the lucky ones would be kept and their
neighbours lost, which bends the posterior upward just where it matters; and where several regions are good
each of them stays, which a neighbourhood of the best point would not see to.
"""

from __future__ import annotations

import numpy as np

from raytune_gp.surrogate.features import FeatureMap
from raytune_gp.surrogate.gp import Hyperparameters
from raytune_gp.surrogate.posterior import GPPosterior

__all__ = ["half_best", "thinned"]

_COARSE = 500  # points of the coarse model


def thinned(
    features: FeatureMap,
    hyperparameters: Hyperparameters,
    x: np.ndarray,
    y: np.ndarray,
    most: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Indices, ascending, of at most `most` of the points `x` (n x d) with targets `y` (n)."""
    if len(y) <= most:
        return np.arange(len(y))
    few = half_best(y, _COARSE, rng)
    return half_best(GPPosterior.of(features, hyperparameters, x[few], y[few]).means(x), most, rng)


def half_best(heights: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Indices, ascending, of `count` points: half of them the highest, half drawn from the others."""
    order = np.argsort(-heights, kind="stable")
    half = count // 2
    return np.sort(np.concatenate([order[:half], rng.choice(order[half:], count - half, replace=False)]))
