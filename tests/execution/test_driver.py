"""The driver's part, without a cluster: what it asks of a coordinator, hears of it, and makes of Ctrl-C."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import ActorUnavailableError

from raytune_gp import events as ev
from raytune_gp.errors import RunFailedError, SpecError
from raytune_gp.execution import cluster, coordinator, driver
from raytune_gp.execution.coordinator import Coordinator, News, RunPlan
from raytune_gp.execution.keyboard import Keyboard
from raytune_gp.execution.payload import Payload
from raytune_gp.execution.placement import Demand
from raytune_gp.execution.starting import START_S
from raytune_gp.execution.worker_settings import WorkerSettings
from raytune_gp.state import RunState
from raytune_gp.storage.artifacts import Storage
from tests.support import make_spec


class FakeCoordinator:
    """Hears of a stop only from the `deaf`-th time on."""

    def __init__(self, deaf: int):
        self.deaf = deaf
        self.asked = 0
        self.stop = SimpleNamespace(remote=self._stop)

    def _stop(self, reason: str) -> None:
        self.asked += 1

    def progress(self, index: int) -> News:
        if self.asked <= self.deaf:
            return News(index + 1)
        events: list[ev.Event] = [ev.StopRequested(1.0, "keyboard"), ev.RunEnded(2.0, "STOPPED", "keyboard")]
        return News(index + 1, events, over=True)


def test_a_stop_that_a_restarting_coordinator_did_not_hear_is_asked_for_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    coordinator = FakeCoordinator(deaf=2)
    polls: list[int] = []
    killed: list[Any] = []

    def poll(asked: FakeCoordinator, after_index: int, fresh: bool, pressed: Any) -> News:
        polls.append(after_index)
        if len(polls) == 2:
            raise KeyboardInterrupt
        return asked.progress(after_index)

    monkeypatch.setattr(driver, "_poll", poll)
    monkeypatch.setattr(driver.ray, "kill", killed.append)
    state = RunState.of([ev.RunCreated(0.0, make_spec().to_json())])
    heard: list[Sequence[ev.Event]] = []
    driver.follow(driver.Follower(coordinator, state, lambda _, events: heard.append(events)))
    assert (coordinator.asked, state.status, killed) == (3, "STOPPED", [coordinator])
    assert polls == [0] * 5


class Away:
    """A coordinator that Ray is restarting: each poll takes a second of the `clock` and fails."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, starting_s: float):
        self.now, self.left_s = 1000.0, starting_s
        self.poll = SimpleNamespace(remote=lambda after_index, seconds: None)
        monkeypatch.setattr(driver.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(driver.time, "sleep", self.pass_time)
        monkeypatch.setattr(driver.ray, "wait", self.wait)
        monkeypatch.setattr(driver.ray, "get", self.get)
        monkeypatch.setattr(driver, "job_environment", dict)

    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    def wait(self, answers: list[Any], timeout: float) -> tuple[list[Any], list[Any]]:
        """Nothing comes while it starts for the first time."""
        self.now += 1.0
        self.left_s -= 1.0
        return ([], answers) if self.left_s > 0 else (answers, [])

    def get(self, answer: Any) -> News:
        raise ActorUnavailableError("it is restarting", b"0" * 16)


@pytest.mark.parametrize("starting_s", [0.0, 200.0])
def test_a_restart_may_take_as_long_as_a_start_however_long_that_took(
    monkeypatch: pytest.MonkeyPatch, starting_s: float
) -> None:
    """A coordinator that was killed a minute after it was asked for was given up at once."""
    away = Away(monkeypatch, starting_s)
    with pytest.raises(RunFailedError, match=r"has been away for 30[0-9] s: .*it is restarting"):
        driver._poll(away, 0, starting_s > 0, lambda: False)
    assert away.now - 1000.0 == pytest.approx(starting_s + START_S, abs=3.0)


def test_ctrl_c_ends_a_run_whose_coordinator_does_not_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    away = Away(monkeypatch, 0.0)
    with pytest.raises(RunFailedError, match=r"has been away for 1[0-9] s"):
        driver._poll(away, 0, False, lambda: True)


@pytest.fixture
def follow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Follow a coordinator that answers with `news`; returns what came of it."""
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    killed: list[Any] = []
    monkeypatch.setattr(driver.ray, "kill", killed.append)

    def go(news: Sequence[News | Callable[[], News]], listener: Any = lambda *_: None) -> Any:
        coordinator = FakeCoordinator(deaf=0)
        answers = iter(news)

        def poll(asked: Any, after_index: int, fresh: bool, pressed: Any) -> News:
            answer = next(answers)
            return answer() if callable(answer) else answer

        monkeypatch.setattr(driver, "_poll", poll)
        state = RunState.of([ev.RunCreated(0.0, make_spec().to_json())])
        troubles: list[str | None] = []
        try:
            driver.follow(driver.Follower(coordinator, state, listener, troubles.append))
        finally:
            assert killed == [coordinator]
        return SimpleNamespace(asked=coordinator.asked, troubles=troubles, state=state)

    yield go
    signal.signal(signal.SIGINT, handler)


OVER = News(2, [ev.RunEnded(2.0, "COMPLETED", "")], over=True)


def press() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_troubles_are_told_when_they_change(follow: Any) -> None:
    found = follow([News(1), *[News(1, trouble=t) for t in ("full", "full", "locked", None, "full")], OVER])
    assert found.troubles == ["full", "locked", None, "full", None], "it may be mended and over in one answer"


def test_a_run_that_was_ended_without_its_journal_is_stopped_here(follow: Any) -> None:
    found = follow(
        [News(1, trouble="full"), News(1, over=True, trouble="full", given_up="full. Not written: x")]
    )
    assert (found.state.status, found.troubles) == ("STOPPED", ["full"])
    assert found.state.reason == "interrupted from the keyboard; full. Not written: x"


def test_a_coordinator_that_failed_is_an_error(follow: Any) -> None:
    with pytest.raises(RunFailedError, match="the journal was deleted"):
        follow([News(1, over=True, error="the journal was deleted")])


def test_ctrl_c_in_a_callback_interrupts_nothing(follow: Any) -> None:
    heard: list[str] = []

    def listener(state: RunState, events: Sequence[ev.Event]) -> None:
        if not heard:
            press()
        heard.append("whole")

    found = follow([News(1, [ev.CapacityKnown(1.0, 3)]), News(2), OVER], listener)
    assert heard == ["whole"] * 3
    assert found.asked == 2, "each time, as long as the run has not heard of it"
    assert found.state.capacity == 3
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_twice_ends_at_once_wherever_that_is(follow: Any) -> None:
    def listener(state: RunState, events: Sequence[ev.Event]) -> None:
        press()
        press()
        raise AssertionError("the second one interrupts")

    with pytest.raises(KeyboardInterrupt, match="run 'run' was cut short; resume=True goes on"):
        follow([News(1)], listener)


def test_the_keyboard_is_left_alone_where_it_is_not_ours() -> None:
    mine = signal.signal(signal.SIGINT, signal.SIG_IGN)
    with Keyboard() as keyboard:
        press()
    assert not keyboard.pressed
    signal.signal(signal.SIGINT, signal.default_int_handler)

    def elsewhere() -> None:
        with Keyboard():
            handlers.append(signal.getsignal(signal.SIGINT))

    handlers: list[Any] = []
    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert handlers == [signal.default_int_handler]
    signal.signal(signal.SIGINT, mine)


def test_ray_client_is_refused_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster.ray, "is_initialized", lambda: False)
    monkeypatch.setenv("RAY_ADDRESS", "ray://head:10001")
    with pytest.raises(
        SpecError, match=r"RAY_ADDRESS is 'ray://head:10001'.*run this script on the head node"
    ):
        cluster.init_ray()


# --- where a coordinator may be ---

NODE = "ab" * 28


def plan_of(tmp_path: Path, journal: str, **more: Any) -> RunPlan:
    storage = Storage(str(tmp_path), "run")
    payload = Payload.of(None, storage)
    worker = WorkerSettings("run", "run", str(tmp_path), Demand({"cpu": 1}), payload, {})
    return RunPlan("run", "id", journal, 0, payload, worker, **more)


@pytest.mark.parametrize(
    ("journal", "more", "moves"),
    [
        ("postgresql://server/db", {"detached": True}, True),
        ("postgresql://server/db", {}, False),
        ("postgresql://server/db", {"detached": True, "gpus": 0.1}, False),
        ("sqlite:////data/journal.db", {"detached": True}, False),
    ],
)
def test_a_coordinator_is_bound_to_its_node_by_what_it_needs_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, journal: str, more: dict[str, Any], moves: bool
) -> None:
    asked: dict[str, Any] = {}

    def options(**given: Any) -> Any:
        asked.update(given)
        return SimpleNamespace(remote=lambda plan: "coordinator")

    monkeypatch.setattr(driver.ray, "remote", lambda _: SimpleNamespace(options=options))
    here = SimpleNamespace(get_node_id=lambda: NODE)
    monkeypatch.setattr(driver.ray, "get_runtime_context", lambda: here)
    assert driver.start_coordinator(plan_of(tmp_path, journal, **more)) == "coordinator"
    strategy = asked["scheduling_strategy"]
    assert (strategy.node_id, strategy.soft) == (NODE, moves)


def test_a_coordinator_begins_while_its_storage_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its constructor is run again by Ray at each restart, and what it raises ends it for good."""
    monkeypatch.setattr(threading.Thread, "start", lambda thread: None)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(coordinator, "RayExecutor", lambda *_: None)
    parts = SimpleNamespace(make_asker=lambda seed: None, make_experiment=lambda: None)
    plan = plan_of(tmp_path / "storage", f"sqlite:///{tmp_path / 'journal.db'}")
    monkeypatch.setattr(Payload, "load", lambda payload, storage: parts)
    shutil.rmtree(tmp_path / "storage")
    (tmp_path / "storage").write_text("where it was mounted there is no directory")
    Coordinator(plan)
