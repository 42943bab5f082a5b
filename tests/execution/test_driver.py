"""The driver's part, without Ray: what it asks of a coordinator that may be on its way."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from raytune_gp import events as ev
from raytune_gp.execution import driver
from raytune_gp.execution.coordinator import Progress
from raytune_gp.state import RunState
from tests.support import make_spec


class FakeCoordinator:
    """Hears of a stop only from the `deaf`-th time on."""

    def __init__(self, deaf: int):
        self.deaf = deaf
        self.asked = 0
        self.stop = SimpleNamespace(remote=self._stop)

    def _stop(self, reason: str) -> None:
        self.asked += 1

    def progress(self, index: int) -> Progress:
        if self.asked <= self.deaf:
            return Progress(index + 1)
        events: list[ev.Event] = [ev.StopRequested(1.0, "keyboard"), ev.RunEnded(2.0, "STOPPED", "keyboard")]
        return Progress(index + 1, events, over=True)


def test_a_stop_that_a_restarting_coordinator_did_not_hear_is_asked_for_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    coordinator = FakeCoordinator(deaf=2)
    polls: list[int] = []
    killed: list[Any] = []

    def poll(asked: FakeCoordinator, after_index: int) -> Progress:
        polls.append(after_index)
        if len(polls) == 2:
            raise KeyboardInterrupt
        return asked.progress(after_index)

    monkeypatch.setattr(driver, "_poll", poll)
    monkeypatch.setattr(driver.ray, "kill", killed.append)
    state = RunState.of([ev.RunCreated(0.0, make_spec().to_json())])
    heard: list[Sequence[ev.Event]] = []
    driver.follow(coordinator, state, lambda _, events: heard.append(events))
    assert (coordinator.asked, state.status, killed) == (3, "STOPPED", [coordinator])
    assert polls == [0] * 5
