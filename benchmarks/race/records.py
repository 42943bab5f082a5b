"""Results of runs as JSON lines: what was run, and what is still to run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

__all__ = ["Key", "append", "read"]


@dataclass(frozen=True)
class Key:
    """What tells a run from every other."""

    optimiser: str
    problem: str
    seed: int
    trials: int
    workers: int

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Key:
        """The key of a record."""
        return cls(*(record[f.name] for f in fields(cls)))


def read(path: Path) -> Iterator[dict[str, Any]]:
    """The records in a file, none if there is no file; a line that was cut off by a kill is left out."""
    if not path.exists():
        return
    with path.open() as lines:
        for line in lines:
            try:
                yield json.loads(line)
            except json.JSONDecodeError:
                continue


def append(path: Path, record: Mapping[str, Any]) -> None:
    """Add a record on a line of its own, even behind one that was cut off."""
    with path.open("a+b") as file:
        if file.tell():
            file.seek(-1, 2)
            if file.read(1) != b"\n":
                file.write(b"\n")
        file.write(json.dumps(record, separators=(",", ":"), allow_nan=False).encode() + b"\n")
