"""Trials that are runs of Ray Train: a driver, which is our worker, and Train's own workers on any node.

The driver calls `fit()` and waits. Train's controller, an actor beside it, hands each report of rank 0 to the
driver by a callback; where the trial is to end, the driver has the controller end itself, which ends its
workers and gives their placement group back. If it is killed instead, Ray keeps the group: see
`resources.groups_held`.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import ray
from ray import cloudpickle
from ray.train import UserCallback

from raytune_gp.errors import SpecError, TrainableError
from raytune_gp.storage.artifacts import Checkpoint, Storage
from raytune_gp.trainable.parameters import Equipped
from raytune_gp.trainable.session import Session, current_session
from raytune_gp.trial import Config

__all__ = ["TuneReportCallback", "as_trainable", "fit"]

LOOP_CONFIG = "train_loop_config"


class TuneReportCallback(UserCallback):
    """Hands the reports of a Ray Train run, those of rank 0, to the trial that called `fit()`.

    For `ray.train.RunConfig(callbacks=[TuneReportCallback()])` of a trainer that a trainable fits by itself;
    it is to be made in the trainable, and `tune.with_resources(train, scaling_config)` says what room the
    workers need. A trainer that is a trainable, or is returned by one, needs none.
    """

    def __init__(self) -> None:
        session = current_session()
        self._attempt = (session.context.get_trial_id(), session.attempt)
        try:
            self._driver = ray.get_runtime_context().current_actor
        except RuntimeError:
            raise TrainableError(
                'TuneReportCallback is for a trainable that tune.run has started, with executor="ray"'
            ) from None

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:
        """In the controller: wait until the driver has the report and a copy of the checkpoint."""
        kept = None if checkpoint is None else Checkpoint(checkpoint.path, checkpoint.filesystem)
        controller = ray.get_runtime_context().current_actor
        ray.get(self._driver.relay.remote(self._attempt, dict(metrics[0]), kept, controller))


def as_trainable(trainer: Any) -> Equipped:
    """A trainer as a trainable: `config["train_loop_config"]` goes into that of each trial's own trainer.

    Raises TrainableError for a trainer of Ray Train's first version.
    """
    _require_second_version(trainer)
    return Equipped(_Configured(trainer), resources=trainer.scaling_config)


class _Configured:
    def __init__(self, trainer: Any):
        self._trainer = cloudpickle.dumps(trainer)
        loop = trainer.train_loop_per_worker
        self.__name__ = getattr(loop, "__name__", type(trainer).__name__)
        self.__qualname__ = f"{type(trainer).__name__}({getattr(loop, '__qualname__', '…')})"
        self.__module__ = getattr(loop, "__module__", "?")
        self.function = loop

    def __call__(self, config: Config) -> Any:
        trainer = cloudpickle.loads(self._trainer)
        unknown = sorted(config.keys() - {LOOP_CONFIG})
        if unknown:
            raise SpecError(
                f"the search space of a trainer has {', '.join(map(repr, unknown))}; its hyperparameters go "
                f'below "{LOOP_CONFIG}", as in config={{"{LOOP_CONFIG}": {{"lr": tune.loguniform(1e-4, 1)}}}}'
            )
        trainer.train_loop_config = {**(trainer.train_loop_config or {}), **config.get(LOOP_CONFIG, {})}
        return trainer


def _require_second_version(trainer: Any) -> None:
    if not hasattr(trainer, "train_run_context"):
        raise TrainableError(
            f"{type(trainer).__name__} is of Ray Train's first version: set RAY_TRAIN_V2_ENABLED=1 in the "
            f"environment before ray.train is imported, or take a newer Ray"
        )


def fit(trainer: Any, session: Session, storage: Storage, room: int) -> None:
    """Fit `trainer` as the attempt of `session`; Train's own files lie in the trial's directory meanwhile.

    What ends it early, `session.verdict` tells. Raises what `fit()` raises, and TrainableError for more
    workers than the `room` that the run counts with: trials could wait for one another's for ever.
    """
    _require_second_version(trainer)
    workers = trainer.scaling_config.max_workers
    if workers > room:
        raise TrainableError(
            f"the {type(trainer).__name__} starts {workers} workers, and this run counts with {room} a "
            f"trial: say what they need by tune.with_resources(trainable, scaling_config)"
        )
    run = trainer.run_config
    run.name = f"train_{session.attempt:03d}"
    run.storage_path, run.storage_filesystem = session.context.get_trial_dir(), storage.filesystem
    others = [c for c in run.callbacks or () if not isinstance(c, TuneReportCallback)]
    run.callbacks = [*others, TuneReportCallback()]
    object.__setattr__(trainer.train_run_context, "run_id", uuid.uuid4().hex)  # copies would share it
    checkpoint = session.get_checkpoint()
    if checkpoint is not None:
        trainer.train_loop_per_worker = _resuming(trainer.train_loop_per_worker, checkpoint)
    try:
        trainer.fit()
    finally:
        with contextlib.suppress(OSError):  # the trial's checkpoints are copies
            storage.filesystem.delete_dir(storage.path(session.context.get_trial_name(), run.name))


def _resuming(loop: Callable[..., Any], checkpoint: Checkpoint) -> Callable[..., Any]:
    """`loop` where `ray.train.get_checkpoint()` gives `checkpoint`, until Train has one of its own.

    Ray has no public way to begin a run with a checkpoint of another one.
    """
    path, filesystem = checkpoint.path, checkpoint.filesystem

    def begin() -> None:
        from ray.train import Checkpoint as Theirs
        from ray.train.v2._internal.execution.context import get_train_context

        context = get_train_context()
        if context.checkpoint is None:
            context.checkpoint = Theirs(path, filesystem)

    if inspect.signature(loop).parameters:

        @functools.wraps(loop)
        def with_config(config: Mapping[str, Any]) -> Any:
            begin()
            return loop(config)

        return with_config

    @functools.wraps(loop)
    def without() -> Any:
        begin()
        return loop()

    return without
