"""The posterior of the Gaussian process in closed form: marginals, joint, and conditioning on further values.

Equal to what `MaternGP` predicts (tested), without its overhead.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from raytune_gp.surrogate.features import FeatureMap
from raytune_gp.surrogate.gp import NOISE_FLOOR, Hyperparameters, matern52

__all__ = ["GPPosterior"]


@dataclass(frozen=True)
class GPPosterior:
    """f given values, under one set of hyperparameters, in s variants that differ in the values alone.

    `scaled` (N x D) are the known points' features over their lengthscales, `inverse` (N x N) is the
    inverse of the lower Cholesky factor of their covariance, `whitened` (N x s) that inverse times (values
    - mean).
    """

    features: FeatureMap
    hyperparameters: Hyperparameters
    scaled: Tensor
    inverse: Tensor
    whitened: Tensor

    @classmethod
    def of(
        cls, features: FeatureMap, hyperparameters: Hyperparameters, x: np.ndarray, y: np.ndarray
    ) -> GPPosterior:
        """Condition the prior on noisy targets `y` (n) at points `x` (n x d, NaN where inactive)."""
        empty = torch.empty(0, 0, dtype=torch.float64)
        prior = cls(
            features, hyperparameters, empty.new_empty(0, len(features.groups)), empty, empty.new_empty(0, 1)
        )
        return prior._extended(torch.from_numpy(x), torch.from_numpy(y)[None], hyperparameters.noise)

    def marginals(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Means (b x s) and variance (b) of f at points `x` (b x d). Differentiable in `x`."""
        root = self._covariance(x) @ self.inverse.mT
        variance = self.hyperparameters.scale - root.square().sum(1)
        return self.hyperparameters.mean + root @ self.whitened, variance.clamp_min(1e-12)

    def joint(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Means (q x s) and covariance (q x q) of f at points `x` (q x d)."""
        root = self._covariance(x) @ self.inverse.mT
        scaled = self._scaled(x)
        covariance = self.hyperparameters.scale * matern52(scaled, scaled) - root @ root.mT
        return self.hyperparameters.mean + root @ self.whitened, covariance

    def condition(self, x: Tensor, values: Tensor) -> GPPosterior:
        """This posterior given f = `values` (s x q) at points `x` (q x d) too, up to the noise floor.

        A single variant becomes as many as `values` has rows. O(N²q): the Cholesky factor is appended to.
        """
        return self._extended(x, values, NOISE_FLOOR * self.hyperparameters.scale)

    def _extended(self, x: Tensor, values: Tensor, noise: float) -> GPPosterior:
        """Append to the inverse factor A: [[A, 0], [-C⁻¹BA, C⁻¹]], B the cross term, C the Schur factor."""
        old, new = len(self.inverse), len(x)
        scaled = self._scaled(x)
        cross = self._covariance(x) @ self.inverse.mT
        schur = self.hyperparameters.scale * matern52(scaled, scaled) - cross @ cross.mT
        schur.diagonal().add_(noise)
        eye = torch.eye(new, dtype=schur.dtype)
        corner = torch.linalg.solve_triangular(torch.linalg.cholesky(schur), eye, upper=False)
        inverse = schur.new_zeros(old + new, old + new)
        inverse[:old, :old] = self.inverse
        inverse[old:, :old] = -corner @ cross @ self.inverse
        inverse[old:, old:] = corner
        variants = len(values)
        whitened = self.whitened.expand(old, variants)
        added = corner @ ((values.mT - self.hyperparameters.mean) - cross @ whitened)
        return replace(
            self,
            scaled=torch.cat([self.scaled, scaled]),
            inverse=inverse,
            whitened=torch.cat([whitened, added]),
        )

    def _scaled(self, x: Tensor) -> Tensor:
        lengths = torch.tensor(self.hyperparameters.lengthscales, dtype=torch.float64)
        return self.features(x) / lengths[self.features.groups]

    def _covariance(self, x: Tensor) -> Tensor:
        """Prior covariance (b x N) of points `x` (b x d) with the known ones."""
        return self.hyperparameters.scale * matern52(self._scaled(x), self.scaled)
