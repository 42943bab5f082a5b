"""Callbacks: the user's code that hears of a run as it goes, in the driver.

They get Ray Tune's hooks with Ray's arguments, and configs as the trainable got them. A callback that raises
is reported once and otherwise ignored: it cannot break the run, which does not wait for it either.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from raytune_gp import events as ev
from raytune_gp.state import RunState
from raytune_gp.trial import Config, Trial

__all__ = ["Callback", "CallbackList", "SeenTrial"]


class SeenTrial:
    """A trial as callbacks see it: all that `Trial` has, now, with the config as the trainable got it."""

    def __init__(self, trial: Trial, restore_config: Callable[[Mapping[str, Any]], Config]):
        self._trial = trial
        self._restore_config = restore_config

    @property
    def config(self) -> Config:
        """The config, in the values of the user's search space."""
        return self._restore_config(self._trial.config)

    @property
    def trial_id(self) -> str:
        """Ray's name for the id."""
        return self._trial.id

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # such as a copy asks for before there is a trial
            raise AttributeError(name)
        return getattr(self._trial, name)

    def __repr__(self) -> str:
        return f"SeenTrial({self._trial!r})"


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
        """A `checkpoint` of `trial` (a `tune.Checkpoint`, whose `path` is a full one) is in storage."""

    def on_experiment_end(self, trials: list[Trial], **info: Any) -> None:
        """The run is over."""


class CallbackList:
    """Calls many callbacks, and keeps the run safe from them.

    Args:
        callbacks: the user's.
        restore_config: from a journalled config to the user's own (`SearchSpace.from_json`).
        checkpoint_at: from a path as the journal has it to the user's checkpoint (`Storage.checkpoint`).
    """

    def __init__(
        self,
        callbacks: Sequence[Any],
        restore_config: Callable[[Mapping[str, Any]], Config],
        checkpoint_at: Callable[[str], Any],
    ):
        self._callbacks = list(callbacks)
        self._restore_config = restore_config
        self._checkpoint_at = checkpoint_at
        self._seen: dict[str, SeenTrial] = {}
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
        trials = self._trials(state)
        for event in events:
            if isinstance(event, ev.Reported):
                self._iteration += 1
            found = _HOOKS.get(type(event))
            if found is not None:
                trial = self._seen[event.trial]  # type: ignore[attr-defined]
                hook, more = found(event, trial, self._checkpoint_at)
                self._call(hook, iteration=self._iteration, trials=trials, trial=trial, **more)

    def end(self, state: RunState) -> None:
        """After the run."""
        self._call("on_experiment_end", trials=self._trials(state))

    def _trials(self, state: RunState) -> list[SeenTrial]:
        for trial in list(state.trials.values())[len(self._seen) :]:
            self._seen[trial.id] = SeenTrial(trial, self._restore_config)
        return list(self._seen.values())

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


def _reported(event: ev.Reported, trial: SeenTrial, _: Any) -> tuple[str, dict[str, Any]]:
    result = {**event.metrics, "trial_id": event.trial, "config": trial.config}
    return "on_trial_result", {"result": result}


def _ended(event: ev.TrialEnded, *_: Any) -> tuple[str, dict[str, Any]]:
    return ("on_trial_error" if event.status == "FAILED" else "on_trial_complete"), {}


_HOOKS: dict[type[ev.Event], Callable[..., tuple[str, dict[str, Any]]]] = {
    ev.AttemptStarted: lambda event, trial, checkpoint_at: ("on_trial_start", {}),
    ev.Reported: _reported,
    ev.TrialEnded: _ended,
    ev.Checkpointed: lambda event, trial, checkpoint_at: (
        "on_checkpoint",
        {"checkpoint": checkpoint_at(event.path)},
    ),
}
