"""Runs that go on without the process that started them: killed, followed, stopped, and gone in the end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from subprocess import PIPE
from typing import Any

import psutil
import pytest
import ray

from raytune_gp import events as ev
from raytune_gp import tune
from raytune_gp.errors import RunError, RunExistsError, RunFailedError, SpecError
from raytune_gp.execution.cleaning import look
from raytune_gp.execution.cluster import actor_names, find_coordinator
from raytune_gp.execution.payload import BY_VALUE, Payload
from raytune_gp.execution.placement import Demand
from raytune_gp.execution.worker import make_worker
from raytune_gp.execution.worker_settings import WorkerSettings
from raytune_gp.storage.artifacts import Storage
from raytune_gp.storage.journal import SQLJournal
from tests.execution.trainables import quick
from tests.execution.watching import events_of, of
from tests.patience import HANGS_S

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]

ROOT = Path(__file__).parent.parent.parent

DRIVER = f"""
import sys, time
from raytune_gp import tune
from tests.execution.trainables import counting

ballast = b"x" * {BY_VALUE}

def train(config, data):
    assert len(ballast) == {BY_VALUE} and data == [1, 2]
    counting(config)

name, directory, steps = sys.argv[1:]
results = tune.run(
    tune.with_parameters(train, data=[1, 2]),
    config={{"x": tune.uniform(0, 1), "ledger": f"{{directory}}/{{name}}", "steps": int(steps),
             "seconds": 0.1}},
    metric="score", mode="max", num_samples=4, max_concurrent_trials=2, search_alg="random", name=name,
    journal=f"{{directory}}/journal.db", storage_path=f"{{directory}}/results", detached=True,
)
print("finished so far:", results.num_terminated, flush=True)
time.sleep(600)
"""


def events(tmp_path: Path, run: str) -> list[ev.Event]:
    return events_of(f"sqlite:///{tmp_path / 'journal.db'}", run)


def surroundings() -> dict[str, str]:
    """The environment of a process that finds the cluster of the tests; it is not that process's own."""
    address = ray.get_runtime_context().gcs_address
    return {**os.environ, "RAY_ADDRESS": address, "PYTHONPATH": str(ROOT)}


def until(true: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + HANGS_S
    while time.monotonic() < deadline:
        found = true()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(what)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., None]]:
    """Start a detached run in a process of its own, which is killed as soon as it is going."""
    drivers: list[subprocess.Popen[str]] = []

    def start(*names: str, steps: int = 20) -> None:
        for name in names:
            command = [sys.executable, "-c", DRIVER, name, str(tmp_path), str(steps)]
            drivers.append(
                subprocess.Popen(command, env=surroundings(), cwd=ROOT, text=True, stdout=PIPE, stderr=PIPE)
            )
        for name, driver in zip(names, drivers, strict=True):
            assert driver.stdout is not None
            said = driver.stdout.readline()
            driver.kill()
            _, err = driver.communicate()
            assert said == "finished so far: 0\n", err
            assert f"Follow it with raytune-gp attach {name} --journal sqlite:///{tmp_path}/journal.db" in err

    yield start
    for driver in drivers:
        driver.kill()
        driver.communicate()
    for name in actor_names():  # of a test that failed
        ray.kill(ray.get_actor(name, "raytune_gp"))


def lines(ledger: Path, what: str) -> list[str]:
    return (
        [line for line in ledger.read_text().splitlines() if line.startswith(what)] if ledger.exists() else []
    )


def processes(ledger: Path) -> set[int]:
    """The workers that a ledger names."""
    return {int(line.split()[3]) for line in lines(ledger, "start")}


def kill_coordinator(run: str) -> None:
    """As soon as it answers: Ray may be starting it."""

    def pid() -> int | None:
        try:
            found: int = ray.get(find_coordinator(run).hello.remote(), timeout=5)["pid"]
        except ray.exceptions.RayError:
            return None
        return found

    os.kill(until(pid, f"{run} does not answer"), signal.SIGKILL)


def nobody_is_left(ledger: Path) -> bool:
    return not any(map(psutil.pid_exists, processes(ledger)))


def nothing_is_left(*ledgers: Path) -> None:
    until(lambda: not actor_names(), "actors are left")
    for ledger in ledgers:
        until(partial(nobody_is_left, ledger), "processes are left")


def test_runs_side_by_side_outlive_their_drivers_a_coordinator_and_a_worker(
    start: Callable[..., None], tmp_path: Path
) -> None:
    start("one", "two")
    one, two = tmp_path / "one", tmp_path / "two"
    until(lambda: lines(one, "step"), "it does not train")
    kill_coordinator("one")
    until(lambda: len(lines(two, "step")) > 2, "it does not train")
    os.kill(processes(two).pop(), signal.SIGKILL)
    for run in ("one", "two"):
        results = tune.attach(run, journal=str(tmp_path / "journal.db"), verbose=0)
        assert [r.metrics["step"] for r in results] == [20] * 4
        assert results.best_config["x"] == max(r.config["x"] for r in results)
        ends = Counter(e.trial for e in of(events(tmp_path, run), ev.TrialEnded))
        assert ends == {f"{i:05d}": 1 for i in range(4)}
    assert len(of(events(tmp_path, "one"), ev.TermStarted)) == 2
    assert len(lines(one, "start")) == 4, "training was not interrupted"
    assert max(Counter(lines(one, "step")).values()) == 1
    assert len(lines(two, "start")) == 5, "a new worker went on"
    assert len(of(events(tmp_path, "two"), ev.TermStarted)) == 1
    nothing_is_left(one, two)


