"""Values as plain JSON, as labels for people, and compared without surprises."""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

__all__ = ["NotPlainError", "as_plain", "fresh", "is_mark", "is_same", "label", "labels", "scalar", "unboxed"]


class NotPlainError(TypeError):
    """A value that JSON cannot hold."""


def as_plain(value: Any) -> Any:
    """The JSON form of `value`: numpy scalars become Python's, tuples lists; floats keep every bit.

    Raises:
        NotPlainError: it holds something else: a function, an enum member, NaN, a key that is no string.
    """
    value = unboxed(value)
    if value is None or type(value) in (bool, int, str):
        return value
    if type(value) is float and math.isfinite(value):
        return value
    if type(value) in (list, tuple):
        return [as_plain(item) for item in value]
    if type(value) is dict and all(type(key) is str for key in value):
        return {key: as_plain(item) for key, item in value.items()}
    raise NotPlainError(f"{value!r} is not JSON")


def fresh(value: Any) -> Any:
    """`value` with lists and dictionaries of its own, so that whoever gets it may change them."""
    if type(value) is list:
        return [fresh(item) for item in value]
    if type(value) is tuple:
        return tuple(fresh(item) for item in value)
    if type(value) is dict:
        return {key: fresh(item) for key, item in value.items()}
    return value


def unboxed(value: Any) -> Any:
    """A numpy scalar as the Python number, string or bool it stands for; anything else as it is."""
    return value.item() if isinstance(value, np.generic) else value


def scalar(value: Any) -> Any:
    """A scalar of NumPy or PyTorch, or an array of one, as Python's number; anything else as it is."""
    if hasattr(value, "item"):
        with contextlib.suppress(Exception):  # of many kinds: it holds more than one, or none
            return value.item()
    return value


def is_same(one: Any, other: Any) -> bool:
    """Whether two values are the same choice: equal or both NaN, and not True for 1 or False for 0."""
    if one is other or (type(one) is type(other) is float and math.isnan(one) and math.isnan(other)):
        return True
    if isinstance(one, bool | np.bool_) != isinstance(other, bool | np.bool_):
        return False
    try:
        return bool(one == other)
    except (TypeError, ValueError, ArithmeticError, RuntimeError):  # arrays and tensors compare by element
        return False


def is_mark(form: Any) -> bool:
    """Whether a JSON form stands for a value that JSON cannot hold, whose label it has as `repr`."""
    return isinstance(form, Mapping) and set(form) in ({"$choice", "repr"}, {"$constant", "repr"})


def label(value: Any) -> str:
    """A short name for a value, the same in every process: no memory addresses.

    The JSON form of a value has the label of the value itself, so readers of a journal need no search space.
    """
    if isinstance(value, str):
        return str(value)
    if is_mark(value):
        return str(value["repr"])
    try:
        return json.dumps(as_plain(value))
    except NotPlainError:
        pass
    qualified = getattr(value, "__qualname__", None)
    if qualified is not None:
        return f"{getattr(value, '__module__', '')}.{qualified}".lstrip(".")
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))


def labels(values: Iterable[Any]) -> list[str]:
    """The label of each value, numbered where two are alike (two lambdas, or 1 and "1")."""
    counts: dict[str, int] = {}
    named = []
    for value in values:
        text = label(value)
        counts[text] = counts.get(text, 0) + 1
        named.append(text if counts[text] == 1 else f"{text} ({counts[text]})")
    return named
