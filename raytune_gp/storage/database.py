"""What the journal needs of any database: transactions, tables of today, errors that say what helps.

SQLite's part is in sqlite.py, PostgreSQL's in postgresql.py; `open_database` chooses by the URL.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from raytune_gp.errors import JournalError, JournalLostError
from raytune_gp.storage import layout
from raytune_gp.storage.urls import EXPECTED, parse_url, shown_url

__all__ = ["Database", "open_database"]


def open_database(url: str, *, create: bool) -> Database:
    """The database behind `url`, not connected to yet.

    Without `create` it must be there when it is used first.
    Raises JournalError for a URL that cannot be used and for a missing driver.
    """
    parsed = parse_url(url)
    if parsed.get_backend_name() == "sqlite":
        from raytune_gp.storage.sqlite import SQLite

        return SQLite(parsed, create=create)
    from raytune_gp.storage.postgresql import PostgreSQL

    return PostgreSQL(parsed, create=create)


class Database(ABC):
    """A database that holds a journal's tables; safe to use from several threads.

    `shown` is its URL without the password. `engine` connects when it is used first. The journal is made
    where there is none only with `create`.
    """

    _way_on: ClassVar[str]
    """What helps where the journal is gone, as a sentence."""

    def __init__(self, url: sa.URL, engine: sa.Engine, *, create: bool):
        self._create = create
        self.shown = shown_url(url)
        self.engine = engine
        self._reader = engine.execution_options(raytune_write=False)
        self._writer = engine.execution_options(raytune_write=True)
        self._lock = threading.Lock()
        self._is_ready = False

    def prepare(self) -> None:
        """Connect, and see that the tables are there, as they are today: once, and free of cost after that.

        Raises JournalLostError where there are none, without `create`; JournalError where it cannot be, and
        SchemaVersionError where the tables are of a later version.
        """
        if self._is_ready:
            return
        with self._lock:
            if self._is_ready:
                return
            try:
                found = self._look_for_tables()
                if not (found or self._create):
                    raise JournalLostError(f"the journal {self.shown} is not there any more. {self._way_on}")
                if found != layout.LAYOUT:
                    with self._writer.begin() as connection:
                        self._claim(connection)
                        layout.migrate(connection)
                self._note()
            except SQLAlchemyError as error:
                raise self._explained(error, "opened") from error
            except (OSError, ImportError) as error:
                raise JournalError(
                    f"the journal {self.shown} cannot be opened: {error}. {EXPECTED}"
                ) from error
            self._is_ready = True

    def _look_for_tables(self) -> int:
        """The layout of those that are there; 0 for none."""
        if not self._find():
            return 0
        with self._reader.begin() as connection:
            return layout.version_of(connection)

    @contextmanager
    def begin(self, *, writes: bool) -> Iterator[sa.Connection]:
        """A transaction.

        Raises IntegrityError for a row that exists, JournalLostError where the database is gone or damaged
        for good, and JournalError for whatever else it refuses.
        """
        self.prepare()
        self._check(writes)
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

    def _find(self) -> bool:
        """Before the first connection, which may make what is not there: whether there is anything."""
        return True

    def _claim(self, connection: sa.Connection) -> None:  # noqa: B027
        """Keep other processes from making the tables until the end of the transaction, which writes."""

    def _note(self) -> None:  # noqa: B027
        """The tables are there."""

    def _check(self, writes: bool) -> None:  # noqa: B027
        """Before each transaction."""

    @abstractmethod
    def _explained(self, error: SQLAlchemyError, verb: str) -> JournalError:
        """What to raise: the database cannot be `verb` (opened, read, written, copied), and what helps."""
