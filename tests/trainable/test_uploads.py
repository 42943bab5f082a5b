"""Checkpoints on their way: how many, and for how long."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from raytune_gp.errors import TrainableError, TrialInterrupted
from raytune_gp.storage.artifacts import Storage
from raytune_gp.trainable import session as sessions
from raytune_gp.trainable import uploads
from raytune_gp.trainable.session import Context, Session
from raytune_gp.trainable.uploads import MAX_STAGED, Uploads
from tests.patience import HANGS_S, wait_until

pytestmark = pytest.mark.usefixtures("temporary")


class Gated(Storage):
    """Each upload waits until the gate lets one more pass, or raises if there is no disk."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), "run")
        self.gate = threading.Semaphore(0)
        self.is_full = False

    def upload(self, directory: str, relative: str) -> None:
        assert self.gate.acquire(timeout=HANGS_S)
        if self.is_full:
            raise OSError("the disk is full")
        super().upload(directory, relative)


class Bench:
    """A session on a gated storage, and what it has said."""

    def __init__(self, tmp_path: Path) -> None:
        self.storage = Gated(tmp_path / "results")
        self.said: list[tuple[str, int]] = []
        context = Context("run", "00000", "/nowhere", {})
        self.session = Session(self.hear, context, self.storage)
        self.checkpoint = tmp_path / "checkpoint"
        self.checkpoint.mkdir()
        (self.checkpoint / "state").write_text("weights")

    def hear(self, kind: str, body: Mapping[str, Any]) -> int:
        self.said.append((kind, body["step"]))
        return len(self.said)

    def report(self) -> None:
        self.session.report({"x": 1}, checkpoint=self.checkpoint)

    def fill(self) -> None:
        """Reports until there is no more room."""
        for _ in range(MAX_STAGED):
            self.report()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.storage.gate.release(10 * MAX_STAGED)  # what a test has left is let through, and its thread ends
    assert wait_until(lambda: not bench.session.is_storing)


def started(action: Callable[[], Any]) -> tuple[threading.Thread, list[BaseException]]:
    """`action` in a thread, and what it raises."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            action()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, raised


# --- how many ---


def test_a_report_waits_while_two_checkpoints_are_on_their_way(bench: Bench, temporary: Path) -> None:
    bench.fill()
    third, raised = started(bench.report)
    bench.session.report({"x": 2})
    third.join(0.3)
    assert third.is_alive()
    assert bench.said == [("report", 1), ("report", 2), ("report", 3)], "others do not wait for it"
    assert len(list(temporary.glob("*/*"))) == MAX_STAGED
    bench.storage.gate.release()
    third.join(10)
    assert not third.is_alive()
    assert raised == []
    assert bench.said[3:] == [("checkpoint", 1), ("report", 4)]
    bench.storage.gate.release(2)
    bench.session.finish()
    assert bench.said[5:] == [("checkpoint", 2), ("checkpoint", 4)]
    assert list(temporary.iterdir()) == []


def test_a_report_that_waits_hears_that_an_upload_has_failed(bench: Bench, temporary: Path) -> None:
    bench.fill()
    third, raised = started(bench.report)
    bench.storage.is_full = True
    bench.storage.gate.release(MAX_STAGED)
    third.join(10)
    assert [str(e) for e in raised] == ["a checkpoint could not be stored: the disk is full"]
    with pytest.raises(TrainableError, match="the disk is full"):
        bench.session.finish()
    assert [kind for kind, _ in bench.said] == ["report", "report"]
    assert list(temporary.iterdir()) == []


def test_a_checkpoint_that_cannot_be_copied_takes_up_no_room(bench: Bench, tmp_path: Path) -> None:
    for _ in range(MAX_STAGED + 1):
        with pytest.raises(TrainableError, match="no directory"):
            bench.session.report({}, checkpoint=tmp_path / "none")
    (bench.checkpoint / "state").unlink()
    (bench.checkpoint / "state").symlink_to("/proc/self/mem")
    for _ in range(MAX_STAGED + 1):
        with pytest.raises(TrainableError, match="cannot be copied"):
            bench.report()
    assert not bench.session.is_storing


# --- for how long ---


def test_a_storage_that_hangs_fails_the_attempt_and_is_not_believed_later(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "UPLOAD_S", 0.2)
    bench.fill()
    with pytest.raises(
        TrainableError, match=r"could not be stored: the storage did not take it within 0\.2 s"
    ):
        bench.report()
    with pytest.raises(TrainableError, match=r"within 0\.2 s"):
        bench.session.finish()
    assert bench.session.is_storing
    bench.storage.gate.release(MAX_STAGED)
    assert wait_until(lambda: not bench.session.is_storing)
    assert [kind for kind, _ in bench.said] == ["report"] * MAX_STAGED


def test_the_grace_period_counts_from_when_the_trainable_may_act(bench: Bench) -> None:
    bench.report()
    bench.session.interrupt("stop")
    assert bench.session.grace_left_s(0.0) == pytest.approx(uploads.UPLOAD_S, abs=1), "the upload goes first"
    time.sleep(0.3)
    bench.storage.gate.release()
    while bench.session.is_storing:
        time.sleep(0.01)
    assert 0.8 < bench.session.grace_left_s(1.0) <= 1.0
    time.sleep(0.3)
    bench.session.interrupt("stop")
    assert bench.session.grace_left_s(1.0) < 0.75, "told again is not told anew"
    assert bench.session.grace_left_s(0.1) < 0


def test_the_grace_period_counts_at_once_where_nothing_is_uploaded(bench: Bench) -> None:
    bench.session.interrupt("stop")
    time.sleep(0.2)
    assert bench.session.grace_left_s(1.0) < 0.85
    with pytest.raises(TrialInterrupted):
        bench.session.report({})


def test_a_trainable_that_goes_on_storing_gains_no_time_without_end(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "UPLOAD_S", 0.1)
    bench.session.interrupt("stop")
    time.sleep(0.4)
    with pytest.raises(TrialInterrupted):
        bench.report()
    assert bench.session.is_storing
    assert bench.session.grace_left_s(0.2) < 0


def test_the_thread_ends_with_what_it_has_to_upload(bench: Bench) -> None:
    def uploading() -> list[threading.Thread]:
        return [t for t in threading.enumerate() if t.name == "raytune-upload" and t not in before]

    before = threading.enumerate()
    for checkpoint in range(2):
        bench.report()
        assert len(uploading()) == 1
        bench.storage.gate.release()
        (thread,) = uploading()
        thread.join(10)
        assert not thread.is_alive()
        assert [said for said in bench.said if said[0] == "checkpoint"][checkpoint:]
    bench.session.finish()
    assert uploading() == []


def test_uploads_without_a_checkpoint_leave_no_trace(temporary: Path) -> None:
    Uploads(None, lambda step, path: None).finish()
    assert list(temporary.iterdir()) == []
