"""Backups of SQLite journals: what is copied when, what waits for it, and how a lost run comes back."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from raytune_gp import events as ev
from raytune_gp.errors import JournalError, RunNotFoundError
from raytune_gp.state import RunState
from raytune_gp.storage import backup as module
from raytune_gp.storage.artifacts import Storage
from raytune_gp.storage.backup import TERMS_AHEAD, Backup, restore
from raytune_gp.storage.journal import SQLJournal
from tests.support import Simulation, flat_curve, make_spec


def created(run_id: str) -> Any:
    return ev.RunCreated(5.0, json.loads(json.dumps(make_spec(run_id=run_id).to_json())))


CREATED = created("first")


def capacities(*slots: int) -> list[ev.Event]:
    return [ev.CapacityKnown(float(n), n) for n in slots]


class Place:
    """A journal on a disk that can be lost, and the storage beside it."""

    def __init__(self, directory: Path):
        self.file = directory / "disk" / "journal.db"
        self.url = f"sqlite:///{self.file}"
        self.journal = SQLJournal(self.url)
        self.journal.create_run("run", CREATED)
        self.term = self.journal.raise_term("run")
        self.storage = Storage(str(directory / "results"), "run")
        self.said: list[str | None] = []
        self.copies = threading.Semaphore(0)

    def backup(self) -> Backup:
        """A backup that has not begun."""
        return Backup(self.journal, self.url, "run", self.storage, self.said.append)

    def copied(self) -> list[ev.Event]:
        """What the backup holds."""
        journal = SQLJournal(f"sqlite:///{self.storage.path(module.DATABASE)}")
        events = [event for _, event in journal.read("run")]
        journal.close()
        return events

    def about(self) -> dict[str, Any]:
        return json.loads(self.storage.read_bytes(module.ABOUT))


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    yield place
    place.journal.close()


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Copies follow each other; call it to wait until one has begun and ended since."""
    done = threading.Condition()
    count = 0
    copy = Backup._try

    def counted(self: Backup, directory: Path) -> None:
        nonlocal count
        copy(self, directory)
        with done:
            count += 1
            done.notify_all()

    def wait() -> None:
        with done:
            goal = count + 2
            assert done.wait_for(lambda: count >= goal, 30)

    monkeypatch.setattr(module, "EVERY_S", 0.01)
    monkeypatch.setattr(module, "SHARE", 0.9)
    monkeypatch.setattr(Backup, "_try", counted)
    return wait


def test_what_is_new_is_copied_while_the_run_goes_on(place: Place, often: Callable[[], None]) -> None:
    backup = place.backup()
    backup.start()
    often()
    assert place.copied() == [CREATED]
    place.journal.append("run", place.term, 1, capacities(1, 2))
    often()
    assert place.copied() == [CREATED, *capacities(1, 2)]
    modified = Path(place.storage.path(module.DATABASE)).stat().st_mtime_ns
    often()
    assert Path(place.storage.path(module.DATABASE)).stat().st_mtime_ns == modified, "nothing new, no copy"
    backup.close()
    about = place.about()
    assert (about["run_id"], about["journal"], about["events"], about["term"]) == ("first", place.url, 3, 1)
    assert place.said == []
    assert not [p for p in Path(place.storage.root).iterdir() if p.suffix in (".partial", ".db-wal")]


def test_the_end_makes_the_last_copy_without_waiting(place: Place) -> None:
    backup = place.backup()
    backup.start()
    place.journal.append("run", place.term, 1, capacities(*range(1, 40)))
    backup.close()
    assert place.copied() == [CREATED, *capacities(*range(1, 40))]


def test_only_the_run_is_copied(place: Place) -> None:
    place.journal.create_run("other", CREATED)
    backup = place.backup()
    backup.start()
    backup.close()
    copy = SQLJournal(f"sqlite:///{place.storage.path(module.DATABASE)}")
    assert [row.name for row in copy.runs()] == ["run"]
    copy.close()


