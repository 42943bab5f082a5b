"""The reaper without Ray: a process that is killed or falls silent takes what it has started with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from raytune_gp.execution import reaper
from tests.execution.watching import is_there
from tests.patience import HANGS_S, wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="there is no reaper elsewhere")

Start = Callable[[float, str], tuple[subprocess.Popen[str], list[int]]]

PARENT = """
import os, signal, subprocess, sys, time
from raytune_gp.execution import reaper
from raytune_gp.execution.family import Family

os.setsid()
if sys.argv[2] == "has no reaper":
    reaper.start = lambda *_: None
family = Family(float(sys.argv[1]))
forked = os.fork()
if forked == 0:
    time.sleep(300)
sleep = [sys.executable, "-c", "import time; time.sleep(300)"]
print(subprocess.Popen(sleep, start_new_session=True).pid, forked, flush=True)
if sys.argv[2] == "has no reaper":
    family.leave_none()
    os._exit(0)
while True:
    if sys.argv[2] == "speaks":
        family.tell_reaper(float(sys.argv[1]))
    time.sleep(0.2)
"""


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[subprocess.Popen[str]] = []
    born: list[int] = []

    def parent(silence_s: float, how: str) -> tuple[subprocess.Popen[str], list[int]]:
        command = [sys.executable, "-c", PARENT, str(silence_s), how]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        with process.stdout as said:
            children = [int(pid) for pid in said.readline().split()]
        assert len(children) == 2
        started.append(process)
        born.extend(children)
        return process, children

    yield parent
    for process in started:
        process.kill()
        process.wait()
    for pid in born:
        if is_there(pid):
            os.kill(pid, signal.SIGKILL)


def test_children_go_with_a_process_that_is_killed(start: Start) -> None:
    process, children = start(60.0, "speaks")
    assert all(map(is_there, children))
    process.kill()
    process.wait()
    assert wait_until(lambda: not any(map(is_there, children)), 60.0)


def test_a_process_that_falls_silent_is_ended_with_its_children(start: Start) -> None:
    process, children = start(1.0, "falls silent")
    assert process.wait(timeout=HANGS_S) in (-signal.SIGKILL, -reaper.STACKS)
    assert wait_until(lambda: not any(map(is_there, children)), 60.0)


def test_a_process_that_speaks_lives(start: Start) -> None:
    process, children = start(2.5, "speaks")
    time.sleep(5.0)
    assert process.poll() is None
    assert all(map(is_there, children))


def test_a_process_without_a_reaper_ends_its_children_when_it_leaves(start: Start) -> None:
    process, children = start(60.0, "has no reaper")
    assert process.wait(timeout=HANGS_S) == 0
    assert wait_until(lambda: not any(map(is_there, children)), 60.0)
