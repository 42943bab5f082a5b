"""What trials would report, in intervals as wide as cross-validation shows that they have to be.

The hyperparameters of highest density promise too much: intervals of 90 % were seen to hold 80 % of what
comes next, while leave-one-out with the same hyperparameters finds them sound. So the model is fitted again
without each fifth of what is known, and the deviations by which it misses that fifth set the width
(cross-conformal prediction, Vovk 2015). An end beyond what the output warp tells apart is infinite.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from raytune_gp.searchers.modelling import Known, surrogate_of
from raytune_gp.surrogate.features import Column, FeatureMap
from raytune_gp.surrogate.transforms import Warp

__all__ = ["predicted"]

_FOLDS = 5


def predicted(
    known: Known,
    columns: Sequence[Column],
    points: np.ndarray,
    *,
    share: float,
    maximise: bool,
    rng: np.random.Generator,
    device: str,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Median and both ends of the central `share` of outcomes at `points` (n x d, NaN where inactive).

    n each. Raises Uncalibrated, and what the numerics raise.
    """

    features = FeatureMap(columns)

    def prediction(train: Known, x: np.ndarray) -> tuple[Warp, np.ndarray, np.ndarray]:
        """What a surrogate of `train` says of outcomes at `x` (n x d): its warp, means and deviations (n)."""
        found = surrogate_of(train, features, maximise=maximise, memory=None, rng=rng, device=device)
        means, variance = found.posterior.marginals(x)
        return found.warp, means[:, 0], np.sqrt(variance + found.posterior.hyperparameters.noise)

    order = rng.permutation(len(known.values))
    missed = []
    for part in np.array_split(order, _FOLDS):
        fold = np.sort(part[np.isfinite(known.values[part])])
        if len(fold):
            warp, means, deviations = prediction(known.only(np.setdiff1d(order, fold)), known.points[fold])
            missed.append(np.abs(warp.forward(known.values[fold]) - means) / deviations)
    half = _quantile(np.concatenate(missed), share)
    warp, means, deviations = prediction(known, points)
    targets = means + half * np.outer([0.0, -1.0, 1.0], deviations)
    median, worse, better = warp.backward(targets)
    infinity = np.inf if maximise else -np.inf
    lowest, highest = warp.told
    worse = np.where(targets[1] <= lowest, -infinity, worse)
    better = np.where(targets[2] >= highest, infinity, better)
    return median, np.minimum(worse, better), np.maximum(worse, better)


def _quantile(sizes: np.ndarray, share: float) -> float:
    """The least of `sizes` (n) that holds `share` of them and of one more to come, or the largest."""
    rank = math.ceil(share * (len(sizes) + 1))
    return float(np.sort(sizes)[min(rank, len(sizes)) - 1])
