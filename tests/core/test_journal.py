"""One suite for every journal, and what is SQL's own: durability, the term across processes, refusals."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from subprocess import PIPE
from typing import Any

import pytest

from raytune_gp import events as ev
from raytune_gp.errors import (
    JournalError,
    JournalLostError,
    RunExistsError,
    RunNotFoundError,
    SchemaVersionError,
    StaleTermError,
)
from raytune_gp.state import RunState
from raytune_gp.storage.journal import _SELECT_BEHIND, SQLJournal
from raytune_gp.storage.urls import absolute_url, default_journal_url
from tests.patience import HANGS_S
from tests.support import MemoryJournal, Simulation, flat_curve, make_spec


def url_of(path: Path) -> str:
    return f"sqlite:///{path / 'deeper' / 'journal.db'}"


@pytest.fixture(params=["sqlite", "postgresql"])
def sql_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database that holds nothing yet."""
    return url_of(tmp_path) if request.param == "sqlite" else request.getfixturevalue("postgres_url")


@pytest.fixture
def sql(sql_url: str) -> Iterator[SQLJournal]:
    journal = SQLJournal(sql_url)
    yield journal
    journal.close()


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """A journal that holds a run named `run`, with one event."""
    if request.param == "memory":
        memory = MemoryJournal()
        memory.create(make_spec())
        yield memory
        return
    url = url_of(tmp_path) if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    journal = SQLJournal(url)
    journal.create_run("run", CREATED)
    yield journal
    journal.close()


CREATED = ev.RunCreated(0.0, make_spec().to_json())


def capacities(*slots: int) -> list[ev.Event]:
    return [ev.CapacityKnown(float(n), n) for n in slots]


def slots(journal: Any, after_index: int = 0) -> list[int]:
    return [e.slots for _, e in journal.read("run", after_index)]


# --- every journal ---


def test_what_is_appended_is_read_in_order(journal: Any) -> None:
    term = journal.raise_term("run")
    journal.append("run", term, 1, capacities(10, 11))
    journal.append("run", term, 3, capacities(12))
    assert next(iter(journal.read("run")))[1].spec["name"] == "run"
    assert list(journal.read("run", 1)) == [(2, capacities(11)[0]), (3, capacities(12)[0])]
    assert list(journal.read("run", 3)) == []


def test_each_coordinator_gets_a_higher_term(journal: Any) -> None:
    assert [journal.raise_term("run") for _ in range(3)] == [1, 2, 3]


def test_a_lower_term_is_refused_and_writes_nothing(journal: Any) -> None:
    old = journal.raise_term("run")
    journal.append("run", old, 1, capacities(1))
    new = journal.raise_term("run")
    with pytest.raises(StaleTermError):
        journal.append("run", old, 2, capacities(2))
    with pytest.raises(StaleTermError):
        journal.append("run", new + 1, 2, capacities(2))
    journal.append("run", new, 2, capacities(3))
    assert slots(journal) == [1, 3]


def test_an_append_of_unknown_outcome_may_be_repeated(journal: Any) -> None:
    term = journal.raise_term("run")
    for _ in range(2):
        journal.append("run", term, 1, capacities(1, 2))
    journal.append("run", term, 3, capacities(3))
    assert slots(journal) == [1, 2, 3]


def test_a_repetition_after_the_term_was_raised_is_refused(journal: Any) -> None:
    term = journal.raise_term("run")
    journal.append("run", term, 1, capacities(1))
    journal.raise_term("run")
    with pytest.raises(StaleTermError):
        journal.append("run", term, 1, capacities(1))


def test_requests_stay_open_until_a_commit_closes_them(journal: Any) -> None:
    term = journal.raise_term("run")
    assert list(journal.open_requests("run")) == []
    journal.request("run", "stop", {"reason": "enough"})
    journal.request("run", "stop_trial", {"trial": "00001"})
    first, second = journal.open_requests("run")
    assert (first.kind, first.body, second.kind) == ("stop", {"reason": "enough"}, "stop_trial")
    assert list(journal.open_requests("run")) == [first, second], "reading closes nothing"
    journal.append("run", term, 1, capacities(1), [first])
    assert list(journal.open_requests("run")) == [second]
    journal.append("run", term, 2, [], [second])
    assert list(journal.open_requests("run")) == []
    assert slots(journal) == [1], "a request may lead to no event at all"


