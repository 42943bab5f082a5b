"""The input warp: each numeric column is bent by a Kumaraswamy distribution function of its own.

    w(x) = 1 - (1 - x^a)^b,   0 <= x <= 1

An objective that is steep at one end of a column and flat at the other (a rate given on a linear scale, say)
becomes one that a stationary kernel can follow (Snoek et al. 2014, arXiv 1402.0929). Warped are the first m
features, the values of the m plain columns; a = b = 1 leaves them as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["EDGE", "InputWarp"]

EDGE = 1e-9
"""So far from 0 and 1 values are kept, whose logarithms would else be infinite."""


@dataclass(frozen=True)
class InputWarp:
    """The shapes `a` (m) and `b` (m), which are positive; m may be 0."""

    a: np.ndarray
    b: np.ndarray

    @classmethod
    def of(cls, logs: np.ndarray) -> InputWarp:
        """The warp of (log a_1 .. log a_m, log b_1 .. log b_m)."""
        a, b = np.exp(logs.reshape(2, -1))
        return cls(a, b)

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """`features` (n x D) with the first m bent."""
        m = len(self.a)
        if not m:
            return features
        bent = features.copy()
        bent[:, :m] = 1.0 - (1.0 - self._inner(features) ** self.a) ** self.b
        return bent

    def pull_back(self, features: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        """The gradient (n x D) in `features` of what has `gradient` (n x D) in the warped ones."""
        m = len(self.a)
        if not m:
            return gradient
        x = self._inner(features)
        pulled = gradient.copy()
        pulled[:, :m] *= self.a * self.b * (1.0 - x**self.a) ** (self.b - 1.0) * x ** (self.a - 1.0)
        return pulled

    def gradient_of_logs(self, features: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        """The gradient (2m) in log a and log b of what has `gradient` (n x D) in the warped features."""
        m = len(self.a)
        x = self._inner(features)
        power = x**self.a
        rest = 1.0 - power
        by_a = self.a * self.b * rest ** (self.b - 1.0) * power * np.log(x)
        by_b = -self.b * rest**self.b * np.log(rest)
        return np.concatenate([(gradient[:, :m] * by_a).sum(0), (gradient[:, :m] * by_b).sum(0)])

    def _inner(self, features: np.ndarray) -> np.ndarray:
        return np.clip(features[:, : len(self.a)], EDGE, 1.0 - EDGE)