RUN_FILE = """
    trainable: tests.execution.trainables:counting
    metric: score
    mode: max
    num_samples: 4
    max_concurrent_trials: 2
    search_alg: random
    storage_path: results
    detached: true
    space: {x: {uniform: [0, 1]}, ledger: LEDGER, steps: 1000, seconds: 0.1}
"""


def test_starting_following_and_stopping_from_shells(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"

    def shell(*arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "raytune_gp.cli", *arguments, "--journal", f"{tmp_path}/journal.db"]
        return subprocess.Popen(command, env=surroundings(), text=True, stdout=PIPE, stderr=PIPE)

    file = tmp_path / "long.yaml"
    file.write_text(textwrap.dedent(RUN_FILE).replace("LEDGER", str(ledger)))
    starter = shell("run", str(file), "--name", "long")
    out, err = starter.communicate(timeout=HANGS_S)
    assert (starter.returncode, "Follow it with raytune-gp attach long --journal" in err) == (0, True), err
    until(lambda: lines(ledger, "step"), "it does not train")
    attached = shell("attach", "long")
    assert attached.stdout is not None
    assert "long: 0 of 4 trials finished" in attached.stdout.readline()
    attached.send_signal(signal.SIGINT)
    _, err = attached.communicate(timeout=HANGS_S)
    assert (attached.returncode, "left run 'long', which goes on" in err) == (130, True), err
    with pytest.raises(RunExistsError, match="attach long"):
        tune.run(
            quick, config={}, metric="score", mode="max", name="long", journal=str(tmp_path / "other.db")
        )
    attached = shell("attach", "long")
    assert attached.stdout is not None
    attached.stdout.readline()
    stop = shell("stop", "long")
    assert stop.communicate(timeout=HANGS_S) == ("", "asked run long to stop\n")
    out, err = attached.communicate(timeout=HANGS_S)
    assert (attached.returncode, "stopped by raytune-gp stop" in out) == (130, True), err
    nothing_is_left(ledger)
    over = tune.attach("long", journal=str(tmp_path / "journal.db"), verbose=0)
    assert over.state.status.value == "STOPPED"


def test_what_dead_runs_have_left_is_removed_and_live_ones_are_not_touched(
    start: Callable[..., None], tmp_path: Path
) -> None:
    start("live", steps=1000)
    payload = Payload.of(None, Storage(str(tmp_path), "dead"))
    namesake = WorkerSettings("earlier", "live", str(tmp_path), Demand({"cpu": 1}), payload, {})
    ray.get(make_worker("cafe", "w0/1", namesake).hello.remote(0))  # of an earlier run of that name
    settings = WorkerSettings("dead", "dead", str(tmp_path), Demand({"cpu": 4}), payload, {})
    make_worker("deadbeef", "w0/1", settings)  # it waits for the CPUs of the live one
    leftovers = [found for found in look().leftovers if found.what.startswith("worker")]
    assert [found.what for found in leftovers] == ["worker deadbeef/w0/1"]
    leftovers[0].remove()
    until(lambda: "deadbeef/w0/1" not in actor_names(), "it was not removed")
    steps = len(lines(tmp_path / "live", "step"))
    until(lambda: len(lines(tmp_path / "live", "step")) > steps, "the live one does not train")
    until(lambda: "cafe/w0/1" not in actor_names(), "it takes the live one's coordinator for its own")

    ray.kill(find_coordinator("live"))
    with pytest.raises(RunError, match=r"nobody goes on with it in this Ray cluster. Go on with tune.run\("):
        tune.attach("live", journal=str(tmp_path / "journal.db"), verbose=0)


def test_why_a_detached_run_failed_is_told_to_who_asks_later(
    start: Callable[..., None], tmp_path: Path
) -> None:
    start("lost", steps=1000)
    (tmp_path / "journal.db").rename(tmp_path / "moved.db")
    nothing_is_left(tmp_path / "lost")
    (saved,) = tmp_path.glob("journal-saved-*.db")
    with pytest.raises(RunFailedError, match=r"(?s)journal.*deleted.*resume=True"):
        tune.attach("lost", journal=str(saved), verbose=0)


def test_a_cluster_that_would_end_with_its_driver_is_refused(run_settings: dict[str, Any]) -> None:
    journal, storage = run_settings["journal"], run_settings["storage_path"]
    tuner = tune.Tuner(
        quick,
        tune_config=tune.TuneConfig(metric="score", mode="max"),
        run_config=tune.RunConfig(name="no", storage_path=storage, detached=True),
        journal=journal,
    )
    with pytest.raises(
        SpecError, match=r"started its own, which ends with it. Start one by `ray start --head`"
    ):
        tuner.fit()
    opened = SQLJournal(journal)
    assert opened.runs() == [], "no name is used up"
    opened.close()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"executor": "inline"}, "needs executor"),
        ({"callbacks": [tune.Callback()]}, "callbacks is"),
        ({"raise_on_failed_trial": True}, "raise_on_failed_trial is True"),
    ],
)
def test_what_a_detached_run_cannot_have(
    run_settings: dict[str, Any], more: dict[str, Any], message: str
) -> None:
    with pytest.raises(SpecError, match=message):
        tune.run(quick, config={}, metric="score", mode="max", detached=True, **run_settings, **more)
