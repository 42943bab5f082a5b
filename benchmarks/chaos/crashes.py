"""Places to crash at: before and after every commit and every command of a coordinator."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from raytune_gp import events as ev
from raytune_gp import messages as msg
from raytune_gp.errors import JournalError

__all__ = ["Crash", "FragileExecutor", "FragileJournal", "Plan"]


class Crash(BaseException):
    """The coordinator's process is gone."""


class Plan:
    """Crashes at the `at`-th point that is passed; counts the points, and what they were."""

    def __init__(self, at: int | None = None):
        self.at = at
        self.points: list[str] = []

    def point(self, what: str) -> None:
        """Pass a point; raises Crash at the planned one."""
        self.points.append(what)
        if len(self.points) - 1 == self.at:
            raise Crash(what)


class FragileJournal:
    """A journal whose user crashes before or after a commit, and which fails for a moment by `fails`.

    `fails` is asked twice a commit: a failure before it has refused the commit, one behind it has lost the
    answer. `heard` is the last item of each worker that is committed.
    """

    def __init__(self, journal: Any, plan: Plan | None = None, fails: Callable[[str], bool] | None = None):
        self._journal = journal
        self._fails = fails or (lambda what: False)
        self.plan = plan or Plan()
        self.heard: Counter[str] = Counter()

    def append(self, run: str, term: int, first_index: int, events: Sequence[ev.Event], *more: Any) -> None:
        """Commit, if nothing comes between."""
        self.plan.point("before a commit")
        if self._fails("refused commit"):
            raise JournalError("the commit was refused")
        self._journal.append(run, term, first_index, events, *more)
        for event in events:
            if (seq := getattr(event, "seq", None)) is not None:
                self.heard[event.worker] = seq  # type: ignore[attr-defined]
        if self._fails("lost answer of a commit"):
            raise JournalError("the commit's answer was lost")
        self.plan.point("after a commit")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)


class FragileExecutor:
    """An executor whose user crashes before or after a command."""

    def __init__(self, executor: Any, plan: Plan):
        self._executor = executor
        self._plan = plan

    def send(self, command: msg.Command) -> None:
        """Send it, if nothing comes between."""
        name = type(command).__name__
        self._plan.point(f"before {name}")
        self._executor.send(command)
        self._plan.point(f"after {name}")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._executor, name)
