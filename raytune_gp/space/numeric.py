"""Domains of numbers: floats on a linear, logarithmic, reverse-logarithmic or normal axis, and integers."""

from __future__ import annotations

import math
import sys
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Any, Literal, TypeGuard

import numpy as np

from raytune_gp.errors import SpaceError
from raytune_gp.space.axes import TAIL, Axis, LinearAxis, LogAxis, NormalAxis, ReverseLogAxis
from raytune_gp.space.base import Domain
from raytune_gp.space.checks import MOST_LEVELS, check_quantum, finite, is_finite_number, to_floats, whole

__all__ = ["Float", "Integer", "Normal", "Scale"]

Scale = Literal["linear", "log", "reverse_log"]

_AXES: dict[str, type[Axis]] = {"linear": LinearAxis, "log": LogAxis, "reverse_log": ReverseLogAxis}
_FLOAT_NAMES = {"linear": "uniform", "log": "loguniform", "reverse_log": "reverse_loguniform"}


class _Floats(Domain):
    """What bounded and normal floats share: an axis, and perhaps a q whose multiples are the values."""

    kind = "float"

    q: float | None

    @cached_property
    @abstractmethod
    def axis(self) -> Axis:
        """The map between this domain's numbers and [0, 1]."""

    @cached_property
    def _span(self) -> tuple[int, int]:
        """The first and the last multiple of q that rounding can reach."""
        assert self.q is not None
        return round(self.axis.lower / self.q), round(self.axis.upper / self.q)

    @property
    def size(self) -> int | None:
        return None if self.q is None else self._span[1] - self._span[0] + 1

    def places(self, indices: np.ndarray) -> np.ndarray:
        return self.axis.to_unit(self._multiples(self._span[0] + indices))

    def levels(self) -> list[float]:
        return self._multiples(np.arange(self._span[0], self._span[1] + 1, dtype=float)).tolist()

    def contains(self, value: object) -> TypeGuard[float]:
        if not is_finite_number(value):
            return False
        if self.q is None:
            return True
        return _is_whole(float(value) / self.q)

    def encode(self, values: Sequence[Any]) -> np.ndarray:
        numbers = to_floats(values, self)
        if self.q is None:
            return self._to_lattice(self.axis.to_unit(numbers))
        return self.axis.to_unit(self._multiples(np.rint(numbers / self.q)))

    def decode(self, units: np.ndarray) -> list[float]:
        return self._values(units).tolist()

    def snap_units(self, units: np.ndarray) -> np.ndarray:
        return self._to_lattice(units) if self.q is None else self.axis.to_unit(self._values(units))

    def _make_finite(self, *names: str) -> None:
        """Make the fields `names` and `q`, if given, finite floats. Raises SpaceError where one cannot be."""
        for name in names if self.q is None else (*names, "q"):
            object.__setattr__(self, name, finite(name, getattr(self, name), self))

    def _values(self, units: np.ndarray) -> np.ndarray:
        if self.q is None:
            return self.axis.to_value(self._to_lattice(units))
        return self._multiples(np.rint(self.axis.to_value(np.clip(units, 0.0, 1.0)) / self.q))

    def _to_lattice(self, units: np.ndarray) -> np.ndarray:
        # Multiples of the axis' step come back unchanged from exp(log(x)); arbitrary floats do not.
        return np.rint(np.clip(units, 0.0, 1.0) / self.axis.step) * self.axis.step

    def _multiples(self, counts: np.ndarray) -> np.ndarray:
        """counts x q, n, within the span; rounded as q is, for 3 x 0.1 is 0.30000000000000004."""
        assert self.q is not None
        values = np.clip(counts, *self._span) * self.q
        decimals = max(0, -int(Decimal(repr(self.q)).as_tuple().exponent))
        return np.round(values, decimals) + 0.0 if decimals <= 12 else values


