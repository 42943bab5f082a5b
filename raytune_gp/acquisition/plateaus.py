"""Ground that is known to be flat: one more look at it would show the same value again.

Where a config has exactly the value of the known config nearest to it, the objective does not change about
it: a hyperparameter has no effect there, or is rounded to few levels. A smooth Gaussian process goes on to
expect a little improvement between and beside them, trial after trial.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import cdist

from raytune_gp.surrogate.posterior import GPPosterior

__all__ = ["Plateaus"]

_LOG_WEIGHT = -1e6  # of what is nearest to a config on a plateau: less than any hope elsewhere


@dataclass(frozen=True)
class Plateaus:
    """The weight of configs by the known config that they are nearest to.

    `scaled` (n x D) are the known points' features as `posterior` scales them, `flat` (n) says which are on a
    plateau.
    """

    posterior: GPPosterior
    scaled: np.ndarray
    flat: np.ndarray

    @classmethod
    def of(cls, posterior: GPPosterior, x: np.ndarray, values: np.ndarray) -> Plateaus | None:
        """Those among points `x` (n x d) with `values` (n, NaN where failed), or None where there is none."""
        finite = values[np.isfinite(values)]
        if len(np.unique(finite)) == len(finite):
            return None
        scaled = posterior.scale(x)
        distances = cdist(scaled, scaled, "sqeuclidean")
        distances[distances == 0.0] = np.inf  # a config that was evaluated twice is no neighbour of itself
        flat = values[distances.argmin(1)] == values
        return cls(posterior, scaled, flat) if flat.any() else None

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """The logarithm (b) of the weight at points `x` (b x d)."""
        nearest = cdist(self.posterior.scale(x), self.scaled, "sqeuclidean").argmin(1)
        return np.where(self.flat[nearest], _LOG_WEIGHT, 0.0)

    def with_gradient(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The same, and its gradient (b x d): none, but at the edges."""
        return self(x), np.zeros(x.shape)

    def near(self, x: np.ndarray) -> Plateaus:
        """The same: it costs little."""
        return self
