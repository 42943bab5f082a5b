"""The journal's database as SQLAlchemy sees it: how SQLite is set up, and what its errors mean to a user.

SQLite in WAL mode with synchronous=FULL, so that what was committed survives a power cut. A file that is
deleted under a run would go on to take what is written, and vanish with the last process: each transaction
looks for it first, which takes some microseconds.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from raytune_gp.errors import JournalError, JournalLostError

__all__ = ["Database", "sqlite_file"]

_BUSY_S = 10
"""How long a statement waits for another process's transaction, in seconds."""

_FIXES = {
    sqlite3.SQLITE_FULL: "make room on the disk that holds it",
    sqlite3.SQLITE_BUSY: "another process holds it; let that finish, or end it",
    sqlite3.SQLITE_READONLY: "let this user write the file and its directory",
    sqlite3.SQLITE_IOERR: "see that its disk is in order and has room",
    sqlite3.SQLITE_CANTOPEN: "see that its directory is there and may be written",
}
"""What helps, by the primary result code of SQLite."""

_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class Database:
    """The database behind a URL, with `tables` in it; safe to use from several threads.

    Raises JournalError where it cannot be opened, with the URL's password hidden.
    """

    def __init__(self, url: str, tables: sa.MetaData):
        self.shown = _hide_password(url)
        try:
            parsed = sa.make_url(url)
            self._file = sqlite_file(parsed)
            if self._file is not None:
                self._file.parent.mkdir(parents=True, exist_ok=True)
                parsed = parsed.set(database=str(self._file))
            self.engine = _make_engine(parsed)
            self._reader = self.engine.execution_options(raytune_write=False)
            self._writer = self.engine.execution_options(raytune_write=True)
            with self._writer.begin() as connection:
                tables.create_all(connection)
            self._identity = self._look()
            self._has_written = False
        except (SQLAlchemyError, OSError, ImportError, ValueError) as error:
            raise JournalError(
                f"the journal {self.shown} cannot be opened: {error}. It must be a database URL such as "
                f"sqlite:////path/to/journal.db, on a local disk that is writable"
            ) from error

    @contextmanager
    def begin(self, *, writes: bool) -> Iterator[sa.Connection]:
        """A transaction.

        Raises IntegrityError for a row that exists, JournalLostError where the file is gone or damaged, and
        JournalError for whatever else the database refuses.
        """
        self._check_file()
        self._has_written |= writes
        try:
            with (self._writer if writes else self._reader).begin() as connection:
                yield connection
        except IntegrityError:
            raise
        except SQLAlchemyError as error:
            raise self._explained(error, "written" if writes else "read") from error

    def close(self) -> None:
        """Give the connections back."""
        self.engine.dispose()

    def _explained(self, error: SQLAlchemyError, verb: str) -> JournalError:
        cause = getattr(error, "orig", None) or error
        code = getattr(cause, "sqlite_errorcode", 0) & 0xFF
        message = f"the journal {self.shown} cannot be {verb}: {cause}"
        if code in _DAMAGED:
            return JournalLostError(
                f"{message}. It is damaged: put a backup in its place, or what "
                f"`sqlite3 {self._file} .recover` saves of it, and go on with resume=True"
            )
        return JournalError(f"{message}; {_FIXES[code]}" if code in _FIXES else message)

    # --- the file ---

    def _look(self) -> tuple[int, int] | None:
        """Which file is at the path now: device and inode."""
        if self._file is None:
            return None
        found = os.stat(self._file)
        return found.st_dev, found.st_ino

    def _check_file(self) -> None:
        try:
            same = self._look() == self._identity
            what = "replaced by another file"
        except FileNotFoundError:
            same, what = False, "deleted or moved away"
        except OSError:
            return  # the database says better what is wrong
        if not same:
            saved = self._save_copy() if self._has_written else None
            rescue = f"What it held was saved: go on with journal='sqlite:///{saved}' and resume=True, or put"
            raise JournalLostError(
                f"the journal {self.shown} was {what} while a run used it. {rescue if saved else 'Put'} the "
                f"file or a backup of it back in its place and go on with resume=True"
            )

    def _save_copy(self) -> Path | None:
        """Copy the lost file, which a connection of this process still holds open, beside its place."""
        assert self._file is not None
        copy = self._file.with_name(f"{self._file.stem}-saved-{time.time_ns() // 10**6}.db")
        try:
            pool = self.engine.pool
            if not (isinstance(pool, sa.QueuePool) and pool.checkedin()):
                return None  # a new connection would begin a new, empty file
            copy.parent.mkdir(parents=True, exist_ok=True)
            connection = self.engine.raw_connection()
            try:
                connection.cursor().execute("VACUUM INTO ?", (str(copy),))
            finally:
                connection.close()
            return copy
        except (SQLAlchemyError, sqlite3.Error, OSError):
            return None


def sqlite_file(url: str | sa.URL, directory: str | Path = "") -> Path | None:
    """The file of an SQLite URL, absolute (from `directory`); None for a database elsewhere or in memory.

    Raises sqlalchemy's ArgumentError or ValueError for what is no URL.
    """
    parsed = sa.make_url(url)
    file = parsed.database or ":memory:"
    if parsed.get_backend_name() != "sqlite" or file.startswith((":memory:", "file:")):
        return None
    return (Path(directory) / Path(file).expanduser()).absolute()


def _hide_password(url: str) -> str:
    try:
        return sa.make_url(url).render_as_string(hide_password=True)
    except (sa.exc.ArgumentError, ValueError):
        return "(unreadable URL)"


def _make_engine(url: sa.URL) -> sa.Engine:
    if url.get_backend_name() != "sqlite":
        return sa.create_engine(url, pool_pre_ping=True)
    engine = sa.create_engine(url, connect_args={"timeout": _BUSY_S})

    @sa.event.listens_for(engine, "connect")
    def _configure(connection: Any, _: Any) -> None:
        # The driver must not begin transactions by itself: it would not begin one before a SELECT, and a
        # stale writer could pass the check of the term.
        connection.isolation_level = None
        _set_wal(connection)
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        writes = connection.get_execution_options().get("raytune_write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _set_wal(connection: Any) -> None:
    """Switch to WAL mode, which SQLite refuses at once while another process opens the same new file."""
    deadline = time.monotonic() + _BUSY_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except Exception as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.05)
