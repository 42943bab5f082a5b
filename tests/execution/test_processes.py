"""What a trial has started ends with it, whatever becomes of its worker; and a trial that hangs is ended."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from raytune_gp import events as ev
from raytune_gp import tune
from tests.execution.trainables import counting
from tests.execution.watching import events_of, is_there, of
from tests.patience import HANGS_S, wait_until

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]

GONE_S = 60.0
"""So soon after a trial's end nothing of it may be left."""


def go(trainable: Any, settings: dict[str, Any], **more: Any) -> tuple[Any, list[ev.Event]]:
    """The result of the first trial, and the run's events."""
    arguments = {"config": {"x": 1.0}, "metric": "score", "mode": "max", "name": "run", **settings, **more}
    results = tune.run(trainable, **arguments)
    return results[0], events_of(settings["journal"])


def log_of(settings: dict[str, Any]) -> str:
    return (Path(settings["storage_path"]) / "run" / "trial_00000" / "log.txt").read_text()


def start_family(ledger: str) -> None:
    """Children of every sort: a program, one in a session of its own, its orphan, and one that is forked."""
    sleep = [sys.executable, "-c", "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(300)"]
    quiet = "stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True"
    start = f"import subprocess; print(subprocess.Popen({sleep!r}, {quiet}).pid)"
    orphan = subprocess.run([sys.executable, "-c", start], capture_output=True, text=True, check=True).stdout
    pids = [subprocess.Popen(sleep).pid, subprocess.Popen(sleep, start_new_session=True).pid, int(orphan)]
    forked = os.fork()
    if forked == 0:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(300)
        os._exit(0)
    Path(ledger).write_text(" ".join(map(str, [*pids, forked])))


def family_of(ledger: Path) -> list[int]:
    pids = [int(pid) for pid in ledger.read_text().split()]
    assert len(pids) == 4
    return pids


def gone(ledger: Path) -> bool:
    return not any(map(is_there, family_of(ledger)))


@pytest.mark.parametrize("end", ["returns", "raises"])
def test_children_end_with_their_trial(run_settings: dict[str, Any], tmp_path: Path, end: str) -> None:
    """They are gone before anybody is told that it has ended."""

    def leaves(config: dict[str, Any]) -> None:
        if config["x"] == 0:
            start_family(config["ledger"])
        else:
            left = [pid for pid in map(int, Path(config["ledger"]).read_text().split()) if is_there(pid)]
            tune.report({"left": len(left)})
        tune.report({"score": config["x"]})
        if end == "raises":
            raise ValueError

    ledger = tmp_path / "ledger"
    space = {"x": tune.grid_search([0, 1]), "ledger": str(ledger)}
    _, events = go(leaves, run_settings, config=space, max_concurrent_trials=1)
    assert len(of(events, ev.TrialEnded)) == 2
    reported = of(events, ev.Reported)
    assert [e.metrics["left"] for e in reported if "left" in e.metrics] == [0]
    assert of(events, ev.AttemptEnded)[0].clean is False
    assert len({e.worker for e in reported}) == 2, "its worker is not used again"


def test_children_end_with_a_worker_that_is_killed(run_settings: dict[str, Any], tmp_path: Path) -> None:
    def dies(config: dict[str, Any]) -> None:
        if Path(config["ledger"]).exists():
            left = config["ledger"]
            assert wait_until(lambda: gone(Path(left)), GONE_S), "they outlived their worker"
            tune.report({"score": 1.0})
            return
        start_family(config["ledger"])
        time.sleep(5.0)  # the reaper looks at what there is twice a second
        os.kill(os.getpid(), signal.SIGKILL)

    result, events = go(dies, run_settings, config={"ledger": str(tmp_path / "ledger")})
    assert result.status == "COMPLETED", result.error
    assert of(events, ev.WorkerLost)[0].failure == "worker lost"


def test_native_code_that_never_returns_is_ended_after_the_grace_period(
    run_settings: dict[str, Any], tmp_path: Path
) -> None:
    """It holds the interpreter, so that its process hears nothing any more."""

    def native(config: dict[str, Any]) -> None:
        start_family(config["ledger"])
        tune.report({"score": 1.0})
        time.sleep(5.0)
        ctypes.PyDLL(None).sleep(600)

    began = time.monotonic()
    result, events = go(
        native,
        run_settings,
        config={"ledger": str(tmp_path / "ledger")},
        stop={"training_iteration": 1},
        grace_period_s=3.0,
    )
    assert time.monotonic() - began < HANGS_S
    assert (result.status, result.metrics["score"]) == ("COMPLETED", 1.0)
    assert of(events, ev.WorkerLost)[0].reason == "it did not stop within 3 s"
    assert wait_until(lambda: gone(tmp_path / "ledger"), GONE_S)


