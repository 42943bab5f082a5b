"""The posterior of the Gaussian process in closed form: marginals, joint, and conditioning on further values.

Equal to what `MaternGP` predicts (tested), without its overhead.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import blas, cholesky, lapack

from raytune_gp.surrogate.features import FeatureMap
from raytune_gp.surrogate.gp import NOISE_FLOOR, Hyperparameters
from raytune_gp.surrogate.matern import correlation, matern52, root_and_decay

__all__ = ["GPPosterior"]

Pullback = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class GPPosterior:
    """f given values, under one set of hyperparameters, in s variants that differ in the values alone.

    `scaled` (N x D) are the known points' features, bent and over their lengthscales, `inverse` (N x N) is
    the inverse of the lower Cholesky factor of their covariance, `whitened` (N x s) that inverse times
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
        nothing = cls(
            features,
            hyperparameters,
            np.empty((0, len(features.groups))),
            np.empty((0, 0)),
            np.empty((0, 1)),
        )
        return nothing._extended(x, y[None], hyperparameters.noise)

    def marginals(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Means (b x s) and variance (b) of f at points `x` (b x d)."""
        return self._marginals(self._whiten(self._covariance(self._scaled(x))))

    def pulling_marginals(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, Pullback]:
        """`marginals`, and what turns gradients in them (b x s and b) into one in `x` (b x d)."""
        features = self.features(x)
        scaled = self._bent(features)
        root, decay = root_and_decay(scaled, self.scaled)
        half = self._whiten(self.hyperparameters.scale * correlation(root, decay))
        means, variance = self._marginals(half)

        def pull_back(by_means: np.ndarray, by_variance: np.ndarray) -> np.ndarray:
            by_half = by_means @ self.whitened.T - 2.0 * by_variance[:, None] * half
            by_squared = self._triangle_times(by_half, transposed=False)
            by_squared *= (-5.0 / 6.0 * self.hyperparameters.scale) * (1.0 + root) * decay
            by_scaled = 2.0 * (by_squared.sum(1)[:, None] * scaled - by_squared @ self.scaled)
            by_bent = by_scaled * self._inverse_lengths
            return self.features.pull_back(x, self.hyperparameters.input_warp.pull_back(features, by_bent))

        return means, variance, pull_back

    def joint(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Means (q x s) and covariance (q x q) of f at points `x` (q x d)."""
        scaled = self._scaled(x)
        half = self._whiten(self._covariance(scaled))
        covariance = self.hyperparameters.scale * matern52(scaled, scaled) - half @ half.T
        return self.hyperparameters.mean + half @ self.whitened, covariance

    def leave_one_out(self) -> np.ndarray:
        """How many deviations each of the N known values lies off what all the others predict, N x s.

        Of a calibrated model they are standard normal. In closed form, with the hyperparameters as they are
        (Rasmussen & Williams 2006, 5.12).
        """
        weights = self.inverse.T @ self.whitened
        precision = np.einsum("ij,ij->j", self.inverse, self.inverse)
        return weights / np.sqrt(precision)[:, None]

    def condition(self, x: np.ndarray, values: np.ndarray) -> GPPosterior:
        """This posterior given f = `values` (s x q) at points `x` (q x d) too, up to the noise floor.

        A single variant becomes as many as `values` has rows. O(N²q): the Cholesky factor is appended to.
        """
        return self._extended(x, values, NOISE_FLOOR * self.hyperparameters.scale)

    def _extended(self, x: np.ndarray, values: np.ndarray, noise: float) -> GPPosterior:
        """Append to the inverse factor A: [[A, 0], [-C⁻¹BA, C⁻¹]], B the cross term, C the Schur factor."""
        old, new = len(self.inverse), len(x)
        scaled = self._scaled(x)
        cross = self._whiten(self._covariance(scaled))
        schur = self.hyperparameters.scale * matern52(scaled, scaled) - cross @ cross.T
        schur.flat[:: new + 1] += noise
        corner = _inverse_of_triangle(cholesky(schur, lower=True, check_finite=False))
        inverse = np.zeros((old + new, old + new))
        inverse[:old, :old] = self.inverse
        inverse[old:, :old] = -corner @ self._triangle_times(cross, transposed=False)
        inverse[old:, old:] = corner
        whitened = np.broadcast_to(self.whitened, (old, len(values)))
        added = corner @ ((values.T - self.hyperparameters.mean) - cross @ whitened)
        return replace(
            self,
            scaled=np.concatenate([self.scaled, scaled]),
            inverse=inverse,
            whitened=np.concatenate([whitened, added]),
        )

    def _marginals(self, half: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Means and variance where `half` (b x N) is the covariance with the known points, whitened."""
        variance = self.hyperparameters.scale - np.einsum("ij,ij->i", half, half)
        return self.hyperparameters.mean + half @ self.whitened, np.maximum(variance, 1e-12)

    def _whiten(self, covariance: np.ndarray) -> np.ndarray:
        """Covariances (b x N) with the known points, times the inverse factor's transpose."""
        return self._triangle_times(covariance, transposed=True)

    def _triangle_times(self, rows: np.ndarray, *, transposed: bool) -> np.ndarray:
        """`rows` (b x N) times the inverse factor, in half the time of a full product."""
        if not rows.size:
            return rows
        # BLAS counts by columns: it sees both arrays transposed, and the factor as an upper triangle.
        return blas.dtrmm(1.0, self.inverse.T, rows.T, side=0, lower=0, trans_a=transposed).T

    @property
    def _inverse_lengths(self) -> np.ndarray:
        return 1.0 / np.array(self.hyperparameters.lengthscales)[self.features.groups]

    def _scaled(self, x: np.ndarray) -> np.ndarray:
        return self._bent(self.features(x))

    def _bent(self, features: np.ndarray) -> np.ndarray:
        return self.hyperparameters.input_warp(features) * self._inverse_lengths

    def _covariance(self, scaled: np.ndarray) -> np.ndarray:
        """Prior covariance (b x N) of points, by their scaled features (b x D), with the known ones."""
        return self.hyperparameters.scale * matern52(scaled, self.scaled)


def _inverse_of_triangle(factor: np.ndarray) -> np.ndarray:
    """The inverse of a lower triangular matrix (n x n); n may be 0."""
    return lapack.dtrtri(factor, lower=1)[0] if len(factor) else factor
