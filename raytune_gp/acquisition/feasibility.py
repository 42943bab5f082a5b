"""How likely a config is not to fail in one way, learned from those that did.

A Gaussian process over the labels "failed" (0) and "has a value" (1), by least squares, whose normal
posterior f gives P(feasible at x) = P(f(x) + ε > ½). Expected improvement is weighted by it (Gelbart et al.
2014, arXiv 1403.5607), once for each kind of failure: memory runs out for other reasons than values diverge.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.special import log_ndtr

from raytune_gp.acquisition.logei import Posterior
from raytune_gp.surrogate.nearby import NearbyPosterior
from raytune_gp.surrogate.pending import PendingPosterior
from raytune_gp.surrogate.posterior import GPPosterior

__all__ = ["Feasibility"]

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

    def near(self, x: np.ndarray) -> Feasibility:
        """By a posterior that costs less and holds near points `x` (b x d)."""
        if self._whole is None:
            return self
        return replace(self, posterior=NearbyPosterior.about(x, self._whole))

    @cached_property
    def _whole(self) -> PendingPosterior | None:
        """The posterior as a cheaper one is made of it; None where it is one already."""
        return PendingPosterior.of(self.posterior) if isinstance(self.posterior, GPPosterior) else None
