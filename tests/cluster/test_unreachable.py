"""Workers that cannot be reached for a while, and calls that are lost: nothing runs twice or goes missing."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.exceptions import ActorUnavailableError

from raytune_gp import events as ev
from raytune_gp import tune
from raytune_gp.errors import JournalError
from raytune_gp.execution import calls
from raytune_gp.execution.outbox import Outbox
from raytune_gp.execution.worker import NAMESPACE
from raytune_gp.messages import Interrupt, Item, Start
from tests.execution.trainables import counting
from tests.execution.watching import events_of, of
from tests.patience import HANGS_S, wait_until

ROOT = Path(__file__).parent.parent.parent


def hold_against(ledger: Path, events: list[ev.Event], trials: int, steps: int) -> None:
    """Whether each trial took place once, and each of its steps is in the journal once."""
    done = Counter(ledger.read_text().splitlines())
    assert max(done.values()) == 1
    assert sum(line.startswith("start") for line in done) == trials
    assert sum(line.startswith("end") for line in done) == trials
    reported = Counter(f"step {e.trial} {e.metrics['step']}" for e in of(events, ev.Reported))
    assert reported == {line: 1 for line in done if line.startswith("step")}
    assert len(reported) == trials * steps
    assert {e.attempt for e in of(events, ev.AttemptAssigned)} == {1}
    assert not [e for e in of(events, ev.WorkerLost) if e.reason != "it was released"]


# --- on Ray ---

DRIVER = """
import sys
import ray
from raytune_gp import tune
from tests.execution.trainables import counting

ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
ledger, journal, storage = sys.argv[1:]
tune.run(
    counting,
    config={"x": tune.uniform(0, 1), "ledger": ledger, "steps": 6, "seconds": 0.05},
    metric="score", mode="max", num_samples=10, search_alg="random", name="run", journal=journal,
    storage_path=storage, verbose=0,
)
"""


@pytest.mark.ray
@pytest.mark.parametrize("lost", ["req_failure_prob", "resp_failure_prob"])
def test_calls_that_are_lost_start_nothing_twice(tmp_path: Path, lost: str) -> None:
    """Of all calls of actors, in a cluster of its own, Ray loses every fourth: its request, or its answer."""
    losses = {"CoreWorkerService.grpc_client.PushTask": {"num_failures": 10_000, lost: 25}}
    url = f"sqlite:///{tmp_path / 'journal.db'}"
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, str(tmp_path / "ledger"), url, str(tmp_path / "results")],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "RAY_testing_rpc_failure": json.dumps(losses)},
        stderr=subprocess.PIPE,
        text=True,
        timeout=HANGS_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "rpc_chaos" in done.stderr, "Ray has heard of it"
    hold_against(tmp_path / "ledger", events_of(url), trials=10, steps=6)


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_a_worker_that_is_stopped_for_a_while_runs_on_where_it_was(
    run_settings: dict[str, Any], tmp_path: Path
) -> None:
    """It answers nobody, neither the coordinator nor the one that takes that one's place meanwhile."""
    ledger, journal = tmp_path / "ledger", run_settings["journal"]
    stopped: list[int] = []

    def terms() -> int:
        try:
            return len(of(events_of(journal), ev.TermStarted))
        except JournalError:
            return 0

    def interfere() -> None:
        wait_until(lambda: ledger.exists() and "step 00000 3" in ledger.read_text())
        start = next(line for line in ledger.read_text().splitlines() if line.startswith("start 00000"))
        pid = int(start.split()[-1])
        os.kill(pid, signal.SIGSTOP)
        try:
            coordinator: Any = ray.get_actor("run", NAMESPACE)
            os.kill(ray.get(coordinator.hello.remote())["pid"], signal.SIGKILL)
            if wait_until(lambda: terms() == 2):
                time.sleep(2 * calls.ANSWER_S)
                stopped.append(pid)
        finally:
            os.kill(pid, signal.SIGCONT)

    meddler = threading.Thread(target=interfere)
    meddler.start()
    space = {"x": tune.uniform(0, 1), "ledger": str(ledger), "steps": 10, "seconds": 0.1}
    settings = {"search_alg": "random", "max_concurrent_trials": 2, **run_settings}
    tune.run(counting, config=space, metric="score", mode="max", num_samples=4, name="run", **settings)
    meddler.join()
    assert stopped
    hold_against(ledger, events_of(journal), trials=4, steps=10)


# --- a worker's calls ---

START = Start("w0/1", "00000", 1, {}, None, 0.0)


class Method:
    """A method of an actor: `answer` is called in its place."""

    def __init__(self, answer: Callable[..., Any]):
        self.remote = answer

    def options(self, **_: Any) -> Method:
        return self


class Worker:
    """Answers as a worker's handle does. Of its items some are forgotten, and some calls are lost."""

    def __init__(self, *, items: int = 0, forgotten: int = 0, skipped: int = 0, lost: int = 0):
        self.outbox = Outbox("w0/1")
        for _ in range(items):
            self.outbox.append("00000", 1, "report", 0.0)
        self.outbox.acknowledge(forgotten)
        self.lost = lost
        self.heard: list[tuple[str, int]] = []
        self.start, self.grace_left = Method(self._start), Method(self._grace_left)
        self.stream = Method(self._stream)
        self._skipped = skipped

    def _lose(self, method: str) -> None:
        self.heard.append((method, len(self.heard)))
        if len(self.heard) <= self.lost:
            raise ActorUnavailableError("unavailable", None)

    async def _start(self, command: Start, term: int) -> None:
        self._lose("start")

    async def _grace_left(self, command: Interrupt, term: int) -> float:
        self._lose("grace_left")
        return 7.0

    async def _stream(self, after_seq: int, term: int) -> AsyncIterator[Awaitable[list[Item]]]:
        self._lose("stream")
        skip, self._skipped = self._skipped, 0

        async def batch() -> list[Item]:
            return self.outbox.read(after_seq + skip)

        yield batch()


@pytest.fixture(autouse=True)
def at_once(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "ray" not in request.keywords:
        monkeypatch.setattr(calls, "RETRY_S", 0.0)


def read(worker: Worker, after_seq: int = 0) -> list[int]:
    async def go() -> list[int]:
        return [item.seq async for item in calls.items(worker, after_seq, 1)]

    return asyncio.run(go())


def test_items_that_a_stream_lacks_are_read_again() -> None:
    """The experiment takes no item behind a gap."""
    worker = Worker(items=5, skipped=2)
    assert read(worker) == [1, 2, 3, 4, 5]
    assert len(worker.heard) == 2


def test_a_stream_that_breaks_is_opened_again() -> None:
    assert read(Worker(items=3, lost=2), after_seq=1) == [2, 3]


def test_items_that_are_nowhere_end_the_worker() -> None:
    """After an older copy of the journal was put in its place: to wait for them would be for ever."""
    with pytest.raises(calls.GapError, match="its items 2 to 3 are not to be had"):
        read(Worker(items=5, forgotten=3), after_seq=1)


@pytest.mark.parametrize(("goes_on", "times"), [(True, 3), (False, 1)])
def test_a_start_is_sent_until_it_has_come_or_is_over(goes_on: bool, times: int) -> None:
    worker = Worker(lost=2)
    asyncio.run(calls.deliver(worker, START, 1, lambda: goes_on))
    assert len(worker.heard) == times


def test_an_answer_that_is_lost_ends_no_worker_by_force() -> None:
    interrupt = Interrupt("w0/1", "00000", 1, "stop", 1.0)
    assert asyncio.run(calls.grace_left(Worker(lost=2), interrupt, 1)) == 7.0
