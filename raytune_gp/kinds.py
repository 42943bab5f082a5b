"""Whether the fields of a record that came out of a journal are of the kinds that its class says."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from operator import attrgetter
from typing import Any, Union, get_args, get_origin, get_type_hints

__all__ = ["check_fields"]

_LISTS = (list, tuple)
_ANY: tuple[type, ...] = ()


def check_fields(record: Any) -> None:
    """Raise TypeError where a field of the dataclass `record` is not of its kind; lists are looked into."""
    known = _kinds_of(type(record))  # type: ignore[arg-type]
    values = known.values(record)
    if tuple(map(type, values)) in known.sound:
        return
    has_lists = False
    for (name, kinds, items), value in zip(known.fields, values, strict=True):
        ok = not kinds or type(value) in kinds
        if items and type(value) in _LISTS:
            has_lists = True
            ok = ok and all(type(item) in items for item in value)
        if not ok:
            wanted = " or ".join(sorted("None" if k is types.NoneType else k.__name__ for k in kinds))
            raise TypeError(f"{name} is {value!r:.100}, and not of the type {wanted}")
    if not has_lists:
        known.sound.add(tuple(map(type, values)))


@dataclass(frozen=True)
class _Fields:
    """Of a class: its fields with the types of each and of its items (none: anything), and how to read them.

    `sound` are combinations of types that were found in order: a restart checks millions of records.
    """

    fields: Sequence[tuple[str, frozenset[type], frozenset[type]]]
    values: Callable[[Any], tuple[Any, ...]]
    sound: set[tuple[type, ...]] = field(default_factory=set)


@cache
def _kinds_of(record: type[Any]) -> _Fields:
    hints = {n: h for n, h in get_type_hints(record).items() if n in record.__dataclass_fields__}
    found = [(name, frozenset(_kinds(hint)), frozenset(_items(hint))) for name, hint in hints.items()]
    read: Callable[[Any], Any] = attrgetter(*hints)
    return _Fields(found, read if len(hints) > 1 else lambda record: (read(record),))


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
