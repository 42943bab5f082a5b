"""What hears of a run cannot break it, and troubles are told whatever the verbosity."""

from __future__ import annotations

from typing import Any

import pytest

from raytune_gp import events as ev
from raytune_gp import tune
from raytune_gp.audience import Audience
from raytune_gp.callbacks import CallbackList
from raytune_gp.progress import Progress
from raytune_gp.state import RunState
from tests.support import make_spec


def audience(callbacks: list[Any], verbose: int = 0) -> Audience:
    return Audience("mine", CallbackList(callbacks, dict, str), verbose)


def state_of_a_run() -> RunState:
    return RunState.of([ev.RunCreated(0.0, make_spec().to_json())])


def test_each_kind_of_trouble_is_told_once_and_that_it_is_over(capsys: pytest.CaptureFixture[str]) -> None:
    mine = audience([])
    for trouble in ("disk full", "locked", "disk full", None, "locked", None):
        mine.pause(trouble)
    out, err = capsys.readouterr()
    lines = [line.partition(".")[0].partition(";")[0] for line in err.splitlines()]
    assert out == ""
    assert lines == [
        "run 'mine' is paused: disk full",
        "run 'mine' is paused: locked",
        "run 'mine' goes on: its journal can be written again, and nothing is lost",
        "run 'mine' is paused: locked",
        "run 'mine' goes on: its journal can be written again, and nothing is lost",
    ]
    assert "Ctrl-C ends the run, which resume=True can take up again" in err


def test_a_misspelt_stop_criterion_is_told_once(
    capsys: pytest.CaptureFixture[str], run_settings: dict[str, Any]
) -> None:
    def train(config: dict[str, float]) -> None:
        for _ in range(3):
            tune.report({"loss": config["x"]})

    space = {"x": tune.uniform(0, 1)}
    settings = {**run_settings, "executor": "inline", "search_alg": "random", "num_samples": 4}
    tune.run(train, config=space, metric="loss", mode="min", name="run", stop={"Loss": 0.1}, **settings)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("run 'run': stop has 'Loss', which no trial has reported so far") == 1
    assert "did you mean 'loss'?" in err


@pytest.mark.parametrize("error", [ValueError("cannot draw"), BrokenPipeError("closed"), SystemExit(1)])
def test_a_terminal_that_fails_breaks_nothing_and_is_told_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def fail(*_: Any) -> None:
        raise error

    heard: list[str] = []

    class Listener(tune.Callback):
        def on_experiment_end(self, trials: Any, **info: Any) -> None:
            heard.append("end")

    monkeypatch.setattr(Progress, "update", fail)
    monkeypatch.setattr(Progress, "close", lambda *_: None)
    with audience([Listener()]) as mine:
        state = state_of_a_run()
        for _ in range(3):
            mine.hear(state, [])
        mine.end(state)
    assert heard == ["end"]
    assert capsys.readouterr().err.count("and the run goes on") == 1


@pytest.mark.filterwarnings("error")
def test_a_callback_breaks_nothing_where_warnings_are_errors(capsys: pytest.CaptureFixture[str]) -> None:
    class Bad(tune.Callback):
        def setup(self, **info: Any) -> None:
            raise ValueError("not my day")

    audience([Bad()]).begin(state_of_a_run())
    assert "not my day" in capsys.readouterr().err


def test_a_callback_may_end_the_program() -> None:
    class Last(tune.Callback):
        def setup(self, **info: Any) -> None:
            raise SystemExit(3)

    with pytest.raises(SystemExit):
        audience([Last()]).begin(state_of_a_run())
