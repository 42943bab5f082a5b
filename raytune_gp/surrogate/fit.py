"""The fit: hyperparameters of highest posterior density, with warm start and restarts.

`log_density` is the closed form of what `MaternGP.log_density` states, several times as fast.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from linear_operator.utils.errors import NanError, NotPSDError
from scipy.linalg import LinAlgError, cholesky, lapack
from scipy.optimize import minimize

from raytune_gp.surrogate.features import FeatureMap
from raytune_gp.surrogate.gp import NOISE_FLOOR, Hyperparameters, MaternGP, prior_of_logs
from raytune_gp.surrogate.input_warp import InputWarp
from raytune_gp.surrogate.matern import correlation, root_and_decay
from raytune_gp.surrogate.thinning import half_best

__all__ = ["MOST_FITTED", "fit", "log_density"]

Density = Callable[[np.ndarray], tuple[float, np.ndarray]]
Prior = tuple[np.ndarray, np.ndarray]

MOST_FITTED = 500
"""Beyond, hyperparameters are fitted to a subset, half of them the best: a fit's time grows with n³."""

_DRAWS = 4  # random starts that are looked at beside the warm one and the prior's median
_POLISHED = 2  # starts, the best of those looked at, that the optimiser goes on from
# What says that a covariance has no factor; a GPU without memory, a RuntimeError too, is not that.
_NO_FACTOR = (LinAlgError, ArithmeticError, torch.linalg.LinAlgError, NotPSDError, NanError)
_WARM_ITERATIONS, _COLD_ITERATIONS = 15, 40


def fit(
    features: FeatureMap,
    x: np.ndarray,
    y: np.ndarray,
    *,
    rng: np.random.Generator,
    warm: Hyperparameters | None = None,
    bend: bool = False,
    device: str = "cpu",
) -> Hyperparameters:
    """The MAP hyperparameters for points `x` (n x d, NaN where inactive) and standardised targets `y` (n).

    `warm` are those of an earlier fit; the search starts from them, and still looks elsewhere. `bend` says
    whether plain columns are warped. On a `device` other than "cpu" GPyTorch evaluates. Raises LinAlgError
    where no start has a finite density.
    """
    if len(x) > MOST_FITTED:
        chosen = half_best(y, MOST_FITTED, rng)
        x, y = x[chosen], y[chosen]
    warped = features.plain if bend else 0
    prior = prior_of_logs(features.dimension, warped, features.at_once)
    bounds = _bounds(features.dimension, warped)
    density = _density(features, features(x), y, warped, prior, device)
    starts = _starts(prior, bounds, warped, rng, warm)
    heights = [_height(density, start) for start in starts]
    order = np.argsort(-np.array(heights), kind="stable")[:_POLISHED]
    iterations = _COLD_ITERATIONS if warm is None else _WARM_ITERATIONS
    ends = [_climb(density, starts[i], bounds, iterations) for i in order if np.isfinite(heights[i])]
    if not ends:
        raise LinAlgError(f"none of {len(starts)} starts has a finite density: is a target not finite?")
    return Hyperparameters.from_theta(max(ends, key=lambda end: end[0])[1], features.dimension)


def _density(
    features: FeatureMap, mapped: np.ndarray, y: np.ndarray, warped: int, prior: Prior, device: str
) -> Density:
    if device == "cpu":
        return lambda theta: log_density(theta, mapped, y, features.groups, prior)
    points, targets = torch.from_numpy(mapped).to(device), torch.from_numpy(y).to(device)
    model = MaternGP(points, targets, features.groups, features.dimension, warped, features.at_once)
    return model.log_density


