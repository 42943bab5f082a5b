"""What is PostgreSQL's own: a server that goes away, hangs or forgets; what a user is told; passwords."""

from __future__ import annotations

import itertools
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import Connection

from raytune_gp import events as ev
from raytune_gp.errors import JournalError, JournalLostError, StaleTermError
from raytune_gp.execution.coordinator import RunPlan
from raytune_gp.storage import postgresql
from raytune_gp.storage.journal import SQLJournal
from raytune_gp.storage.urls import client_environment, shown_url, url_for_commands
from tests.postgres import PASSWORD, QUOTED, Server
from tests.support import Simulation, flat_curve, make_spec

CREATED = ev.RunCreated(0.0, make_spec().to_json())


def capacities(*slots: int) -> list[ev.Event]:
    return [ev.CapacityKnown(float(n), n) for n in slots]


def slots(journal: SQLJournal) -> list[int]:
    found = []
    for _, event in journal.read("run", 0):
        assert isinstance(event, ev.CapacityKnown)
        found.append(event.slots)
    return found


@pytest.fixture
def journal(postgres_url: str) -> Iterator[SQLJournal]:
    """A journal that holds a run named `run`, with one event."""
    journal = SQLJournal(postgres_url)
    journal.create_run("run", CREATED)
    yield journal
    journal.close()


def test_commits_survive_a_kill_and_the_connection_comes_back(journal: SQLJournal, postgres: Server) -> None:
    term = journal.raise_term("run")
    journal.append("run", term, 1, capacities(1))
    postgres.restart()
    journal.append("run", term, 2, capacities(2))
    assert slots(journal) == [1, 2]


def test_a_server_that_is_away_is_an_error_with_always_the_same_words(
    journal: SQLJournal, postgres: Server
) -> None:
    term = journal.raise_term("run")
    postgres.kill()
    said = set()
    for _ in range(3):
        with pytest.raises(JournalError) as caught:
            journal.append("run", term, 1, capacities(1))
        said.add(str(caught.value))
    postgres.start()
    [words] = said
    assert (
        "cannot be written: the connection is lost, or the server is away; see that the server runs" in words
    )
    journal.append("run", term, 1, capacities(1))
    assert slots(journal) == [1]