@pytest.mark.parametrize("how", [signal.SIGSEGV, signal.SIGKILL, None])
def test_a_worker_that_dies_is_replaced_at_once(
    run_settings: dict[str, Any], tmp_path: Path, how: int | None
) -> None:
    ledger, journal = str(tmp_path / "ledger"), run_settings["journal"]

    def dies(config: dict[str, Any]) -> None:
        if not Path(ledger + ".died").exists():
            counting({**config, "steps": 1})
            wait_until(lambda: bool(of(events_of(journal), ev.Checkpointed)))
            Path(ledger + ".died").touch()
            if how is None:
                os._exit(3)
            os.kill(os.getpid(), how)
            time.sleep(60)  # a handler of Ray's writes stacks first
        counting(config)

    space = {"x": 1.0, "ledger": ledger, "steps": 2, "seconds": 0.01}
    result, events = go(dies, run_settings, config=space)
    assert result.metrics["step"] == 2
    lost = of(events, ev.WorkerLost)[0]
    [requeued] = of(events, ev.TrialRequeued)
    assert (lost.failure, requeued.due_at) == ("worker lost", None)
    again = of(events, ev.AttemptAssigned)[1]
    assert again.resume_from["step"] == 1
    trial = of(events, ev.TrialEnded)
    assert [e.failure for e in trial] == [None]


def test_sigterm_lets_the_trial_reach_its_next_checkpoint_and_is_not_counted(
    run_settings: dict[str, Any], tmp_path: Path
) -> None:
    ledger = tmp_path / "ledger"

    def evicted(config: dict[str, Any]) -> None:
        counting({**config, "steps": 2})
        if len([line for line in ledger.read_text().splitlines() if line.startswith("start")]) == 1:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.5)
            tune.report({"score": 0.0})  # without a checkpoint: it may go on
        counting(config)

    space = {"x": 1.0, "ledger": str(ledger), "steps": 5, "seconds": 0.05}
    result, events = go(evicted, run_settings, config=space)
    assert result.metrics["step"] == 5
    ends = of(events, ev.AttemptEnded)
    assert [e.outcome for e in ends] == ["interrupted", "completed"]
    assert of(events, ev.AttemptAssigned)[1].resume_from is not None
    released = of(events, ev.WorkerReleased)[0]
    assert "told to end" in released.reason
    assert not [
        e for e in of(events, ev.WorkerLost) if e.failure == "worker lost" and "release" not in e.reason
    ]


def hanging(config: dict[str, Any]) -> None:
    """Hang in the first attempt after a step, where it cannot be heard; go through in the second."""
    first = not Path(config["ledger"]).exists()
    counting({**config, "steps": 1 if first else 2})
    if first:
        hang_here(config["native"])


def hang_here(native: bool) -> None:
    if native:
        ctypes.CDLL(None).sleep(300)
    else:
        time.sleep(300)


@pytest.mark.parametrize("native", [False, True])
def test_a_trial_that_hangs_leaves_its_stacks_and_is_tried_again(
    run_settings: dict[str, Any], tmp_path: Path, native: bool
) -> None:
    space = {"x": 1.0, "ledger": str(tmp_path / "ledger"), "steps": 2, "seconds": 0.01, "native": native}
    result, events = go(hanging, run_settings, config=space, report_timeout_s=5.0)
    assert (result.status, result.metrics["step"]) == ("COMPLETED", 2)
    first = of(events, ev.AttemptEnded)[0]
    assert (first.outcome, first.failure, first.clean) == ("failed", "no report", False)
    assert of(events, ev.AttemptAssigned)[1].resume_from["step"] == 1
    log = log_of(run_settings)
    assert "It reported nothing for" in log
    assert "in hang_here" in log


def test_a_trial_that_holds_the_interpreter_is_ended_by_the_reaper_and_leaves_its_stacks(
    run_settings: dict[str, Any], tmp_path: Path
) -> None:
    def hangs(config: dict[str, Any]) -> None:
        from raytune_gp.execution import worker

        worker.ORPHAN_S = 2.0
        if not Path(config["ledger"]).exists():
            Path(config["ledger"]).touch()
            time.sleep(4.0)  # the reaper is told
            ctypes.PyDLL(None).sleep(600)
        tune.report({"score": 1.0})

    result, events = go(hangs, run_settings, config={"ledger": str(tmp_path / "l")}, report_timeout_s=8.0)
    assert result.status == "COMPLETED"
    assert of(events, ev.WorkerLost)[0].failure == "worker lost"
    assert "in hangs" in log_of(run_settings)


def test_a_coordinator_that_is_away_makes_no_trial_silent(
    run_settings: dict[str, Any], tmp_path: Path
) -> None:
    """It is stopped for longer than the trial may be silent; the trial reports all the while."""

    def steady(config: dict[str, Any]) -> None:
        import ray

        from raytune_gp.execution.worker import NAMESPACE

        coordinator: Any = ray.get_actor("run", NAMESPACE)
        pid = ray.get(coordinator.hello.remote())["pid"]
        os.kill(pid, signal.SIGSTOP)
        try:
            for step in range(10):
                time.sleep(0.5)
                tune.report({"score": float(step)})
        finally:
            os.kill(pid, signal.SIGCONT)

    result, events = go(steady, run_settings, report_timeout_s=2.5)
    assert result.metrics["score"] == 9.0
    assert len(of(events, ev.AttemptAssigned)) == 1


def test_a_trial_whose_time_is_up_is_stopped(run_settings: dict[str, Any]) -> None:
    def slow(config: dict[str, Any]) -> None:
        tune.report({"score": 1.0})
        time.sleep(2 * HANGS_S)

    began = time.monotonic()
    result, _ = go(slow, run_settings, trial_timeout_s=1.5, grace_period_s=0.5)
    assert time.monotonic() - began < HANGS_S
    assert (result.status, result.metrics["score"]) == ("STOPPED", 1.0)
