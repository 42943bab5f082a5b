"""The fit: hyperparameters of highest posterior density, with warm start and restarts.

`log_density` is the closed form of what `MaternGP.log_density` states, several times as fast.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy.linalg import LinAlgError, cholesky, lapack
from scipy.optimize import minimize

from raytune_gp.surrogate.features import FeatureMap
from raytune_gp.surrogate.gp import NOISE_FLOOR, Hyperparameters, MaternGP, prior_of_logs

__all__ = ["fit", "log_density"]

Density = Callable[[np.ndarray], tuple[float, np.ndarray]]

_MOST_POINTS = 500  # beyond, hyperparameters are fitted to a subset: a fit's time grows with n³
_DRAWS = 4  # random starts that are looked at beside the warm one and the prior's median
_POLISHED = 2  # starts, the best of those looked at, that the optimiser goes on from
_WARM_ITERATIONS, _COLD_ITERATIONS = 15, 40


def fit(
    features: FeatureMap,
    x: np.ndarray,
    y: np.ndarray,
    *,
    rng: np.random.Generator,
    warm: Hyperparameters | None = None,
    device: str = "cpu",
) -> Hyperparameters:
    """The MAP hyperparameters for points `x` (n x d, NaN where inactive) and standardised targets `y` (n).

    `warm` are those of an earlier fit; the search starts from them, and still looks elsewhere. On a
    `device` other than "cpu" GPyTorch evaluates. Raises LinAlgError where no start has a finite density.
    """
    if len(x) > _MOST_POINTS:
        chosen = _subset(y, rng)
        x, y = x[chosen], y[chosen]
    mapped = features(torch.from_numpy(x))
    density: Density
    if device == "cpu":
        density = _closed_form(mapped.numpy(), y, features)
    else:
        model = MaternGP(
            mapped.to(device), torch.from_numpy(y).to(device), features.groups, features.dimension
        )
        density = model.log_density
    starts = _starts(features.dimension, rng, warm)
    heights = [_height(density, start) for start in starts]
    order = np.argsort(-np.array(heights), kind="stable")[:_POLISHED]
    iterations = _COLD_ITERATIONS if warm is None else _WARM_ITERATIONS
    ends = [_climb(density, starts[i], iterations) for i in order if np.isfinite(heights[i])]
    if not ends:
        raise LinAlgError(
            f"none of {len(starts)} starts has a finite density: are all {len(y)} targets finite?"
        )
    return Hyperparameters.from_theta(max(ends, key=lambda end: end[0])[1])


def log_density(
    theta: np.ndarray, features: np.ndarray, y: np.ndarray, groups: np.ndarray
) -> tuple[float, np.ndarray]:
    """Log marginal likelihood plus log prior at `theta` (d + 3), and its gradient, in closed form.

    `features` is n x D, `y` (n) the targets, `groups` (D) the column of each feature. Rasmussen & Williams
    2006, 5.9; with W = αα' - K⁻¹ the gradient is ½ tr(W ∂K/∂θ). Raises LinAlgError where K is not positive
    definite.
    """
    d, n = len(theta) - 3, len(y)
    inverse_lengths = np.exp(-theta[:d])
    scale, noise, mean = np.exp(theta[d]), np.exp(theta[d + 1]), theta[d + 2]
    z = features * inverse_lengths[groups]
    norms = np.einsum("ij,ij->i", z, z)
    squared = norms[:, None] + norms - 2.0 * (z @ z.T)
    np.fill_diagonal(squared, 0.0)
    root = np.sqrt(5.0 * np.maximum(squared, 0.0))
    decay = scale * np.exp(-root)
    signal = (1.0 + root + root * root / 3.0) * decay
    covariance = signal.copy()
    covariance.flat[:: n + 1] += noise
    factor = cholesky(covariance, lower=True, check_finite=False)
    inverse = _inverse(factor)
    residual = y - mean
    alpha = inverse @ residual
    likelihood = -0.5 * residual @ alpha - np.log(np.diag(factor)).sum() - 0.5 * n * np.log(2.0 * np.pi)

    w = np.outer(alpha, alpha) - inverse
    slope = (5.0 / 3.0) * w * (1.0 + root) * decay
    by_feature = slope.sum(1) @ (z * z) - np.einsum("ij,ij->j", z, slope @ z)
    gradient = np.empty_like(theta)
    gradient[:d] = np.bincount(groups, weights=by_feature, minlength=d)
    gradient[d] = 0.5 * np.vdot(w, signal)
    gradient[d + 1] = 0.5 * noise * np.trace(w)
    gradient[d + 2] = alpha.sum()

    means, deviations = prior_of_logs(d)
    away = (theta[:-1] - means) / deviations
    prior = -0.5 * away @ away - np.log(deviations).sum() - 0.5 * (d + 2) * np.log(2.0 * np.pi)
    gradient[:-1] -= away / deviations
    return float(likelihood + prior), gradient


def _inverse(factor: np.ndarray) -> np.ndarray:
    """The inverse (n x n) of the matrix whose lower Cholesky factor is given."""
    half, info = lapack.dpotri(factor, lower=1)
    if info:
        raise LinAlgError(f"dpotri failed with info={info}")
    return np.tril(half) + np.tril(half, -1).T


def _closed_form(features: np.ndarray, y: np.ndarray, of: FeatureMap) -> Density:
    return lambda theta: log_density(theta, features, y, of.groups)


def _starts(d: int, rng: np.random.Generator, warm: Hyperparameters | None) -> list[np.ndarray]:
    """The warm start, the prior's median and draws from the prior, within bounds."""
    means, deviations = prior_of_logs(d)
    low, high = _bounds(d)
    drawn = means + deviations * rng.standard_normal((_DRAWS, d + 2))
    logs = [means, *drawn]
    starts = [np.append(log, 0.0) for log in logs]
    if warm is not None:
        starts.insert(0, warm.theta)
    return [np.clip(start, low, high) for start in starts]


def _bounds(d: int) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper bounds (d + 3) of theta: far out in the prior's tails, but for the noise floor."""
    low = np.append(np.log([0.01] * d + [0.02, NOISE_FLOOR]), -5.0)
    high = np.append(np.log([100.0] * d + [50.0, 2.0]), 5.0)
    return low, high


def _height(density: Density, theta: np.ndarray) -> float:
    try:
        value = density(theta)[0]
    except (LinAlgError, ArithmeticError, RuntimeError):
        return -np.inf
    return value if np.isfinite(value) else -np.inf


def _climb(density: Density, start: np.ndarray, iterations: int) -> tuple[float, np.ndarray]:
    """The density and place of a local maximum, or of the best point within `iterations` of L-BFGS-B."""

    def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
        try:
            value, gradient = density(theta)
        except (LinAlgError, ArithmeticError, RuntimeError):
            return np.inf, np.zeros_like(theta)
        return -value, -gradient

    bounds = list(zip(*_bounds(len(start) - 3), strict=True))
    result = minimize(
        loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": iterations, "ftol": 1e-7}
    )
    return -float(result.fun), result.x


def _subset(y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Indices of `_MOST_POINTS` points: half of them the best, half drawn from the others."""
    order = np.argsort(-y, kind="stable")
    half = _MOST_POINTS // 2
    return np.sort(
        np.concatenate([order[:half], rng.choice(order[half:], _MOST_POINTS - half, replace=False)])
    )
