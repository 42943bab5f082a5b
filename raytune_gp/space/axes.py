"""Axes: monotone maps between an interval of numbers and [0, 1], linear, logarithmic or otherwise bent."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist

import numpy as np

from raytune_gp.errors import SpaceError

__all__ = ["Axis", "LinearAxis", "LogAxis", "NormalAxis", "ReverseLogAxis"]

FINEST_STEP = 2.0**-40
"""Units closer than this are one: about 1e-12, far below what a searcher can tell apart."""

COARSEST_STEP = 2.0**-7
"""An interval that floats resolve in fewer than 128 steps is too narrow to search."""

TAIL = 6.0
"""A normal domain is searched within so many standard deviations; 2e-9 of its mass lies beyond."""

_STANDARD = NormalDist()
_erfc = np.frompyfunc(math.erfc, 1, 1)
_inverse_cdf = np.frompyfunc(_STANDARD.inv_cdf, 1, 1)


@dataclass(frozen=True)
class Axis(ABC):
    """The interval [lower, upper], stretched by a monotone `warp` and scaled to [0, 1]."""

    lower: float
    upper: float

    @abstractmethod
    def warp(self, values: np.ndarray) -> np.ndarray:
        """The coordinate, of any origin and unit, along which this axis is even."""

    @abstractmethod
    def unwarp(self, coordinates: np.ndarray) -> np.ndarray:
        """The inverse of `warp`."""

    @abstractmethod
    def slope(self, value: float) -> float:
        """The derivative of `warp` at `value`."""

    @cached_property
    def _ends(self) -> tuple[float, float]:
        start, end = self.warp(np.array([self.lower, self.upper]))
        return float(start), float(end)

    @cached_property
    def step(self) -> float:
        """The finest power of two whose multiples, as units, survive the way to values and back.

        Both ways round: a value to its float (its spacing times the slope) and a coordinate to its own.
        The factor 32 covers the few units in the last place that exp, log and erfc may lose.

        Raises:
            SpaceError: fewer than 128 steps fit between the bounds.
        """
        start, end = self._ends
        value_error = max(float(np.spacing(abs(v))) * self.slope(v) for v in (self.lower, self.upper))
        coordinate_error = float(np.spacing(max(abs(start), abs(end), 1e-300)))
        width = end - start
        error = 32 * (value_error + coordinate_error) / width if width > 0 else math.inf
        if error > COARSEST_STEP:
            raise SpaceError(
                f"the bounds {self.lower!r} and {self.upper!r} are too close for floating-point numbers to "
                "search between them: widen them, or shift the parameter"
            )
        return max(FINEST_STEP, 2.0 ** math.ceil(math.log2(error)))

    def to_unit(self, values: np.ndarray) -> np.ndarray:
        """The place of each value in [0, 1], n; values beyond the bounds sit at the ends."""
        start, end = self._ends
        inside = np.clip(values, self.lower, self.upper)
        return np.clip((self.warp(inside) - start) / (end - start), 0.0, 1.0)

    def to_value(self, units: np.ndarray) -> np.ndarray:
        """The value at each place of [0, 1], n; 0 and 1 give the bounds themselves, to the bit."""
        start, end = self._ends
        values = np.clip(self.unwarp(start + units * (end - start)), self.lower, self.upper)
        return np.where(units <= 0.0, self.lower, np.where(units >= 1.0, self.upper, values))


class LinearAxis(Axis):
    """Even in x."""

    def warp(self, values: np.ndarray) -> np.ndarray:
        return values

    def unwarp(self, coordinates: np.ndarray) -> np.ndarray:
        return coordinates

    def slope(self, value: float) -> float:
        return 1.0


class LogAxis(Axis):
    """Even in log x, for 0 < x."""

    def warp(self, values: np.ndarray) -> np.ndarray:
        return np.log(values)

    def unwarp(self, coordinates: np.ndarray) -> np.ndarray:
        return np.exp(coordinates)

    def slope(self, value: float) -> float:
        return 1.0 / value


class ReverseLogAxis(Axis):
    """Even in -log(1 - x), for 0 <= x < 1: fine near 1, where a momentum or a discount factor wants it."""

    def warp(self, values: np.ndarray) -> np.ndarray:
        return -np.log1p(-values)

    def unwarp(self, coordinates: np.ndarray) -> np.ndarray:
        return -np.expm1(-coordinates)

    def slope(self, value: float) -> float:
        return 1.0 / (1.0 - value)


@dataclass(frozen=True)
class NormalAxis(Axis):
    """Even in the normal distribution function, so that uniform units give normal values."""

    mean: float
    sd: float

    def warp(self, values: np.ndarray) -> np.ndarray:
        scores = (np.asarray(values) - self.mean) / self.sd
        return np.asarray(0.5 * _erfc(-scores / math.sqrt(2.0)), dtype=float)

    def unwarp(self, coordinates: np.ndarray) -> np.ndarray:
        return self.mean + self.sd * np.asarray(_inverse_cdf(coordinates), dtype=float)

    def slope(self, value: float) -> float:
        return _STANDARD.pdf(0.0) / self.sd
