"""How long a trial is silent: only watched time counts, and only what it could have reported in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from raytune_gp.execution.vigil import MOST_BETWEEN_S, Silence


@dataclass
class Trial:
    """What the watch asks of a session."""

    last_sign: float | None = 0.0
    mode: str | None = None


def look(silence: Silence, trial: Any, now: float) -> float:
    return silence.look(trial, now)


def test_silence_grows_while_it_is_watched_and_ends_with_a_report() -> None:
    silence, trial = Silence(), Trial(last_sign=100.0)
    assert look(silence, trial, 101.0) == 1.0
    assert look(silence, trial, 102.0) == 2.0
    trial.last_sign = 102.5
    assert look(silence, trial, 103.0) == 0.5
    assert look(silence, trial, 104.0) == 1.5
    assert look(silence, None, 105.0) == 0.0
    assert look(silence, Trial(last_sign=105.5), 106.0) == 0.5


def test_time_in_which_nobody_could_look_does_not_count() -> None:
    """The process was stopped, or the machine slept, for an hour."""
    silence, trial = Silence(), Trial(last_sign=100.0)
    look(silence, trial, 101.0)
    assert look(silence, trial, 3700.0) == 1.0 + MOST_BETWEEN_S


def test_a_trial_that_waits_for_its_storage_or_was_told_to_end_is_not_silent() -> None:
    silence, trial = Silence(), Trial(last_sign=100.0)
    look(silence, trial, 104.0)
    trial.last_sign = None
    assert look(silence, trial, 105.0) == 0.0
    trial.last_sign = 100.0
    assert look(silence, trial, 106.0) <= MOST_BETWEEN_S
    trial.mode = "stop"
    assert look(silence, trial, 107.0) == 0.0
