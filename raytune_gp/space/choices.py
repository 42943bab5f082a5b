"""Domains of listed values: a choice that a searcher makes, and a grid axis that every run goes through."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, MappingView, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from raytune_gp.errors import SpaceError
from raytune_gp.space.base import Domain
from raytune_gp.space.plain import NotPlainError, as_plain, is_same, labels, unboxed

__all__ = ["Choice", "GridAxis", "listed"]

_FEWEST_ORDERED = 3  # of two numbers either is next to the other


def listed(values: object, what: str) -> tuple[Any, ...]:
    """The values of a list, tuple, range, array or a dictionary's keys, numpy scalars as Python's.

    Raises:
        SpaceError: `values` is a string, mapping, set or no collection at all.
    """
    if isinstance(values, Set) and not isinstance(values, MappingView):
        raise SpaceError(f"{what} got a set, whose order changes from process to process; give a list")
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise SpaceError(f"{what} needs a list of values, not {values!r}")
    return tuple(unboxed(value) for value in values)


@dataclass(frozen=True)
class Choice(Domain):
    """One of k values of any type, each in its kth of [0, 1]: in the order given, or in that of its numbers.

    Three finite numbers or more are ordered, whatever the order in which they are listed: `choice([16, 32,
    64])` is searched as a scale of three steps. How far apart they are plays no part. Anything else is as
    unlike one choice as another.
    """

    kind = "categorical"
    name = "choice"

    choices: tuple[Any, ...]

    def __post_init__(self) -> None:
        values = listed(self.choices, self.name)
        if not values:
            raise SpaceError(f"{self.name}([]) has nothing to choose from: give at least one value")
        hashed: set[Any] = set()
        others: list[Any] = []
        for position, value in enumerate(values):
            if isinstance(value, Domain):
                raise SpaceError(
                    f"{self.name} lists the domain {value}, which nothing would draw from: give a "
                    f"hyperparameter of its own to it, in tune.when if it exists only now and then"
                )
            hashable = _is_hashable(value)
            listed_before = hashable and _key(value) in hashed
            if listed_before or any(is_same(value, v) for v in (others if hashable else values[:position])):
                raise SpaceError(f"{self.name}: {value!r} is listed twice; leave one out")
            if hashable:
                hashed.add(_key(value))
            else:
                others.append(value)
        object.__setattr__(self, "choices", values)

    @property
    def size(self) -> int:
        return len(self.choices)

    @cached_property
    def labels(self) -> list[str]:
        """A name for each choice, unlike the others and the same in every process."""
        return labels(self.choices)

    @cached_property
    def is_ordered(self) -> bool:
        """Whether the choices are numbers, enough of them for their order to say something."""
        return self.size >= _FEWEST_ORDERED and all(map(_is_finite_number, self.choices))

    @cached_property
    def positions(self) -> np.ndarray:
        """The place of each choice in [0, 1], k."""
        return (np.argsort(self._by_place) + 0.5) / self.size

    @cached_property
    def _by_place(self) -> np.ndarray:
        """The index of the choice at each place, from the lowest."""
        return np.argsort(self.choices) if self.is_ordered else np.arange(self.size)

    def places(self, indices: np.ndarray) -> np.ndarray:
        return self.positions[indices]

    def levels(self) -> list[Any]:
        return list(self.choices)

    def contains(self, value: object) -> bool:
        return self._find(value) is not None

    def index(self, value: object) -> int:
        """The number of this choice, from 0.

        Raises:
            SpaceError: it is none of the choices.
        """
        found = self._find(value)
        if found is None:
            raise SpaceError(f"{value!r} is none of {self}")
        return found

    def exact(self, value: Any) -> Any:
        return self.choices[self.index(value)]

    def encode(self, values: Sequence[Any]) -> np.ndarray:
        return self.positions[np.array([self.index(value) for value in values], dtype=int)]

    def decode(self, units: np.ndarray) -> list[Any]:
        return [self.choices[index] for index in self._indices(units)]

    def snap_units(self, units: np.ndarray) -> np.ndarray:
        return self.positions[self._indices(units)]

    def _indices(self, units: np.ndarray) -> np.ndarray:
        places = np.clip(np.floor(np.asarray(units) * self.size), 0, self.size - 1)
        return self._by_place[places.astype(int)]

    @cached_property
    def _lookup(self) -> dict[Any, int]:
        """The index of each hashable choice by its key."""
        return {_key(v): i for i, v in enumerate(self.choices) if _is_hashable(v)}

    def _find(self, value: Any) -> int | None:
        value = unboxed(value)
        try:
            found = self._lookup.get(_key(value))
        except TypeError:  # unhashable, such as a list
            found = None
        if found is not None:
            return found
        return next((i for i, own in enumerate(self.choices) if is_same(own, value)), None)

    def to_json(self, value: object) -> Any:
        """The JSON form of a choice; one that JSON cannot hold is known by its index.

        Raises:
            SpaceError: none of the choices, and not JSON either.
        """
        index = self._find(value)
        if index is None:
            try:
                return as_plain(value)
            except NotPlainError:
                raise SpaceError(f"{value!r} is none of {self}") from None
        return self._forms[index]

    def from_json(self, form: Any) -> Any:
        """The very object that `to_json` was given.

        Raises:
            SpaceError: the index of a choice that is no more.
        """
        if isinstance(form, dict) and set(form) == {"$choice", "repr"}:
            if not 0 <= form["$choice"] < self.size:
                raise SpaceError(f"{form['repr']!r}, choice {form['$choice']}, is none of {self} any more")
            return self.choices[form["$choice"]]
        index = self._texts.get(json.dumps(form, sort_keys=True))
        return form if index is None else self.choices[index]

    @cached_property
    def _forms(self) -> list[Any]:
        forms: list[Any] = []
        seen: set[str] = set()
        for index, value in enumerate(self.choices):
            mark = {"$choice": index, "repr": self.labels[index]}
            try:
                form = as_plain(value)
            except NotPlainError:
                form = mark
            text = json.dumps(form, sort_keys=True)
            forms.append(mark if text in seen else form)  # (1, 2) after [1, 2]
            seen.add(text)
        return forms

    @cached_property
    def _texts(self) -> dict[str, int]:
        return {json.dumps(form, sort_keys=True): index for index, form in enumerate(self._forms)}

    def describe(self) -> dict[str, Any]:
        return {
            "domain": str(self),
            "kind": self.kind,
            "choices": self.labels,
            "log": False,
            "size": self.size,
        }

    def __str__(self) -> str:
        shown = ", ".join(self.labels[:8]) + (", …" if self.size > 8 else "")
        return f"{self.name}([{shown}])"


@dataclass(frozen=True)
class GridAxis(Choice):
    """Values that the run goes through one by one."""

    name = "grid_search"


def _is_finite_number(value: object) -> bool:
    return type(value) is int or (type(value) is float and math.isfinite(value))


def _key(value: Any) -> tuple[bool, Any]:
    """What tells hashable choices apart: True from 1 too, and no NaN from another."""
    is_nan = type(value) is float and math.isnan(value)
    return type(value) is bool, math.nan if is_nan else value


def _is_hashable(value: object) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True
