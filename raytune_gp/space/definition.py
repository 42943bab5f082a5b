"""A search space as JSON from which it is made again, to derive a run's suggestions from its journal.

`SearchSpace.describe` is for readers, and its fingerprint must not change; this is for programs. What JSON
cannot hold is kept as a mark: an object among choices or constants comes back as a stand-in, which a searcher
cannot tell from it, and a function as one that returns None.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from raytune_gp.errors import SpaceError
from raytune_gp.space.base import Domain
from raytune_gp.space.choices import Choice, GridAxis
from raytune_gp.space.codec import constant_to_json
from raytune_gp.space.conditions import When
from raytune_gp.space.functions import SampleFrom
from raytune_gp.space.numeric import Float, Integer, Normal
from raytune_gp.space.plain import NotPlainError, as_plain, is_mark
from raytune_gp.space.search_space import SearchSpace
from raytune_gp.space.structure import Leaf, flat_name

__all__ = ["definition", "space_of"]

_NUMBERS: Mapping[str, tuple[type[Domain], tuple[str, ...]]] = {
    "float": (Float, ("lower", "upper", "scale", "q")),
    "integer": (Integer, ("lower", "upper", "q", "log")),
    "normal": (Normal, ("mean", "sd", "q")),
}
_LISTS: Mapping[str, type[Choice]] = {"choice": Choice, "grid": GridAxis}


class _StandIn:
    """In place of an object that JSON cannot hold, with its label; equal to nothing but itself."""

    def __init__(self, text: str):
        self._text = text

    def __repr__(self) -> str:
        return self._text


def definition(space: SearchSpace) -> dict[str, Any]:
    """`{"leaves": […]}`, or `{"missing": why}` for a space that JSON cannot hold."""
    try:
        return {"leaves": [_form(leaf, space) for leaf in space.leaves.values()]}
    except (NotPlainError, SpaceError) as error:
        return {"missing": str(error)}


def space_of(form: Mapping[str, Any]) -> SearchSpace:
    """The space that `definition` was given, but for stand-ins. Raises SpaceError where it said `missing`."""
    if "leaves" not in form:
        raise SpaceError(f"the search space cannot be made again: {form.get('missing', 'it was not kept')}")
    leaves = form["leaves"]
    values = {flat_name(leaf["path"]): _value(leaf) for leaf in leaves}
    config: dict[Any, Any] = {}
    for leaf in leaves:
        value = values[flat_name(leaf["path"])]
        for parent, kept in reversed(leaf["when"]):
            value = When(parent, _parent_values(values[parent], kept), value)
        node = config
        for key in leaf["path"][:-1]:
            node = node.setdefault(key, {})
        node[leaf["path"][-1]] = value
    return SearchSpace(config)


def _form(leaf: Leaf, space: SearchSpace) -> dict[str, Any]:
    whens = [[when.parent, _kept(when, space)] for when in leaf.whens]
    if not all(isinstance(key, str | int | float | bool | None) for key in leaf.path):
        raise SpaceError(f"{leaf.name!r} has a key that JSON cannot hold")
    return {"path": as_plain(list(leaf.path)), "when": whens, **_content(leaf.value)}


def _kept(when: When, space: SearchSpace) -> list[Any] | None:
    """The values of the parent that a condition accepts; None for a parent that is a constant."""
    parent = space.dimensions.get(when.parent)
    if parent is None:
        return None
    if isinstance(parent, Choice):
        return [parent.to_json(value) for value in when.values]
    return [as_plain(value) for value in when.values]


def _parent_values(parent: Any, kept: list[Any] | None) -> tuple[Any, ...]:
    if kept is None:
        return (parent,)
    return tuple(parent.from_json(form) if isinstance(parent, Choice) else form for form in kept)


def _content(value: Any) -> dict[str, Any]:
    for name, (kind, fields) in _NUMBERS.items():
        if type(value) is kind:
            return {name: [as_plain(getattr(value, field)) for field in fields]}
    for name, listed in _LISTS.items():
        if type(value) is listed:
            return {name: [value.to_json(choice) for choice in value.choices]}
    if isinstance(value, SampleFrom):
        return {"function": str(value)}
    if isinstance(value, Domain):
        raise SpaceError(f"{value} is a domain of another origin")
    return {"constant": constant_to_json(value)}


def _value(leaf: Mapping[str, Any]) -> Any:
    for name, (kind, _) in _NUMBERS.items():
        if name in leaf:
            return kind(*leaf[name])
    for name, listed in _LISTS.items():
        if name in leaf:
            return listed(tuple(_restored(form) for form in leaf[name]))
    return SampleFrom(_nothing) if "function" in leaf else _restored(leaf["constant"])


def _nothing() -> None:
    """In place of a user's function."""


def _restored(form: Any) -> Any:
    return _StandIn(form["repr"]) if is_mark(form) else form
