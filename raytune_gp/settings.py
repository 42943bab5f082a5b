"""From what a user says to what a run is: the checks and conversions behind `tune.run`.

Nothing here starts anything; whatever cannot be is refused with the value, the limit and the fix.
"""

from __future__ import annotations

import datetime
import functools
import hashlib
import inspect
import math
import re
import sys
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence, Sized
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from raytune_gp.callbacks import Callback
from raytune_gp.errors import SpecError
from raytune_gp.options import as_told
from raytune_gp.patience import AUTO
from raytune_gp.protocols import Searcher
from raytune_gp.secrets import refuse_secrets
from raytune_gp.space import SearchSpace
from raytune_gp.space.plain import unboxed
from raytune_gp.spec import UNLIMITED
from raytune_gp.trainable.classes import WhenToSave, can_save, is_stepped
from raytune_gp.trial import Config, Metric, Trial

__all__ = [
    "CheckpointConfig",
    "FailureConfig",
    "RunConfig",
    "TuneConfig",
    "absolute_storage_path",
    "check_allowed",
    "check_detached",
    "check_kind",
    "check_name",
    "check_objective",
    "default_name",
    "fingerprints",
    "make_callbacks",
    "resolve_stop",
    "seconds",
    "total_trials",
]


@dataclass(frozen=True)
class CheckpointConfig:
    """Which checkpoints of each trial stay: Ray's fields.

    The newest always stays; beside it, up to `num_to_keep` in all, those with the best
    `checkpoint_score_attribute` (a metric) in `checkpoint_score_order`, or the newest ones without it. The
    run's own metric ranks those of a trial that does not report it.
    Class trainables are saved each `checkpoint_frequency` steps (0: never) and, if `checkpoint_at_end`, at
    their last one; functions give checkpoints to `tune.report`.
    """

    num_to_keep: int | None = None
    checkpoint_score_attribute: str | None = None
    checkpoint_score_order: str = "max"
    checkpoint_frequency: int = 0
    checkpoint_at_end: bool | None = None

    def __post_init__(self) -> None:
        for number in ("num_to_keep", "checkpoint_frequency"):
            object.__setattr__(self, number, unboxed(getattr(self, number)))
        order, keep = self.checkpoint_score_order, self.num_to_keep
        if order not in ("max", "min"):
            raise SpecError(f'checkpoint_score_order is {order!r}; it must be "max" or "min"')
        if keep is not None and (isinstance(keep, bool) or not isinstance(keep, int) or keep < 1):
            raise SpecError(f"num_to_keep is {keep!r}; it must be at least 1, or None to keep all")
        score = self.checkpoint_score_attribute
        if score is not None and not (isinstance(score, str) and score):
            raise SpecError(
                f"checkpoint_score_attribute is {score!r}; it must be the name of a metric, or None to keep "
                f"the newest"
            )
        often, at_end = self.checkpoint_frequency, self.checkpoint_at_end
        if isinstance(often, bool) or not isinstance(often, int) or often < 0:
            raise SpecError(f"checkpoint_frequency is {often!r}; it must be 0, for never, or more")
        if at_end not in (None, True, False):
            raise SpecError(f"checkpoint_at_end is {at_end!r}; it must be True or False")

    def when_to_save(self, trainable: Any) -> WhenToSave:
        """When a class trainable is saved. Raises SpecError where `trainable` is none, or cannot be."""
        when = WhenToSave(self.checkpoint_frequency, bool(self.checkpoint_at_end))
        trainable = getattr(trainable, "function", trainable)
        if when == WhenToSave() or (is_stepped(trainable) and can_save(trainable)):
            return when
        asked = "checkpoint_frequency" if when.frequency else "checkpoint_at_end"
        if is_stepped(trainable):
            raise SpecError(f"{asked} is set, and {trainable.__name__} has no save_checkpoint(): write one")
        raise SpecError(
            f"{asked} is set, which is for class trainables: a function gives its checkpoints to "
            f"tune.report(metrics, checkpoint=…)"
        )

    @property
    def metric(self) -> Metric | None:
        """The metric to rank checkpoints by, or None."""
        if self.checkpoint_score_attribute is None:
            return None
        return Metric(self.checkpoint_score_attribute, self.checkpoint_score_order)


@dataclass(frozen=True)
class FailureConfig:
    """How often a trial that raises is tried again (-1: always), and whether one failure ends the run.

    These are Ray's; `trial_timeout_s` and `report_timeout_s` are `tune.run`'s.
    """

    max_failures: int = 0
    fail_fast: bool = False
    trial_timeout_s: float | datetime.timedelta | None = None
    report_timeout_s: float | str | None = AUTO


