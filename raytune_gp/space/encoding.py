"""Encoding: configs to points of the unit cube, and back."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from raytune_gp.errors import SpaceError
from raytune_gp.naming import suggestion
from raytune_gp.space.base import Domain, Kind
from raytune_gp.space.choices import Choice
from raytune_gp.space.search_space import Config, SearchSpace

__all__ = ["Dimension", "Encoding"]

CENTRE = 0.5
"""Where parameters that do not exist in a config are put."""


@dataclass(frozen=True)
class Dimension:
    """One column of the unit cube.

    Attributes:
        name: the flat path of the parameter.
        kind: "float", "int", "ordinal" (a choice of numbers) or "categorical".
        levels: how many values it has; None where they are a continuum.
        grid: the places of all values, ascending; None where they are more than 1,024.
    """

    name: str
    kind: Kind | Literal["ordinal"]
    levels: int | None
    grid: np.ndarray | None


class Encoding:
    """A column of [0, 1] for each dimension of a space: what the searcher chooses, and the grid axes.

    A choice has the ith kth of its column; numbers sit on their axis, logarithmic where the domain is. Points
    drawn uniformly from the cube decode to configs with the distributions that the domains' names say.

    Attributes:
        dimensions: d of them, in the space's order.
        free: d flags, False for grid axes, which no searcher moves.
    """

    def __init__(self, space: SearchSpace):
        self.space = space
        self._names = list(space.dimensions)
        self._domains: list[Domain] = list(space.dimensions.values())
        self.dimensions = tuple(_dimension(name, domain) for name, domain in space.dimensions.items())
        self.free = np.array([name not in space.grid_axes for name in self._names], dtype=bool)
        self._column = {name: column for column, name in enumerate(self._names)}

    def encode(self, configs: Sequence[Mapping[str, Any]]) -> np.ndarray:
        """The point of each config, n x d; parameters that it lacks or that cannot exist in it at the centre.

        Values beyond a domain's bounds sit at its ends, and names unknown to the space are ignored, so that
        observations of a run with another space serve too.

        Raises:
            SpaceError: a value that is no number where one is needed, or an unknown choice.
        """
        return self.place(configs)[0]

    def active(self, configs: Sequence[Mapping[str, Any]]) -> np.ndarray:
        """Which parameters each config has, and its conditions allow, n x d flags."""
        return self.place(configs)[1]

    @staticmethod
    def keys(points: np.ndarray, active: np.ndarray) -> list[Hashable]:
        """`SearchSpace.key` of each config, from what `place` says of it."""
        values = points.astype(object)
        values[~active] = None
        return list(map(tuple, values.tolist()))

    def place(self, configs: Sequence[Mapping[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
        """What `encode` and `active` say, n x d each, at the cost of one. Raises as `encode` does."""
        rows = [self.space.flat(config, strict=False) for config in configs]
        points = np.full((len(rows), len(self._names)), CENTRE)
        present = np.zeros(points.shape, dtype=bool)
        for column, (name, domain) in enumerate(zip(self._names, self._domains, strict=True)):
            present[:, column] = [name in row for row in rows]
            values = [row[name] for row in rows if name in row]
            if values:
                points[present[:, column], column] = self._encode_one(name, domain, values)
        mask = self._restrict(points, present)
        return np.where(mask, points, CENTRE), mask

    @staticmethod
    def _encode_one(name: str, domain: Domain, values: list[Any]) -> np.ndarray:
        try:
            return domain.encode(values)
        except SpaceError as error:
            raise SpaceError(f"{name!r}: {error}") from None

    def decode(self, points: np.ndarray, fixed: Mapping[str, Any] | None = None) -> list[Config]:
        """The config of each point, n x d: snapped, constants filled in, `sample_from` left to `resolve`.

        Args:
            fixed: flat values that override columns, such as a cell of the grid; they are kept as they are.

        Raises:
            SpaceError: points of another shape or not finite, or a fixed name that is no dimension.
        """
        overrides = fixed or {}
        snapped, mask = self._snap(self._pinned(points, overrides))
        columns = [
            [overrides[name]] * len(snapped) if name in overrides else domain.decode(snapped[:, column])
            for column, (name, domain) in enumerate(zip(self._names, self._domains, strict=True))
        ]
        rows = [
            {
                name: values[row]
                for name, values, keep in zip(self._names, columns, mask[row], strict=True)
                if keep
            }
            for row in range(len(snapped))
        ]
        for name, value in self.space.constants.items():
            for row in np.flatnonzero(self._holds(name, snapped, mask)):
                rows[row][name] = value
        return [self.space.nested(row) for row in rows]

    def keys_at(self, points: np.ndarray, fixed: Mapping[str, Any] | None = None) -> list[Hashable]:
        """`SearchSpace.key` of the config that each point, n x d, decodes to. Raises as `decode` does."""
        snapped, mask = self._snap(self._pinned(points, fixed or {}))
        return self.keys(snapped, mask)

    def distinct(
        self, limit: int, rng: np.random.Generator, fixed: Mapping[str, Any] | None = None
    ) -> np.ndarray:
        """The places of configs that all differ, n x d: of all there are, or of `limit` chosen at random.

        It goes through the columns, parents first, and branches on the values of each where it exists.

        Args:
            fixed: as in `decode`.
        """
        pinned = self.pin(fixed or {})
        points, mask = np.full((1, len(self._names)), CENTRE), np.zeros((1, len(self._names)), dtype=bool)
        for name in self.space.order:
            if name not in self._column:
                continue
            column = self._column[name]
            known = not np.isnan(pinned[column])
            values = pinned[[column]] if known else _some_places(self._domains[column], limit, rng)
            exists = self._holds(name, points, mask)
            ends = np.cumsum(np.where(exists, len(values), 1))
            total = int(ends[-1])
            chosen = np.arange(total) if total <= limit else rng.choice(total, limit, replace=False)
            row = np.searchsorted(ends, chosen, side="right")
            place = chosen - np.concatenate([[0], ends])[row]
            points, mask = points[row], mask[row]
            points[:, column] = np.where(exists[row], values[place], CENTRE)
            mask[:, column] = exists[row]
        return rng.permutation(points)

    def snap(self, points: np.ndarray) -> np.ndarray:
        """Each point moved to the place of the config that it decodes to: `encode(decode(points))`, n x d."""
        snapped, mask = self._snap(self._checked(points))
        return np.where(mask, snapped, CENTRE)

    def pin(self, fixed: Mapping[str, Any]) -> np.ndarray:
        """The places of some flat values, such as a cell of the grid, d; NaN in the other columns.

        Raises:
            SpaceError: a name that is no dimension, or a value without a place.
        """
        places = np.full(len(self._names), np.nan)
        for name, value in fixed.items():
            if name not in self._column:
                raise SpaceError(
                    f"{name!r} cannot be fixed: it is no dimension{suggestion(name, self._names)}"
                )
            column = self._column[name]
            places[column] = self._encode_one(name, self._domains[column], [value])[0]
        return places

    def _pinned(self, points: np.ndarray, fixed: Mapping[str, Any]) -> np.ndarray:
        places = self.pin(fixed)
        return np.where(np.isnan(places), self._checked(points), places)

    def _checked(self, points: np.ndarray) -> np.ndarray:
        points = np.asarray(points, dtype=float)
        if points.ndim != 2 or points.shape[1] != len(self._names):
            raise SpaceError(f"points must be n x {len(self._names)}, not of shape {points.shape}")
        if not np.isfinite(points).all():
            raise SpaceError("points must be finite: there is a NaN or an infinity among them")
        return points

    def _snap(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The place of the value at each point, n x d, and which of them exist, n x d flags."""
        snapped = np.empty(points.shape)
        for column, domain in enumerate(self._domains):
            snapped[:, column] = domain.snap_units(points[:, column])
        return snapped, self._restrict(snapped, np.ones(points.shape, dtype=bool))

    def _restrict(self, points: np.ndarray, present: np.ndarray) -> np.ndarray:
        """`present` less the parameters whose conditions do not hold at the snapped points, n x d flags."""
        mask = present.copy()
        for name in self.space.order:
            if name in self.space.conditions and name in self._column:
                mask[:, self._column[name]] &= self._holds(name, points, mask)
        return mask

    def _holds(self, name: str, points: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """Whether all conditions of `name` hold at each snapped point, n flags."""
        holds = np.ones(len(points), dtype=bool)
        for condition in self.space.conditions.get(name, ()):
            parent = self._column[condition.parent]
            holds &= mask[:, parent] & np.isin(points[:, parent], list(condition.units))
        return holds


def _some_places(domain: Domain, limit: int, rng: np.random.Generator) -> np.ndarray:
    """The places of all values of `domain`, or of `limit` of them at random."""
    if domain.size is None:
        return np.unique(domain.snap_units(rng.random(limit)))
    if domain.size <= limit:
        return domain.places(np.arange(domain.size))
    return domain.places(rng.choice(domain.size, limit, replace=False))


def _dimension(name: str, domain: Domain) -> Dimension:
    ordered = isinstance(domain, Choice) and domain.is_ordered
    return Dimension(name, "ordinal" if ordered else domain.kind, domain.size, domain.grid())