def test_a_stale_coordinator_closes_no_request(journal: Any) -> None:
    old = journal.raise_term("run")
    journal.raise_term("run")
    journal.request("run", "stop")
    with pytest.raises(StaleTermError):
        journal.append("run", old, 1, [], journal.open_requests("run"))
    assert len(journal.open_requests("run")) == 1


# --- SQL ---


class Created(SQLJournal):
    """Takes the place of a MemoryJournal in a Simulation."""

    def create(self, spec: Any) -> None:
        self.create_run(spec.name, ev.RunCreated(0.0, spec.to_json()))


def test_a_run_goes_through_the_database_as_through_memory(sql_url: str) -> None:
    journal = Created(sql_url)
    run = Simulation(make_spec(num_samples=4), flat_curve(), journal=journal)
    run.start()
    for _ in range(6):
        run.loop.turn()
    run.connect()
    run.start().run()
    state = RunState()
    for _, event in journal.read("run"):
        state.apply(event)
    assert state == run.state
    assert len(state.observations) == 4
    journal.close()


def test_events_that_were_committed_and_are_gone_end_the_run(sql: SQLJournal) -> None:
    """As after a fail-over to a replica that lagged behind: a gap would make the run unreadable."""
    sql.create_run("run", CREATED)
    term = sql.raise_term("run")
    sql.append("run", term, 1, capacities(1, 2))
    with sql._database.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM events WHERE position = 2")
    with pytest.raises(JournalLostError, match="lacks events of run 'run': it ends at 1, and up to 2 were"):
        sql.append("run", term, 3, capacities(3))
    assert slots(sql) == [1]


