"""A PostgreSQL server of the tests' own: Debian's binaries, a temporary directory, a free loopback port."""

from __future__ import annotations

import ctypes
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from raytune_gp.storage.postgresql import SCHEMA
from tests.patience import HANGS_S

NEEDED = "RAYTUNE_TEST_POSTGRESQL"
"""Set in the environment where tests must fail rather than be skipped without a server, as in CI."""

USER = "raytune"
PASSWORD = "s3cr3t/of@the:server"

QUOTED = "s3cr3t%2Fof%40the%3Aserver"
"""The password as URLs have it."""


def binaries() -> Path | None:
    """The directory of `initdb` and `postgres`, of the newest version that is installed."""
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if found:
        return max(found, key=lambda path: float(path.parent.name))
    beside = shutil.which("initdb")
    return Path(beside).resolve().parent if beside else None


def _die_with_parent() -> None:
    """The kernel ends the server when the thread that started it ends, with its process at the latest."""
    ctypes.CDLL(None).prctl(1, signal.SIGQUIT)


class Server:
    """A server that syncs to disk as in production, and can be killed, restarted and frozen."""

    def __init__(self, bin: Path):
        self._bin = bin
        self._directory = Path(tempfile.mkdtemp(prefix="raytune-pg-"))
        self._as: dict[str, Any] = {}
        if os.geteuid() == 0:  # which the server refuses to run as
            user = "postgres" if "postgres" in [entry.pw_name for entry in pwd.getpwall()] else "nobody"
            entry = pwd.getpwnam(user)
            os.chown(self._directory, entry.pw_uid, entry.pw_gid)
            self._as = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
        self.data = self._directory / "data"
        secret = self._directory / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        command = [bin / "initdb", "-D", self.data, "-U", USER, f"--pwfile={secret}", "--auth=scram-sha-256"]
        done = subprocess.run(
            [*map(str, command), "--no-sync", "--locale=C", "--encoding=UTF8"],
            capture_output=True,
            text=True,
            cwd=self._directory,
            **self._as,
        )
        assert done.returncode == 0, done.stderr
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._starter = ThreadPoolExecutor(1)
        self._process: subprocess.Popen[bytes]
        self._databases = 0
        self.start()

    def start(self) -> None:
        """Start, and wait until it takes connections."""
        command = [self._bin / "postgres", "-D", self.data, "-p", self.port, "-k", self._directory]
        with (self._directory / "log").open("ab") as log:

            def launch() -> subprocess.Popen[bytes]:
                return subprocess.Popen(
                    [*map(str, command), "-c", "listen_addresses=127.0.0.1"],
                    stdout=log,
                    stderr=log,
                    cwd=self._directory,
                    preexec_fn=_die_with_parent,
                    **self._as,
                )

            self._process = self._starter.submit(launch).result()
        deadline = time.monotonic() + HANGS_S
        while self._ask("SELECT 1") is None:
            assert self._process.poll() is None, (self._directory / "log").read_text()
            assert time.monotonic() < deadline, "the server does not start"
            time.sleep(0.05)

    def kill(self) -> None:
        """End it at once, as `pg_ctl stop -m immediate` does: what was committed is in its log on disk."""
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(30)

    def restart(self) -> None:
        """Kill it and start it again, which recovers what was committed."""
        self.kill()
        self.start()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """It keeps its connections and says nothing."""
        processes = [psutil.Process(self._process.pid)]
        processes += processes[0].children()
        for process in processes:
            process.suspend()
        try:
            yield
        finally:
            for process in processes:
                process.resume()

    def stop(self) -> None:
        """Stop it, without the care that it takes of its files otherwise, and delete them."""
        if self._process.poll() is None:
            self.kill()
        self._starter.shutdown()
        shutil.rmtree(self._directory, ignore_errors=True)

    def url(self, database: str = "postgres", *, password: str | None = QUOTED) -> str:
        """The URL of a database."""
        secret = "" if password is None else f":{password}"
        return f"postgresql://{USER}{secret}@127.0.0.1:{self.port}/{database}"

    def database(self) -> str:
        """The URL of a new, empty database."""
        self._databases += 1
        name = f"test_{os.getpid()}_{self._databases}"
        self.do(f"CREATE DATABASE {name}")
        return self.url(name)

    def emptied(self) -> str:
        """The URL of the server's first database, of which clients and journals of earlier tests are gone."""
        self.do(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'raytune-gp'"
        )
        self.do(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")
        return self.url()

    def do(self, statement: str, database: str = "postgres") -> Any:
        """The rows that a statement returns, by a connection of its own."""
        import psycopg

        with psycopg.connect(self.url(database), autocommit=True, connect_timeout=5) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else None

    def _ask(self, statement: str) -> Any:
        import psycopg

        try:
            return self.do(statement)
        except psycopg.Error:
            return None


def serve() -> Iterator[Server]:
    """The body of the fixture `postgres`."""
    found = binaries()
    try:
        import psycopg  # noqa: F401
    except ImportError:
        found = None
    if found is None:
        why = "no PostgreSQL here: apt-get install postgresql, and pip install 'raytune-gp[postgresql]'"
        if os.environ.get(NEEDED):
            pytest.fail(why)
        pytest.skip(why)
    server = Server(found)
    yield server
    server.stop()
