from __future__ import annotations

import io
import math

import pytest
from rich.console import Console

from raytune_gp import events as ev
from raytune_gp.progress import MAX_ROWS, Progress, headline, trial_line, view
from raytune_gp.trial import Metric
from tests.analysis.examples import Maker, best_of, example_run, example_simulation, value_of

RUN = example_run()


class Clock:
    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


def console(terminal: bool = False, width: int = 120, height: int = 40) -> Console:
    return Console(
        file=io.StringIO(),
        force_terminal=terminal,
        width=width,
        height=height,
        color_system=None,
        _environ={},
    )


def text(renderable: object, width: int = 120) -> str:
    shown = console(width=width)
    shown.print(renderable)
    return shown.file.getvalue()  # type: ignore[attr-defined]


def ended(number: int) -> ev.Event:
    return ev.TrialEnded(0.0, f"{number:05d}", "COMPLETED", None, None, None)


def test_the_headline_says_how_far_and_how_good() -> None:
    line, best = str(headline(RUN, RUN.now)), best_of(RUN)
    assert line.startswith("cifar10 <demo>: 32 of 32 trials finished (29 completed, 2 stopped, 1 failed)")
    assert f"best accuracy {value_of(best):.6g} (trial {best.number})" in line
    assert line.endswith("completed: every trial is finished")


def test_time_left_is_shown_while_the_run_goes_on() -> None:
    maker = Maker(num_samples=5).trial({"x": 1}, [{"accuracy": 0.5}] * 10)
    assert "10 s, about 40 s left" in str(headline(maker.state, 10.0))


def test_a_run_that_is_told_to_stop_says_so_at_once() -> None:
    maker = Maker(num_samples=5).trial({"x": 1}, [{"accuracy": 0.5}], status=None)
    maker.state.apply(ev.StopRequested(2.0, "interrupted from the keyboard"))
    expected = "stopping, trials end at their next report: interrupted from the keyboard"
    assert str(headline(maker.state, 2.0)).endswith(expected)


def test_a_run_that_waits_for_a_node_says_so_once_a_worker_would_have_started() -> None:
    state = Maker(resources={"cpu": 1, "gpu": 2}).state
    state.apply(ev.WorkerRequested(5.0, "w9/1", 9, 1))
    assert "waiting" not in str(headline(state, 14.0))
    expected = "waiting for a node with room for a trial (cpu 1, gpu 2)"
    assert str(headline(state, 16.0)).endswith(expected)
    state.apply(ev.WorkerUp(40.0, "w9/1", "node", 1))
    assert "waiting" not in str(headline(state, 60.0))


def test_running_trials_come_first_then_the_newest() -> None:
    maker = Maker()
    for k in range(40):
        maker.trial({"x": k}, [{"accuracy": 0.5}])
    maker.trial({"x": 40}, [{"accuracy": 0.25}], status=None)
    lines = [line for line in text(view(maker.state, 99.0, 120)).splitlines() if line.startswith("│")]
    assert len(lines) == MAX_ROWS
    assert "running" in lines[0]
    assert "0.25" in lines[0]
    assert [int(line.split("│")[1]) for line in lines[:3]] == [40, 39, 38]
    assert "and 21 trials more" in text(view(maker.state, 99.0, 120))


@pytest.mark.parametrize("width", [200, 120, 90, 70])
def test_the_table_fits_and_keeps_its_numbers(width: int) -> None:
    shown = text(view(RUN, RUN.now, width, 5), width)
    rows = [line for line in shown.splitlines() if line.startswith("│")]
    assert len(rows) == 5
    assert max(map(len, shown.splitlines())) <= width
    assert f"{value_of(RUN.trials['00031']):.6g}" in shown
    assert "completed" in rows[0]
    assert ("┃ config" in shown) == (width < 110)
    assert ("learning_rate" in shown) == (width > 80)


def test_failed_and_nan_trials_are_shown() -> None:
    maker = Maker().trial({"x": 1}, [], status="FAILED", error="Traceback\nOSError: \x1b[31mdisk [bold]full")
    shown = text(view(maker.trial({"x": 2}, [{"accuracy": math.nan}]).state, 1.0, 100))
    assert "failed" in shown
    assert "–" in shown
    assert "nan" in shown
    line = str(trial_line(maker.state, maker.state.trials["00000"]))
    assert line.startswith("trial 0 failed after 0 steps")
    assert "OSError:  [31mdisk [bold]full (x=1)" in line


def test_a_long_metric_name_does_not_break_the_table() -> None:
    maker = Maker(metrics=(Metric("validation/" * 9),)).trial({"x": 1}, [{"validation/" * 9: 0.5}])
    assert "0.5" in text(view(maker.state, 1.0, 80), 80)


def test_without_a_terminal_a_line_a_trial_and_a_heartbeat() -> None:
    maker, clock, shown = Maker(), Clock(), console()
    with Progress(shown, clock=clock) as progress:
        progress.update(maker.trial({"x": 1}, [{"accuracy": 0.5}]).state, [ended(0)])
        for _ in range(10):
            clock.at += 1.0
            progress.update(maker.state)
        clock.at += 30.0
        progress.update(maker.state)
        progress.close(maker.end())
    lines = shown.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert lines[0] == "trial 0 completed after 1 step, 1 s: accuracy 0.5 (x=1)"
    assert sum("trials finished" in line for line in lines) == 3
    assert lines[-1] == "best config: x=1"
    assert len(lines) == 5


def test_on_a_terminal_it_redraws_at_most_four_times_a_second() -> None:
    simulation, clock, shown = example_simulation(num_samples=6).start(), Clock(), console(terminal=True)
    with Progress(shown, clock=clock) as progress:
        for _ in range(100):
            simulation.loop.turn()
            clock.at += 0.01
            progress.update(simulation.state)
        assert shown.file.getvalue().count("trials finished") == 4  # type: ignore[attr-defined]


def test_on_a_terminal_a_failure_is_announced_once() -> None:
    maker, shown = Maker(), console(terminal=True)
    maker.trial({"x": 1}, [], status="FAILED", error="OSError: disk full")
    with Progress(shown, clock=Clock()) as progress:
        progress.update(maker.state, [ended(0)])
        progress.update(maker.state)
        progress.close(maker.end())
    assert shown.file.getvalue().count("OSError: disk full") == 1  # type: ignore[attr-defined]


def test_a_small_terminal_gets_a_small_table() -> None:
    shown = console(terminal=True, height=14)
    with Progress(shown, clock=Clock()) as progress:
        progress.update(RUN)
    assert shown.file.getvalue().count("completed  │") <= 5  # type: ignore[attr-defined]


def test_silence_and_a_run_that_has_not_begun() -> None:
    shown = console()
    with Progress(shown, verbose=0) as progress:
        progress.update(RUN, [ended(0)])
        progress.close(RUN)
    with Progress(shown) as progress:
        progress.update(type(RUN)())
    assert shown.file.getvalue() == ""  # type: ignore[attr-defined]
