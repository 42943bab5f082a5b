"""The journal: an append-only table of events in a SQL database, many runs to a database.

A run's term fences off writers that do not know that they were replaced: it is checked in the transaction
that writes, under a lock on the run's row.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, fields
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from raytune_gp.codec import DAMAGE, SCHEMA_VERSION, event_from_json, event_to_json
from raytune_gp.errors import JournalLostError, RunExistsError, RunNotFoundError, StaleTermError
from raytune_gp.events import Event, RunCreated
from raytune_gp.protocols import UserRequest
from raytune_gp.snapshots import Part
from raytune_gp.storage.database import open_database
from raytune_gp.storage.layout import EVENTS, REQUESTS, RUNS, SNAPSHOTS
from raytune_gp.storage.sqlite import SQLite

__all__ = ["RunRow", "SQLJournal"]

PAGE = 5000
"""Rows that are read at a time, each page in a transaction of its own."""

# Every commit uses these three; a statement that is built once is compiled once.
_INSERT_EVENTS = EVENTS.insert()
_SELECT_TERM = sa.select(RUNS.c.term).where(RUNS.c.name == sa.bindparam("run")).with_for_update()
_SELECT_LAST = sa.select(sa.func.max(EVENTS.c.position)).where(EVENTS.c.run == sa.bindparam("run"))

_SELECT_BEHIND = (
    sa.select(EVENTS)
    .where(EVENTS.c.run == sa.bindparam("run"), EVENTS.c.position > sa.bindparam("after"))
    .order_by(EVENTS.c.position)
)
_SELECT_PAGE = _SELECT_BEHIND.limit(PAGE)


@dataclass(frozen=True)
class RunRow:
    """A run as the journal lists it."""

    name: str
    created_at: float
    term: int
    events: int


class SQLJournal:
    """A journal behind an SQLAlchemy URL. One object a process; safe to use from several threads.

    It is opened at once, and made where there is none; without `create` it is opened when it is used first,
    must be there, and may be waited for. Raises JournalError where it cannot be opened, with the URL's
    password hidden.
    """

    def __init__(self, url: str, *, create: bool = True):
        self._database = open_database(url, create=create)
        if create:
            try:
                self._database.prepare()
            except BaseException:
                self.close()
                raise

    @property
    def shown(self) -> str:
        """The URL, for messages: without a password."""
        return self._database.shown

    def close(self) -> None:
        """Give the database connections back."""
        self._database.close()

    # --- writing ---

    def create_run(self, run: str, event: RunCreated) -> None:
        """Write the first event of a new run. Raises RunExistsError where the name is taken."""
        try:
            with self._writing() as connection:
                connection.execute(RUNS.insert().values(name=run, created_at=event.at, term=0))
                connection.execute(EVENTS.insert().values(**_row(run, 0, 0, event)))
        except IntegrityError:
            raise RunExistsError(
                f"a run named {run!r} is in the journal {self.shown} already: go on with it by "
                f"resume=True, or take another name"
            ) from None

    def raise_term(self, run: str) -> int:
        """Take `run` over, and return its new term. Raises RunNotFoundError."""
        with self._writing() as connection:
            found = connection.execute(RUNS.update().where(RUNS.c.name == run).values(term=RUNS.c.term + 1))
            if found.rowcount == 0:
                raise self._not_found(run)
            return connection.execute(sa.select(RUNS.c.term).where(RUNS.c.name == run)).scalar_one()

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
        database is gone or damaged, or lacks events that were committed, and JournalError where it fails
        otherwise. The outcome is then unknown, and the same call again is safe: what stands there already is
        not repeated.
        """
        rows = [_row(run, term, first_index + i, event) for i, event in enumerate(events)]
        with self._writing() as connection:
            self._check_term(connection, run, term)
            if rows and not self._stand(connection, rows):
                connection.execute(_INSERT_EVENTS, rows)
            if requests:
                closed = REQUESTS.c.id.in_([r.id for r in requests])
                connection.execute(REQUESTS.update().where(closed).values(closed=True))

    def _check_term(self, connection: sa.Connection, run: str, term: int) -> None:
        current = connection.execute(_SELECT_TERM, {"run": run}).scalar_one_or_none()
        if current != term:
            raise StaleTermError(
                f"term {term} of run {run!r} is over, and term {current} has begun: "
                f"this coordinator must stop"
            )

    def _stand(self, connection: sa.Connection, rows: Sequence[Mapping[str, Any]]) -> bool:
        """Whether `rows` are there already, by a commit whose answer was lost; the run's row is locked."""
        run, first = rows[0]["run"], rows[0]["position"]
        last = connection.execute(_SELECT_LAST, {"run": run}).scalar_one()
        if last == first - 1:
            return False
        if last is None or last < first:
            raise JournalLostError(
                f"the journal {self.shown} lacks events of run {run!r}: it ends at {last}, and up to "
                f"{first - 1} were written. It was restored from an older copy, or a replica that lagged "
                f"behind took its server's place; resume=True goes on from what is there"
            )
        found = connection.execute(_SELECT_BEHIND, {"run": run, "after": first - 1})
        if [dict(row) for row in found.mappings()] != list(rows):
            raise StaleTermError(f"positions from {first} of run {run!r} were written by another coordinator")
        return True

    # --- reading ---

    def read(self, run: str, after_index: int = -1) -> Iterator[tuple[int, Event]]:
        """The events of `run` behind `after_index`, in order.

        Raises RunNotFoundError, SchemaVersionError, and JournalLostError for an event that is damaged or
        missing.
        """
        for row in self._rows(run, after_index):
            try:
                event = event_from_json(row.kind, row.body, row.version)
            except DAMAGE as error:
                raise self._damaged(
                    run, f"its event {row.position} ({row.kind}) cannot be read: {error}"
                ) from None
            yield row.position, event

    def _rows(self, run: str, after_index: int) -> Iterator[Any]:
        """Page by page: a reader that takes its time keeps no transaction open."""
        if after_index < 0 and not self.exists(run):
            raise self._not_found(run)
        more = True
        while more:
            with self._reading() as connection:
                page = connection.execute(_SELECT_PAGE, {"run": run, "after": after_index}).all()
            for row in page:
                after_index += 1
                if row.position != after_index:
                    raise self._damaged(run, f"it has no event {after_index}, but an event {row.position}")
                yield row
            more = len(page) == PAGE

    def _damaged(self, run: str, what: str) -> JournalLostError:
        return JournalLostError(
            f"run {run!r} in the journal {self.shown} is damaged: {what}. Its other events are as they were; "
            f"put a copy of the journal in its place, or go on in another journal with resume=True, from the "
            f"backup beside the run's checkpoints"
        )

    def runs(self) -> list[RunRow]:
        """Every run in the journal, the oldest first."""
        count = sa.select(sa.func.max(EVENTS.c.position) + 1).where(EVENTS.c.run == RUNS.c.name)
        query = sa.select(RUNS.c.name, RUNS.c.created_at, RUNS.c.term, count.scalar_subquery()).order_by(
            RUNS.c.created_at
        )
        with self._reading() as connection:
            return [RunRow(*row) for row in connection.execute(query)]

    def exists(self, run: str) -> bool:
        """Whether the journal holds a run of this name."""
        with self._reading() as connection:
            return self._exists(connection, run)

    def _exists(self, connection: sa.Connection, run: str) -> bool:
        return connection.execute(sa.select(RUNS.c.name).where(RUNS.c.name == run)).first() is not None

    def _not_found(self, run: str) -> RunNotFoundError:
        names = [row.name for row in self.runs()][-5:]
        known = f"its newest runs are {', '.join(names)}" if names else "it holds no run yet"
        return RunNotFoundError(f"no run named {run!r} in the journal {self.shown}: {known}")

    # --- requests from other shells ---

    def request(self, run: str, kind: str, body: Mapping[str, Any] | None = None) -> None:
        """Ask the coordinator of `run` for something (`UserRequest`): it reads these rows as it goes."""
        with self._writing() as connection:
            if not self._exists(connection, run):
                raise self._not_found(run)
            connection.execute(
                REQUESTS.insert().values(run=run, kind=kind, body=json.dumps(body or {}), closed=False)
            )

    def open_requests(self, run: str) -> list[UserRequest]:
        """The requests that no commit has closed, the oldest first."""
        query = (
            sa.select(REQUESTS.c.id, REQUESTS.c.kind, REQUESTS.c.body)
            .where(REQUESTS.c.run == run, REQUESTS.c.closed.is_(False))
            .order_by(REQUESTS.c.id)
        )
        with self._reading() as connection:
            return [UserRequest(r.id, r.kind, json.loads(r.body)) for r in connection.execute(query)]

    # --- snapshots ---

    def keep_part(self, run: str, term: int, part: Part) -> None:
        """Store a part of the snapshot of `run`, in place of all that are behind the one that it follows.

        Raises StaleTermError and JournalError, as `append`.
        """
        with self._writing() as connection:
            self._check_term(connection, run, term)
            behind = SNAPSHOTS.delete().where(SNAPSHOTS.c.run == run, SNAPSHOTS.c.position > part.follows)
            connection.execute(behind)
            connection.execute(SNAPSHOTS.insert().values(run=run, **asdict(part)))

    def parts(self, run: str) -> Iterator[tuple[Part, str | None]]:
        """The parts of the snapshot of `run` in order, each with the JSON of the event at its position.

        None where there is no such event. Each is read in a transaction of its own.
        """
        event = sa.and_(EVENTS.c.run == SNAPSHOTS.c.run, EVENTS.c.position == SNAPSHOTS.c.position)
        query = (
            sa.select(*(SNAPSHOTS.c[field.name] for field in fields(Part)), EVENTS.c.body.label("anchor"))
            .select_from(SNAPSHOTS.outerjoin(EVENTS, event))
            .where(SNAPSHOTS.c.run == run, SNAPSHOTS.c.position > sa.bindparam("after"))
            .order_by(SNAPSHOTS.c.position)
            .limit(1)
        )
        after = -1
        while True:
            with self._reading() as connection:
                row = connection.execute(query, {"after": after}).first()
            if row is None:
                return
            *part, anchor = row
            yield Part(*part), anchor
            after = row.position

    # --- copying ---

    def copy(self, run: str, target: SQLJournal, after_index: int = -1, *, terms_ahead: int = 0) -> None:
        """Bring the copy of `run` in `target`, which ends at `after_index` (-1: there is none), up to date.

        Rows are copied as they are, all or none. The copy's term is `terms_ahead` of the original's.
        Raises RunNotFoundError.
        """
        query = sa.select(RUNS.c.created_at, RUNS.c.term).where(RUNS.c.name == run)
        with self._reading() as connection:
            found = connection.execute(query).first()
        if found is None:
            raise self._not_found(run)
        source, there = self._database, target._database
        if isinstance(source, SQLite) and isinstance(there, SQLite) and there.is_file:
            source.copy_run(run, there, after_index, terms_ahead)
            return
        about = {"created_at": found.created_at, "term": found.term + terms_ahead}
        with target._writing() as connection:
            if after_index < 0:
                connection.execute(RUNS.insert().values(name=run, **about))
            else:
                connection.execute(RUNS.update().where(RUNS.c.name == run).values(**about))
            rows = self._rows(run, after_index)
            while page := list(itertools.islice(rows, PAGE)):
                connection.execute(_INSERT_EVENTS, [row._asdict() for row in page])

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
