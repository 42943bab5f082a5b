"""The ledger of a round: what its trainables did, a JSON line each, outside of whatever the run stores.

Each line is one write to a file opened for appending, so that a process that is killed leaves its lines
whole, and lines of several processes never mix.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Ledger", "Life"]


@dataclass
class Life:
    """One call of the trainable, as it wrote about itself. Times are seconds since the epoch.

    `after` is the step that it went on from, `said` the value of each step before it was reported, and
    `returned` whether it came to its end.
    """

    id: int
    trial: str
    pid: int
    began: float
    after: int
    last: float
    said: dict[int, float] = field(default_factory=dict)
    first_report: float | None = None
    died: float | None = None
    returned: bool = False


class Ledger:
    """The file at `path`, for those who write and for those who judge."""

    def __init__(self, path: str | Path):
        self.path = Path(path)

    def write(self, what: str, **more: Any) -> None:
        """Append a line."""
        line = json.dumps({"at": time.time(), "what": what, "pid": os.getpid(), **more}) + "\n"
        opened = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(opened, line.encode())
        finally:
            os.close(opened)

    def read(self) -> list[dict[str, Any]]:
        """All lines so far."""
        if not self.path.exists():
            return []
        return [json.loads(line) for line in self.path.read_text().splitlines()]

    def reports(self) -> int:
        """How many reports have been made."""
        return self.path.read_bytes().count(b'"what": "report"') if self.path.exists() else 0

    def lives(self) -> dict[str, list[Life]]:
        """The lives of each trial, in the order in which they began.

        A life died when it was interrupted, when it wrote so before it ended itself, or when a line of ours
        tells that its process was killed.
        """
        lives: dict[int, Life] = {}
        running: dict[int, Life] = {}
        for line in self.read():
            what, at, pid = line["what"], line["at"], line["pid"]
            if what == "start":
                life = Life(line["life"], line["trial"], pid, at, line["after"], at)
                lives[life.id] = running[pid] = life
            elif what == "strike":
                for killed in line["pids"]:
                    if killed in running and not running[killed].returned:
                        running[killed].died = running[killed].died or at
            elif "life" in line:
                _add(lives[line["life"]], line)
        trials: dict[str, list[Life]] = {}
        for life in sorted(lives.values(), key=lambda life: life.began):
            trials.setdefault(life.trial, []).append(life)
        return trials

    def children(self) -> set[int]:
        """The processes that trainables have started and left."""
        return {pid for line in self.read() if line["what"] == "child" for pid in line["pids"]}


def _add(life: Life, line: dict[str, Any]) -> None:
    what, life.last = line["what"], line["at"]
    if what == "report":
        life.said[line["step"]] = line["value"]
        life.first_report = life.first_report or line["at"]
    elif what == "interrupted" or (what == "trouble" and line["deadly"]):
        life.died = line["at"]
    elif what == "end":
        life.returned = True
