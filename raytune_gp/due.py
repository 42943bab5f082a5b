"""What the state of a run calls for in the world: the commands about trials, and all again after a restart.

Those about workers are made in crew.py, those to the searcher in suggestions.py.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING

from raytune_gp import messages as msg
from raytune_gp.failures import FailureKind
from raytune_gp.packing import AUTO
from raytune_gp.patience import Patience
from raytune_gp.trial import Trial

if TYPE_CHECKING:
    from raytune_gp.state import RunState

__all__ = ["Due", "call_again", "delete_others", "start_attempt", "tell_share", "tell_to_end"]

Due = dict[Hashable, msg.Command]
"""What the world has to be told: a later command under the same key takes the place of an earlier one."""

_MODES = {"stop": "stop", "complete": "stop", "evict": "evict"}
"""How an attempt is told to end, by why; the others pause."""


def call_again(state: RunState) -> None:
    """Make what is due what it is after a replay of all events: what was called for and is not known done."""
    state.due.clear()
    for trial in state.trials.values():
        if trial.checkpoints:
            delete_others(state, trial)
    state.suggestions.ask(state.observations, state.due)
    tell_share(state)
    state.crew.call_again(state.due)
    for trial in map(state.trials.__getitem__, state.running):
        if trial.worker is not None and not trial.started:
            start_attempt(state, trial)
        if trial.worker is not None and trial.stopping is not None:
            tell_to_end(state, trial)


def start_attempt(state: RunState, trial: Trial) -> None:
    """The attempt that `trial` was assigned is to be started."""
    assert trial.worker is not None
    patience = Patience(state.spec.report_timeout_s, state.interval_s, trial.tally[FailureKind.SILENT])
    state.due["start", trial.worker] = msg.Start(
        trial.worker,
        trial.id,
        trial.attempt,
        trial.config,
        trial.resume_from,
        trial.time_total_s,
        patience,
    )


def tell_to_end(state: RunState, trial: Trial) -> None:
    """The attempt of `trial` is to end, for the reason in `stopping`."""
    assert trial.worker is not None
    assert trial.stopping is not None
    mode = _MODES.get(trial.stopping, "pause")
    state.due["interrupt", trial.worker] = msg.Interrupt(
        trial.worker, trial.id, trial.attempt, mode, trial.grace_s
    )


def delete_others(state: RunState, trial: Trial) -> None:
    """The storage is to keep the checkpoints of `trial`, and no others once nothing newer can come."""
    paths = tuple(c.path for c in trial.checkpoints)
    state.due["retain", trial.id] = msg.Retain(trial.id, paths, trial.status.is_finished)


def tell_share(state: RunState) -> None:
    """The executor is to count slots for so many trials a GPU, where that is left to the run."""
    if state.spec.resources.get("gpu") == AUTO:
        state.due["pack"] = msg.Pack(state.trials_per_gpu)
