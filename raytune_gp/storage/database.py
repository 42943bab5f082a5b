"""What the journal needs of any database: transactions, tables of today, errors that say what helps.

SQLite's part is in sqlite.py, PostgreSQL's in postgresql.py; `open_database` chooses by the URL.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from raytune_gp.errors import JournalError
from raytune_gp.storage.layout import is_current, migrate
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

    `shown` is its URL without the password. `engine` connects when it is used first.
    """

    def __init__(self, url: sa.URL, engine: sa.Engine):
        self.shown = shown_url(url)
        self.engine = engine
        self._reader = engine.execution_options(raytune_write=False)
        self._writer = engine.execution_options(raytune_write=True)
        self._lock = threading.Lock()
        self._is_ready = False

    def prepare(self) -> None:
        """Connect, and see that the tables are there, as they are today: once, and free of cost after that.

        Raises JournalError where it cannot be, SchemaVersionError where the tables are of a later version.
        """
        if self._is_ready:
            return
        with self._lock:
            if self._is_ready:
                return
            try:
                self._find()
                with self._reader.begin() as connection:
                    current = is_current(connection)
                if not current:
                    with self._writer.begin() as connection:
                        self._claim(connection)
                        migrate(connection)
                self._note()
            except SQLAlchemyError as error:
                raise self._explained(error, "opened") from error
            except (OSError, ImportError) as error:
                raise JournalError(
                    f"the journal {self.shown} cannot be opened: {error}. {EXPECTED}"
                ) from error
            self._is_ready = True

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

    @abstractmethod
    def _find(self) -> None:
        """Before the first connection."""

    @abstractmethod
    def _claim(self, connection: sa.Connection) -> None:
        """Keep other processes from the tables until the end of the transaction."""

    def _note(self) -> None:  # noqa: B027
        """The tables are there."""

    def _check(self, writes: bool) -> None:  # noqa: B027
        """Before each transaction."""

    @abstractmethod
    def _explained(self, error: SQLAlchemyError, verb: str) -> JournalError:
        """What to raise: the database cannot be `verb` (opened, read, written), and what helps."""
