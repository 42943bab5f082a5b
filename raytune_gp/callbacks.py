"""Callbacks: the user's code that hears of a run as it goes, in the driver.

They get Ray Tune's hooks with Ray's arguments. A callback that raises is reported once and otherwise
ignored: it cannot break the run, which does not wait for it either.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

from raytune_gp import events as ev
from raytune_gp.state import RunState
from raytune_gp.trial import Trial

__all__ = ["Callback", "CallbackList"]


class Callback:
    """Override what you need. `iteration` counts the reports of the whole run so far."""

    def setup(self, **info: Any) -> None:
        """Called once before the run, with `name`, `metric` and `mode`."""

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """An attempt of `trial` runs."""

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """`trial` reported `result`."""

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """`trial` is finished, by itself or stopped early."""

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """`trial` failed for good; `trial.error` has the traceback."""

    def on_checkpoint(
        self, iteration: int, trials: list[Trial], trial: Trial, checkpoint: Any, **info: Any
    ) -> None:
        """A checkpoint of `trial` is in storage."""

    def on_experiment_end(self, trials: list[Trial], **info: Any) -> None:
        """The run is over."""


class CallbackList:
    """Calls many callbacks, and keeps the run safe from them."""

    def __init__(self, callbacks: Sequence[Any]):
        self._callbacks = list(callbacks)
        self._blamed: set[int] = set()
        self._iteration = 0

    def setup(self, state: RunState) -> None:
        """Before the run."""
        metric = state.spec.metric
        self._call("setup", name=state.spec.name, metric=metric.name, mode=metric.mode)

    def tell(self, state: RunState, events: Sequence[ev.Event]) -> None:
        """Tell the callbacks of `events`, which `state` holds already."""
        if not self._callbacks:
            return
        trials = list(state.trials.values())
        for event in events:
            if isinstance(event, ev.Reported):
                self._iteration += 1
            found = _HOOKS.get(type(event))
            if found is not None:
                hook, more = found(event, state)
                trial = state.trials[event.trial]  # type: ignore[attr-defined]
                self._call(hook, iteration=self._iteration, trials=trials, trial=trial, **more)

    def end(self, state: RunState) -> None:
        """After the run."""
        self._call("on_experiment_end", trials=list(state.trials.values()))

    def _call(self, hook: str, **arguments: Any) -> None:
        for callback in self._callbacks:
            method = getattr(callback, hook, None)
            if method is None:
                continue
            try:
                method(**arguments)
            except Exception as error:
                if id(callback) not in self._blamed:
                    self._blamed.add(id(callback))
                    warnings.warn(
                        f"the callback {type(callback).__name__}.{hook} raised {type(error).__name__}: "
                        f"{error}; the run goes on, and further errors of this callback are not shown",
                        RuntimeWarning,
                        stacklevel=2,
                    )


def _ended(event: ev.TrialEnded, state: RunState) -> tuple[str, dict[str, Any]]:
    return ("on_trial_error" if event.status == "FAILED" else "on_trial_complete"), {}


_HOOKS: dict[type[ev.Event], Callable[[Any, RunState], tuple[str, dict[str, Any]]]] = {
    ev.AttemptStarted: lambda event, state: ("on_trial_start", {}),
    ev.Reported: lambda event, state: (
        "on_trial_result",
        {"result": {**event.metrics, "trial_id": event.trial, "config": state.trials[event.trial].config}},
    ),
    ev.TrialEnded: _ended,
    ev.Checkpointed: lambda event, state: ("on_checkpoint", {"checkpoint": event.path}),
}