@dataclass(frozen=True)
class Float(_Floats):
    """Floats from lower to upper, both included; with q only its multiples."""

    lower: float
    upper: float
    scale: Scale = "linear"
    q: float | None = None

    def __post_init__(self) -> None:
        self._make_finite("lower", "upper")
        self._check_bounds()
        if self.q is None:
            _check_resolution(self)
        else:
            self._check_quantum(self.q)

    def _check_bounds(self) -> None:
        if not self.lower < self.upper:
            raise SpaceError(
                f"{self}: lower must be below upper; swap them, or write a constant for one value"
            )
        if not math.isfinite(self.upper - self.lower):
            raise SpaceError(f"{self}: the range is wider than a float can hold; use narrower bounds")
        if self.scale == "log" and self.lower <= 0:
            raise SpaceError(
                f"{self}: a logarithmic range must start above 0, not at {self.lower:g}; "
                "raise lower, or use a linear range"
            )
        if self.scale == "reverse_log" and not 0 <= self.lower < self.upper < 1:
            raise SpaceError(f"{self}: a reverse-logarithmic range must lie in 0 <= x < 1; change the bounds")

    def _check_quantum(self, q: float) -> None:
        check_quantum(q, self.upper - self.lower, self)
        for name, bound in (("lower", self.lower), ("upper", self.upper)):
            if not _is_whole(bound / q):
                nearest = round(bound / q) * q
                raise SpaceError(f"{self}: {name} must be a multiple of q; take {nearest:.10g}, or another q")

    @cached_property
    def axis(self) -> Axis:
        return _AXES[self.scale](self.lower, self.upper)

    def contains(self, value: object) -> TypeGuard[float]:
        if not super().contains(value):
            return False
        slack = 0.0 if self.q is None else 1e-9 * self.q
        return self.lower - slack <= float(value) <= self.upper + slack

    def describe(self) -> dict[str, Any]:
        return _describe(self, self.lower, self.upper, self.scale, self.q)

    def __str__(self) -> str:
        return _call(_FLOAT_NAMES[self.scale], self.q, self.lower, self.upper)


@dataclass(frozen=True)
class Normal(_Floats):
    """Normal floats; any finite number belongs, searchers stay within six standard deviations."""

    mean: float = 0.0
    sd: float = 1.0
    q: float | None = None

    def __post_init__(self) -> None:
        self._make_finite("mean", "sd")
        if self.sd <= 0:
            raise SpaceError(f"{self}: sd must be above 0; write a constant for one value")
        if not math.isfinite(abs(self.mean) + 2 * TAIL * self.sd):
            raise SpaceError(f"{self}: the range is wider than a float can hold; use a smaller mean or sd")
        _check_resolution(self)
        if self.q is not None:
            check_quantum(self.q, 2 * TAIL * self.sd, self)
            if self.q < 1e-5 * self.sd:
                raise SpaceError(f"{self}: q must be at least sd / 100000 = {1e-5 * self.sd:g}; or use randn")

    @cached_property
    def axis(self) -> Axis:
        return NormalAxis(self.mean - TAIL * self.sd, self.mean + TAIL * self.sd, self.mean, self.sd)

    def describe(self) -> dict[str, Any]:
        return {**_describe(self, None, None, "normal", self.q), "mean": self.mean, "sd": self.sd}

    def __str__(self) -> str:
        return _call("randn", self.q, self.mean, self.sd)


