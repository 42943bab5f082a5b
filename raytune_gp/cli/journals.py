"""The journal that a command reads: which one, and runs and trials in it by name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from raytune_gp.errors import JournalError, RunNotFoundError
from raytune_gp.state import RunState
from raytune_gp.trial import Trial

if TYPE_CHECKING:
    from raytune_gp.storage.journal import SQLJournal

__all__ = ["JournalOption", "NameArgument", "find_trial", "journal_url", "open_journal", "replay"]

NameArgument = Annotated[str, typer.Argument(help="The run.")]
JournalOption = Annotated[
    str | None,
    typer.Option(
        "--journal",
        metavar="URL",
        help="Database URL of the journal (SQLite, PostgreSQL), or the path of an SQLite file. "
        r"A password is better left to $PGPASSWORD or ~/.pgpass. "
        r"Default: $RAYTUNE_JOURNAL, else ~/.raytune_gp/journal.db.",
    ),
]


def journal_url(option: str | None, file: str | None = None, directory: Path | None = None) -> str:
    """The URL to open: the option's, else the run file's, else `$RAYTUNE_JOURNAL`, else the default.

    A path is made absolute, since other processes open it too; that of a run file is relative to `directory`.
    """
    from raytune_gp.storage.urls import absolute_url, default_journal_url

    if option is None and file is not None:
        return absolute_url(file, directory or "")
    return absolute_url(option or default_journal_url())


@contextmanager
def open_journal(option: str | None, *, create: bool = False) -> Iterator[SQLJournal]:
    """The journal that the option or the environment names.

    Raises JournalError where it is an SQLite file that is not there, unless it may be made by `create`.
    """
    from raytune_gp.storage.journal import SQLJournal
    from raytune_gp.storage.urls import sqlite_file

    url = journal_url(option)
    file = None if create else sqlite_file(url)
    if file is not None and not file.exists():
        raise JournalError(
            f"there is no journal at {file}: name another by --journal or $RAYTUNE_JOURNAL, or start a run, "
            f"which makes it"
        )
    journal = SQLJournal(url, create=create)
    try:
        yield journal
    finally:
        journal.close()


def replay(journal: SQLJournal, run: str) -> RunState:
    """The state of `run` as its events have it. Raises RunNotFoundError."""
    from raytune_gp.recovery import state_of  # loads the experiment, which most commands do without

    return state_of(journal, run)


def find_trial(state: RunState, name: str) -> Trial:
    """The trial that `name` means: `3`, `00003` or `trial_00003`. Raises RunNotFoundError."""
    digits = name.removeprefix("trial_")
    trial = next((t for t in state.trials.values() if digits.isdecimal() and t.number == int(digits)), None)
    if trial is None:
        there = f"its trials are 0 to {len(state.trials) - 1}" if state.trials else "it has no trials yet"
        raise RunNotFoundError(f"run {state.spec.name!r} has no trial {name!r}: {there}")
    return trial
