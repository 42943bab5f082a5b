"""The journal's tables, and how those of an older layout become those of today.

The layout is the shape of the tables. What stands in an event's `body` has a version of its own, on each row
(`codec.SCHEMA_VERSION`), and is never rewritten.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import sqlalchemy as sa

from raytune_gp.errors import JournalLostError, SchemaVersionError

__all__ = ["EVENTS", "LAYOUT", "REQUESTS", "RUNS", "SNAPSHOTS", "migrate", "version_of"]

_metadata = sa.MetaData()

RUNS = sa.Table(
    "runs",
    _metadata,
    sa.Column("name", sa.String(255), primary_key=True),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("term", sa.Integer, nullable=False),
)
EVENTS = sa.Table(
    "events",
    _metadata,
    sa.Column("run", sa.String(255), sa.ForeignKey("runs.name"), primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("term", sa.Integer, nullable=False),
    sa.Column("kind", sa.String(40), nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sqlite_with_rowid=False,
)
REQUESTS = sa.Table(
    "requests",
    _metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("run", sa.String(255), nullable=False, index=True),
    sa.Column("kind", sa.String(40), nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("closed", sa.Boolean, nullable=False, default=False),
)
SNAPSHOTS = sa.Table(
    "snapshots",
    _metadata,
    sa.Column("run", sa.String(255), sa.ForeignKey("runs.name"), primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("follows", sa.Integer, nullable=False),
    sa.Column("version", sa.String(80), nullable=False),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
)
_LAYOUT = sa.Table("layout", _metadata, sa.Column("version", sa.Integer, nullable=False))


def _say_the_layout(connection: sa.Connection) -> None:
    """Layout 1 had no table that says which layout it is."""
    connection.exec_driver_sql("CREATE TABLE layout (version INTEGER NOT NULL)")
    connection.exec_driver_sql("INSERT INTO layout (version) VALUES (1)")


def _make_room_for_snapshots(connection: sa.Connection) -> None:
    """Layout 2 had no snapshots."""
    binary = "BYTEA" if connection.dialect.name == "postgresql" else "BLOB"
    connection.exec_driver_sql(
        "CREATE TABLE snapshots (run VARCHAR(255) NOT NULL REFERENCES runs (name), "
        "position INTEGER NOT NULL, follows INTEGER NOT NULL, version VARCHAR(80) NOT NULL, "
        f"digest VARCHAR(64) NOT NULL, body {binary} NOT NULL, PRIMARY KEY (run, position))"
    )


STEPS: Sequence[Callable[[sa.Connection], None]] = (_say_the_layout, _make_room_for_snapshots)
"""The k-th leads from layout k to k + 1, in SQL that is never changed again."""

LAYOUT = 1 + len(STEPS)
"""The layout of the tables above."""


def migrate(connection: sa.Connection) -> None:
    """Make the tables, or make older ones into those of today: in the caller's transaction, all or none.

    No other process may do the same meanwhile. Raises SchemaVersionError for tables of a later day.
    """
    found = version_of(connection)
    if found == 0:
        _metadata.create_all(connection, checkfirst=False)
        connection.execute(_LAYOUT.insert().values(version=LAYOUT))
    elif found < LAYOUT:
        for step in STEPS[found - 1 :]:
            step(connection)
        connection.execute(_LAYOUT.update().values(version=LAYOUT))


def version_of(connection: sa.Connection) -> int:
    """The layout of the tables that are there; 0 for none.

    Raises SchemaVersionError where they are of a later day, JournalLostError where their layout never was.
    """
    inspector = sa.inspect(connection)
    if not inspector.has_table(_LAYOUT.name):
        return 1 if inspector.has_table(RUNS.name) else 0
    found = connection.execute(sa.select(_LAYOUT.c.version)).scalar_one()
    if not isinstance(found, int) or found < 1:
        raise JournalLostError(f"the journal's tables have layout {found!r}, which never was: it is damaged")
    if found > LAYOUT:
        raise SchemaVersionError(
            f"the journal's tables have layout {found}, and this raytune-gp knows layouts up to {LAYOUT}: "
            f"install the version that wrote this journal, or a newer one"
        )
    return found
