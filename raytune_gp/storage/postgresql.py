"""A journal's database on a PostgreSQL server, by the driver psycopg.

The tables are in a schema of their own, `raytune_gp`, so that the database may hold other things too. Nothing
waits for ever: connecting, locks and statements have limits on the server's side, and a server that is
silent altogether has one here. Whoever writes waits until the server has it on disk.
"""

from __future__ import annotations

import re
import time
from collections.abc import Generator, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from raytune_gp.errors import JournalError, JournalLostError
from raytune_gp.storage.database import Database
from raytune_gp.storage.urls import shown_url

__all__ = ["PostgreSQL"]

SCHEMA = "raytune_gp"
LOCK_KEY = 0x7261_7974_756E_65
"""Of the advisory lock under which tables are made and migrated."""

CONNECT_S = 10
"""The longest that connecting to one address may take, in seconds."""

LOCK_S = 10
"""How long a statement waits for another process's transaction, in seconds."""

STATEMENT_S = 20
"""The longest that the server may work on one statement; the journal's take milliseconds."""

IDLE_S = 20
"""A transaction whose client is gone without a word holds its locks for so many seconds."""

SILENT_S = 30.0
"""So long an answer is waited for; above STATEMENT_S, since a server that lives says so by then."""

_FIX_OF = {
    "25006": "the server is a read-only replica: give the primary, or target_session_attrs=read-write",
    "28000": "see that the server lets this user in",
    "28P01": "give the password in the URL, in PGPASSWORD or in ~/.pgpass",
    "3D000": "create the database, by `createdb` or CREATE DATABASE",
    "42501": f"let the owner of the database run: CREATE SCHEMA {SCHEMA} AUTHORIZATION this_user",
    "53100": "make room on the server's disk",
    "53300": "raise the server's max_connections, or end some clients",
    "55P03": "another transaction holds this run; see pg_stat_activity for it, and let it end",
    "57014": "the server is overloaded, or a lock is held; see pg_stat_activity",
}
"""What helps, by SQLSTATE."""

_GONE = {
    "42P01": f"Its tables are gone: restore the schema {SCHEMA} from a backup",
    "XX001": "It is damaged: restore a backup",
    "XX002": "An index of it is damaged: REINDEX its tables",
}
"""Where to try again cannot help, by SQLSTATE."""

_AWAY = re.compile(
    "refused|clos|lost|terminat|start(ing|ed) up|shut(ting)? down|recovery|not yet accepting|no answer"
    "|timeout|timed out|reset by peer|broken pipe|unreachable|no route|could not (send|receive)|no such file"
    "|bad connection|SSL SYSCALL",
    re.IGNORECASE,
)
"""What libpq says of a server that is away, in its many words."""

_DRIVER = "PostgreSQL needs the driver psycopg: pip install 'raytune-gp[postgresql]'"


class PostgreSQL(Database):
    """The database behind a URL."""

    _way_on = f"{_GONE['42P01']}, and go on with resume=True"

    def __init__(self, url: sa.URL, *, create: bool):
        try:
            engine = _make_engine(url)
        except ImportError as error:
            raise JournalError(
                f"the journal {shown_url(url)} cannot be opened: {error}. {_DRIVER}"
            ) from error
        super().__init__(url, engine, create=create)

    def _claim(self, connection: sa.Connection) -> None:
        """Wait for others that make the tables, and make the schema if need be."""
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(LOCK_KEY)))
        there = sa.text("SELECT 1 FROM pg_namespace WHERE nspname = :name")
        if connection.execute(there, {"name": SCHEMA}).first() is None:
            connection.exec_driver_sql(f"CREATE SCHEMA {SCHEMA}")

    def _explained(self, error: SQLAlchemyError, verb: str) -> JournalError:
        cause = getattr(error, "orig", None) or error
        state = getattr(cause, "sqlstate", None) or ""
        said = " ".join(str(cause).split())
        message = f"the journal {self.shown} cannot be {verb}"
        if state in _GONE:
            return JournalLostError(f"{message}: {said}. {_GONE[state]}, and go on with resume=True")
        if state in _FIX_OF:
            return JournalError(f"{message}: {said}; {_FIX_OF[state]}")
        away = "see that the server runs and can be reached from here"
        if verb == "opened":
            return JournalError(f"{message}: {said}; {away}, and that it lets this user in")
        if state.startswith(("08", "57P")) or (not state and _AWAY.search(said)):
            # The same words for a server that falls, is away and comes back: they are told once.
            return JournalError(f"{message}: the connection is lost, or the server is away; {away}")
        return JournalError(f"{message}: {said}")


def _make_engine(url: sa.URL) -> sa.Engine:
    """Raises ImportError without psycopg, or where that lacks its C library."""
    import psycopg

    class Bounded(psycopg.Connection[Any]):
        """A connection that waits for SILENT_S seconds at most, then counts as lost."""

        def wait(self, gen: Any, *args: Any, **more: Any) -> Any:
            """Whatever psycopg waits for on a connection that stands goes through here."""
            return super().wait(self._bounded(gen), *args, **more)

        def _bounded(self, gen: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
            deadline = time.monotonic() + SILENT_S
            try:
                state = next(gen)
                while True:
                    ready = yield state
                    if not ready and time.monotonic() > deadline:
                        self.pgconn.finish()
                        raise psycopg.OperationalError(f"no answer from the server in {SILENT_S:g} seconds")
                    state = gen.send(ready)
            except StopIteration as end:
                return end.value

    engine = sa.create_engine(
        url,
        isolation_level="READ COMMITTED",
        pool_pre_ping=True,
        connect_args={k: v for k, v in _connect_arguments().items() if k not in url.query},
    )

    @sa.event.listens_for(engine, "do_connect")
    def _connect(_dialect: Any, _record: Any, arguments: Any, named: Mapping[str, Any]) -> Any:
        return Bounded.connect(*arguments, **named)

    @sa.event.listens_for(engine, "connect", insert=True)
    def _configure(connection: Any, _: Any) -> None:
        for statement in _SESSION:
            connection.execute(statement)
        connection.commit()

    return engine


def _connect_arguments() -> dict[str, Any]:
    """For libpq, where the URL does not say otherwise; a peer that vanished is noticed by TCP."""
    return {
        "connect_timeout": CONNECT_S,
        "application_name": "raytune-gp",
        "keepalives": 1,
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": int(SILENT_S * 1000),
    }


_SESSION = (
    f"SET search_path TO {SCHEMA}",
    f"SET statement_timeout TO '{STATEMENT_S}s'",
    f"SET lock_timeout TO '{LOCK_S}s'",
    f"SET idle_in_transaction_session_timeout TO '{IDLE_S}s'",
    "SELECT set_config('synchronous_commit', 'on', false) "
    "WHERE current_setting('synchronous_commit') = 'off'",
)