@dataclass
class TuneConfig:
    """How to search: the settings of `tune.run` of the same names."""

    metric: str | None = None
    mode: str | None = None
    num_samples: int | None = None
    max_concurrent_trials: int | None = None
    search_alg: Any = None
    scheduler: Any = None
    points_to_evaluate: Iterable[Config] | None = None
    time_budget_s: float | datetime.timedelta | None = None
    seed: int = 0


@dataclass
class RunConfig:
    """How to run: the settings of `tune.run` of the same names."""

    name: str | None = None
    storage_path: str | Path | None = None
    stop: Any = None
    callbacks: Sequence[Callback] | None = None
    failure_config: FailureConfig = field(default_factory=FailureConfig)
    checkpoint_config: CheckpointConfig = field(default_factory=CheckpointConfig)
    runtime_env: Mapping[str, Any] | None = field(default=None, repr=False)
    verbose: int = 1
    detached: bool = False


_T = TypeVar("_T")


def check_allowed(name: str, value: Any, allowed: Sequence[Any]) -> None:
    """Raise SpecError unless `value` is one of `allowed`, and no number for a bool."""
    if not any(type(value) is type(a) and value == a for a in allowed):
        shown = " or ".join(f'"{a}"' if isinstance(a, str) else repr(a) for a in allowed)
        raise SpecError(f"{name} is {value!r}; it must be {shown}")


def check_detached(executor: str, callbacks: Any, raise_on_failed_trial: bool) -> None:
    """Raise SpecError for what a run cannot have that goes on without the process that started it."""
    if executor != "ray":
        raise SpecError(f'detached=True needs executor="ray", and not {executor!r}: this process is to end')
    for name, value in (("callbacks", callbacks), ("raise_on_failed_trial", raise_on_failed_trial)):
        if value:
            raise SpecError(
                f"{name} is {value!r} in a detached run, which nobody here follows to its end: leave it to "
                f"the process that does, by tune.attach(name)"
            )


def check_kind(name: str, value: Any, kind: type[_T]) -> _T:
    """`value` if it is one of the classes of settings, such as `tune.RunConfig`. Raises SpecError."""
    if not isinstance(value, kind):
        given = f", of {type(value).__module__}" if type(value).__name__ == kind.__name__ else ""
        raise SpecError(f"{name} is {value!r}{given}; it must be a raytune_gp.tune.{kind.__name__}(…)")
    return value


def check_objective(metric: Any, mode: Any) -> Metric:
    """What to optimise. Raises SpecError where one of the two is missing or cannot be."""
    if metric is None or mode is None:
        raise SpecError(
            f"metric is {metric!r} and mode is {mode!r}; say what to optimise, as in "
            f'metric="loss", mode="min"'
        )
    if not isinstance(metric, str) or not metric:
        raise SpecError(f"metric is {metric!r}; it must be the name of one metric that trials report")
    return Metric(metric, mode)


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


def check_name(name: str) -> str:
    """`name` if it can name a directory and an actor. Raises SpecError."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise SpecError(
            f"name is {name!r}; it must be 1 to 200 letters, digits, '.', '_' and '-', and begin with a "
            f"letter or digit, since a directory is called by it"
        )
    return name


def default_name(trainable: Any) -> str:
    """A name for a run that was given none: the trainable's, the time, and four random digits."""
    base = getattr(trainable, "__name__", None) or type(trainable).__name__
    base = re.sub(r"[^A-Za-z0-9._-]+", "", base) or "run"
    suffix = f"{time.strftime('%Y-%m-%d_%H-%M-%S')}_{uuid.uuid4().hex[:4]}"
    return check_name(f"{base.lstrip('._-') or 'run'}_{suffix}")


def seconds(budget: Any) -> Any:
    """A time in seconds, as a number of Python's."""
    return budget.total_seconds() if isinstance(budget, datetime.timedelta) else unboxed(budget)


