"""Callbacks hear of a run as it goes, and cannot break it."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest

from raytune_gp import events as ev
from raytune_gp import tune
from raytune_gp.callbacks import CallbackList
from raytune_gp.space import SearchSpace
from raytune_gp.state import RunState
from tests.support import make_spec


class Listener(tune.Callback):
    """Keeps every call: the hook, and what it was told."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, dict[str, Any]]] = []

    def setup(self, **info: Any) -> None:
        self.heard.append(("setup", info))

    def on_trial_start(self, **info: Any) -> None:  # type: ignore[override]
        self.heard.append(("start", info))

    def on_trial_result(self, **info: Any) -> None:  # type: ignore[override]
        self.heard.append(("result", info))

    def on_trial_complete(self, **info: Any) -> None:  # type: ignore[override]
        self.heard.append(("complete", info))

    def on_trial_error(self, **info: Any) -> None:  # type: ignore[override]
        self.heard.append(("error", info))

    def on_checkpoint(self, **info: Any) -> None:  # type: ignore[override]
        self.heard.append(("checkpoint", info))

    def on_experiment_end(self, **info: Any) -> None:  # type: ignore[override]
        self.heard.append(("end", info))


SPACE = SearchSpace({"x": tune.randint(0, 9), "act": tune.choice([math.exp, math.sin])})
CONFIG = {"x": 3, "act": math.sin}
EVENTS = [
    ev.RunCreated(0.0, make_spec().to_json()),
    ev.CapacityKnown(0.0, 1),
    ev.WorkerRequested(0.0, "w0/1", 0, 1),
    ev.WorkerUp(0.0, "w0/1", "node", 7),
    ev.SuggestionsRequested(0.0, 0, 1, 0, 0),
    ev.SuggestionsReady(0.0, 0, [{"config": SPACE.to_json(CONFIG), "provenance": {}}], None, False),
    ev.TrialCreated(0.0, "00000", 0),
    ev.AttemptAssigned(0.0, "00000", 1, "w0/1", None),
    ev.AttemptStarted(1.0, "w0/1", 1, "00000", 1),
    ev.Reported(2.0, "w0/1", 2, "00000", 1, 1, {"score": 0.5}, 2.0),
    ev.Checkpointed(2.0, "w0/1", 3, "00000", 1, 1, "trial_00000/checkpoint_001_000001"),
    ev.Reported(3.0, "w0/1", 4, "00000", 1, 2, {"score": 0.7}, 3.0),
    ev.AttemptEnded(4.0, "w0/1", 5, "00000", 1, "completed", None, True, 4.0),
]
COMPLETED = ev.TrialEnded(4.0, "00000", "COMPLETED", [0.7], None, None)
FAILED = ev.TrialEnded(4.0, "00000", "FAILED", None, "error", "bad luck")


def tell(callbacks: list[Any], *last: ev.Event) -> RunState:
    """A run's events in two turns, as its driver tells of them."""
    events = [*EVENTS, *last]
    made = CallbackList(callbacks, SPACE.from_json, lambda path: tune.Checkpoint(f"/results/run/{path}"))
    state = RunState()
    state.apply(events[0])
    made.setup(state)
    for turn in (events[1:10], events[10:]):
        for event in turn:
            state.apply(event)
        made.tell(state, turn)
    made.end(state)
    return state


def test_each_hook_is_called_in_order_with_rays_arguments() -> None:
    listener = Listener()
    state = tell([listener], COMPLETED)
    hooks = [hook for hook, _ in listener.heard]
    assert hooks == ["setup", "start", "result", "checkpoint", "result", "complete", "end"]
    assert listener.heard[0][1] == {"name": "run", "metric": "score", "mode": "max"}
    trial = listener.heard[1][1]["trial"]
    assert trial.config == CONFIG, "as the trainable got it"
    assert state.trials["00000"].config != CONFIG, "as the journal has it"
    assert (trial.trial_id, trial.id, trial.status, trial.step) == ("00000", "00000", "COMPLETED", 2)
    for hook, info in listener.heard[1:-1]:
        assert info["trial"] is trial, hook
        assert info["trials"] == [trial]
    results = [info for hook, info in listener.heard if hook == "result"]
    assert [r["iteration"] for r in results] == [1, 2]
    assert results[1]["result"] == {"score": 0.7, "trial_id": "00000", "config": CONFIG}
    assert listener.heard[3][1]["checkpoint"].path == "/results/run/trial_00000/checkpoint_001_000001"
    assert listener.heard[-1][1] == {"trials": [trial]}


def test_a_trial_can_be_kept_and_copied() -> None:
    listener = Listener()
    tell([listener], COMPLETED)
    kept = copy.copy(listener.heard[1][1]["trial"])
    assert kept.config == CONFIG
    with pytest.raises(AttributeError, match="nonsense"):
        _ = kept.nonsense


def test_a_trial_that_failed_for_good_is_an_error() -> None:
    listener = Listener()
    tell([listener], FAILED)
    assert [hook for hook, _ in listener.heard][-2:] == ["error", "end"]


def test_a_callback_that_raises_is_blamed_once_and_the_others_hear_all() -> None:
    class Bad(Listener):
        def on_trial_result(self, **info: Any) -> None:  # type: ignore[override]
            raise ValueError("not my day")

    bad, good = Bad(), Listener()
    with pytest.warns(RuntimeWarning) as caught:
        tell([bad, good], COMPLETED)
    assert len(caught) == 1
    assert "Bad.on_trial_result raised ValueError: not my day; the run goes on" in str(caught[0].message)
    assert len(good.heard) == 7
    assert [hook for hook, _ in bad.heard] == ["setup", "start", "checkpoint", "complete", "end"]


def test_an_interrupt_of_the_user_is_no_error_of_the_callback() -> None:
    class Impatient(tune.Callback):
        def on_trial_start(self, *_: Any, **info: Any) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tell([Impatient()])


def test_an_object_with_some_of_the_hooks_serves_and_none_is_cheap() -> None:
    class Duck:
        heard = 0

        def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: Any, **info: Any) -> None:
            self.heard += 1

    duck = Duck()
    tell([duck], COMPLETED)
    assert duck.heard == 2
    tell([tune.Callback()], COMPLETED)
    tell([])