def log_density(
    theta: np.ndarray, features: np.ndarray, y: np.ndarray, groups: np.ndarray, prior: Prior | None = None
) -> tuple[float, np.ndarray]:
    """Log marginal likelihood plus log prior at `theta` (d + 3 + 2w), and its gradient, in closed form.

    `features` is n x D, the first w of them to be bent, `y` (n) the targets, `groups` (D) the column of each
    feature; `prior` is that of columns which always exist, by default. Rasmussen & Williams 2006, 5.9; with
    W = αα' - K⁻¹ the gradient is ½ tr(W ∂K/∂θ). Raises LinAlgError where K is not positive definite.
    """
    d, n = int(groups.max()) + 1, len(y)
    inverse_lengths = np.exp(-theta[:d])[groups]
    scale, noise, mean = np.exp(theta[d]), np.exp(theta[d + 1]), theta[-1]
    warp = InputWarp.of(theta[d + 2 : -1])
    z = warp(features) * inverse_lengths
    root, decay = root_and_decay(z, z)
    decay *= scale
    signal = correlation(root, decay)
    covariance = signal.copy()
    covariance.flat[:: n + 1] += noise
    factor = cholesky(covariance, lower=True, overwrite_a=True, check_finite=False)
    inverse = _inverse(factor)
    residual = y - mean
    alpha = inverse @ residual
    likelihood = -0.5 * residual @ alpha - np.log(np.diag(factor)).sum() - 0.5 * n * np.log(2.0 * np.pi)

    w = np.outer(alpha, alpha) - inverse
    gradient = np.empty_like(theta)
    gradient[d] = 0.5 * np.vdot(w, signal)
    gradient[d + 1] = 0.5 * noise * np.trace(w)
    gradient[-1] = alpha.sum()
    root += 1.0
    w *= root
    w *= decay
    w *= 5.0 / 3.0
    by_point = w.sum(1)[:, None] * z - w @ z
    gradient[:d] = np.bincount(groups, weights=np.einsum("ij,ij->j", z, by_point), minlength=d)
    gradient[d + 2 : -1] = warp.gradient_of_logs(features, -by_point * inverse_lengths)

    means, deviations = prior_of_logs(d, len(warp.a)) if prior is None else prior
    away = (theta[:-1] - means) / deviations
    log_prior = -0.5 * away @ away - np.log(deviations).sum() - 0.5 * len(away) * np.log(2.0 * np.pi)
    gradient[:-1] -= away / deviations
    return float(likelihood + log_prior), gradient


def _inverse(factor: np.ndarray) -> np.ndarray:
    """The inverse (n x n) of the matrix whose lower Cholesky factor is given."""
    half, info = lapack.dpotri(factor, lower=1)
    if info:
        raise LinAlgError(f"dpotri failed with info={info}")
    inverse = half + half.T
    inverse.flat[:: len(inverse) + 1] *= 0.5
    return inverse


def _starts(
    prior: Prior,
    bounds: tuple[np.ndarray, np.ndarray],
    warped: int,
    rng: np.random.Generator,
    warm: Hyperparameters | None,
) -> list[np.ndarray]:
    """The warm start, the prior's median and draws from the prior, within bounds; d + 3 + 2w each."""
    means, deviations = prior
    drawn = means + deviations * rng.standard_normal((_DRAWS, len(means)))
    starts = [np.append(logs, 0.0) for logs in (means, *drawn)]
    if warm is not None:
        shapes = warm.warps if len(warm.warps) == warped else ((1.0, 1.0),) * warped
        starts.insert(0, replace(warm, warps=shapes).theta)
    return [np.clip(start, *bounds) for start in starts]


def _bounds(d: int, warped: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper bounds (d + 3 + 2w) of theta: far out in the prior's tails, but for the noise floor."""
    logs_of_shapes = [2.0] * (2 * warped)
    low = np.concatenate([np.log([0.01] * d + [0.02, NOISE_FLOOR]), np.negative(logs_of_shapes), [-5.0]])
    high = np.concatenate([np.log([100.0] * d + [50.0, 2.0]), logs_of_shapes, [5.0]])
    return low, high


def _height(density: Density, theta: np.ndarray) -> float:
    try:
        value = density(theta)[0]
    except _NO_FACTOR:
        return -np.inf
    return value if np.isfinite(value) else -np.inf


def _climb(
    density: Density,
    start: np.ndarray,
    bounds: tuple[np.ndarray, np.ndarray],
    iterations: int,
) -> tuple[float, np.ndarray]:
    """The density and place of a local maximum, or of the best point within `iterations` of L-BFGS-B."""

    def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
        try:
            value, gradient = density(theta)
        except _NO_FACTOR:
            return np.inf, np.zeros_like(theta)
        return -value, -gradient

    result = minimize(
        loss,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=list(zip(*bounds, strict=True)),
        options={"maxiter": iterations, "ftol": 1e-7},
    )
    return -float(result.fun), result.x
