"""Runs on real Ray whose journal's disk is full, or whose journal is deleted: the user is told of it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray

from raytune_gp import events as ev
from raytune_gp import tune
from raytune_gp.errors import JournalError, RunFailedError
from raytune_gp.execution.worker import NAMESPACE
from tests.execution.watching import events_of, of
from tests.patience import wait_until

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of eight megabytes."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(place)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("only root may mount a small file system")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(place: Path) -> Path:
    """Write until the disk is full; returns the file to delete again."""
    ballast = place / "ballast"
    opened = os.open(ballast, os.O_WRONLY | os.O_CREAT)
    with contextlib.suppress(OSError):
        while True:
            os.write(opened, bytes(65536))
    with contextlib.suppress(OSError):
        os.close(opened)
    return ballast


class Disaster(tune.Callback):
    """Does something at the first report, and something else `seconds` later."""

    def __init__(self, now: Any, later: Any, seconds: float = 4.0):
        self._now, self._later, self._seconds = now, later, seconds
        self._done = False

    def on_trial_result(self, *_: Any, **info: Any) -> None:
        if not self._done:
            self._done = True
            self._now()
            threading.Timer(self._seconds, self._later).start()


def wordy(config: dict[str, Any]) -> None:
    """Report what fills a page of the journal, every now and then, for some eight seconds."""
    for step in range(1, 31):
        time.sleep(0.25)
        tune.report({"score": float(step), "words": "x" * 6000})


def go(settings: dict[str, Any], **more: Any) -> Any:
    arguments = {"config": {"x": tune.uniform(0, 1)}, "metric": "score", "mode": "max", "name": "run"}
    return tune.run(wordy, **{**arguments, "search_alg": "random", "num_samples": 2, **settings, **more})


def workers_alive() -> list[str]:
    actors = ray.util.list_named_actors(all_namespaces=True)
    return [a["name"] for a in actors if a["namespace"] == NAMESPACE]


def test_a_run_waits_for_room_on_the_disk(
    run_settings: dict[str, Any], disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {**run_settings, "journal": f"sqlite:///{disk / 'j.db'}"}
    disaster = Disaster(lambda: fill(disk), lambda: (disk / "ballast").unlink())
    results = go(settings, callbacks=[disaster])
    err = capsys.readouterr().err
    assert err.count("run 'run' is paused") == 1
    assert "database or disk is full; make room on the disk that holds it" in err
    assert err.count("run 'run' goes on") == 1
    assert [len(t.history.steps) for t in results.state.trials.values()] == [30, 30]
    reports = Counter((e.trial, e.step) for e in of(events_of(settings["journal"]), ev.Reported))
    assert set(reports.values()) == {1}
    assert len(reports) == 60


def test_ctrl_c_ends_a_run_whose_disk_is_full(
    run_settings: dict[str, Any], disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {**run_settings, "journal": f"sqlite:///{disk / 'j.db'}", "verbose": 1}
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    disaster = Disaster(lambda: fill(disk), lambda: os.kill(os.getpid(), signal.SIGINT))
    results = go(settings, callbacks=[disaster])
    signal.signal(signal.SIGINT, before)
    err = capsys.readouterr().err
    assert results.state.status == "STOPPED"
    assert "is paused: the journal" in err
    assert "interrupted from the keyboard; the journal" in err
    assert "events, and what was reported since" in err
    assert "Go on with tune.run(..., name='run', resume=True)" in err
    assert wait_until(lambda: not workers_alive())
    (disk / "ballast").unlink()
    again = go(settings, resume=True, verbose=0, stop={"training_iteration": 3})
    assert len(again) == 2


def test_a_deleted_journal_ends_the_run_with_where_its_copy_is(
    run_settings: dict[str, Any], tmp_path: Path
) -> None:
    file = tmp_path / "journal.db"
    with pytest.raises(RunFailedError, match="was deleted or moved away while a run used it") as caught:
        go(run_settings, callbacks=[Disaster(file.unlink, lambda: None)])
    assert "Traceback" not in str(caught.value)
    [copy] = tmp_path.glob("journal-saved-*.db")
    assert f"journal='sqlite:///{copy}' and resume=True" in str(caught.value)
    saved = {**run_settings, "journal": f"sqlite:///{copy}"}
    assert len(go(saved, resume=True, stop={"training_iteration": 3})) == 2


def test_no_journal_no_run(run_settings: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalError, match="cannot be opened"):
        go({**run_settings, "journal": f"sqlite:///{tmp_path / 'file' / 'j.db'}"})
