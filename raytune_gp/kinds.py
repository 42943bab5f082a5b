"""Whether the fields of a record that came out of a journal are of the kinds that its class says."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Union, get_args, get_origin, get_type_hints

__all__ = ["check_fields"]


def check_fields(record: Any) -> None:
    """Raise TypeError where a field of the dataclass `record` is not of its kind; lists are looked into."""
    for name, kinds, items in _kinds_of(type(record)):  # type: ignore[arg-type]
        value = getattr(record, name)
        kind = type(value)
        if kind not in kinds:
            raise TypeError(f"{name} is {value!r:.100}")
        if items and kind in _LISTS and not all(type(item) in items for item in value):
            raise TypeError(f"{name} is {value!r:.100}")


_LISTS = (list, tuple)
_ANY: tuple[type, ...] = ()


@cache
def _kinds_of(record: type[Any]) -> list[tuple[str, frozenset[type], frozenset[type]]]:
    """The fields of a class, with the types of each and of its items; what may be anything left out."""
    hints = {n: h for n, h in get_type_hints(record).items() if n in record.__dataclass_fields__}
    found = [(name, frozenset(_kinds(hint)), frozenset(_items(hint))) for name, hint in hints.items()]
    return [(name, kinds, items) for name, kinds, items in found if kinds]


def _kinds(hint: Any) -> tuple[type, ...]:
    """The types that JSON gives a value of this hint; none where it may be anything."""
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return tuple(kind for part in get_args(hint) for kind in _kinds(part))
    if hint is Any:
        return _ANY
    if hint is float:
        return (float, int)
    if origin in (Mapping, dict):
        return (dict,)
    if origin in (Sequence, tuple, list):
        return _LISTS
    return (hint,) if isinstance(hint, type) else _ANY


def _items(hint: Any) -> tuple[type, ...]:
    """The types that the items of a list may have; none where they may be anything."""
    for part in (hint, *get_args(hint)):
        if get_origin(part) in (Sequence, tuple, list):
            return _kinds(get_args(part)[0])
    return _ANY