def test_long_runs_are_read_page_by_page(sql: SQLJournal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raytune_gp.storage.journal.PAGE", 3)
    monkeypatch.setattr("raytune_gp.storage.journal._SELECT_PAGE", _SELECT_BEHIND.limit(3))
    sql.create_run("run", CREATED)
    sql.append("run", sql.raise_term("run"), 1, capacities(1, 2, 3, 4, 5, 6))
    assert [slots(sql, after) for after in (0, 1, 3, 5, 6)] == [
        [1, 2, 3, 4, 5, 6],
        [2, 3, 4, 5, 6],
        [4, 5, 6],
        [6],
        [],
    ]


def test_sqlite_commits_survive_a_power_cut(tmp_path: Path) -> None:
    sql = SQLJournal(url_of(tmp_path))
    with sql._database.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2, "FULL"
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
    sql.close()


def test_many_runs_share_a_journal(sql: SQLJournal) -> None:
    sql.create_run("a", CREATED)
    sql.create_run("b", ev.RunCreated(5.0, make_spec(name="b").to_json()))
    sql.append("b", sql.raise_term("b"), 1, capacities(1, 2))
    assert [(r.name, r.created_at, r.term, r.events) for r in sql.runs()] == [
        ("a", 0.0, 0, 1),
        ("b", 5.0, 1, 3),
    ]
    assert (sql.exists("a"), sql.exists("c")) == (True, False)
    assert len(list(sql.read("a"))) == 1


def test_a_name_is_taken_once(sql: SQLJournal) -> None:
    sql.create_run("run", CREATED)
    with pytest.raises(RunExistsError, match="resume=True, or take another name"):
        sql.create_run("run", CREATED)
    assert len(list(sql.read("run"))) == 1


@pytest.mark.parametrize(
    "use",
    [
        lambda j: list(j.read("mine")),
        lambda j: j.raise_term("mine"),
        lambda j: j.request("mine", "stop"),
    ],
)
def test_an_unknown_run_is_answered_with_those_there_are(
    sql: SQLJournal, use: Callable[[SQLJournal], Any]
) -> None:
    with pytest.raises(RunNotFoundError, match="it holds no run yet"):
        use(sql)
    sql.create_run("theirs", CREATED)
    with pytest.raises(RunNotFoundError, match=r"no run named 'mine' .*its newest runs are theirs"):
        use(sql)


def test_all_of_a_batch_or_none_of_it(sql: SQLJournal) -> None:
    sql.create_run("run", CREATED)
    term = sql.raise_term("run")
    sql.append("run", term, 1, capacities(1, 2))
    for others in (capacities(1, 3), capacities(1), capacities(1, 2, 3)):
        with pytest.raises(StaleTermError, match="written by another coordinator"):
            sql.append("run", term, 1, others)
    assert slots(sql) == [1, 2]


def test_a_newer_schema_is_refused(sql: SQLJournal) -> None:
    sql.create_run("run", CREATED)
    with sql._database.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE events SET version = 99")
    with pytest.raises(SchemaVersionError, match="schema version 99"):
        list(sql.read("run"))


def test_a_database_that_is_gone_is_a_journal_error(sql: SQLJournal) -> None:
    sql.create_run("run", CREATED)
    term = sql.raise_term("run")
    with sql._database.engine.begin() as connection:
        for table in ("snapshots", "requests", "events", "runs"):
            connection.exec_driver_sql(f"DROP TABLE {table}")
    for use in (
        lambda: sql.append("run", term, 1, capacities(1)),
        lambda: sql.raise_term("run"),
        lambda: sql.open_requests("run"),
        lambda: list(sql.read("run", 1)),
        lambda: sql.runs(),
    ):
        with pytest.raises(JournalError, match=r"cannot be (read|written): .*(no such table|does not exist)"):
            use()


def test_a_locked_database_is_waited_for_and_then_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raytune_gp.storage.sqlite.BUSY_S", 0.2)
    journal = SQLJournal(url_of(tmp_path))
    journal.create_run("run", CREATED)
    term = journal.raise_term("run")
    other = sqlite3.connect(tmp_path / "deeper" / "journal.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(JournalError, match="database is locked"):
        journal.append("run", term, 1, capacities(1))
    assert slots(journal) == [], "reading goes on meanwhile"
    timer = threading.Timer(0.05, lambda: other.execute("ROLLBACK"))
    timer.start()
    journal.append("run", term, 1, capacities(1))
    timer.join()
    assert slots(journal) == [1]
    other.close()
    journal.close()


SECRET = "s3cr3t"


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql+nodriver://user:{SECRET}@host/db",
        f"mysql://user:{SECRET}@host/db",
        f"postgresql://user:x@{SECRET}@host/db",
        f"postgresql://user:{SECRET}@127.0.0.1:1/db?sslpassword={SECRET}",
        f"postgresql://user:{SECRET}@host:port/db",
        f"postgresql://user@host:{SECRET}/db",
        f"//user:{SECRET}@host/db",
        f"nonsense {SECRET}",
    ],
)
def test_a_journal_that_cannot_be_opened_keeps_the_password_to_itself(url: str) -> None:
    with pytest.raises(JournalError, match=r"the journal .* cannot be opened: ") as caught:
        SQLJournal(url)
    error: BaseException | None = caught.value
    while error is not None:
        assert SECRET not in str(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "journal.db").write_text("dear diary, " * 500)
    with pytest.raises(JournalError, match=r"cannot be opened: .*not a database"):
        SQLJournal(url_of(tmp_path))


@pytest.mark.parametrize("empty", [False, True])
def test_a_coordinator_makes_no_journal_anew(tmp_path: Path, empty: bool) -> None:
    file = tmp_path / "deeper" / "journal.db"
    if empty:
        file.parent.mkdir()
        file.touch()
    journal = SQLJournal(f"sqlite:///{file}", create=False)
    for _ in range(2):
        with pytest.raises(JournalLostError, match=r"is not there any more\. resume=True goes on: "):
            journal.raise_term("run")
    journal.close()
    assert file.parent.exists() == empty
    if empty:
        connection = sqlite3.connect(file)
        assert connection.execute("SELECT name FROM sqlite_schema").fetchall() == []
        connection.close()
    SQLJournal(f"sqlite:///{file}").close()
    journal = SQLJournal(f"sqlite:///{file}", create=False)
    assert journal.runs() == []
    journal.close()


