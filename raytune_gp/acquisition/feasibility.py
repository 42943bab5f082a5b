"""How likely a config is to have a value at all, learned from those that failed.

A Gaussian process over the labels "failed" (0) and "has a value" (1), by least squares, whose normal
posterior f gives P(feasible at x) = P(f(x) + ε > ½). Expected improvement is weighted by it (Gelbart et al.
2014, arXiv 1403.5607): the logarithms add up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import log_ndtr

from raytune_gp.acquisition.logei import LogEI, Posterior

__all__ = ["Feasibility", "FeasibleLogEI"]

_LOG_SQRT_2PI = 0.5 * math.log(2.0 * math.pi)


@dataclass(frozen=True)
class Feasibility:
    """A `posterior` of the labels (one variant); on its scale ½ is `threshold`, `noise` the variance of ε."""

    posterior: Posterior
    threshold: float
    noise: float

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """log P(feasible), b, at points `x` (b x d)."""
        means, variance = self.posterior.marginals(x)
        return log_ndtr((means[:, 0] - self.threshold) / np.sqrt(variance + self.noise))

    def with_gradient(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The same, and its gradient (b x d)."""
        means, variance, pull_back = self.posterior.pulling_marginals(x)
        deviation = np.sqrt(variance + self.noise)
        z = (means[:, 0] - self.threshold) / deviation
        value = log_ndtr(z)
        slope = np.exp(-0.5 * z * z - _LOG_SQRT_2PI - value)
        return value, pull_back((slope / deviation)[:, None], -0.5 * slope * z / deviation**2)


@dataclass(frozen=True)
class FeasibleLogEI:
    """log EI + log P(feasible): the logarithm of the improvement to be expected of a config that may fail."""

    improvement: LogEI
    feasibility: Feasibility

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Values (b) at points `x` (b x d)."""
        return self.improvement(x) + self.feasibility(x)

    def with_gradient(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Values (b) and gradients (b x d) there."""
        value, gradient = self.improvement.with_gradient(x)
        more, its_gradient = self.feasibility.with_gradient(x)
        return value + more, gradient + its_gradient
