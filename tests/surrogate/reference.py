"""What posteriors are held against: points of all kinds, gradients by differences, textbook distributions."""

from __future__ import annotations

import numpy as np

from raytune_gp.acquisition.logei import Posterior
from raytune_gp.surrogate.features import Column, FeatureMap
from raytune_gp.surrogate.gp import Hyperparameters
from raytune_gp.surrogate.posterior import GPPosterior

__all__ = ["FEATURES", "HYPER", "check_pulling", "joint", "points"]

LEVELS = (1 / 6, 0.5, 5 / 6)
FEATURES = FeatureMap([Column(), Column(LEVELS, categorical=True), Column(conditional=True)])
HYPER = Hyperparameters((0.4, 0.45, 1.7), scale=1.4, noise=0.02, mean=0.3, warps=((1.4, 0.8),))


def points(n: int, seed: int) -> np.ndarray:
    """Points (n x 3) of `FEATURES`, some of them without the last column."""
    rng = np.random.default_rng(seed)
    x = rng.random((n, 3))
    x[:, 1] = rng.choice(LEVELS, n)
    x[rng.random(n) < 0.4, 2] = np.nan
    return x


def check_pulling(posterior: Posterior, x: np.ndarray, columns: tuple[int, ...]) -> None:
    """`pulling_marginals` gives the marginals at `x` (n x d), and pulls back gradients in those `columns`."""
    means, variance, pull_back = posterior.pulling_marginals(x)
    for a, b in zip((means, variance), posterior.marginals(x), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)
    rng = np.random.default_rng(4)
    by_means, by_variance = rng.standard_normal(means.shape), rng.standard_normal(variance.shape)

    def total(x: np.ndarray) -> np.ndarray:
        m, v = posterior.marginals(x)
        return (m * by_means).sum(1) + v * by_variance

    pulled = pull_back(by_means, by_variance)
    for j in columns:
        active = ~np.isnan(x[:, j])
        step = 1e-6 * np.eye(x.shape[1])[j]
        slope = (total(x + step) - total(x - step)) / 2e-6
        np.testing.assert_allclose(pulled[active, j], slope[active], rtol=1e-5, atol=1e-6)


def joint(posterior: GPPosterior, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means (q x 1) and covariance (q x q) of f at points `x` (q x d)."""
    scaled = posterior.scale(x)
    half = posterior.whiten(posterior.covariance(scaled, posterior.scaled))
    covariance = posterior.covariance(scaled, scaled) - half @ half.T
    return posterior.hyperparameters.mean + half @ posterior.whitened, covariance
