"""Class trainables, with Ray Tune's names: `setup`, `step`, `save_checkpoint`, `load_checkpoint`, `cleanup`.

What drives them here needs the methods alone, so subclasses of Ray's own `Trainable` are driven as well.
"""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raytune_gp.errors import TrainableError, TrialInterrupted
from raytune_gp.storage.staging import StagingDirectory
from raytune_gp.trainable.session import Context, Session, current_session
from raytune_gp.trial import Config

__all__ = ["Trainable", "WhenToSave", "can_save", "is_stepped", "run_steps"]

_METHODS = ("setup", "step", "save_checkpoint", "load_checkpoint", "cleanup")
_RAY = "ray.tune.trainable.trainable"

_RETURNED = "raytune_returned.json"
"""In a checkpoint: the dictionary that `save_checkpoint` has returned."""

DONE = "done"
SHOULD_CHECKPOINT = "should_checkpoint"


class Trainable:
    """A trainable as a class: `setup(config)` once, then `step()` until it returns `done: True`.

    Where the trial goes on from a checkpoint, `load_checkpoint` follows on `setup`. Each trial has an object
    of its own, in a process that earlier trials may have used.
    """

    def __init__(self, config: Config | None = None, **parameters: Any):
        self.config = dict(config or {})
        self._iteration = 0
        self.setup(copy.deepcopy(self.config), **parameters)

    # --- to be overridden ---

    def setup(self, config: Config) -> None:
        """Prepare; objects of `tune.with_parameters` are further arguments."""

    def step(self) -> Mapping[str, Any]:
        """Train for one iteration and return its metrics.

        `done: True` among them ends the trial, `should_checkpoint: True` saves a checkpoint; neither is
        reported as a metric.
        """
        raise NotImplementedError(f"{type(self).__name__} has no step()")

    def save_checkpoint(self, checkpoint_dir: str) -> Mapping[str, Any] | str | None:
        """Write what `load_checkpoint` needs into `checkpoint_dir`, or return it as a dictionary of JSON."""
        raise NotImplementedError(f"{type(self).__name__} has no save_checkpoint()")

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Take up what `save_checkpoint` has left: the directory, or the dictionary that it returned."""
        raise NotImplementedError(f"{type(self).__name__} has no load_checkpoint()")

    def cleanup(self) -> None:
        """Give back what `setup` took; called once at the trial's end, however it ends."""

    # --- to be read ---

    @property
    def iteration(self) -> int:
        """How many steps the trial has made, those before its checkpoint included."""
        return self._iteration

    @property
    def training_iteration(self) -> int:
        """The same."""
        return self._iteration

    @property
    def trial_id(self) -> str:
        """The trial's id, such as `"00003"`."""
        return self._context.get_trial_id()

    @property
    def trial_name(self) -> str:
        """The trial's name, as its directory is called."""
        return self._context.get_trial_name()

    @property
    def trial_resources(self) -> Mapping[str, Any]:
        """What the trial reserves."""
        return self._context.get_trial_resources()

    @property
    def _context(self) -> Context:
        return current_session().context


@dataclass(frozen=True)
class WhenToSave:
    """When a class trainable is saved, beside when it says so: each `frequency` steps (0: never), `at_end`.

    One that is told to pause or to leave its node is saved in any case.
    """

    frequency: int = 0
    at_end: bool = False

    def is_due(self, iteration: int, result: Mapping[str, Any]) -> bool:
        """Whether it is to be saved behind the step that gave `result`."""
        periodic = self.frequency > 0 and iteration % self.frequency == 0
        return bool(periodic or result.get(SHOULD_CHECKPOINT) or (self.at_end and result.get(DONE)))


def is_stepped(trainable: Any) -> bool:
    """Whether it is a class trainable, ours or Ray's, or an object of one."""
    return all(callable(getattr(trainable, name, None)) for name in _METHODS)


def can_save(trainable: Any) -> bool:
    """Whether a class trainable, or an object of one, has a `save_checkpoint` of its own."""
    return trainable.save_checkpoint.__module__ not in (__name__, _RAY)


def run_steps(trainable: Any, session: Session, when: WhenToSave) -> None:
    """Take `trainable` through its steps until it is done.

    Raises TrialInterrupted where it is told to end before, and then has saved it where it is to go on.
    """
    try:
        _load(trainable, session)
        done = False
        while not done:
            result = trainable.step()
            if not isinstance(result, Mapping):
                raise TrainableError(
                    f"step() of {type(trainable).__name__} returned {result!r}; it must return a dictionary "
                    f"of metrics"
                )
            trainable._iteration = session.step + 1
            done = bool(result.get(DONE))
            try:
                _report(trainable, session, result, when)
            except TrialInterrupted:
                if not done:
                    raise
    finally:
        trainable.cleanup()


def _report(trainable: Any, session: Session, result: Mapping[str, Any], when: WhenToSave) -> None:
    metrics = {name: value for name, value in result.items() if name not in (DONE, SHOULD_CHECKPOINT)}
    due = when.is_due(trainable._iteration, result)
    try:
        if due:
            with _saved(trainable) as directory:
                session.report(metrics, directory)
        else:
            session.report(metrics)
        if session.mode is not None:
            raise TrialInterrupted(session.mode)
    except TrialInterrupted as interrupt:
        wanted = when.at_end if interrupt.mode == "stop" else can_save(trainable)
        if wanted and not due:
            with _saved(trainable) as directory:
                session.keep(directory)
        raise


@contextlib.contextmanager
def _saved(trainable: Any) -> Iterator[str]:
    """A directory with a checkpoint of `trainable`, for as long as it takes to copy it."""
    with StagingDirectory() as directory:
        returned = trainable.save_checkpoint(directory)
        if isinstance(returned, Mapping):
            try:
                text = json.dumps(dict(returned))
            except (TypeError, ValueError) as error:
                raise TrainableError(
                    f"save_checkpoint() of {type(trainable).__name__} returned a dictionary that is no JSON "
                    f"({error}): write what it holds into checkpoint_dir, as by torch.save"
                ) from None
            (Path(directory) / _RETURNED).write_text(text)
        elif returned is not None and not Path(returned).resolve().is_relative_to(Path(directory).resolve()):
            raise TrainableError(
                f"save_checkpoint() of {type(trainable).__name__} returned {returned!r}, which is not in "
                f"checkpoint_dir: write there, and return nothing"
            )
        yield directory


def _load(trainable: Any, session: Session) -> None:
    trainable._iteration = session.step
    checkpoint = session.get_checkpoint()
    if checkpoint is None:
        return
    with checkpoint.as_directory() as directory:
        returned = Path(directory) / _RETURNED
        trainable.load_checkpoint(json.loads(returned.read_text()) if returned.exists() else directory)
