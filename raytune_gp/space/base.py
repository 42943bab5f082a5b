"""What every domain is: a set of values, each with a place in [0, 1]."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np

__all__ = ["GRID_LIMIT", "Domain", "Kind"]

Kind = Literal["float", "int", "categorical"]

GRID_LIMIT = 1024
"""Domains of at most so many values list the places of them all."""


class Domain(ABC):
    """One dimension of a search space: which values it has, and where each sits in [0, 1].

    A unit u drawn uniformly from [0, 1) decodes to a value of the distribution that the domain's name says.
    `encode` gives the place of the nearest value that `decode` can return, so for every value v and unit u
    `encode(decode(encode(v))) == encode(v)` and `encode(decode(u)) == snap_units(u)`, bit for bit.
    """

    kind: ClassVar[Kind]

    @property
    @abstractmethod
    def size(self) -> int | None:
        """How many values a searcher can propose here; None where they are a continuum."""

    @abstractmethod
    def contains(self, value: object) -> bool:
        """Whether `value` is one of this domain's values, its type included."""

    def exact(self, value: Any) -> Any:
        """A value that the domain contains as it would give it: 3 for 3.0, or the very object of a choice."""
        return value

    @abstractmethod
    def encode(self, values: Sequence[Any]) -> np.ndarray:
        """The place of each value, n, float64; numbers beyond the bounds sit at the ends.

        Raises:
            SpaceError: a value that is not of this domain's type, or not one of its choices.
        """

    @abstractmethod
    def decode(self, units: np.ndarray) -> list[Any]:
        """The value at each unit, n, as plain Python objects; units beyond [0, 1] count as its ends."""

    @abstractmethod
    def snap_units(self, units: np.ndarray) -> np.ndarray:
        """The unit of the value at each unit, n: the same as `encode(decode(units))`, faster."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """This domain for the journal and the plots, ready for JSON."""

    def grid(self) -> np.ndarray | None:
        """The places of all values, ascending, or None where they are more than GRID_LIMIT."""
        if self.size is None or self.size > GRID_LIMIT:
            return None
        return np.sort(self.places(np.arange(self.size)))

    @abstractmethod
    def places(self, indices: np.ndarray) -> np.ndarray:
        """The place of each of the values with these numbers, n from 0 up; where `size` is not None."""

    @abstractmethod
    def levels(self) -> list[Any]:
        """All values, in order; only for a domain whose `size` is not None."""

    def to_unit(self, value: Any) -> float:
        """The place of one value (see `encode`)."""
        return float(self.encode([value])[0])

    def from_unit(self, unit: float) -> Any:
        """The value at one place (see `decode`)."""
        return self.decode(np.array([unit], dtype=float))[0]

    def snap(self, value: Any) -> Any:
        """The nearest value that `decode` can return; a float of a continuum moves by 1e-12 of the range."""
        return self.decode(self.encode([value]))[0]

    def sample(self, rng: np.random.Generator) -> Any:
        """One random value, already snapped; it takes one uniform number from `rng`."""
        return self.from_unit(rng.random())
