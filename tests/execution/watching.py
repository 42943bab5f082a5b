"""What tests of execution look at from outside: a run's journal, and processes."""

from __future__ import annotations

from typing import Any

import psutil

from raytune_gp import events as ev
from raytune_gp.storage.journal import SQLJournal

__all__ = ["events_of", "is_there", "of"]


def events_of(url: str, run: str = "run") -> list[ev.Event]:
    """The events of `run` in the journal at `url`, as they are now."""
    journal = SQLJournal(url)
    try:
        return [event for _, event in journal.read(run)]
    finally:
        journal.close()


def of(events: list[ev.Event], kind: type[ev.Event]) -> list[Any]:
    """Those of one kind."""
    return [e for e in events if isinstance(e, kind)]


def is_there(pid: int) -> bool:
    """Whether a process lives."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