class Proxy:
    """Stands between client and server, and cuts the connection where `cut` says so of what the client sends.

    What was sent is handed on first, so that the server does as it was told and nobody hears of it.
    """

    def __init__(self, port: int):
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.cut: Callable[[bytes], bool] = lambda data: False
        self.cuts = 0
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._carry, args=(client,), daemon=True).start()

    def _carry(self, client: socket.socket) -> None:
        server = socket.create_connection(("127.0.0.1", self._port))
        back = threading.Thread(target=self._copy, args=(server, client), daemon=True)
        back.start()
        with suppress(OSError):
            while data := client.recv(65536):
                if self.cut(data):
                    self.cuts += 1
                    client.shutdown(socket.SHUT_RDWR)
                    server.sendall(data)
                    break
                server.sendall(data)
        with suppress(OSError):
            server.shutdown(socket.SHUT_WR)
        back.join()
        client.close()
        server.close()

    @staticmethod
    def _copy(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def proxied(postgres: Server, postgres_url: str) -> Iterator[tuple[Proxy, SQLJournal]]:
    proxy = Proxy(postgres.port)
    journal = SQLJournal(postgres_url.replace(f":{postgres.port}/", f":{proxy.port}/") + "?sslmode=disable")
    journal.create_run("run", CREATED)
    yield proxy, journal
    journal.close()
    proxy.close()


def test_a_commit_whose_answer_is_lost_is_not_written_twice(proxied: tuple[Proxy, SQLJournal]) -> None:
    proxy, journal = proxied
    term = journal.raise_term("run")
    journal.append("run", term, 1, capacities(1))
    proxy.cut = lambda data: b"COMMIT" in data
    with pytest.raises(JournalError, match="the connection is lost"):
        journal.append("run", term, 2, capacities(2, 3))
    assert proxy.cuts == 1
    proxy.cut = lambda data: False
    journal.append("run", term, 2, capacities(2, 3))
    journal.append("run", term, 4, capacities(4))
    assert slots(journal) == [1, 2, 3, 4]


def test_what_was_cut_before_its_commit_is_written_once(proxied: tuple[Proxy, SQLJournal]) -> None:
    proxy, journal = proxied
    term = journal.raise_term("run")
    proxy.cut = lambda data: b"INSERT INTO" in data
    with pytest.raises(JournalError, match="the connection is lost"):
        journal.append("run", term, 1, capacities(1))
    proxy.cut = lambda data: False
    journal.append("run", term, 1, capacities(1))
    assert slots(journal) == [1]


def test_a_run_through_a_network_that_cuts_every_so_often(proxied: tuple[Proxy, SQLJournal]) -> None:
    """Each fortieth message is the last of its connection: accounts are exact all the same."""
    proxy, journal = proxied
    journal.create = lambda spec: None  # type: ignore[attr-defined]
    count = itertools.count(1)
    proxy.cut = lambda data: next(count) % 40 == 0
    run = Simulation(make_spec(num_samples=6), flat_curve(steps=8), journal=journal)
    run.start().run()
    assert proxy.cuts > 5
    proxy.cut = lambda data: False
    steps = [(e.trial, e.step) for _, e in journal.read("run") if isinstance(e, ev.Reported)]
    assert sorted(steps) == [(f"{t:05d}", s) for t in range(6) for s in range(1, 9)]
    assert [index for index, _ in journal.read("run")] == list(range(run.state.index + 1))


def test_a_server_that_says_nothing_is_not_waited_for(
    postgres_url: str, postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = SQLJournal(f"{postgres_url}?connect_timeout=2")  # for the pool tries again by a new connection
    journal.create_run("run", CREATED)
    term = journal.raise_term("run")
    monkeypatch.setattr(postgresql, "SILENT_S", 0.5)
    began = time.monotonic()
    with (
        postgres.frozen(),
        pytest.raises(JournalError, match="the connection is lost, or the server is away"),
    ):
        journal.append("run", term, 1, capacities(1))
    assert time.monotonic() - began < 60
    journal.append("run", term, 1, capacities(1))
    assert slots(journal) == [1]
    journal.close()


def test_a_run_that_another_transaction_holds_is_waited_for_and_then_refused(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shorter = tuple(s.replace(f"'{postgresql.LOCK_S}s'", "'300ms'") for s in postgresql._SESSION)
    monkeypatch.setattr(postgresql, "_SESSION", shorter)
    journal, other = SQLJournal(postgres_url), SQLJournal(postgres_url)
    journal.create_run("run", CREATED)
    term = journal.raise_term("run")
    with other._database.begin(writes=True) as held:
        held.exec_driver_sql("SELECT term FROM runs WHERE name = 'run' FOR UPDATE")
        with pytest.raises(JournalError, match="another transaction holds this run"):
            journal.append("run", term, 1, capacities(1))
        assert slots(journal) == [], "reading goes on meanwhile"
    journal.append("run", term, 1, capacities(1))
    assert slots(journal) == [1]
    journal.close()
    other.close()


def test_a_takeover_waits_for_the_commit_under_way_and_fences_off_the_next(postgres_url: str) -> None:
    """The old coordinator has the row's lock: the new term begins behind what it commits."""
    old, new = SQLJournal(postgres_url), SQLJournal(postgres_url)
    old.create_run("run", CREATED)
    term = old.raise_term("run")
    found: list[tuple[int, list[int]]] = []
    thread = threading.Thread(target=lambda: found.append((new.raise_term("run"), slots(new))))
    check, insert = old._check_term, threading.Event()

    def check_slowly(connection: Connection, run: str, term: int) -> None:
        check(connection, run, term)
        thread.start()
        while not waits(new):
            time.sleep(0.01)
        insert.set()

    old._check_term = check_slowly  # type: ignore[method-assign]
    old.append("run", term, 1, capacities(1))
    thread.join(30)
    assert insert.is_set()
    assert found == [(term + 1, [1])]
    old._check_term = check  # type: ignore[method-assign]
    with pytest.raises(StaleTermError):
        old.append("run", term, 2, capacities(2))
    old.close()
    new.close()


def waits(journal: SQLJournal) -> bool:
    """Whether some client of the journal's database waits for a lock."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    with journal._database.engine.connect() as connection:
        return bool(connection.exec_driver_sql(query).scalar())


def test_two_coordinators_of_one_run(postgres_url: str) -> None:
    first, second = SQLJournal(postgres_url), SQLJournal(postgres_url)
    first.create_run("run", CREATED)
    first.create = lambda spec: None  # type: ignore[attr-defined]
    run = Simulation(make_spec(), flat_curve(steps=8), journal=first).start()
    while not run.state.running:
        run.loop.turn()
    old = run.loop
    run.journal = second
    run.connect()
    run.start()
    with pytest.raises(StaleTermError, match="term 1 of run 'run' is over, and term 2 has begun"):
        old._commit(capacities(9), old.experiment.state.index + 1)
    run.run()
    assert len(run.state.observations) == 6
    assert not [e for _, e in second.read("run") if isinstance(e, ev.CapacityKnown) and e.slots == 9]
    first.close()
    second.close()


def test_the_journal_shares_a_database_with_what_else_is_there(postgres: Server, postgres_url: str) -> None:
    postgres.do("CREATE TABLE IF NOT EXISTS public.runs (mine TEXT)")
    journal = SQLJournal(postgres_url)
    journal.create_run("run", CREATED)
    assert postgres.do("SELECT * FROM public.runs") == []
    assert postgres.do("SELECT name FROM raytune_gp.runs") == [("run",)]
    journal.close()
    postgres.do("DROP TABLE public.runs")


def test_a_role_that_commits_carelessly_is_told_to_wait_for_the_disk(postgres: Server) -> None:
    url = postgres.database()
    name = url.rpartition("/")[2]
    postgres.do(f"ALTER DATABASE {name} SET synchronous_commit TO off")
    postgres.do(f"ALTER DATABASE {name} SET default_transaction_isolation TO 'serializable'")
    journal = SQLJournal(url)
    with journal._database.engine.connect() as connection:
        assert connection.exec_driver_sql("SHOW synchronous_commit").scalar() == "on"
        assert connection.exec_driver_sql("SHOW transaction_isolation").scalar() == "read committed"
    journal.close()


# --- what a user is told ---


def test_a_replica_is_no_place_to_write(postgres: Server) -> None:
    url = postgres.database()
    journal = SQLJournal(url)
    journal.create_run("run", CREATED)
    journal.close()
    postgres.do(f"ALTER DATABASE {url.rpartition('/')[2]} SET default_transaction_read_only TO on")
    journal = SQLJournal(url)
    with pytest.raises(JournalError, match="read-only transaction; the server is a read-only replica"):
        journal.raise_term("run")
    assert len(list(journal.read("run"))) == 1
    journal.close()


def test_a_database_that_is_not_there(postgres: Server) -> None:
    with pytest.raises(JournalError, match=r'cannot be opened: .*database "nowhere" does not exist; see'):
        SQLJournal(postgres.url("nowhere"))


def test_a_user_who_may_make_no_schema(postgres: Server) -> None:
    url = postgres.database()
    postgres.do("DROP ROLE IF EXISTS guest")
    postgres.do("CREATE ROLE guest LOGIN PASSWORD 'guest'")
    with pytest.raises(JournalError, match=r"permission denied for database .*CREATE SCHEMA raytune_gp AUTH"):
        SQLJournal(url.replace(f"raytune:{QUOTED}", "guest:guest"))


def test_tables_that_were_dropped_are_lost(journal: SQLJournal, postgres: Server) -> None:
    term = journal.raise_term("run")
    postgres.do("DROP SCHEMA raytune_gp CASCADE")
    with pytest.raises(JournalLostError, match="Its tables are gone: restore the schema raytune_gp"):
        journal.append("run", term, 1, capacities(1))


@pytest.mark.parametrize("schema", [False, True])
def test_a_coordinator_makes_no_journal_anew(postgres: Server, schema: bool) -> None:
    url = postgres.database()
    if schema:
        postgres.do("CREATE SCHEMA raytune_gp", url.rpartition("/")[2])
    journal = SQLJournal(url, create=False)
    for _ in range(2):
        with pytest.raises(JournalLostError, match=r"is not there any more\. Its tables are gone: rest"):
            journal.raise_term("run")
    journal.close()


def test_a_coordinator_waits_for_a_server_that_is_away(journal: SQLJournal, postgres: Server) -> None:
    postgres.kill()
    later = SQLJournal(postgres.url(), create=False)
    with pytest.raises(JournalError, match="cannot be opened"):
        later.raise_term("run")
    postgres.start()
    assert later.raise_term("run") == 1
    later.close()


def test_without_the_driver_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "psycopg", None)
    with pytest.raises(JournalError, match=r"pip install 'raytune-gp\[postgresql\]'") as caught:
        SQLJournal("postgresql://me:secret@host/db?password=secret&sslpassword=secret")
    assert "secret" not in str(caught.value)


# --- passwords ---


def test_a_wrong_password_and_none(postgres: Server) -> None:
    with pytest.raises(JournalError, match="password authentication failed") as caught:
        SQLJournal(postgres.url(password="wr0ng"))
    assert "wr0ng" not in str(caught.value)
    with pytest.raises(JournalError, match="no password supplied"):
        SQLJournal(postgres.url(password=None))


def test_the_password_may_come_from_the_environment_or_a_file(
    postgres: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = postgres.url(password=None)
    with monkeypatch.context() as patched:
        patched.setenv("PGPASSWORD", PASSWORD)
        SQLJournal(url).close()
        assert client_environment(url)["PGPASSWORD"] == PASSWORD
        assert client_environment("sqlite:////a/b.db") == {}
    file = tmp_path / "pass"
    file.write_text(f"*:*:*:*:{PASSWORD.replace(':', chr(92) + ':')}\n")
    file.chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(file))
    SQLJournal(url).close()


def test_a_password_is_shown_nowhere(postgres: Server) -> None:
    url = f"{postgres.url()}?sslpassword={QUOTED}"
    plan = RunPlan("run", "id", url, 0, None, None, environment={"PGPASSWORD": PASSWORD})  # type: ignore[arg-type]
    for text in (repr(plan), shown_url(url), url_for_commands(url)):
        assert QUOTED not in text
        assert PASSWORD not in text
    assert url_for_commands(url) == f"postgresql://raytune@127.0.0.1:{postgres.port}/postgres"
    assert url_for_commands("sqlite:////a/b.db") == "sqlite:////a/b.db"
    assert os.environ.get("PGPASSWORD") is None
