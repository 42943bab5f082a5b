"""The search space: a user's dictionary of domains, checked, and what can be asked of it without encoding."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Hashable, Mapping
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np

from raytune_gp.errors import SpaceError
from raytune_gp.naming import suggestion
from raytune_gp.space.base import Domain
from raytune_gp.space.choices import GridAxis
from raytune_gp.space.codec import constant_from_json, constant_to_json, value_from_json, value_to_json
from raytune_gp.space.conditions import Condition
from raytune_gp.space.counting import count_configs
from raytune_gp.space.functions import SampleFrom, resolve_functions
from raytune_gp.space.plain import fresh, is_same, label
from raytune_gp.space.structure import Leaf, leaves_of, link

__all__ = ["Config", "SearchSpace"]

Config = dict[str, Any]


_READ_ONLY = frozenset(
    {"leaves", "conditions", "dimensions", "grid_axes", "domains", "sample_from", "constants"}
)


class SearchSpace:
    """What a run searches.

    Names are flat paths, such as "model/kind"; a *flat* config maps them to values, a config is nested as the
    user nested the space. Parameters whose conditions do not hold are absent from a config.

    Attributes:
        domains: what the searcher chooses.
        grid_axes: what the run goes through.
        dimensions: both of these, in the user's order.
        constants: values that every config has.
        sample_from: functions that are called once the rest is chosen.
        conditions: of each conditional parameter, the conditions that must all hold.
        order: all names, parents before children.
        leaves: the entries as the user wrote them, by flat name.
    """

    def __init__(self, config: Mapping[str, Any]):
        """Check the whole space.

        Raises:
            SpaceError: it names the parameter, what is wrong with it and what to do.
        """
        if not isinstance(config, Mapping):
            raise SpaceError(f"a search space is a dictionary of names and domains, not {config!r}")
        self.leaves: Mapping[str, Leaf] = MappingProxyType(leaves_of(config))
        self.order, conditions = link(self.leaves)
        self.conditions: Mapping[str, tuple[Condition, ...]] = MappingProxyType(conditions)
        values = {name: leaf.value for name, leaf in self.leaves.items()}
        self.dimensions: Mapping[str, Domain] = _only(values, Domain)
        self.grid_axes: Mapping[str, GridAxis] = _only(values, GridAxis)
        self.domains: Mapping[str, Domain] = MappingProxyType(
            {name: domain for name, domain in self.dimensions.items() if name not in self.grid_axes}
        )
        self.sample_from: Mapping[str, SampleFrom] = _only(values, SampleFrom)
        self.constants: Mapping[str, Any] = MappingProxyType(
            {name: leaf.value for name, leaf in self.leaves.items() if leaf.is_constant}
        )

    def __getstate__(self) -> dict[str, Any]:
        return {k: dict(v) if isinstance(v, MappingProxyType) else v for k, v in vars(self).items()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update({k: MappingProxyType(v) if k in _READ_ONLY else v for k, v in state.items()})

    # A config's two shapes

    def flat(self, config: Mapping[Any, Any], *, strict: bool = True) -> Config:
        """A nested config by flat names; a config that is flat already stays so.

        Raises:
            SpaceError: no dictionary, or a name that is not in the space, if `strict`; otherwise such names
                are left out.
        """
        _check_config(config)
        flat: Config = {}
        self._flatten(config, "", flat, strict)
        return flat

    def _flatten(self, node: Mapping[Any, Any], prefix: str, flat: Config, strict: bool) -> None:
        for key, value in node.items():
            name = f"{prefix}{key}"
            if name in self.leaves:
                flat[name] = value
            elif isinstance(value, Mapping):
                self._flatten(value, f"{name}/", flat, strict)
            elif strict:
                raise SpaceError(f"{name!r} is not in the search space{suggestion(name, self.leaves)}")

    def nested(self, flat: Mapping[str, Any]) -> Config:
        """The config of a flat one, nested as the space is and in its order; its lists are its own."""
        config: Config = {}
        for name, leaf in self.leaves.items():
            if name in flat:
                node = config
                for key in leaf.path[:-1]:
                    node = node.setdefault(key, {})
                node[leaf.path[-1]] = fresh(flat[name])
        return config

    def is_active(self, name: str, flat: Mapping[str, Any]) -> bool:
        """Whether all conditions of `name` hold, given a flat config without parents that do not exist."""
        return self._held(name, flat) is None

    def _held(self, name: str, flat: Mapping[str, Any]) -> Condition | None:
        """The first condition of `name` that does not hold."""
        for condition in self.conditions.get(name, ()):
            parent = condition.parent
            if parent not in flat or self.dimensions[parent].to_unit(flat[parent]) not in condition.units:
                return condition
        return None

    # Configs made

    def sample(self, rng: np.random.Generator) -> Config:
        """A random config, complete; grid axes are drawn too."""
        return self.complete({}, rng)

    def complete(self, config: Mapping[str, Any], rng: np.random.Generator) -> Config:
        """The partial `config` with what it lacks drawn at random; what it has stays as it is.

        Raises:
            SpaceError: as `validate`, and as `resolve`.
        """
        self.validate(config)
        flat = self.flat(config)
        for name in self.order:
            if name in self.dimensions and name not in flat and self.is_active(name, flat):
                flat[name] = self.dimensions[name].sample(rng)
        return self.resolve(flat, rng)

    def resolve(self, config: Mapping[str, Any], rng: np.random.Generator) -> Config:
        """What a searcher chose, with the constants and the results of `sample_from` filled in.

        Raises:
            SpaceError: see `resolve_functions`.
        """
        flat = self.flat(config)
        for name, value in self.constants.items():
            if name not in flat and self.is_active(name, flat):
                flat[name] = value
        wanted = {
            name: function
            for name, function in self.sample_from.items()
            if name not in flat and self.is_active(name, flat)
        }
        resolve_functions(wanted, flat, self.nested, rng)
        return self.nested(flat)

    def snap(self, config: Mapping[str, Any]) -> Config:
        """`config` with each value moved to the nearest that a searcher can propose; idempotent.

        Parameters that do not exist are dropped, missing ones take the middle, constants are filled in and
        `sample_from` results left out: exactly `Encoding.decode(Encoding.encode([config]))`.
        """
        given = self.flat(config, strict=False)
        flat: Config = {}
        for name in self.order:
            if not self.is_active(name, flat):
                continue
            if name in self.constants:
                flat[name] = self.constants[name]
            elif name in self.dimensions:
                flat[name] = self._snap_one(name, given)
        return self.nested(flat)

    def _snap_one(self, name: str, given: Mapping[str, Any]) -> Any:
        domain = self.dimensions[name]
        if name not in given:
            return domain.from_unit(0.5)
        try:
            return domain.snap(given[name])
        except SpaceError as error:
            raise SpaceError(f"{name!r}: {error}") from None

    def grid_cells(self) -> list[Config]:
        """The flat settings of the grid axes, the first axis slowest; one empty cell if there is no grid."""
        cells: dict[Hashable, Config] = {}
        for values in itertools.product(*(axis.choices for axis in self.grid_axes.values())):
            drawn = dict(zip(self.grid_axes, values, strict=True))
            cell: Config = {}
            for name in self.order:
                if name in drawn and self.is_active(name, cell):
                    cell[name] = drawn[name]
            cell = {name: cell[name] for name in self.grid_axes if name in cell}
            cells.setdefault(self.key(cell), cell)
        return list(cells.values())

    # Configs judged

    def validate(self, config: Mapping[str, Any], *, complete: bool = False) -> None:
        """Check a config, which may be partial, such as a user's guess, unless it is to be `complete`.

        Constants and `sample_from` results may be left out even then.

        Raises:
            SpaceError: a name that is not in the space, a value outside its domain, a constant that differs,
                a conditional parameter whose parent is missing or has another value, or something missing.
        """
        flat = self.flat(config)
        for name in self.order:
            if name not in flat:
                continue
            value = flat[name]
            if name in self.dimensions and not self.dimensions[name].contains(value):
                raise SpaceError(f"{name!r}: {value!r} is not in {self.dimensions[name]}")
            if name in self.constants and not is_same(value, self.constants[name]):
                raise SpaceError(
                    f"{name!r} is the constant {self.constants[name]!r}, not {value!r}; leave it out"
                )
            broken = self._held(name, flat)
            if broken is not None and broken.parent not in flat:
                raise SpaceError(f"{name!r} exists only where {broken}: give {broken.parent!r} too")
            if broken is not None:
                parent = flat[broken.parent]
                raise SpaceError(
                    f"{name!r} exists only where {broken}; here it is {parent!r}: leave {name!r} out"
                )
        if not complete:
            return
        missing = [n for n in self.dimensions if n not in flat and self.is_active(n, flat)]
        if missing:
            raise SpaceError(f"the config {config!r} lacks {', '.join(map(repr, missing))}: give all of it")

    def contains(self, config: Mapping[str, Any]) -> bool:
        """Whether this is a complete config; constants and `sample_from` results may be left out."""
        try:
            self.validate(config, complete=True)
        except SpaceError:
            return False
        return True

    def key(self, config: Mapping[str, Any]) -> Hashable:
        """The same for two configs exactly if no searcher can tell them apart: the places of their values."""
        given = self.flat(config, strict=False)
        flat: Config = {}
        units: dict[str, float] = {}
        for name in self.order:
            if name in self.dimensions and name in given and self.is_active(name, flat):
                flat[name] = given[name]
                units[name] = self.dimensions[name].to_unit(given[name])
        return tuple(units.get(name) for name in self.dimensions)

    # The space measured and described

    @cached_property
    def size(self) -> int | None:
        """How many configs a searcher can propose in one cell of the grid (in its largest); None: no end."""
        depends = any(c.parent in self.grid_axes for n in self.domains for c in self.conditions.get(n, ()))
        sizes = {self.size_in(cell) for cell in (self.grid_cells() if depends else [{}])}
        return None if None in sizes else max(size for size in sizes if size is not None)

    def size_in(self, cell: Mapping[str, Any]) -> int | None:
        """How many configs a searcher can propose in this (flat) cell of the grid; None: no end."""
        conditions = {c for name in self.domains for c in self.conditions.get(name, ())}
        held = frozenset(
            c
            for c in conditions
            if c.parent in cell and self.grid_axes[c.parent].to_unit(cell[c.parent]) in c.units
        )
        return count_configs(self.domains, self.conditions, held)

    def describe(self) -> dict[str, Any]:
        """The space as JSON, for the journal and the plots; the same in every process."""
        return {
            "dimensions": {
                name: {**domain.describe(), "grid": name in self.grid_axes}
                for name, domain in self.dimensions.items()
            },
            "grid_axes": list(self.grid_axes),
            "constants": {name: label(value) for name, value in self.constants.items()},
            "sample_from": {name: str(function) for name, function in self.sample_from.items()},
            "conditions": {
                name: [condition.describe() for condition in self.conditions[name]]
                for name in self.leaves
                if name in self.conditions
            },
            "size": self.size,
        }

    def fingerprint(self) -> str:
        """16 hexadecimal digits that change when the space does; the order of its names does not matter."""
        text = json.dumps(self.describe(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    # Configs in the journal

    def to_json(self, config: Mapping[str, Any]) -> Config:
        """The config as the journal keeps it, nested: floats to the bit, numpy scalars as Python's.

        A choice or constant that JSON cannot hold becomes `{"$choice": index, "repr": …}` or
        `{"$constant": true, "repr": …}`.

        Raises:
            SpaceError: a name that is not in the space, or another value that JSON cannot hold.
        """
        forms = {
            name: constant_to_json(value)
            if name in self.constants
            else value_to_json(name, self.dimensions.get(name), value)
            for name, value in self.flat(config).items()
        }
        return _with_text_keys(self.nested(forms))

    def from_json(self, form: Mapping[str, Any]) -> Config:
        """The config that `to_json` was given: choices and constants are those of this space, lists copied.

        Raises:
            SpaceError: a name, or an object known by its index or mark, that is not in this space.
        """
        values = {
            name: constant_from_json(name, self.constants[name], value)
            if name in self.constants
            else value_from_json(name, self.dimensions.get(name), value)
            for name, value in self.flat(form).items()
        }
        return self.nested(values)

    def __repr__(self) -> str:
        parts = {**self.dimensions, **self.constants, **self.sample_from}
        return f"SearchSpace({', '.join(f'{name}: {parts[name]}' for name in self.leaves)})"


def _check_config(config: object) -> None:
    if not isinstance(config, Mapping):
        raise SpaceError(f"a config is a dictionary of names and values, not {config!r}")


def _only(values: Mapping[str, Any], kind: type[Any]) -> Mapping[str, Any]:
    return MappingProxyType({name: value for name, value in values.items() if isinstance(value, kind)})


def _with_text_keys(node: Any) -> Any:
    """Nested levels with their keys as text, as JSON has them; forms at the leaves have text keys already."""
    return {str(k): _with_text_keys(v) for k, v in node.items()} if isinstance(node, dict) else node
