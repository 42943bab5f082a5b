"""The journal: an append-only table of events in a SQL database, many runs to a file.

A run's term fences off writers that do not know that they were replaced: it is checked in the transaction
that writes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from raytune_gp.errors import RunExistsError, RunNotFoundError, StaleTermError
from raytune_gp.events import SCHEMA_VERSION, Event, RunCreated, event_from_json, event_to_json
from raytune_gp.protocols import UserRequest
from raytune_gp.storage.database import Database, sqlite_file
from raytune_gp.storage.mounts import network_file_system

__all__ = ["RunRow", "SQLJournal", "absolute_url", "default_journal_url", "unsafe_place"]

_metadata = sa.MetaData()
_runs = sa.Table(
    "runs",
    _metadata,
    sa.Column("name", sa.String(255), primary_key=True),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("term", sa.Integer, nullable=False),
)
_events = sa.Table(
    "events",
    _metadata,
    sa.Column("run", sa.String(255), sa.ForeignKey("runs.name"), primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True),
    sa.Column("term", sa.Integer, nullable=False),
    sa.Column("kind", sa.String(40), nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sqlite_with_rowid=False,
)
_requests = sa.Table(
    "requests",
    _metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("run", sa.String(255), nullable=False, index=True),
    sa.Column("kind", sa.String(40), nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("closed", sa.Boolean, nullable=False, default=False),
)

# Every commit uses these two; a statement that is built once is compiled once.
_INSERT_EVENTS = _events.insert()
_SELECT_TERM = sa.select(_runs.c.term).where(_runs.c.name == sa.bindparam("run")).with_for_update()


def default_journal_url() -> str:
    """`~/.raytune_gp/journal.db` as a database URL."""
    return f"sqlite:///{Path.home() / '.raytune_gp' / 'journal.db'}"


def absolute_url(url: str, directory: str | Path = "") -> str:
    """`url` with the path of an SQLite file made absolute: processes that work elsewhere open it too.

    What is no URL is the path of an SQLite file. A relative path begins at `directory`, by default the
    working directory.
    """
    whole = url if "://" in url else f"sqlite:///{url}"
    try:
        file = sqlite_file(whole, directory)
    except (sa.exc.ArgumentError, ValueError):
        return url
    return url if file is None else sa.make_url(whole).set(database=str(file)).render_as_string(False)


def unsafe_place(url: str) -> str | None:
    """A warning where the SQLite file of `url` lies on a network file system; else None."""
    try:
        file = sqlite_file(url)
    except (sa.exc.ArgumentError, ValueError):
        return None
    kind = None if file is None else network_file_system(file)
    if kind is None:
        return None
    return (
        f"the journal {file} lies on a network file system ({kind}), where SQLite can damage it, above all "
        f"when two machines open it. Give a local path: journal='sqlite:////local/disk/journal.db', or "
        f"RAYTUNE_JOURNAL in the environment"
    )


@dataclass(frozen=True)
class RunRow:
    """A run as the journal lists it."""

    name: str
    created_at: float
    term: int
    events: int


class SQLJournal:
    """A journal behind an SQLAlchemy URL. One object a process; safe to use from several threads.

    Raises JournalError where the database cannot be opened, with the URL's password hidden.
    """

    def __init__(self, url: str):
        self._database = Database(url, _metadata)

    def close(self) -> None:
        """Give the database connections back."""
        self._database.close()

    # --- writing ---

    def create_run(self, run: str, event: RunCreated) -> None:
        """Write the first event of a new run. Raises RunExistsError where the name is taken."""
        try:
            with self._writing() as connection:
                connection.execute(_runs.insert().values(name=run, created_at=event.at, term=0))
                connection.execute(_events.insert().values(**_row(run, 0, 0, event)))
        except IntegrityError:
            raise RunExistsError(
                f"a run named {run!r} is in the journal {self._database.shown} already: go on with it by "
                f"resume=True, or take another name"
            ) from None

    def raise_term(self, run: str) -> int:
        """Take `run` over, and return its new term. Raises RunNotFoundError."""
        with self._writing() as connection:
            found = connection.execute(
                _runs.update().where(_runs.c.name == run).values(term=_runs.c.term + 1)
            )
            if found.rowcount == 0:
                raise self._not_found(run)
            return connection.execute(sa.select(_runs.c.term).where(_runs.c.name == run)).scalar_one()

    def append(
        self,
        run: str,
        term: int,
        first_index: int,
        events: Sequence[Event],
        requests: Sequence[UserRequest] = (),
    ) -> None:
        """Commit `events` at positions from `first_index` and close `requests`, all or none.

        Raises StaleTermError where the term was raised by another coordinator, JournalLostError where the
        database is gone or damaged, and JournalError where it fails otherwise. The outcome is then unknown,
        and the same call again is safe: what this term has committed is not repeated.
        """
        rows = [_row(run, term, first_index + i, event) for i, event in enumerate(events)]
        try:
            with self._writing() as connection:
                self._check_term(connection, run, term)
                if rows:
                    connection.execute(_INSERT_EVENTS, rows)
                if requests:
                    closed = _requests.c.id.in_([r.id for r in requests])
                    connection.execute(_requests.update().where(closed).values(closed=True))
        except IntegrityError:
            if not self._committed(run, term, first_index + len(events) - 1):
                raise StaleTermError(
                    f"positions from {first_index} of run {run!r} were written by another coordinator"
                ) from None

    def _check_term(self, connection: sa.Connection, run: str, term: int) -> None:
        current = connection.execute(_SELECT_TERM, {"run": run}).scalar_one_or_none()
        if current != term:
            raise StaleTermError(
                f"term {term} of run {run!r} is over, and term {current} has begun: "
                f"this coordinator must stop"
            )

    def _committed(self, run: str, term: int, last_index: int) -> bool:
        query = sa.select(_events.c.term).where(_events.c.run == run, _events.c.position == last_index)
        with self._reading() as connection:
            return connection.execute(query).scalar_one_or_none() == term

    # --- reading ---

    def read(self, run: str, after_index: int = -1) -> Iterator[tuple[int, Event]]:
        """The events of `run` behind `after_index`, in order. Raises RunNotFoundError, SchemaVersionError."""
        query = (
            sa.select(_events.c.position, _events.c.kind, _events.c.version, _events.c.body)
            .where(_events.c.run == run, _events.c.position > after_index)
            .order_by(_events.c.position)
        )
        with self._reading() as connection:
            if after_index < 0 and not self._exists(connection, run):
                raise self._not_found(run)
            for position, kind, version, body in connection.execute(query).yield_per(5000):
                yield position, event_from_json(kind, body, version)

    def runs(self) -> list[RunRow]:
        """Every run in the journal, the oldest first."""
        count = sa.select(sa.func.max(_events.c.position) + 1).where(_events.c.run == _runs.c.name)
        query = sa.select(_runs.c.name, _runs.c.created_at, _runs.c.term, count.scalar_subquery()).order_by(
            _runs.c.created_at
        )
        with self._reading() as connection:
            return [RunRow(*row) for row in connection.execute(query)]

    def exists(self, run: str) -> bool:
        """Whether the journal holds a run of this name."""
        with self._reading() as connection:
            return self._exists(connection, run)

    def _exists(self, connection: sa.Connection, run: str) -> bool:
        return connection.execute(sa.select(_runs.c.name).where(_runs.c.name == run)).first() is not None

    def _not_found(self, run: str) -> RunNotFoundError:
        names = [row.name for row in self.runs()][-5:]
        known = f"its newest runs are {', '.join(names)}" if names else "it holds no run yet"
        return RunNotFoundError(f"no run named {run!r} in the journal {self._database.shown}: {known}")

    # --- requests from other shells ---

    def request(self, run: str, kind: str, body: Mapping[str, Any] | None = None) -> None:
        """Ask the coordinator of `run` for something (`UserRequest`): it reads these rows as it goes."""
        with self._writing() as connection:
            if not self._exists(connection, run):
                raise self._not_found(run)
            connection.execute(
                _requests.insert().values(run=run, kind=kind, body=json.dumps(body or {}), closed=False)
            )

    def open_requests(self, run: str) -> list[UserRequest]:
        """The requests that no commit has closed, the oldest first."""
        query = (
            sa.select(_requests.c.id, _requests.c.kind, _requests.c.body)
            .where(_requests.c.run == run, _requests.c.closed.is_(False))
            .order_by(_requests.c.id)
        )
        with self._reading() as connection:
            return [UserRequest(r.id, r.kind, json.loads(r.body)) for r in connection.execute(query)]

    # --- connections ---

    def _reading(self) -> AbstractContextManager[sa.Connection]:
        return self._database.begin(writes=False)

    def _writing(self) -> AbstractContextManager[sa.Connection]:
        return self._database.begin(writes=True)


def _row(run: str, term: int, position: int, event: Event) -> dict[str, Any]:
    return {
        "run": run,
        "position": position,
        "term": term,
        "kind": type(event).__name__,
        "version": SCHEMA_VERSION,
        "body": event_to_json(event),
    }
