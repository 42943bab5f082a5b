"""The posterior of the Gaussian process in closed form: marginals, and what `pending` extends them by.

Equal to what `MaternGP` predicts (tested), without its overhead.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.linalg import blas, cholesky, lapack

from raytune_gp.surrogate.features import FeatureMap
from raytune_gp.surrogate.gp import Hyperparameters
from raytune_gp.surrogate.matern import correlation, matern52, root_and_decay

__all__ = ["SMALLEST_VARIANCE", "GPPosterior", "Pullback", "inverse_of_triangle", "triangle_times"]

SMALLEST_VARIANCE = 1e-12
"""What a variance is at least, where rounding would have it 0 or less."""

_AT_ONCE = 128  # points whose covariances with some hundred others stay in a processor's cache

Pullback = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class GPPosterior:
    """f given values, under one set of hyperparameters.

    `scaled` (N x D) are the known points' features, bent and over their lengthscales, `inverse` (N x N) is
    the inverse of the lower Cholesky factor of their covariance, `whitened` (N x 1) that inverse times
    (values - mean).
    """

    features: FeatureMap
    hyperparameters: Hyperparameters
    scaled: np.ndarray
    inverse: np.ndarray
    whitened: np.ndarray

    @classmethod
    def of(
        cls, features: FeatureMap, hyperparameters: Hyperparameters, x: np.ndarray, y: np.ndarray
    ) -> GPPosterior:
        """Condition the prior on noisy targets `y` (n) at points `x` (n x d, NaN where inactive)."""
        scaled = _scaled(features, hyperparameters, features(x))
        covariance = hyperparameters.scale * matern52(scaled, scaled)
        covariance.flat[:: len(x) + 1] += hyperparameters.noise
        factor = cholesky(covariance, lower=True, overwrite_a=True, check_finite=False)
        inverse = inverse_of_triangle(factor)
        whitened = inverse @ (y - hyperparameters.mean)
        return cls(features, hyperparameters, scaled, inverse, whitened[:, None])

    def means(self, x: np.ndarray) -> np.ndarray:
        """Means (b) of f at points `x` (b x d): O(bN), for many points, which are taken a few at a time."""
        weights = self.inverse.T @ self.whitened[:, 0]
        scaled = self.scale(x)
        parts = [scaled[i : i + _AT_ONCE] for i in range(0, len(scaled), _AT_ONCE)]
        deviations = [self.covariance(part, self.scaled) @ weights for part in parts]
        return self.hyperparameters.mean + np.concatenate([np.empty(0), *deviations])

    def marginals(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Means (b x 1) and variance (b) of f at points `x` (b x d)."""
        return self.marginals_of(self.whiten(self.covariance(self.scale(x), self.scaled)))

    def marginals_of(self, half: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Means (b x 1) and variance (b) where `half` (b x N) is the covariance with the known, whitened."""
        return self.hyperparameters.mean + half @ self.whitened, self.variance_of(half)

    def variance_of(self, half: np.ndarray) -> np.ndarray:
        """The variance (b) where `half` (b x m) is the covariance with what is conditioned on, whitened."""
        variance = self.hyperparameters.scale - np.einsum("ij,ij->i", half, half)
        return np.maximum(variance, SMALLEST_VARIANCE)

    def pulling_marginals(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, Pullback]:
        """`marginals`, and what turns gradients in them (b x 1 and b) into one in `x` (b x d)."""
        covariance, pull_back_covariance = self.pulling_covariance(x, self.scaled)
        half = self.whiten(covariance)
        means, variance = self.marginals_of(half)

        def pull_back(by_means: np.ndarray, by_variance: np.ndarray) -> np.ndarray:
            by_half = by_means @ self.whitened.T - 2.0 * by_variance[:, None] * half
            return pull_back_covariance(self.pull_back_half(by_half))

        return means, variance, pull_back

    def smoothed(self, y: np.ndarray) -> np.ndarray:
        """Means (N) of f at the known points, whose targets are `y` (N): y - σ² K⁻¹(y - mean), O(N²)."""
        return y - self.hyperparameters.noise * (self.inverse.T @ self.whitened)[:, 0]

    def leave_one_out(self) -> np.ndarray:
        """How many deviations each of the N known values lies off what all the others predict, N x s.

        Of a calibrated model they are standard normal. In closed form, with the hyperparameters as they are
        (Rasmussen & Williams 2006, 5.12).
        """
        weights = self.inverse.T @ self.whitened
        precision = np.einsum("ij,ij->j", self.inverse, self.inverse)
        return weights / np.sqrt(precision)[:, None]

    def scale(self, x: np.ndarray) -> np.ndarray:
        """Features (b x D) of points `x` (b x d), bent and over their lengthscales."""
        return _scaled(self.features, self.hyperparameters, self.features(x))

    def covariance(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Prior covariance (n x m) of points by their scaled features `a` (n x D) and `b` (m x D)."""
        return self.hyperparameters.scale * matern52(a, b)

    def pulling_covariance(
        self, x: np.ndarray, others: np.ndarray
    ) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
        """Prior covariance (b x m) of points `x` (b x d) with those of scaled features `others` (m x D).

        And what turns a gradient in it (b x m, which it overwrites) into one in `x` (b x d).
        """
        features = self.features(x)
        scaled = _scaled(self.features, self.hyperparameters, features)
        root, decay = root_and_decay(scaled, others)

        def pull_back(by_covariance: np.ndarray) -> np.ndarray:
            by_squared = by_covariance
            by_squared *= (-5.0 / 6.0 * self.hyperparameters.scale) * (1.0 + root) * decay
            by_scaled = 2.0 * (by_squared.sum(1)[:, None] * scaled - by_squared @ others)
            by_bent = by_scaled * _inverse_lengths(self.features, self.hyperparameters)
            return self.features.pull_back(x, self.hyperparameters.input_warp.pull_back(features, by_bent))

        return self.hyperparameters.scale * correlation(root, decay), pull_back

    def whiten(self, covariance: np.ndarray) -> np.ndarray:
        """Covariances (b x N) with the known points, times the inverse factor's transpose."""
        return triangle_times(covariance, self.inverse, transposed=True)

    def pull_back_half(self, by_half: np.ndarray) -> np.ndarray:
        """The gradient (b x N) in covariances of what has gradient `by_half` (b x N) in the whitened ones."""
        return triangle_times(by_half, self.inverse, transposed=False)


def triangle_times(rows: np.ndarray, triangle: np.ndarray, *, transposed: bool) -> np.ndarray:
    """`rows` (b x n) times a lower `triangle` (n x n) or its transpose: half the time of a full product."""
    if not rows.size:
        return rows
    # BLAS counts by columns: it sees both arrays transposed, and the triangle as an upper one.
    return blas.dtrmm(1.0, triangle.T, rows.T, side=0, lower=0, trans_a=transposed).T


def inverse_of_triangle(factor: np.ndarray) -> np.ndarray:
    """The inverse of a lower triangular matrix (n x n); n may be 0."""
    return np.ascontiguousarray(lapack.dtrtri(factor, lower=1)[0]) if len(factor) else factor


def _inverse_lengths(features: FeatureMap, hyperparameters: Hyperparameters) -> np.ndarray:
    return 1.0 / np.array(hyperparameters.lengthscales)[features.groups]


def _scaled(features: FeatureMap, hyperparameters: Hyperparameters, mapped: np.ndarray) -> np.ndarray:
    """The features `mapped` (b x D) bent and over their lengthscales."""
    return hyperparameters.input_warp(mapped) * _inverse_lengths(features, hyperparameters)
