"""A job whose runtime_env keeps actors from starting: the run ends, and says why."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import ray

from raytune_gp import events as ev
from raytune_gp.execution import starting
from raytune_gp.execution.cluster import actor_names
from raytune_gp.execution.starting import start_limit_s, why_not_started
from tests.execution.watching import events_of, of, wait_until

ROOT = Path(__file__).parent.parent.parent

DRIVER = """
import sys
import ray
from raytune_gp import tune
from raytune_gp.errors import RunFailedError
from raytune_gp import events as ev
from raytune_gp.execution import starting
from raytune_gp.execution.cluster import actor_names
from tests.execution.trainables import quick

entry, value, journal, storage = sys.argv[1:]
starting.START_S = 5.0
ray.init(address="auto", log_to_driver=False, runtime_env={entry: value})
try:
    tune.run(quick, config={"x": tune.uniform(0, 1)}, metric="score", mode="max", num_samples=2, verbose=0,
             search_alg="random", name="run", journal=journal, storage_path=storage)
except RunFailedError as error:
    print(error)
"""


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize(
    ("entry", "value", "said"),
    [
        ("py_executable", "/bin/false", "has not come up in 5 s.*py_executable is '/bin/false', which must"),
        ("working_dir", "file:///nowhere/code.zip", "the coordinator cannot be started: .*/nowhere/code.zip"),
    ],
)
def test_a_job_that_cannot_start_actors_ends_with_the_reason(
    tmp_path: Path, entry: str, value: str, said: str
) -> None:
    """It waited for ever for an interpreter that ends or hangs before it has joined Ray."""
    address = ray.get_runtime_context().gcs_address
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, entry, value, f"sqlite:///{tmp_path / 'j.db'}", str(tmp_path / "r")],
        cwd=ROOT,
        env={**os.environ, "RAY_ADDRESS": address, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(said, done.stdout, re.DOTALL), done.stdout
    run_id = of(events_of(f"sqlite:///{tmp_path / 'j.db'}"), ev.RunCreated)[0].spec["run_id"]
    assert wait_until(lambda: not [n for n in actor_names() if n.startswith(run_id)], 10.0)


INTERRUPTED = """
import os, signal, sys, threading, time
import ray
from raytune_gp import tune
from raytune_gp.execution import driver
from raytune_gp.execution.cluster import actor_names
from tests.execution.trainables import quick

journal, storage = sys.argv[1:]
driver.HURRIED_S = 1.0

def press():
    while "run" not in actor_names():
        time.sleep(0.1)
    time.sleep(1)
    os.kill(os.getpid(), signal.SIGINT)

ray.init(address="auto", log_to_driver=False, runtime_env={"py_executable": "/bin/false"})
threading.Thread(target=press, daemon=True).start()
found = tune.run(quick, config={"x": tune.uniform(0, 1)}, metric="score", mode="max", num_samples=2,
                 search_alg="random", name="run", journal=journal, storage_path=storage)
print(len(found))
"""


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_ctrl_c_ends_a_run_whose_coordinator_does_not_come_up(tmp_path: Path) -> None:
    """The first Ctrl-C was not heard for five minutes."""
    address = ray.get_runtime_context().gcs_address
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, f"sqlite:///{tmp_path / 'j.db'}", str(tmp_path / "r")],
        cwd=ROOT,
        env={**os.environ, "RAY_ADDRESS": address, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "0"
    assert "interrupted from the keyboard; the coordinator has not come up" in done.stderr
    assert "resume" in done.stderr
    run_id = of(events_of(f"sqlite:///{tmp_path / 'j.db'}"), ev.RunCreated)[0].spec["run_id"]
    assert wait_until(lambda: not [n for n in actor_names() if n.startswith((run_id, "run"))], 10.0)


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({}, starting.START_S),
        ({"env_vars": {"A": "b"}, "py_executable": "python3"}, starting.START_S),
        ({"pip": ["torch"]}, starting.START_S + 600.0),
        ({"pip": ["torch"], "config": {"setup_timeout_seconds": 30}}, starting.START_S + 30.0),
        ({"uv": ["torch"], "config": {"setup_timeout_seconds": -1}}, math.inf),
    ],
)
def test_what_has_to_be_installed_is_waited_for(environment: dict[str, Any], seconds: float) -> None:
    assert start_limit_s(environment) == seconds


def test_no_secret_is_told() -> None:
    said = why_not_started({"env_vars": {"TOKEN": "hush"}, "pip": ["--index-url=https://u:hush@x"]}, 300.0)
    assert "sets env_vars, pip" in said
    assert "hush" not in said
