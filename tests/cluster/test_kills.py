"""The first risk of the design: coordinator and driver are killed in mid-run, and nothing is lost."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from benchmarks.coordinator_kills import run_with_kills
from raytune_gp import events as ev
from tests.execution.watching import events_of, of
from tests.patience import HANGS_S, wait_until
from tests.programs import ROOT

pytestmark = pytest.mark.ray


@pytest.mark.usefixtures("ray_cluster")
def test_five_kills_of_the_coordinator_lose_and_double_nothing(tmp_path: Path) -> None:
    found = run_with_kills(5, tmp_path, trials=8, steps=80, seconds=0.1, workers=4, seed=1)
    assert found["kills"] == 5
    assert 3 <= found["terms"] <= 6, "a kill may come before the coordinator has taken over"
    assert found["trials"] == found["trials_finished"] == 8
    assert found["reports_made"] == 8 * 80
    assert found["reports_lost"] == found["reports_doubled"] == 0
    assert found["attempts"] == 8, "training was not interrupted"


DRIVER = """
import sys, time
from pathlib import Path
from raytune_gp import tune
from tests.execution.trainables import counting
import ray

ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
ledger, journal, storage, resume = sys.argv[1:]

def train(config):
    hold = Path(config["ledger"]).with_name("hold")
    if tune.get_context().get_trial_id() == "00002" and hold.exists():  # there when the driver is killed
        counting({**config, "steps": 2})
        while hold.exists():
            time.sleep(0.1)
    else:
        counting(config)

results = tune.run(
    train,
    config={"x": tune.uniform(0, 1), "ledger": ledger, "steps": 10, "seconds": 0.25},
    metric="score", mode="max", num_samples=6, search_alg="random", name="killed", journal=journal,
    storage_path=storage, resume=resume == "resume", verbose=0,
)
print(len(results), results.get_best_result().metrics["score"], flush=True)
"""


def start_driver(tmp_path: Path, resume: str, **environ: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", DRIVER, str(tmp_path / "ledger"), f"sqlite:///{tmp_path / 'j.db'}"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **environ}
    return subprocess.Popen(
        [*command, str(tmp_path / "results"), resume],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment,
        start_new_session=True,
    )


def wait_for(process: subprocess.Popen[str], condition: Callable[[], bool]) -> None:
    """Until it holds; what ends the process before fails the test."""

    def holds() -> bool:
        assert process.poll() is None, process.communicate()[1]
        return condition()

    assert wait_until(holds)


def steps_told(tmp_path: Path) -> int:
    ledger = tmp_path / "ledger"
    return ledger.read_text().count("step") if ledger.exists() else 0


def start_to_be_killed(tmp_path: Path, **environ: str) -> subprocess.Popen[str]:
    """A driver in whose journal two trials have ended, and trial 00002 has a checkpoint and has not.

    Of what is not in the journal when all processes die the run knows nothing.
    """

    def there() -> bool:
        events = journalled(tmp_path) if steps_told(tmp_path) else []
        saved = [e.step for e in of(events, ev.Checkpointed) if e.trial == "00002"]
        return len(of(events, ev.TrialEnded)) >= 2 and saved == [1, 2]

    (tmp_path / "hold").touch()
    driver = start_driver(tmp_path, "start", **environ)
    wait_for(driver, there)
    return driver


def journalled(tmp_path: Path) -> list[ev.Event]:
    return events_of(f"sqlite:///{tmp_path / 'j.db'}", "killed")


def test_a_run_goes_on_after_its_driver_was_killed(tmp_path: Path) -> None:
    driver = start_to_be_killed(tmp_path)
    family = family_of(driver)
    driver.kill()
    driver.communicate()
    wait_until_gone(family)
    check_resumed(tmp_path)


def family_of(driver: subprocess.Popen[str]) -> dict[psutil.Process, str]:
    """The processes of its cluster, with their names."""
    return {process: process.name() for process in psutil.Process(driver.pid).children(recursive=True)}


def wait_until_gone(family: dict[psutil.Process, str]) -> None:
    """Until all that the driver had has ended: the run goes on until then, seconds after its driver."""
    agents = {process for process, name in family.items() if name.endswith("Agent")}
    assert psutil.wait_procs(family.keys() - agents, timeout=HANGS_S)[1] == []
    for agent in agents:  # of Ray's, which end minutes later
        with contextlib.suppress(psutil.NoSuchProcess):
            agent.kill()


def check_resumed(tmp_path: Path) -> None:
    """Resume the run, whose processes are all gone, and hold what it does then against its journal before."""
    before = journalled(tmp_path)
    finished = {e.trial for e in of(before, ev.TrialEnded)}
    assert 2 <= len(finished) < 6
    (tmp_path / "hold").unlink()
    driver = start_driver(tmp_path, "resume")
    out, err = driver.communicate(timeout=HANGS_S)
    assert driver.returncode == 0, err
    assert out.split()[0] == "6"
    events = journalled(tmp_path)
    assert Counter(e.trial for e in of(events, ev.TrialEnded)) == {f"{i:05d}": 1 for i in range(6)}
    again = {e.trial for e in of(events[len(before) :], ev.AttemptAssigned)}
    assert not again & finished, "finished trials are not trained again"
    saved = {e.trial for e in of(before, ev.Checkpointed)} - finished
    assert "00002" in saved
    resumed = {e.trial for e in of(events[len(before) :], ev.AttemptAssigned) if e.resume_from}
    assert saved <= resumed, "running trials go on from their checkpoint"


def test_a_run_goes_on_in_a_new_cluster_after_the_head_was_lost(tmp_path: Path) -> None:
    """Ray's GCS is killed, which is what a lost head comes to; its processes give it up after 1 s here."""
    driver = start_to_be_killed(tmp_path, RAY_gcs_rpc_server_reconnect_timeout_s="1")
    family = family_of(driver)
    next(process for process, name in family.items() if name == "gcs_server").kill()
    _, err = driver.communicate(timeout=HANGS_S)
    assert driver.returncode != 0, err
    wait_until_gone(family)
    check_resumed(tmp_path)


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_stops_gently_and_twice_at_once_and_the_run_can_be_resumed(tmp_path: Path, times: int) -> None:
    driver = start_driver(tmp_path, "start")
    wait_for(driver, lambda: steps_told(tmp_path) >= 4)
    began = time.monotonic()
    for _ in range(times):
        driver.send_signal(signal.SIGINT)
        time.sleep(0.1)
    _, err = driver.communicate(timeout=HANGS_S)
    events = journalled(tmp_path)
    if times == 1:
        assert [e.status for e in of(events, ev.RunEnded)] == ["STOPPED"], err
        assert [e.reason for e in of(events, ev.StopRequested)] == ["interrupted from the keyboard"]
    else:
        assert time.monotonic() - began < 60
        assert driver.returncode != 0
        assert "KeyboardInterrupt" in err
    driver = start_driver(tmp_path, "resume")
    out, err = driver.communicate(timeout=HANGS_S)
    assert driver.returncode == 0, err
    assert out.split()[0] == "6"
    ends = Counter(e.trial for e in of(journalled(tmp_path), ev.TrialEnded))
    assert ends == {f"{i:05d}": 1 for i in range(6)}
    if times == 1:
        lines = (tmp_path / "ledger").read_text().splitlines()
        assert max(Counter(line for line in lines if line.startswith("step")).values()) == 1, (
            "no step was trained twice"
        )
