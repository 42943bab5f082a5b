"""A cheaper posterior to search by: means given all points, a variance given those nearby.

Beside N points, known or pending, a mean is a sum of covariances times weights, O(N), but a variance takes
all these covariances whitened, O(N²). Once those nearby are counted, the others hardly lower it (the
screening effect: Vecchia 1988, Stein 2002), so it is conditioned on m of the N alone, O(m²). It is too large
for that, a little near the places that the points were chosen about, and more elsewhere: what a search finds
is to be judged by the whole posterior.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import cdist

from raytune_gp.surrogate.pending import PendingPosterior
from raytune_gp.surrogate.posterior import Pullback, triangle_times

__all__ = ["NearbyPosterior"]

_COUNT = 256
_TINY = 1e-12  # squared lengthscales: the reach of a place where its share of points all coincide with it


@dataclass(frozen=True)
class NearbyPosterior:
    """f as `whole` has it, in as many variants s, but for the variance.

    `near` (m) are the indices of the points that the variance is given, and `inverse` (m x m) the inverse of
    the lower Cholesky factor of their covariance.
    """

    whole: PendingPosterior
    near: np.ndarray
    inverse: np.ndarray

    @classmethod
    def about(cls, x: np.ndarray, whole: PendingPosterior, count: int | None = None) -> NearbyPosterior:
        """With the `count` points (or all) nearest to `x` (b x d).

        Raises LinAlgError where their covariance has no factor.
        """
        near = _nearest(cdist(whole.base.scale(x), whole.points, "sqeuclidean"), count or _COUNT)
        return cls(whole, near, whole.inverse_factor(near))

    def marginals(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Means (b x s) and variance (b) at points `x` (b x d)."""
        base = self.whole.base
        return self._marginals_of(base.covariance(base.scale(x), self.whole.points))[:2]

    def pulling_marginals(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, Pullback]:
        """`marginals`, and what turns gradients in them (b x s and b) into one in `x` (b x d)."""
        covariance, pull_back_covariance = self.whole.base.pulling_covariance(x, self.whole.points)
        means, variance, half = self._marginals_of(covariance)

        def pull_back(by_means: np.ndarray, by_variance: np.ndarray) -> np.ndarray:
            by_covariance = by_means @ self.whole.weights.T
            by_half = -2.0 * by_variance[:, None] * half
            by_covariance[:, self.near] += triangle_times(by_half, self.inverse, transposed=False)
            return pull_back_covariance(by_covariance)

        return means, variance, pull_back

    def _marginals_of(self, covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Means, variance and the whitened part nearby (b x m) of the `covariance` (b x (N + q))."""
        half = triangle_times(covariance[:, self.near], self.inverse, transposed=True)
        base = self.whole.base
        return base.hyperparameters.mean + covariance @ self.whole.weights, base.variance_of(half), half


def _nearest(distances: np.ndarray, count: int) -> np.ndarray:
    """Indices, ascending, of the `count` nearest of the points at `distances` (b x n) from b places.

    Distances count relative to that within which a place has its share of the points, so that none is left
    out for being far from all points.
    """
    b, n = distances.shape
    if n <= count:
        return np.arange(n)
    share = max(1, count // b) - 1
    reach = np.partition(distances, share, axis=1)[:, share]
    relative = (distances / np.maximum(reach, _TINY)[:, None]).min(0)
    return np.sort(np.argsort(relative, kind="stable")[:count])
