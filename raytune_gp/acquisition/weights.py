"""Expected improvement times weights, such as the probability not to fail: the logarithms add up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from raytune_gp.acquisition.logei import LogEI

__all__ = ["LogWeight", "WeightedLogEI"]


class LogWeight(Protocol):
    """The logarithm of a weight, at most 0."""

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Values (b) at points `x` (b x d)."""

    def with_gradient(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Values (b) and gradients (b x d) there."""

    def near(self, x: np.ndarray) -> LogWeight:
        """What costs less, if anything does, and holds near points `x` (b x d)."""


@dataclass(frozen=True)
class WeightedLogEI:
    """log EI plus the logarithms of all `weights`."""

    improvement: LogEI
    weights: Sequence[LogWeight]

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Values (b) at points `x` (b x d)."""
        value = self.improvement(x)
        for weight in self.weights:
            value = value + weight(x)
        return value

    def with_gradient(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Values (b) and gradients (b x d) there."""
        value, gradient = self.improvement.with_gradient(x)
        for weight in self.weights:
            more, its_gradient = weight.with_gradient(x)
            value, gradient = value + more, gradient + its_gradient
        return value, gradient
