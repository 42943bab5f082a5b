"""Where a journal is, as users say it: URLs and paths, made absolute, and shown without passwords."""

from __future__ import annotations

import os
from pathlib import Path

import sqlalchemy as sa

from raytune_gp.errors import JournalError, SpecError
from raytune_gp.storage.mounts import network_file_system

__all__ = [
    "absolute_url",
    "client_environment",
    "default_journal_url",
    "parse_url",
    "shown_url",
    "sqlite_file",
    "unsafe_place",
    "url_for_commands",
]

EXPECTED = (
    "It must be a database URL such as sqlite:////path/to/journal.db, on a local disk that is writable, or "
    "postgresql+psycopg://user@host/database"
)
_SECRETS = ("password", "sslpassword")
"""Parameters of a URL's query that nobody is shown."""

_DRIVERS = {
    "sqlite": "sqlite",
    "sqlite+pysqlite": "sqlite",
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
}


def default_journal_url() -> str:
    """Where the journal is if nobody says it: at `$RAYTUNE_JOURNAL`, else `~/.raytune_gp/journal.db`."""
    given = os.environ.get("RAYTUNE_JOURNAL")
    return absolute_url(given or f"sqlite:///{Path.home() / '.raytune_gp' / 'journal.db'}")


def parse_url(url: str) -> sa.URL:
    """The URL of a kind of database that a journal can be in, with its driver.

    Raises JournalError, which says nothing of a password.
    """
    try:
        parsed = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):  # which may quote a part of a password
        raise JournalError(
            f"the journal (unreadable URL) cannot be opened: it is no URL, or its port is no number. "
            f"{EXPECTED}; in a password, characters such as @ : / % are written %40 %3A %2F %25"
        ) from None
    if "@" in (parsed.host or ""):
        raise JournalError(
            f"the journal (unreadable URL) cannot be opened: there are two @ in it. {EXPECTED}; in a "
            f"password @ is written %40"
        )
    driver = _DRIVERS.get(parsed.drivername)
    if driver is None:
        raise JournalError(
            f"the journal {shown_url(url)} cannot be opened: journals are in SQLite, or in PostgreSQL by the "
            f"driver psycopg, and not in {parsed.drivername!r}. {EXPECTED}"
        )
    return parsed.set(drivername=driver)


def shown_url(url: str | sa.URL) -> str:
    """`url` for messages: its password hidden."""
    try:
        parsed = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):
        return "(unreadable URL)"
    return parsed.difference_update_query(_SECRETS).render_as_string(hide_password=True)


def url_for_commands(url: str) -> str:
    """`url` for a command line that is suggested to a user: without its password."""
    parsed = sa.make_url(url)
    if parsed.password is None and not set(_SECRETS) & set(parsed.query):
        return url
    return parsed.difference_update_query(_SECRETS)._replace(password=None).render_as_string(False)


def client_environment(url: str) -> dict[str, str]:
    """What this process's environment adds to a URL of PostgreSQL: PGPASSWORD, PGPASSFILE, PGHOST, …"""
    if not url.startswith("postgres"):
        return {}
    return {name: value for name, value in os.environ.items() if name.startswith("PG")}


def absolute_url(url: str | Path, directory: str | Path = "") -> str:
    """`url` with the path of an SQLite file made absolute: processes that work elsewhere open it too.

    What is no URL is the path of an SQLite file. A relative path begins at `directory`, by default the
    working directory. Raises SpecError for what is neither text nor a path.
    """
    if not isinstance(url, str | Path):
        raise SpecError(
            f"journal is {url!r}; it must be the URL of a database, or the path of an SQLite file"
        )
    url = str(url)
    whole = url if "://" in url else f"sqlite:///{url}"
    try:
        file = sqlite_file(whole, directory)
    except (sa.exc.ArgumentError, ValueError):
        return url
    return url if file is None else sa.make_url(whole).set(database=str(file)).render_as_string(False)


def sqlite_file(url: str | sa.URL, directory: str | Path = "") -> Path | None:
    """The file of an SQLite URL, absolute (from `directory`); None for a database elsewhere or in memory.

    Raises sqlalchemy's ArgumentError or ValueError for what is no URL.
    """
    parsed = sa.make_url(url)
    file = parsed.database or ":memory:"
    if parsed.drivername.partition("+")[0] != "sqlite" or file.startswith((":memory:", "file:")):
        return None
    return (Path(directory) / Path(file).expanduser()).absolute()


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
        f"when two machines open it. Give a local path, journal='sqlite:////local/disk/journal.db', or a "
        f"PostgreSQL server, journal='postgresql+psycopg://…', or set RAYTUNE_JOURNAL in the environment"
    )
