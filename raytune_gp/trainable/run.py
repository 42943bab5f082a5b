"""Run one attempt of a trainable: call it, keep its output, and say how it ended."""

from __future__ import annotations

import contextlib
import inspect
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from raytune_gp.errors import MetricMissingError, TrainableError, TrialInterrupted
from raytune_gp.failures import FailureKind
from raytune_gp.secrets import without_secrets
from raytune_gp.trainable.blame import kind_of
from raytune_gp.trainable.classes import WhenToSave, is_stepped, run_steps
from raytune_gp.trainable.missing import explain_missing
from raytune_gp.trainable.parameters import Equipped
from raytune_gp.trainable.session import Session, active
from raytune_gp.trial import Config

__all__ = ["Outcome", "captured_output", "check_trainable", "is_trainer", "run_attempt", "trainable_name"]

LONGEST_ERROR = 20_000
"""Characters of an error that are kept."""

Trainable = Callable[[Config], Any]


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended: completed, interrupted, or failed with its traceback, by a kind of failure."""

    kind: str
    error: str | None = None
    failure: FailureKind | None = None

    @classmethod
    def failed(cls, error: BaseException, message: str) -> Outcome:
        """It was ended by `error`, which reads as `message`."""
        return cls("failed", _kept(message), kind_of(error))

    def to_body(self, **more: Any) -> dict[str, Any]:
        """The body of the outbox item that tells of it."""
        return {"outcome": self.kind, "error": self.error, "failure": self.failure, **more}


def run_attempt(
    trainable: Trainable,
    config: Config,
    session: Session,
    when: WhenToSave | None = None,
    node: str | None = None,
    fit: Callable[[Any, Session], None] | None = None,
) -> Outcome:
    """Call `trainable(config)` under `session`.

    A dictionary that it returns is its last report. A class trainable, which gives an object, is taken
    through its steps and saved `when` that says so; a trainer of Ray Train goes to `fit`. A module that is
    missing on `node`, a worker's, is explained. Ctrl-C, which Python raises in the main thread alone, is
    the user's and passes through.
    """
    try:
        with active(session), getattr(trainable, "in_place", contextlib.nullcontext)():
            result = trainable(config)
            if isinstance(result, Mapping):
                session.report(result)
            elif is_stepped(result):
                run_steps(result, session, when or WhenToSave())
            elif is_trainer(result):
                _fit(result, session, fit)
            elif result is not None and not session.has_reported:
                raise MetricMissingError(
                    f"the trainable returned {result!r:.100} and reported nothing: return a dictionary such "
                    f'as {{"loss": 0.5}}, or call tune.report'
                )
        outcome = Outcome("completed")
    except TrialInterrupted:
        outcome = Outcome("interrupted")
    except SystemExit as left:
        ok = left.code in (None, 0)
        message = f"the trainable exited with {left.code}"
        outcome = Outcome("completed") if ok else Outcome.failed(left, message)
    except BaseException as raised:
        error = session.verdict or raised
        if isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
            raise
        if node is not None:
            explain_missing(error, node)
        ended = isinstance(error, TrialInterrupted)
        outcome = Outcome("interrupted") if ended else Outcome.failed(error, _traceback(error))
    try:
        session.finish()
    except TrainableError as error:
        if outcome.kind != "failed":  # else what came first says more
            outcome = Outcome.failed(error, str(error))
    return outcome


def _kept(text: str) -> str:
    """An error as the journal keeps it: no passwords of URLs, and no middle beyond LONGEST_ERROR."""
    text = without_secrets(text)
    left_out = len(text) - LONGEST_ERROR
    half = LONGEST_ERROR // 2
    return text if left_out <= 0 else f"{text[:half]}\n… {left_out} characters …\n{text[-half:]}"


def is_trainer(trainable: Any) -> bool:
    """Whether it is a trainer of Ray Train, such as a `TorchTrainer`."""
    return hasattr(trainable, "scaling_config") and callable(getattr(trainable, "fit", None))


def _fit(trainer: Any, session: Session, fit: Callable[[Any, Session], None] | None) -> None:
    if fit is None:
        raise TrainableError(
            f'{type(trainer).__name__} starts workers of its own on Ray: it needs executor="ray", and '
            f"tune.with_resources(train, scaling_config), so that their room is reserved"
        )
    fit(trainer, session)


def _traceback(error: BaseException) -> str:
    """The exception's traceback from the trainable's first frame on; never raises itself."""
    try:
        frames = error.__traceback__
        while frames is not None and frames.tb_next is not None and _is_ours(frames):
            frames = frames.tb_next
        return "".join(traceback.format_exception(type(error), error, frames)).rstrip()
    except Exception:
        return f"{type(error)}: the exception could not be shown"


def _is_ours(frame: TracebackType) -> bool:
    """Whether this frame is of the modules around this one, which call what the user wrote."""
    return Path(frame.tb_frame.f_code.co_filename).parent == Path(__file__).parent


@contextlib.contextmanager
def captured_output(path: str | None) -> Iterator[None]:
    """Append everything this process writes to its standard output and error to the file at `path`.

    File descriptors are redirected, so that native code and child processes are heard too.
    """
    if path is None:
        yield
        return
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    _flush()
    saved = [os.dup(1), os.dup(2)]
    try:
        os.dup2(log, 1)
        os.dup2(log, 2)
        yield
    finally:
        _flush()
        for descriptor, copy in zip((1, 2), saved, strict=True):
            os.dup2(copy, descriptor)
            os.close(copy)
        os.close(log)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()


def check_trainable(trainable: Any) -> None:
    """Raise TrainableError unless `trainable` can be called with one config."""
    if not callable(trainable):
        raise TrainableError(
            f"the trainable is {trainable!r}; it must be a function of one config, a subclass of "
            f"tune.Trainable, tune.Script([...]), or a trainer of Ray Train"
        )
    function = trainable.function if isinstance(trainable, Equipped) else trainable
    if isinstance(function, type) and not is_stepped(function):
        raise TrainableError(
            f"the trainable {trainable_name(trainable)} is a class without step(): derive it from "
            f"tune.Trainable, or give a function"
        )
    for is_it, what, fix in (
        (inspect.isgeneratorfunction, "yields", "have it call tune.report(…) instead of yielding results"),
        (inspect.iscoroutinefunction, "is async", "call asyncio.run(…) in a function of one config"),
    ):
        if is_it(function) or is_it(getattr(function, "__call__", None)):  # noqa: B004
            raise TrainableError(
                f"the trainable {trainable_name(trainable)} {what}, so that a call runs none of it: {fix}"
            )
    parameters = trainable.parameters if isinstance(trainable, Equipped) else {}
    try:
        inspect.signature(function).bind({}, **parameters)
    except TypeError as error:
        raise TrainableError(
            f"the trainable {trainable_name(trainable)} cannot be called with one config: {error}; it must "
            f"be like train(config), and tune.with_parameters(train, data=…) gives it more"
        ) from None
    except ValueError:
        return


def trainable_name(trainable: Any) -> str:
    """How a trainable is called in tables and in the journal: `module:function` where it has both."""
    name = getattr(trainable, "__qualname__", None)
    if name is None:
        return without_secrets(str(trainable))
    return f"{getattr(trainable, '__module__', '?')}:{name}"
