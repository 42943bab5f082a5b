"""The logarithm of expected improvement, sound where the improvement itself underflows.

    EI(x) = E[(f(x) - b)₊] = σ h(z),   z = (μ(x) - b) / σ(x),   h(z) = φ(z) + z Φ(z)

for an incumbent b, by Ament et al. 2023 (arXiv 2310.20708). Pending points are integrated over: their
values are drawn jointly from the posterior, each draw conditions the mean and may raise the incumbent, and
EI is averaged over the draws. As the deviation does not depend on the values it is conditioned once. In the
limit of many draws this is qEI(x and pending) - qEI(pending), the gain that x brings to the batch (Snoek et
al. 2012, 3.2; Wilson et al. 2018).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.special import erfcx, ndtr

__all__ = ["LogEI", "Posterior", "log_ei", "log_h"]

_LOG_SQRT_2PI = 0.5 * math.log(2.0 * math.pi)
# Below, 1 + zR has lost more digits than the first terms of its series, 1/z² - 3/z⁴ + .., leave out.
_FAR = -50.0


class Posterior(Protocol):
    """A joint normal posterior over f, in s variants that share their covariance."""

    def marginals(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Means (b x s) and positive variance (b) at points `x` (b x d)."""

    def pulling_marginals(
        self, x: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, Callable[[np.ndarray, np.ndarray], np.ndarray]]:
        """`marginals`, and what turns gradients in them (b x s and b) into one in `x` (b x d)."""


def log_h(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """log h(z) with h(z) = φ(z) + z Φ(z), and its slope Φ(z) / h(z), elementwise.

    To 12 digits or more (the slope 10), for z down to -1e150.
    """
    near = np.maximum(z, -1.0)
    below = ndtr(near)
    sum_near = np.exp(-0.5 * near * near - _LOG_SQRT_2PI) + near * below

    # h(z) = φ(z) (1 + z R) with the Mills ratio R = Φ(z) / φ(z) = √(π/2) erfcx(-z / √2)
    tail = np.minimum(z, -1.0)
    mills = math.sqrt(math.pi / 2.0) * erfcx(-tail / math.sqrt(2.0))
    inverse = 1.0 / (tail * tail)
    series = inverse * (1.0 - 3.0 * inverse * (1.0 - 5.0 * inverse * (1.0 - 7.0 * inverse)))
    shrink = np.where(tail < _FAR, series, 1.0 + tail * mills)
    in_tail = np.log(shrink) - 0.5 * tail * tail - _LOG_SQRT_2PI
    return np.where(z > -1.0, np.log(sum_near), in_tail), np.where(z > -1.0, below / sum_near, mills / shrink)


def log_ei(mean: np.ndarray, variance: np.ndarray, incumbent: np.ndarray) -> np.ndarray:
    """log EI (b) for means (b x s) and variance (b) against incumbents (s), averaged over the s variants."""
    return _terms(mean, variance, incumbent)[0]


@dataclass(frozen=True)
class LogEI:
    """The acquisition function: log EI over `posterior` (s variants) against `incumbent` (s)."""

    posterior: Posterior
    incumbent: np.ndarray

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """log EI (b) at points `x` (b x d)."""
        return log_ei(*self.posterior.marginals(x), self.incumbent)

    def with_gradient(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """log EI (b) at points `x` (b x d), and its gradient there (b x d)."""
        mean, variance, pull_back = self.posterior.pulling_marginals(x)
        value, by_mean, by_variance = _terms(mean, variance, self.incumbent)
        return value, pull_back(by_mean, by_variance)


def _terms(
    mean: np.ndarray, variance: np.ndarray, incumbent: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """log EI (b), its gradient in the means (b x s) and in the variance (b).

    With z = (μ - b) / σ:  ∂ log EI / ∂μ = slope / σ  and  ∂ log EI / ∂σ = (1 - z slope) / σ.
    """
    deviation = np.sqrt(variance)[:, None]
    z = (mean - incumbent) / deviation
    height, slope = log_h(z)
    each = height + np.log(deviation)
    if each.shape[1] == 1:
        value, share = each[:, 0], 1.0
    else:
        top = each.max(1)
        share = np.exp(each - top[:, None])
        total = share.sum(1)
        value = top + np.log(total / each.shape[1])
        share /= total[:, None]
    by_mean = share * slope / deviation
    by_variance = (share * (1.0 - z * slope)).sum(1) / (2.0 * variance)
    return value, by_mean, by_variance
