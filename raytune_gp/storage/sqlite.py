"""A journal's database in an SQLite file.

WAL mode with synchronous=FULL, so that what was committed survives a power cut. A file that is deleted
under a run would go on to take what is written, and vanish with the last process: each transaction looks
for it first, which takes some microseconds.
"""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from raytune_gp.errors import JournalError, JournalLostError
from raytune_gp.storage.database import Database
from raytune_gp.storage.layout import EVENTS
from raytune_gp.storage.urls import EXPECTED, sqlite_file

__all__ = ["SQLite"]

BUSY_S = 10
"""How long a statement waits for another process's transaction, in seconds."""

_FIXES = {
    sqlite3.SQLITE_FULL: "make room on the disk that holds it",
    sqlite3.SQLITE_BUSY: "another process holds it; let that finish, or end it",
    sqlite3.SQLITE_READONLY: "let this user write the file and its directory",
    sqlite3.SQLITE_IOERR: "see that its disk is in order and has room",
    sqlite3.SQLITE_CANTOPEN: "see that its directory is there and may be written",
}
"""What helps, by the primary result code of SQLite."""

GO_ON = (
    "resume=True goes on: from the file, if you put it back in its place, else from the backup beside the "
    "run's checkpoints"
)

_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class SQLite(Database):
    """The file behind a URL."""

    _way_on = GO_ON

    def __init__(self, url: sa.URL, *, create: bool):
        self._file = sqlite_file(url)
        self._identity: tuple[int, int] | None = None
        self._has_written = False
        self._lost: JournalLostError | None = None
        engine = _make_engine(url if self._file is None else url.set(database=str(self._file)))
        super().__init__(url, engine, create=create)

    @property
    def is_file(self) -> bool:
        """Whether it is on a disk, and not in memory."""
        return self._file is not None

    def _find(self) -> bool:
        if self._file is None:
            return True
        if self._create:
            self._file.parent.mkdir(parents=True, exist_ok=True)
        return self._file.exists()

    def _note(self) -> None:
        self._identity = self._look()

    def _explained(self, error: SQLAlchemyError | sqlite3.Error, verb: str) -> JournalError:
        cause = getattr(error, "orig", None) or error
        code = getattr(cause, "sqlite_errorcode", 0) & 0xFF
        message = f"the journal {self.shown} cannot be {verb}: {cause}"
        if code in _DAMAGED:
            return JournalLostError(
                f"{message}. It is damaged: put a backup in its place, or what "
                f"`sqlite3 {self._file} .recover` saves of it, and go on with resume=True; without the file, "
                f"that takes the backup beside the run's checkpoints"
            )
        fix = _FIXES.get(code)
        if verb == "opened":
            return JournalError(f"{message}{f'; {fix}' if fix else ''}. {EXPECTED}")
        return JournalError(f"{message}; {fix}" if fix else message)

    def copy_run(self, run: str, target: SQLite, after_index: int, terms_ahead: int) -> None:
        """`SQLJournal.copy` by SQLite alone, which leaves the interpreter to others meanwhile."""
        self.prepare()
        self._check(False)
        target.prepare()
        columns = ", ".join(EVENTS.c.keys())
        known = " ON CONFLICT (name) DO UPDATE SET term = excluded.term" if after_index >= 0 else ""
        about = f"SELECT name, created_at, term + ? FROM main.runs WHERE name = ?{known}"
        rows = f"SELECT {columns} FROM main.events WHERE run = ? AND position > ?"
        connection = self.engine.raw_connection()
        try:
            execute = connection.cursor().execute
            execute("ATTACH ? AS target", (str(target._file),))
            try:
                execute("BEGIN")
                execute(f"INSERT INTO target.runs (name, created_at, term) {about}", (terms_ahead, run))
                execute(f"INSERT INTO target.events ({columns}) {rows}", (run, after_index))
                execute("COMMIT")
            finally:
                connection.rollback()  # nothing to do after a COMMIT
                execute("DETACH target")
        except sqlite3.Error as error:
            raise self._explained(error, f"copied to {target.shown}") from error
        finally:
            connection.close()

    # --- the file ---

    def _look(self) -> tuple[int, int] | None:
        """Which file is at the path now: device and inode."""
        if self._file is None:
            return None
        found = os.stat(self._file)
        return found.st_dev, found.st_ino

    def _check(self, writes: bool) -> None:
        try:
            same = self._look() == self._identity
            what = "replaced by another file"
        except FileNotFoundError:
            same, what = False, "deleted or moved away"
        except OSError:
            return  # the database says better what is wrong
        if not same:
            raise self._loss(what)
        self._has_written |= writes

    def _loss(self, what: str) -> JournalLostError:
        """What to raise; the first thread that meets it saves what the file held."""
        with self._lock:
            if self._lost is None:
                saved = self._save_copy() if self._has_written else None
                rescue = f"What it held was saved: go on with journal='sqlite:///{saved}' and resume=True"
                self._lost = JournalLostError(
                    f"the journal {self.shown} was {what} while a run used it. {rescue if saved else GO_ON}"
                )
            return JournalLostError(*self._lost.args)

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


def _make_engine(url: sa.URL) -> sa.Engine:
    engine = sa.create_engine(url, connect_args={"timeout": BUSY_S})

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
    deadline = time.monotonic() + BUSY_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except Exception as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.05)