def test_the_default_is_in_the_home_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("RAYTUNE_JOURNAL", raising=False)
    assert default_journal_url() == f"sqlite:///{tmp_path}/.raytune_gp/journal.db"
    monkeypatch.setenv("RAYTUNE_JOURNAL", "~/other.db")
    assert default_journal_url() == f"sqlite:///{tmp_path}/other.db"
    journal = SQLJournal("sqlite:///~/journal.db")
    journal.create_run("run", CREATED)
    assert (tmp_path / "journal.db").exists()
    journal.close()


def test_threads_may_share_a_journal(sql: SQLJournal) -> None:
    names = [f"run{k}" for k in range(8)]

    def write(name: str) -> int:
        sql.create_run(name, CREATED)
        term = sql.raise_term(name)
        for index in range(1, 6):
            sql.append(name, term, index, capacities(index))
        return len(list(sql.read(name)))

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(write, names)) == [6] * 8


CONTENDER = """
import random, sys, time
from raytune_gp import events as ev
from raytune_gp.errors import StaleTermError
from raytune_gp.storage.journal import SQLJournal

url, name = sys.argv[1:]
journal = SQLJournal(url)
print("ready", flush=True)
sys.stdin.readline()
written, terms = 0, set()
while len(terms) < 8:
    term = journal.raise_term("run")
    index = max(i for i, _ in journal.read("run")) + 1
    try:
        for step in range(4):
            journal.append("run", term, index, [ev.CapacityKnown(float(term), index)])
            index += 1
            written += 1
            terms.add(term)
    except StaleTermError:
        time.sleep(random.uniform(0.0, 0.05))
print(written, len(terms))
"""


def test_processes_that_fight_over_a_run_tear_nothing(sql_url: str) -> None:
    """They take the run from each other all the time, and never write together."""
    url = sql_url
    with closing(SQLJournal(url)) as journal:
        journal.create_run("run", CREATED)
        contenders = [
            subprocess.Popen([sys.executable, "-c", CONTENDER, url, n], stdin=PIPE, stdout=PIPE, text=True)
            for n in ("one", "two")
        ]
        for process in contenders:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        written = held = 0
        for process in contenders:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        for process in contenders:
            out, _ = process.communicate(timeout=HANGS_S)
            assert process.returncode == 0
            said, terms_held = out.split()
            written += int(said)
            held += int(terms_held)
        rows = list(journal.read("run"))[1:]
    slots = [e.slots for _, e in rows if isinstance(e, ev.CapacityKnown)]
    assert [index for index, _ in rows] == slots == list(range(1, written + 1))
    terms = [e.at for _, e in rows]
    assert terms == sorted(terms), "a term once over never writes again"
    assert len(set(terms)) == held == 16


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_processes_may_open_a_new_journal_at_the_same_moment(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Threads with engines of their own stand for the processes: the race is in the database."""
    barrier = threading.Barrier(6)
    server = request.getfixturevalue("postgres") if kind == "postgresql" else None

    def open_it(url: str) -> None:
        barrier.wait()
        SQLJournal(url).close()

    for round in range(5):
        url = server.database() if server else url_of(tmp_path / str(round))
        with ThreadPoolExecutor(6) as pool:
            list(pool.map(open_it, [url] * 6))


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://",
        "sqlite:////a/b.db",
        "sqlite:///file:b.db?uri=true",
        "postgresql://me:secret@host/db",
        "what://?",
    ],
)
def test_urls_that_mean_the_same_everywhere_stay(url: str) -> None:
    assert absolute_url(url) == url


def test_the_path_of_a_database_file_is_made_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    assert absolute_url("sqlite:///deep/j.db") == f"sqlite:///{tmp_path}/deep/j.db"
    assert absolute_url("sqlite:///~/j.db") == "sqlite:////home/me/j.db"
    assert absolute_url("deep/j.db") == f"sqlite:///{tmp_path}/deep/j.db"
    assert absolute_url("j.db", tmp_path / "there") == f"sqlite:///{tmp_path}/there/j.db"
    assert absolute_url("sqlite:///j.db?timeout=3") == f"sqlite:///{tmp_path}/j.db?timeout=3"
