"""A journal that cannot be written: the run is paused and told of, goes on, or ends as the user wishes."""

from __future__ import annotations

import sqlite3
import timeit
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from raytune_gp import events as ev
from raytune_gp.errors import JournalGivenUpError, JournalLostError
from raytune_gp.storage import sqlite
from raytune_gp.storage.journal import SQLJournal
from tests.support import Simulation, flat_curve, make_spec


class Created(SQLJournal):
    """Takes the place of a MemoryJournal in a Simulation."""

    def create(self, spec: Any) -> None:
        self.create_run(spec.name, ev.RunCreated(0.0, spec.to_json()))

    def pragma(self, text: str) -> None:
        """Set something on every connection there is and will be."""
        engine = self._database.engine
        sa.event.listen(engine, "checkout", lambda connection, *_: connection.execute(f"PRAGMA {text}"))


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sqlite, "BUSY_S", 0.02)
    return tmp_path / "journal.db"


@pytest.fixture
def run(file: Path) -> Iterator[Simulation]:
    """A run in virtual time that has made some steps, with a journal in `file`."""
    journal = Created(f"sqlite:///{file}")
    run = Simulation(make_spec(num_samples=4), flat_curve(steps=8), journal=journal)
    run.start()
    while not any(t.step >= 2 for t in run.state.trials.values()):
        run.loop.turn()
    yield run
    journal.close()


def told(run: Simulation) -> list[str | None]:
    """What the loop says of troubles from now on."""
    heard: list[str | None] = []
    run.loop._on_trouble = heard.append
    return heard


def lock(run: Simulation, file: Path) -> Callable[[], None]:
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    return other.close


def fill(run: Simulation, file: Path) -> Callable[[], None]:
    run.journal.pragma("max_page_count=1")  # which SQLite raises to the present size
    return lambda: run.journal.pragma("max_page_count=100000")


def forbid(run: Simulation, file: Path) -> Callable[[], None]:
    run.journal.pragma("query_only=ON")
    return lambda: run.journal.pragma("query_only=OFF")


TROUBLES = [
    (lock, "database is locked; another process holds it"),
    (fill, "database or disk is full; make room on the disk"),
    (forbid, "attempt to write a readonly database; let this user write"),
]


@pytest.mark.parametrize(("begin", "what"), TROUBLES)
def test_a_run_is_paused_once_told_of_and_goes_on(
    run: Simulation, file: Path, begin: Callable[..., Callable[[], None]], what: str
) -> None:
    heard = told(run)
    mend = begin(run, file)
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 4:
            mend()

    run.loop._sleep = sleep
    run.run()
    assert len(pauses) == 4
    assert len(heard) == 2
    assert what in str(heard[0])
    assert str(file) in str(heard[0])
    assert heard[1] is None
    steps = [(e.trial, e.step) for _, e in run.journal.read("run") if isinstance(e, ev.Reported)]
    assert sorted(steps) == [(f"{t:05d}", s) for t in range(4) for s in range(1, 9)]


@pytest.mark.parametrize(("begin", "what"), TROUBLES)
def test_a_wish_to_stop_ends_a_paused_run_with_its_workers(
    run: Simulation, file: Path, begin: Callable[..., Callable[[], None]], what: str
) -> None:
    end = begin(run, file)
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 5:
            run.loop.hurry()

    run.loop._sleep = sleep
    with pytest.raises(
        JournalGivenUpError, match=f"{what}.*the last [0-9]+ events, and what was reported since"
    ):
        run.run()
    assert len(pauses) == 5
    while run.cluster.step(None):
        pass
    assert not run.cluster.workers
    end()
    run.loop._sleep = lambda seconds: None
    before = [e for _, e in run.journal.read("run") if isinstance(e, ev.Reported)]
    assert 0 < len(before) < 32
    run.connect()
    run.start().run()
    assert len(run.state.observations) == 4, "and it goes on where the journal ends"


def test_a_short_failure_does_not_cut_a_gentle_stop_short(run: Simulation, file: Path) -> None:
    unlock = lock(run, file)
    run.loop.hurry()
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            unlock()

    run.loop._sleep = sleep
    run.run()
    assert len(pauses) == 2


def test_the_takeover_of_a_run_waits_as_well(run: Simulation, file: Path) -> None:
    unlock = lock(run, file)
    run.connect()
    heard = told(run)
    run.loop._sleep = lambda seconds: unlock()
    run.start().run()
    assert "locked" in str(heard[0])
    assert len(run.state.observations) == 4


def test_a_deleted_journal_ends_the_run_and_what_it_held_is_saved(run: Simulation, file: Path) -> None:
    held = list(run.journal.read("run"))
    file.unlink()
    with pytest.raises(
        JournalLostError, match=r"was deleted or moved away .*the last [0-9]+ events"
    ) as caught:
        run.run()
    [copy] = file.parent.glob("journal-saved-*.db")
    assert f"journal='sqlite:///{copy}' and resume=True" in str(caught.value)
    assert not file.exists(), "no empty journal takes its place"
    saved = Created(f"sqlite:///{copy}")
    assert list(saved.read("run")) == held
    again = Simulation.__new__(Simulation)
    again.__dict__.update(run.__dict__, journal=saved)
    again.connect()
    again.start().run()
    assert len(again.state.observations) == 4
    saved.close()


def test_a_deleted_journal_is_noticed_without_a_commit(run: Simulation, file: Path) -> None:
    file.unlink()
    run.loop._polled_at = -10.0
    with pytest.raises(JournalLostError):
        run.loop._requests(run.loop._now())


def test_a_lost_journal_stays_lost(run: Simulation, file: Path) -> None:
    """A trainable of this process may catch the error that its report raises."""
    moved = file.with_name("elsewhere.db")
    file.rename(moved)
    with pytest.raises(JournalLostError):
        run.run()
    moved.rename(file)
    with pytest.raises(JournalLostError):
        run.run()


def test_a_journal_that_was_replaced_is_not_written(run: Simulation, file: Path) -> None:
    file.unlink()
    other = Created(f"sqlite:///{file}")
    with pytest.raises(JournalLostError, match="was replaced by another file"):
        run.run()
    assert other.runs() == []
    other.close()


def test_a_damaged_journal_ends_the_run(run: Simulation, file: Path) -> None:
    with run.journal._database.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    with file.open("r+b") as opened:
        size = file.stat().st_size
        opened.write(b"\x5a" * size)
    run.journal._database.engine.dispose()
    with pytest.raises(
        JournalLostError, match=r"damaged: put a backup in its place, or what `sqlite3 .* \.recover`"
    ):
        run.run()


def test_to_look_for_the_file_costs_next_to_nothing(run: Simulation) -> None:
    seconds = min(timeit.repeat(lambda: run.journal._database._check(False), number=1000, repeat=3)) / 1000
    assert seconds < 1e-3, "a commit takes several milliseconds"