def resolve_stop(stop: Any, space: SearchSpace) -> tuple[dict[str, float], UserStopper | None]:
    """A dictionary of criteria, and a stopper object or function; either may be empty. Raises SpecError."""
    if stop is None:
        return {}, None
    if isinstance(stop, Mapping):
        stop = as_told(stop)
        for name, value in stop.items():
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not (abs(value) <= sys.float_info.max or value in (math.inf, -math.inf)):
                raise SpecError(f"stop[{name!r}] is {value!r}; it must be a number to be reached")
        return {str(k): float(v) for k, v in stop.items()}, None
    if not callable(stop) or isinstance(stop, type):
        raise SpecError(
            f"stop is {stop!r}; it must be a dictionary, a function of (trial_id, result), or a Stopper, "
            f"not its class"
        )
    try:
        inspect.signature(stop).bind("", {})
    except TypeError as error:
        raise SpecError(f"stop cannot be called with (trial_id, result): {error}") from None
    except ValueError:  # it has no signature to be read
        pass
    return {}, UserStopper(stop, space)


class UserStopper:
    """The user's function of (trial_id, result), or Ray's `Stopper` object, as the experiment asks it.

    The result holds the config as the trainable got it, not as the journal keeps it. What the stopper
    remembers is its own affair: it is not in the journal, and a resumed run starts it afresh.
    """

    def __init__(self, stop: Any, space: SearchSpace):
        self._stop = stop
        self._space = space

    def __call__(self, trial: Trial) -> bool:
        config = self._space.from_json(trial.config)
        result = {**trial.history.last, "trial_id": trial.id, "config": config}
        return bool(self._stop(trial.id, result))

    def stop_all(self) -> bool:
        """Whether the whole run is to end."""
        return bool(getattr(self._stop, "stop_all", bool)())


def total_trials(num_samples: int | None, space: SearchSpace, searcher: Searcher, guesses: int = 0) -> int:
    """How many trials the run has: samples times grid cells.

    A searcher of a known length (grid) is asked for all of its configs by default, behind so many `guesses`,
    and never for more.
    """
    cells = len(space.grid_cells())
    most = guesses + len(searcher) if isinstance(searcher, Sized) else None
    num_samples = unboxed(num_samples)
    if num_samples is None:
        return cells if most is None else most
    if num_samples == UNLIMITED:
        return UNLIMITED
    if isinstance(num_samples, bool) or not isinstance(num_samples, int) or num_samples < 1:
        raise SpecError(f"num_samples is {num_samples!r}; it must be at least 1, or -1 for no bound")
    return num_samples * cells if most is None else min(num_samples, most)


def make_callbacks(callbacks: Any) -> list[Any]:
    """The user's callbacks, checked. Raises SpecError for what is no list of objects."""
    if not isinstance(callbacks or (), Sequence):
        raise SpecError(
            f"callbacks is {callbacks!r}; it must be a list, such as [{type(callbacks).__name__}()]"
        )
    found = list(callbacks or ())
    for callback in found:
        if isinstance(callback, type):
            raise SpecError(f"callbacks has the class {callback.__name__}: make one, {callback.__name__}()")
        if inspect.isroutine(callback):
            raise SpecError(
                f"callbacks has the function {callback.__qualname__}, which nothing would call: write a "
                f"subclass of tune.Callback with a method such as on_trial_result(self, iteration, trials, "
                f"trial, result)"
            )
    return found


def fingerprints(trainable: Any, space: SearchSpace) -> dict[str, str]:
    """Digests by which a resumed run tells that its trainable or its space has changed."""
    digest = hashlib.sha256(_source(trainable).encode()).hexdigest()[:16]
    return {"space": space.fingerprint(), "trainable": digest}


def _source(trainable: Any) -> str:
    """What a trainable does, as text: its source code where there is one."""
    while hasattr(trainable, "function"):
        trainable = trainable.function
    trainable = inspect.unwrap(trainable)
    if isinstance(trainable, functools.partial):
        return _source(trainable.func)
    if inspect.isroutine(trainable) or inspect.isclass(trainable):
        try:
            return inspect.getsource(trainable)
        except (OSError, TypeError):
            return trainable.__qualname__
    shown = type(trainable).__repr__ is not object.__repr__
    return repr(trainable) if shown else type(trainable).__qualname__


def absolute_storage_path(path: str | Path) -> str:
    """`path` as processes that work elsewhere find it too; a URI is left as it is. Raises SpecError."""
    if not isinstance(path, str | Path):
        raise SpecError(
            f"storage_path is {path!r}; it must be a directory, or a URI such as s3://bucket/folder"
        )
    return refuse_secrets(str(path)) if "://" in str(path) else str(Path(path).expanduser().absolute())


def default_storage_path() -> str:
    """`~/raytune_results`."""
    return str(Path.home() / "raytune_results")