def test_checkpoints_wait_for_the_copy_that_no_longer_names_them(
    place: Place, often: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    upload = Storage.upload_file

    def upload_file(storage: Storage, *arguments: str) -> None:
        order.append("copy")
        upload(storage, *arguments)

    monkeypatch.setattr(Storage, "upload_file", upload_file)
    monkeypatch.setattr(Storage, "retain", lambda self, trial, keep, _: order.append(f"{trial} {keep}"))
    backup = place.backup()
    backup.retain("trial_0", ["one"])
    backup.retain("trial_0", ["two"])
    assert order == []
    backup.start()
    often()
    assert order == ["copy", "trial_0 ['two']"]
    backup.retain("trial_1", ["three"])
    often()
    backup.close()
    assert order == ["copy", "trial_0 ['two']", "trial_1 ['three']"], "nothing new to copy"


def test_a_storage_that_fails_is_told_of_once_and_tried_again(
    place: Place, often: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    retained: list[str] = []
    monkeypatch.setattr(Storage, "retain", lambda self, trial, keep, _: retained.append(trial))
    with monkeypatch.context() as patched:

        def fail(*_: Any) -> None:
            raise OSError("no route to the bucket")

        patched.setattr(Storage, "upload_file", fail)
        backup = place.backup()
        backup.retain("trial_0", ["one"])
        backup.start()
        often()
        often()
        assert place.said == ["OSError: no route to the bucket"]
        assert retained == []
    often()
    backup.close()
    assert place.said == ["OSError: no route to the bucket", None]
    assert retained == ["trial_0"]
    assert place.copied() == [CREATED]


def test_a_storage_that_hangs_does_not_hold_up_the_end(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    hang = threading.Event()
    monkeypatch.setattr(Storage, "upload_file", lambda *a: hang.wait(60))
    monkeypatch.setattr(module, "LAST_S", 0.2)
    backup = place.backup()
    backup.start()
    backup.close()
    assert backup._thread.is_alive()
    hang.set()
    backup._thread.join(30)


def test_a_restored_run_has_all_that_was_copied_under_a_higher_term(place: Place, tmp_path: Path) -> None:
    place.journal.append("run", place.term, 1, capacities(1, 2))
    backup = place.backup()
    backup.start()
    backup.close()
    new = SQLJournal(f"sqlite:///{tmp_path}/new.db")
    new.create_run("another", CREATED)
    place.journal.close()
    place.file.unlink()
    about = restore(new, f"sqlite:///{tmp_path}/new.db", "run", place.storage.storage_path)
    assert about is not None
    assert (about.events, about.journal) == (3, place.url)
    assert [event for _, event in new.read("run")] == [CREATED, *capacities(1, 2)]
    assert new.raise_term("run") > place.term + TERMS_AHEAD
    assert "its first 3 events, up to 2" in about.explain("run", new.shown)
    new.close()


def test_a_bucket_holds_backups_too(place: Place, tmp_path: Path) -> None:
    bucket = f"fsspec+memory://{tmp_path.name}"
    place.storage = Storage(bucket, "run")
    assert not place.storage.is_local
    place.journal.append("run", place.term, 1, capacities(1, 2))
    for _ in range(2):  # the second one finds the first one's copy
        backup = place.backup()
        backup.start()
        backup.close()
    assert place.said == []
    place.journal.close()
    place.file.unlink()
    new = SQLJournal(f"sqlite:///{tmp_path}/new.db")
    assert restore(new, f"sqlite:///{tmp_path}/new.db", "run", bucket) is not None
    assert [event for _, event in new.read("run")] == [CREATED, *capacities(1, 2)]
    new.close()
    MemoryFileSystem.store.clear()


def test_what_has_no_backup_is_not_restored_and_leaves_no_trace(tmp_path: Path) -> None:
    new = SQLJournal(f"sqlite:///{tmp_path}/new.db")
    assert restore(new, "sqlite:///…", "run", str(tmp_path / "results")) is None
    assert not (tmp_path / "results").exists()
    assert new.runs() == []
    new.close()


def test_a_run_whose_journal_is_still_there_is_not_forked(place: Place, tmp_path: Path) -> None:
    backup = place.backup()
    backup.start()
    backup.close()
    url = f"sqlite:///{tmp_path}/mistaken.db"
    new = SQLJournal(url)
    with pytest.raises(RunNotFoundError, match=f"it is in {place.url}, so give journal='{place.url}'"):
        restore(new, url, "run", place.storage.storage_path)
    assert new.runs() == []
    new.close()


def test_a_coordinator_that_was_replaced_does_not_overwrite_its_successors_backup(
    place: Place, tmp_path: Path, often: Callable[[], None]
) -> None:
    """As where the head was thought lost and was not."""
    old = place.backup()
    old.start()
    often()
    moved = place.file.rename(place.file.with_name("unreachable.db"))
    url = f"sqlite:///{tmp_path}/new.db"
    new = SQLJournal(url)
    assert restore(new, url, "run", place.storage.storage_path) is not None
    moved.rename(place.file)
    new.append("run", new.raise_term("run"), 1, capacities(7))
    successor = Backup(new, url, "run", place.storage)
    successor.start()
    successor.close()
    place.journal.append("run", place.term, 1, capacities(1, 2, 3))
    often()
    old.close()
    assert place.copied() == [CREATED, *capacities(7)]
    assert "was restored from its backup and goes on in the journal" in str(place.said[-1])
    new.close()


@pytest.mark.parametrize("failing", ["", "upload_file", "write_bytes"])
def test_an_earlier_run_of_that_name_keeps_its_backup(
    place: Place,
    tmp_path: Path,
    failing: str,
    often: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where the storage was away after the earlier one's copy was set aside."""
    with place.backup():
        pass
    url = f"sqlite:///{tmp_path}/new.db"
    new = SQLJournal(url)
    new.create_run("run", created("second"))
    later = Backup(new, url, "run", place.storage, place.said.append)
    with monkeypatch.context() as patched:
        if failing:
            patched.setattr(Storage, failing, lambda *_: 1 / 0)
        later.start()
        often()
    often()
    later.close()
    assert place.said == (["ZeroDivisionError: division by zero", None] if failing else [])
    aside = SQLJournal(f"sqlite:///{place.storage.path('journal_backup_first.db')}")
    assert [event for _, event in aside.read("run")] == [CREATED]
    assert place.about()["run_id"] == "second"
    aside.close()
    new.close()


def test_a_journal_that_is_its_own_backup_is_left_alone(place: Place) -> None:
    def is_wanted(url: str) -> bool:
        return Backup.of(place.journal, url, "run", place.storage, place.said.append) is not None

    assert is_wanted(place.url)
    assert not is_wanted(f"sqlite:///{place.storage.path(module.DATABASE)}")
    assert not is_wanted("postgresql://host/db")
    assert not is_wanted("sqlite://")


def test_a_run_goes_on_from_its_backup(place: Place, tmp_path: Path) -> None:
    """In virtual time: the run is copied in mid-flight, its disk is lost, and it ends on another one."""
    place.journal.create = lambda spec: None  # type: ignore[attr-defined]
    run = Simulation(make_spec(), flat_curve(steps=8), journal=place.journal).start()
    while len(run.state.observations) < 2:
        run.loop.turn()
    backup = place.backup()
    backup.start()
    backup.close()
    copied = run.state.index
    while len(run.state.observations) < 3:
        run.loop.turn()
    place.journal.close()
    place.file.unlink()
    url = f"sqlite:///{tmp_path}/new.db"
    run.journal = SQLJournal(url)
    assert restore(run.journal, url, "run", place.storage.storage_path) is not None
    run.cluster.workers.clear()
    run.connect()
    run.start().run()
    assert len(run.state.observations) == 6
    state = RunState.of(event for _, event in run.journal.read("run"))
    assert state == run.state
    terms = [(i, e.term) for i, e in run.journal.read("run") if isinstance(e, ev.TermStarted)]
    assert terms[-1] == (copied + 1, terms[0][1] + TERMS_AHEAD + 1)
    run.journal.close()


def test_a_copy_that_fails_names_where_it_was_to_go(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raytune_gp.storage.sqlite.BUSY_S", 0.05)
    source, target = SQLJournal(place.url), SQLJournal(f"sqlite:///{tmp_path}/busy.db")
    other = sqlite3.connect(tmp_path / "busy.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(JournalError, match=r"/journal\.db cannot be copied to sqlite:.*/busy\.db: .* locked"):
        source.copy("run", target)
    other.execute("ROLLBACK")
    source.copy("run", target)
    assert [event for _, event in target.read("run")] == [CREATED]
    for closing in (other, source, target):
        closing.close()
