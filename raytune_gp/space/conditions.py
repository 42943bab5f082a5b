"""Conditions: as a user writes one (`When`), and as a space keeps it (`Condition`)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from raytune_gp.space.plain import label

__all__ = ["Condition", "When"]


@dataclass(frozen=True)
class When:
    """A part of a search space that exists only when its parent has one of some values."""

    parent: str
    values: tuple[Any, ...]
    then: Any


@dataclass(frozen=True)
class Condition:
    """Holds while the parent exists and has one of these values; `units` are their places in [0, 1]."""

    parent: str
    values: tuple[Any, ...] = field(compare=False)  # perhaps lists, which have no hash; `units` say the same
    units: frozenset[float]

    def describe(self) -> dict[str, Any]:
        """For the journal: the parent, and a label for each value."""
        return {"parent": self.parent, "values": [label(value) for value in self.values]}

    def __str__(self) -> str:
        shown = ", ".join(repr(value) for value in self.values)
        return (
            f"{self.parent!r} is {shown}" if len(self.values) == 1 else f"{self.parent!r} is one of {shown}"
        )
