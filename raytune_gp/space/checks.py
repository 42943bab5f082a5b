"""Checks of numbers that users give: finite, whole, and a quantum that fits its range."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any, TypeGuard

import numpy as np

from raytune_gp.errors import SpaceError
from raytune_gp.space.base import Domain

__all__ = ["MOST_LEVELS", "check_quantum", "finite", "is_finite_number", "to_floats", "whole"]

MOST_LEVELS = 2**40
"""More values than this and neighbours could no longer be told apart by their places in [0, 1]."""

LARGEST_INTEGER = 2**53
"""The largest integer up to which floats hold every one."""


def check_quantum(q: float, width: float, domain: Domain) -> None:
    """Raise SpaceError unless 0 < q <= width, and not too many multiples of q fit."""
    if q <= 0:
        raise SpaceError(f"{domain}: q must be above 0, not {q!r}")
    if q > width * (1 + 1e-9):  # 0.4 - 0.3 is a little less than 0.1
        raise SpaceError(f"{domain}: q = {q:g} is larger than the range, {width:g}; choose a smaller q")
    if width / q >= MOST_LEVELS:
        raise SpaceError(f"{domain}: a searcher tells at most 2**40 values apart; raise q, or drop it")


def is_finite_number(value: object) -> TypeGuard[float]:
    """Whether it is a finite real number; True and False are no numbers here."""
    if not isinstance(value, Real) or isinstance(value, bool | np.bool_):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond the largest float
        return False


def finite(name: str, value: object, domain: Domain) -> float:
    """`value` as a float; SpaceError, with the parameter's name and the domain, unless it is finite."""
    if not is_finite_number(value):
        raise SpaceError(f"{domain}: {name} must be a finite number, not {value!r}")
    return float(value)


def whole(name: str, value: object, domain: Domain) -> int:
    """`value` as an int; SpaceError, with the parameter's name and the domain, unless it is whole."""
    if not is_finite_number(value) or value % 1 != 0:
        raise SpaceError(f"{domain}: {name} must be a whole number, not {value!r}; or use a domain of floats")
    if abs(value) > LARGEST_INTEGER:
        raise SpaceError(f"{domain}: {name} = {value!r} is beyond 2**53, where floats skip integers")
    return int(value)


def to_floats(values: Sequence[Any], domain: Domain) -> np.ndarray:
    """The values as float64, n.

    Raises:
        SpaceError: one of them is not a finite number.
    """
    try:
        numbers = np.asarray(values, dtype=float)
    except (TypeError, ValueError, OverflowError):
        numbers = np.array([np.nan])
    if not np.isfinite(numbers).all():
        wrong = next((value for value in values if not is_finite_number(value)), values)
        raise SpaceError(f"{wrong!r} has no place in {domain}: it takes finite numbers only")
    return numbers
