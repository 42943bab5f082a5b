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

from raytune_gp.execution import starting
from raytune_gp.execution.starting import start_limit_s, why_not_started
from tests.patience import HANGS_S

ROOT = Path(__file__).parent.parent.parent

BEGINNING = """
import os, signal, sys, threading, time
import ray
from raytune_gp import tune
from raytune_gp.errors import RunFailedError
from raytune_gp.execution import driver, starting
from raytune_gp.execution.cluster import actor_names
from tests.execution.trainables import quick

entry, value, place = sys.argv[1:]
environment = {entry: value}
ray.init(address="local", num_cpus=2, log_to_driver=False, include_dashboard=False, runtime_env=environment)

def go():
    return tune.run(quick, config={"x": tune.uniform(0, 1)}, metric="score", mode="max", num_samples=2,
                    search_alg="random", name="run", journal=f"sqlite:///{place}/j.db", storage_path=place)
"""

REFUSED = (
    BEGINNING
    + """
starting.START_S = 5.0
try:
    go()
except RunFailedError as error:
    print(error)
"""
)

INTERRUPTED = (
    BEGINNING
    + """
driver.HURRIED_S = 1.0

def press():
    while "run" not in actor_names():
        time.sleep(0.1)
    time.sleep(1)
    os.kill(os.getpid(), signal.SIGINT)

threading.Thread(target=press, daemon=True).start()
print(len(go()), "trials")
"""
)

END = """
deadline = time.monotonic() + 120
while actor_names() and time.monotonic() < deadline:
    time.sleep(0.1)
print("left:", actor_names())
ray.shutdown()
"""


def said(script: str, entry: str, value: str, place: Path) -> tuple[str, str]:
    """What `script` prints, on a cluster of its own: Ray goes on for a while to start what cannot start."""
    done = subprocess.run(
        [sys.executable, "-c", script + END, entry, value, str(place)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=HANGS_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


@pytest.mark.ray
@pytest.mark.parametrize(
    ("entry", "value", "words"),
    [
        ("py_executable", "/bin/false", "has not come up in 5 s.*py_executable is '/bin/false', which must"),
        ("working_dir", "file:///nowhere/code.zip", "the coordinator cannot be started: .*/nowhere/code.zip"),
    ],
)
def test_a_job_that_cannot_start_actors_ends_with_the_reason(
    tmp_path: Path, entry: str, value: str, words: str
) -> None:
    """It waited for ever for an interpreter that ends or hangs before it has joined Ray."""
    out, _ = said(REFUSED, entry, value, tmp_path)
    assert re.search(words, out, re.DOTALL), out
    assert out.endswith("left: []\n")


@pytest.mark.ray
def test_ctrl_c_ends_a_run_whose_coordinator_does_not_come_up(tmp_path: Path) -> None:
    """The first Ctrl-C was not heard for five minutes."""
    out, err = said(INTERRUPTED, "py_executable", "/bin/false", tmp_path)
    assert out.endswith("\n0 trials\nleft: []\n")
    assert "interrupted from the keyboard; the coordinator has not come up" in err
    assert "resume" in err


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
