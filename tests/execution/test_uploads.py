"""Runs whose storage is slow, or hangs: a trial that is told to stop has its checkpoints stored first."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from raytune_gp import events as ev
from raytune_gp import tune
from raytune_gp.storage.artifacts import Storage
from raytune_gp.trainable.session import Session
from tests.execution.watching import events_of
from tests.patience import HANGS_S, wait_until

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]

GRACE_S = 2.0
SLOW_S = 6.0


def slow_storage(seconds: float) -> None:
    """Make the uploads of this process, which is a worker, take `seconds` longer."""
    upload = Storage.upload

    def slowly(self: Storage, directory: str, relative: str) -> None:
        time.sleep(seconds)
        upload(self, directory, relative)

    Storage.upload = slowly  # type: ignore[method-assign]


def report(score: float) -> None:
    """Report with a checkpoint that holds the score."""
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "state").write_text(str(score))
        tune.report({"score": score}, checkpoint=directory)


def go(trainable: Any, settings: dict[str, Any], **more: Any) -> tuple[Any, list[ev.Event], float]:
    """The result of one trial that is stopped after its first report, its events, and the seconds it took."""
    began = time.monotonic()
    results = tune.run(
        trainable,
        **{
            "config": {"x": 1.0},
            "metric": "score",
            "mode": "max",
            "name": "slow",
            "stop": {"training_iteration": 1},
            "grace_period_s": GRACE_S,
            **settings,
            **more,
        },
    )
    seconds = time.monotonic() - began
    return results[0], events_of(settings["journal"], "slow"), seconds


def losses(events: list[ev.Event]) -> list[str]:
    """Why workers were lost before the run's end."""
    return [e.reason for e in events if isinstance(e, ev.WorkerLost) and "released" not in e.reason]


def state_of(result: Any) -> str:
    return state_in(result.checkpoint)


def state_in(checkpoint: Any) -> str:
    with checkpoint.as_directory() as directory:
        return (Path(directory) / "state").read_text()


def test_a_trial_that_ends_in_time_may_take_longer_to_store_its_checkpoint(
    run_settings: dict[str, Any],
) -> None:
    def trainable(config: dict[str, Any]) -> None:
        slow_storage(SLOW_S)
        report(1.0)
        while True:
            time.sleep(0.1)
            tune.report({"score": 0.0})

    result, events, _ = go(trainable, run_settings)
    assert losses(events) == []
    assert state_of(result) == "1.0"
    assert result.status == "COMPLETED"


def test_a_trial_that_ignores_its_stop_is_ended_when_its_checkpoint_is_stored(
    run_settings: dict[str, Any],
) -> None:
    def trainable(config: dict[str, Any]) -> None:
        slow_storage(SLOW_S)
        report(1.0)
        time.sleep(2 * HANGS_S)

    result, events, seconds = go(trainable, run_settings)
    assert losses(events) == [f"it did not stop within {GRACE_S:g} s"]
    assert state_of(result) == "1.0"
    assert seconds < HANGS_S


def test_a_trial_whose_report_waits_for_room_has_its_grace_period_after_it(
    run_settings: dict[str, Any],
) -> None:
    """It is told to stop while its third checkpoint waits, which is stored like the others."""

    def trainable(config: dict[str, Any]) -> None:
        waits, told = threading.Event(), threading.Event()
        interrupt, upload = Session.interrupt, Storage.upload

        def interrupted(self: Session, *how: Any) -> None:
            def tell() -> None:
                waits.wait()
                time.sleep(0.5)
                interrupt(self, *how)
                told.set()

            threading.Thread(target=tell).start()

        def uploaded(self: Storage, directory: str, relative: str) -> None:
            told.wait()
            time.sleep(GRACE_S)
            upload(self, directory, relative)

        Session.interrupt = interrupted  # type: ignore[assignment, method-assign]
        Storage.upload = uploaded  # type: ignore[method-assign]
        report(1.0)
        report(2.0)
        waits.set()
        report(3.0)
        report(4.0)

    result, events, _ = go(trainable, run_settings)
    assert losses(events) == []
    assert [e.step for e in events if isinstance(e, ev.Checkpointed)] == [1, 2, 3]
    assert [state_in(checkpoint) for checkpoint, _ in result.best_checkpoints] == ["1.0", "2.0", "3.0"]
    assert state_of(result) == "1.0", "the report that it was told to end for"


def test_a_storage_that_hangs_does_not_hold_the_run_for_ever(run_settings: dict[str, Any]) -> None:
    def trainable(config: dict[str, Any]) -> None:
        from raytune_gp.trainable import session, uploads

        session.UPLOAD_S = uploads.UPLOAD_S = 1.0
        slow_storage(2 * HANGS_S)
        report(1.0)
        while True:
            time.sleep(0.1)
            tune.report({"score": 0.0})

    result, events, seconds = go(trainable, run_settings)
    assert seconds < HANGS_S
    assert not [e for e in events if isinstance(e, ev.Checkpointed)]
    assert (result.status, str(result.error)) == ("COMPLETED", "None")


def test_what_a_killed_worker_has_staged_is_removed_by_the_next_one(
    run_settings: dict[str, Any], tmp_path: Path
) -> None:
    found = tmp_path / "found"

    def trainable(config: dict[str, Any]) -> None:
        if not found.exists():
            slow_storage(2 * HANGS_S)
            with tempfile.TemporaryDirectory() as directory:
                (Path(directory) / "state").write_text(str(found))
                tune.report({"score": 1.0}, checkpoint=directory)
            copies = Path(tempfile.gettempdir()).glob("raytune_staging_*/*/state")
            found.write_text(next(str(p) for p in copies if p.read_text() == str(found)))
            os.kill(os.getpid(), signal.SIGKILL)
        is_gone = wait_until(lambda: not Path(found.read_text()).exists())
        tune.report({"score": float(not is_gone)})

    result, events, _ = go(trainable, run_settings, stop=None)
    assert len(losses(events)) == 1
    assert result.metrics["score"] == 0.0
