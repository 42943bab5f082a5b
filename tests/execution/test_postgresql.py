"""A run on real Ray whose journal is in PostgreSQL: the server falls under load, coordinators come and go."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray

from benchmarks.coordinator_kills import steady
from raytune_gp import events as ev
from raytune_gp import tune
from raytune_gp.codec import event_to_json
from raytune_gp.execution.worker import NAMESPACE
from raytune_gp.storage.journal import SQLJournal
from tests.patience import wait_until
from tests.postgres import PASSWORD, QUOTED, Server

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]

STEPS, TRIALS = 60, 4


class Reports(tune.Callback):
    """Calls `act` in a thread after so many reports."""

    def __init__(self, count: int, act: Any):
        self._left = count
        self._thread = threading.Thread(target=act)

    def on_trial_result(self, *_: Any, **info: Any) -> None:
        self._left -= 1
        if self._left == 0:
            self._thread.start()

    def on_experiment_end(self, *_: Any, **info: Any) -> None:
        if self._left <= 0:
            self._thread.join()


def go(url: str, tmp_path: Path, **more: Any) -> Any:
    space = {"x": tune.uniform(0, 1), "steps": STEPS, "seconds": 0.1, "ledger": str(tmp_path / "ledger")}
    settings = {
        "metric": "score",
        "mode": "max",
        "search_alg": "random",
        "num_samples": TRIALS,
        "name": "run",
        "storage_path": str(tmp_path / "results"),
        "verbose": 0,
    }
    return tune.run(steady, config=space, journal=url, **{**settings, **more})


def hold_to_account(url: str, tmp_path: Path) -> list[ev.Event]:
    """Every line of the trials' ledger is in the journal, once; returns the journal's events."""
    journal = SQLJournal(url)
    rows = list(journal.read("run"))
    journal.close()
    assert [index for index, _ in rows] == list(range(len(rows)))
    events = [event for _, event in rows]
    said = Counter((tmp_path / "ledger").read_text().split("\n")[:-1])
    heard = Counter(f"{e.trial} {e.step}" for e in events if isinstance(e, ev.Reported))
    assert sum(said.values()) == STEPS * TRIALS, "training was not interrupted"
    assert said == heard
    assert sum(isinstance(e, ev.TrialEnded) for e in events) == TRIALS
    return events


def test_a_server_that_falls_under_load_costs_nothing(
    postgres: Server, postgres_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fall() -> None:
        postgres.kill()
        time.sleep(1.0)
        postgres.start()

    results = go(postgres_url, tmp_path, callbacks=[Reports(20, fall)])
    err = capsys.readouterr().err
    assert len(results) == TRIALS
    assert err.count("run 'run' is paused: ") == err.count("run 'run' goes on") >= 1
    assert "the connection is lost, or the server is away" in err
    assert err.count("is paused") <= 2
    assert QUOTED not in err
    assert PASSWORD not in err
    hold_to_account(postgres_url, tmp_path)
    assert not (tmp_path / "results" / "run" / "journal_backup.db").exists(), "the server has its own"


def test_a_coordinator_that_is_killed_while_the_server_is_away_comes_back_with_it(
    postgres: Server, postgres_url: str, tmp_path: Path
) -> None:
    def fall() -> None:
        coordinator: Any = ray.get_actor("run", NAMESPACE)
        pid = ray.get(coordinator.hello.remote())["pid"]
        postgres.kill()
        os.kill(pid, signal.SIGKILL)

        def has_come_back() -> bool:
            with suppress(ray.exceptions.RayError, ValueError):
                coordinator: Any = ray.get_actor("run", NAMESPACE)
                return bool(ray.get(coordinator.hello.remote(), timeout=2)["pid"] != pid)
            return False

        wait_until(has_come_back)
        postgres.start()

    go(postgres_url, tmp_path, callbacks=[Reports(20, fall)])
    events = hold_to_account(postgres_url, tmp_path)
    assert [e.term for e in events if isinstance(e, ev.TermStarted)] == [1, 2]


def test_the_driver_s_password_reaches_the_coordinator_and_nothing_else(
    postgres: Server, postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray was started before: its processes have the variable from nobody but the driver."""
    seen: list[str] = []

    def look() -> None:
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                seen.append(" ".join(process.cmdline()))

    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    url = postgres.url(password=None)
    results = go(url, tmp_path, num_samples=2, stop={"training_iteration": 3}, callbacks=[Reports(2, look)])
    assert len(results) == 2
    assert any("raytune" in line or "ray::" in line for line in seen)
    assert not [line for line in seen if PASSWORD in line or QUOTED in line]
    journal = SQLJournal(url)
    text = "".join(event_to_json(event) for _, event in journal.read("run"))
    journal.close()
    report = results.write_report(tmp_path / "report.html")
    for written in (text, Path(report).read_text()):
        assert PASSWORD not in written
        assert QUOTED not in written
