"""The output warp: metrics of any scale and skew become targets that a Gaussian process can believe.

Three steps, fitted to the finite values: winsorise the bad half (how bad a bad config is teaches nothing
about the good ones), the Yeo-Johnson power transform (Biometrika 87, 2000) with its power by maximum
likelihood, and standardisation. Where the power degenerates, plain standardisation serves. Targets are
always to be maximised. Failed runs get the worst target seen.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.optimize import minimize_scalar

__all__ = ["OutputWarp", "Warp", "yeo_johnson", "yeo_johnson_inverse"]

_POWERS = (-1.0, 3.0)  # 1 is the identity; the interval is symmetric about it, for either skew
_WINSOR = 3.0  # bad values end this many deviations of the good half below the median
_FEWEST = 4  # values below which a power cannot be told from chance
_EDGE = 1e-3  # keeps the inverse finite beyond the transform's range
_LARGEST = float(np.finfo(float).max)


def yeo_johnson(values: np.ndarray, power: float) -> np.ndarray:
    """The Yeo-Johnson transform of `values` (any shape): increasing, smooth, the identity at power 1."""
    positive = values >= 0
    size = np.log1p(np.abs(values))
    exponent = np.where(positive, power, 2.0 - power)
    safe = np.where(np.abs(exponent) < 1e-12, 1.0, exponent)
    grown = np.where(np.abs(exponent) < 1e-12, size, np.expm1(safe * size) / safe)
    return np.where(positive, grown, -grown)


def yeo_johnson_inverse(warped: np.ndarray, power: float) -> np.ndarray:
    """The inverse of `yeo_johnson`; what lies outside the transform's range maps to a large finite value."""
    positive = warped >= 0
    exponent = np.where(positive, power, 2.0 - power)
    safe = np.where(np.abs(exponent) < 1e-12, 1.0, exponent)
    grown = np.log(np.maximum(1.0 + safe * np.abs(warped), _EDGE)) / safe
    size = np.expm1(np.minimum(np.where(np.abs(exponent) < 1e-12, np.abs(warped), grown), 700.0))
    return np.where(positive, size, -size)


class Warp(ABC):
    """What turns metrics into targets, which are to be maximised, and back; fitted to the metrics seen."""

    @classmethod
    @abstractmethod
    def fit(cls, values: np.ndarray, *, maximise: bool) -> Self:
        """Fit to the finite ones of metrics `values` (n). Raises ValueError where there are none."""

    @abstractmethod
    def forward(self, values: np.ndarray) -> np.ndarray:
        """Targets (n) of metrics `values` (n); what is not finite gets the worst target among the others."""

    @abstractmethod
    def backward(self, targets: np.ndarray) -> np.ndarray:
        """Metrics of `targets`, both of any shape."""

    @property
    @abstractmethod
    def told(self) -> tuple[float, float]:
        """The targets between which values are told apart."""

    def inverse(self, mean: float, deviation: float) -> tuple[float, float]:
        """Median and half the central 68 % interval, in the metric's units, of a normal target."""
        middle, low, high = self.backward(np.array([mean, mean - deviation, mean + deviation]))
        return float(middle), float(abs(high - low) / 2)


@dataclass(frozen=True)
class OutputWarp(Warp):
    """A fitted warp: sign · metric, max(·, floor), (· / 2^exponent - centre) / spread, power, and
    (· - mean) / deviation. The exponent keeps the squares of any metrics finite, and above 0.
    """

    sign: float
    floor: float
    exponent: int
    centre: float
    spread: float
    power: float
    mean: float
    deviation: float

    @classmethod
    def fit(cls, values: np.ndarray, *, maximise: bool) -> OutputWarp:
        sign = 1.0 if maximise else -1.0
        finite = sign * values[np.isfinite(values)]
        if not len(finite):
            raise ValueError(f"none of the {len(values)} values is finite: a warp needs at least one")
        floor = _winsor_floor(finite)
        clipped = np.maximum(finite, floor)
        exponent = int(np.frexp(np.abs(clipped).max())[1])
        clipped = np.ldexp(clipped, -exponent)
        centre, spread = float(clipped.mean()), _spread(clipped)
        scaled = (clipped - centre) / spread
        power = _fit_power(scaled)
        warped = yeo_johnson(scaled, power)
        return cls(sign, floor, exponent, centre, spread, power, float(warped.mean()), _spread(warped))

    def forward(self, values: np.ndarray) -> np.ndarray:
        good = np.isfinite(values)
        oriented = _times_power_of_two(np.maximum(self.sign * values[good], self.floor), -self.exponent)
        scaled = (oriented - self.centre) / self.spread
        warped = (yeo_johnson(scaled, self.power) - self.mean) / self.deviation
        targets = np.full(len(values), warped.min() if len(warped) else 0.0)
        targets[good] = warped
        return targets

    @property
    def told(self) -> tuple[float, float]:
        """The targets between which values are told apart: what is below the floor is "at least as bad"."""
        return float(self.forward(np.array([self.sign * self.floor]))[0]), np.inf

    def backward(self, targets: np.ndarray) -> np.ndarray:
        scaled = yeo_johnson_inverse(self.mean + self.deviation * targets, self.power)
        return self.sign * _times_power_of_two(self.centre + self.spread * scaled, self.exponent)


def _times_power_of_two(values: np.ndarray, exponent: int) -> np.ndarray:
    """`values` · 2^`exponent`, exactly; what would be infinite is the largest number there is."""
    with np.errstate(over="ignore"):
        return np.clip(np.ldexp(values, exponent), -_LARGEST, _LARGEST)


def _winsor_floor(values: np.ndarray) -> float:
    """Where bad values are cut off: below the median by `_WINSOR` deviations of the good half about it."""
    if np.abs(values).max() > _LARGEST / 16:  # differences must stay finite
        return max(16.0 * _winsor_floor(values / 16.0), -_LARGEST)
    median = np.median(values)
    good = values[values >= median] - median
    deviation = float(np.abs(good).max() * np.sqrt(np.mean((good / (np.abs(good).max() or 1.0)) ** 2)))
    return float(median - _WINSOR * deviation) if deviation > 0 else float(values.min())


def _spread(values: np.ndarray) -> float:
    """The standard deviation, or 1 where the values are equal up to rounding."""
    deviation = float(values.std())
    return deviation if deviation > 1e-12 * float(np.abs(values).max()) else 1.0


def _fit_power(scaled: np.ndarray) -> float:
    """The power of highest likelihood for standardised values (n), or 1 (identity) where there is none."""
    if len(scaled) < _FEWEST or np.unique(scaled).size < _FEWEST:
        return 1.0
    jacobian = np.mean(np.sign(scaled) * np.log1p(np.abs(scaled)))

    def loss(power: float) -> float:
        variance = yeo_johnson(scaled, power).var()
        return 0.5 * np.log(variance) - (power - 1.0) * jacobian if variance > 1e-12 else np.inf

    result = minimize_scalar(loss, bounds=_POWERS, method="bounded")
    power = float(result.x)
    usable = result.success and np.isfinite(result.fun) and result.fun < loss(1.0)
    return power if usable else 1.0