@dataclass(frozen=True)
class Integer(Domain):
    """The multiples of q from lower to upper; upper is left out if q is 1, as in Ray.

    Multiple k owns the units of [k, k + 1) on the axis, for Ray rounds down, and sits in their middle.
    """

    kind = "int"

    lower: int
    upper: int
    q: int = 1
    log: bool = False

    def __post_init__(self) -> None:
        for name in ("lower", "upper", "q"):
            object.__setattr__(self, name, whole(name, getattr(self, name), self))
        if not self.lower < self.upper:
            hint = "; upper is exclusive" if self.q == 1 else ""
            raise SpaceError(f"{self}: lower must be below upper{hint}; swap them, or write a constant")
        if self.log and self.lower <= 0:
            raise SpaceError(
                f"{self}: a logarithmic range must start above 0, not at {self.lower}; "
                "raise lower, or use a linear range"
            )
        if self.q != 1:
            check_quantum(self.q, self.upper - self.lower, self)
        first, last = self._span
        if last - first >= MOST_LEVELS or (self.log and last >= MOST_LEVELS):
            remedy = "narrow the range, or use qrandint" if self.q == 1 else "lower upper, or raise q"
            raise SpaceError(f"{self}: a searcher tells at most 2**40 values apart; {remedy}")

    @cached_property
    def _span(self) -> tuple[int, int]:
        """The first and the last multiple of q that belong; there is one, for q is at most the range."""
        last = self.upper - 1 if self.q == 1 else self.upper // self.q
        return -(-self.lower // self.q), last

    @cached_property
    def _axis(self) -> tuple[Axis, int]:
        """An axis of multiples, and what to add to its values; it starts at 0 if linear, to stay exact."""
        first, last = self._span
        if self.log:
            return LogAxis(first, last + 1), 0
        return LinearAxis(0, last - first + 1), first

    @property
    def size(self) -> int:
        return self._span[1] - self._span[0] + 1

    def places(self, indices: np.ndarray) -> np.ndarray:
        return self._places(self._span[0] + indices)

    def levels(self) -> list[int]:
        return [multiple * self.q for multiple in range(self._span[0], self._span[1] + 1)]

    def contains(self, value: object) -> bool:
        if not is_finite_number(value) or value % 1 != 0 or value % self.q != 0:
            return False
        return self._span[0] * self.q <= value <= self._span[1] * self.q

    def exact(self, value: Any) -> int:
        return int(value)

    def encode(self, values: Sequence[Any]) -> np.ndarray:
        return self._places(np.clip(np.rint(to_floats(values, self) / self.q), *self._span))

    def decode(self, units: np.ndarray) -> list[int]:
        return (self._multiples(units).astype(np.int64) * self.q).tolist()

    def snap_units(self, units: np.ndarray) -> np.ndarray:
        return self._places(self._multiples(units))

    def _multiples(self, units: np.ndarray) -> np.ndarray:
        axis, offset = self._axis
        return np.clip(np.floor(axis.to_value(np.clip(units, 0.0, 1.0))) + offset, *self._span)

    def _places(self, multiples: np.ndarray) -> np.ndarray:
        axis, offset = self._axis
        return 0.5 * (axis.to_unit(multiples - offset) + axis.to_unit(multiples - offset + 1))

    def describe(self) -> dict[str, Any]:
        first, last = self._span
        return _describe(self, first * self.q, last * self.q, "log" if self.log else "linear", self.q)

    def __str__(self) -> str:
        name = "lograndint" if self.log else "randint"
        return _call(name, None if self.q is None or str(self.q) == "1" else self.q, self.lower, self.upper)


def _call(name: str, q: float | None, *arguments: float) -> str:
    """The call that makes this domain, for messages: `quniform(0, 1, 0.1)`."""
    shown = [f"{a:g}" if isinstance(a, float) and float(f"{a:g}") == a else repr(a) for a in (*arguments, q)]
    return f"{name}({', '.join(shown[:-1])})" if q is None else f"q{name}({', '.join(shown)})"


def _describe(
    domain: Domain, lower: float | None, upper: float | None, scale: str, q: float | None
) -> dict[str, Any]:
    return {
        "domain": str(domain),
        "kind": domain.kind,
        "lower": lower,
        "upper": upper,
        "scale": scale,
        "log": scale == "log",
        "q": q,
        "size": domain.size,
    }


def _check_resolution(domain: Float | Normal) -> None:
    """Raise SpaceError where the axis is too narrow for floats; the axis itself does not know whose it is."""
    try:
        _ = domain.axis.step
    except SpaceError as error:
        raise SpaceError(f"{domain}: {error}") from None


def _is_whole(multiple: float) -> bool:
    """Whether a quotient of floats is a whole number but for its rounding."""
    return math.isclose(multiple, round(multiple), rel_tol=4 * sys.float_info.epsilon, abs_tol=1e-9)
