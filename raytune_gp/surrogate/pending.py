"""The posterior beside pending points: it is appended to, one batch of points after another.

    [ L   0 ]          L the factor of the known points' covariance, B = k(pending, known) L⁻ᵀ,
    [ B   C ]          C the Cholesky factor of the pending points' covariance given the known ones

Of that joint factor the known part is the base posterior's and stays as it is, so a further pending point
costs O(N² + Nq) instead of a factor made anew. Values at the pending points are drawn, not known: m + C z,
with m their means and z standard normal, is a joint draw, and z is what whitening makes of it. `Watched`
keeps the marginals at fixed points up to date, O(N + q) for each of them and each further pending point.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.linalg import cholesky

from raytune_gp.surrogate.gp import NOISE_FLOOR
from raytune_gp.surrogate.posterior import SMALLEST_VARIANCE, GPPosterior, Pullback, inverse_of_triangle

__all__ = ["PendingPosterior", "Watched"]


@dataclass(frozen=True)
class PendingPosterior:
    """f given `base` and drawn values at q pending points, up to the noise floor; s variants, one for a draw.

    `points` ((N + q) x D) are the scaled features of what is known and of what is pending, `cross` (q x N) is
    B, `factor` (q x q) C and `inverse` (q x q) its inverse, `means` (q) are those of the pending points given
    the known ones, and `normals` (q x s) the z. Without pending points s is 1.
    """

    base: GPPosterior
    points: np.ndarray
    cross: np.ndarray
    factor: np.ndarray
    inverse: np.ndarray
    means: np.ndarray
    normals: np.ndarray

    @classmethod
    def of(cls, base: GPPosterior) -> PendingPosterior:
        """With nothing pending."""
        nothing = np.empty((0, 0))
        known = len(base.scaled)
        return cls(base, base.scaled, np.empty((0, known)), nothing, nothing, np.empty(0), np.empty((0, 1)))

    def extended(self, x: np.ndarray) -> PendingPosterior:
        """With points `x` (k x d) pending as well; their values are yet to be `drawn`, with all others."""
        base, old, new = self.base, len(self.factor), len(x)
        if not new:
            return self
        scaled = base.scale(x)
        covariance = base.covariance(scaled, self.points)
        half = base.whiten(covariance[:, : len(base.scaled)])
        given = (covariance[:, len(base.scaled) :] - half @ self.cross.T) @ self.inverse.T
        schur = base.covariance(scaled, scaled) - half @ half.T - given @ given.T
        schur.flat[:: new + 1] += NOISE_FLOOR * base.hyperparameters.scale
        corner = cholesky(schur, lower=True, check_finite=False)
        inverse_corner = inverse_of_triangle(corner)
        factor, inverse = np.zeros((2, old + new, old + new))
        factor[:old, :old], factor[old:, :old], factor[old:, old:] = self.factor, given, corner
        inverse[:old, :old], inverse[old:, old:] = self.inverse, inverse_corner
        inverse[old:, :old] = -inverse_corner @ (given @ self.inverse)
        means = base.hyperparameters.mean + (half @ base.whitened)[:, 0]
        return replace(
            self,
            points=np.concatenate([self.points, scaled]),
            cross=np.concatenate([self.cross, half]),
            factor=factor,
            inverse=inverse,
            means=np.concatenate([self.means, means]),
            normals=np.zeros((old + new, 1)),
        )

    def drawn(self, normals: np.ndarray) -> PendingPosterior:
        """With the joint draws of the pending values that standard normal `normals` (s x q) give."""
        return replace(self, normals=normals.T if len(self.factor) else np.empty((0, 1)))

    @property
    def values(self) -> np.ndarray:
        """The values drawn at the pending points, s x q."""
        return self.means + (self.factor @ self.normals).T

    @cached_property
    def weights(self) -> np.ndarray:
        """What the covariances with all points are multiplied by in the means, (N + q) x s: O(N²s)."""
        of_pending = self.inverse.T @ self.normals
        left = np.ascontiguousarray((self.base.whitened - self.cross.T @ of_pending).T)
        return np.concatenate([self.base.pull_back_half(left).T, of_pending])

    def inverse_factor(self, rows: np.ndarray) -> np.ndarray:
        """The inverse (m x m) of the lower Cholesky factor of the covariance of values at points `rows`."""
        base, points = self.base, self.points[rows]
        floor = NOISE_FLOOR * base.hyperparameters.scale
        covariance = base.covariance(points, points)
        covariance.flat[:: len(rows) + 1] += np.where(
            rows < len(base.scaled), base.hyperparameters.noise, floor
        )
        return inverse_of_triangle(cholesky(covariance, lower=True, overwrite_a=True, check_finite=False))

    def marginals(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Means (b x s) and variance (b) at points `x` (b x d)."""
        return Watched.of(self, x).marginals(self)

    def pulling_marginals(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, Pullback]:
        """`marginals`, and what turns gradients in them (b x s and b) into one in `x` (b x d)."""
        known = len(self.base.scaled)
        covariance, pull_back_covariance = self.base.pulling_covariance(x, self.points)
        half = self.base.whiten(covariance[:, :known])
        rest = (covariance[:, known:] - half @ self.cross.T) @ self.inverse.T
        means, variance = self.marginals_of(*self.base.marginals_of(half), rest)

        def pull_back(by_means: np.ndarray, by_variance: np.ndarray) -> np.ndarray:
            by_covariance = np.empty_like(covariance)
            by_rest = by_means @ self.normals.T - 2.0 * by_variance[:, None] * rest
            by_covariance[:, known:] = by_rest @ self.inverse
            by_half = by_means.sum(1)[:, None] * self.base.whitened.T - 2.0 * by_variance[:, None] * half
            by_half -= by_covariance[:, known:] @ self.cross
            by_covariance[:, :known] = self.base.pull_back_half(by_half)
            return pull_back_covariance(by_covariance)

        return means, variance, pull_back

    def marginals_of(
        self, means: np.ndarray, variance: np.ndarray, rest: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Means (b x s) and variance (b), from the base's `means` (b x 1) and `variance` (b).

        `rest` (b x q) is the covariance with the pending points given the known ones, whitened.
        """
        variance = variance - np.einsum("ij,ij->i", rest, rest)
        return means + rest @ self.normals, np.maximum(variance, SMALLEST_VARIANCE)


@dataclass(frozen=True)
class Watched:
    """Fixed points whose marginals follow a `PendingPosterior` as it is extended.

    `scaled` (b x D) are their features, `half` (b x N) their covariance with the known points, whitened,
    `means` (b x 1) and `variance` (b) the base's marginals; `given` (b x q) their covariance with the pending
    points given the known ones, and `rest` (b x q) the same whitened.
    """

    scaled: np.ndarray
    half: np.ndarray
    means: np.ndarray
    variance: np.ndarray
    given: np.ndarray
    rest: np.ndarray

    @classmethod
    def of(cls, posterior: PendingPosterior, x: np.ndarray) -> Watched:
        """Points `x` (b x d), up to date with `posterior`."""
        base = posterior.base
        scaled = base.scale(x)
        half = base.whiten(base.covariance(scaled, base.scaled))
        nothing = np.empty((len(x), 0))
        return cls(scaled, half, *base.marginals_of(half), nothing, nothing).followed(posterior)

    def followed(self, posterior: PendingPosterior) -> Watched:
        """The same points, up to date with a `posterior` that was extended since."""
        old, base = self.given.shape[1], posterior.base
        if len(posterior.factor) == old:
            return self
        covariance = base.covariance(self.scaled, posterior.points[len(base.scaled) + old :])
        given = np.concatenate([self.given, covariance - self.half @ posterior.cross[old:].T], axis=1)
        rest = np.concatenate([self.rest, given @ posterior.inverse[old:].T], axis=1)
        return replace(self, given=given, rest=rest)

    def marginals(self, posterior: PendingPosterior) -> tuple[np.ndarray, np.ndarray]:
        """Means (b x s) and variance (b) under the `posterior` that these points follow."""
        return posterior.marginals_of(self.means, self.variance, self.rest)
