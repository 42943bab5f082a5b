"""The session behind `tune.report`: what a trainable says, and when it is told to end.

A worker runs one attempt at a time, so there is one session, and a report from any thread of the trainable
finds it; runs in the user's own process may be several, each in a thread. `report` hands on, and waits for
little: for a decision about it a hundredth of the time since the report before, so that a trial that is
stopped does not compute another epoch, and for the network where checkpoints come faster than they can be
stored.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from raytune_gp.errors import ReportError, TrainableError, TrialInterrupted
from raytune_gp.messages import Start
from raytune_gp.patience import Patience
from raytune_gp.space.plain import scalar
from raytune_gp.storage.artifacts import Checkpoint, Storage, checkpoint_name
from raytune_gp.trainable.uploads import UPLOAD_S, Uploads

__all__ = ["Context", "Session", "active", "current_session", "longest_wait_s"]

GRACE_S = 10.0
"""The grace period, where nothing else is said."""

AWAIT_SHARE, AWAIT_S = 0.01, 1.0
"""A report waits for a decision about it no longer than this share of the time since the report before, and
so many seconds."""

SOONEST_S = 0.005
"""No decision comes sooner: a report that may not wait so long does not wait."""

Emit = Callable[[str, Mapping[str, Any]], int]
"""Takes the kind and body of an outbox item, and gives its number."""


def longest_wait_s(took_s: float) -> float:
    """How long a report may wait for a decision, which came `took_s` after the one before."""
    return min(AWAIT_S, AWAIT_SHARE * took_s)


class Context:
    """Where the trainable runs: `tune.get_context()`, with Ray's method names."""

    def __init__(self, experiment: str, trial_id: str, trial_dir: str, resources: Mapping[str, Any]):
        self._experiment = experiment
        self._trial_id = trial_id
        self._trial_dir = trial_dir
        self._resources = resources

    def get_experiment_name(self) -> str:
        """The name of the run."""
        return self._experiment

    def get_trial_id(self) -> str:
        """The trial's id, such as `"00003"`."""
        return self._trial_id

    def get_trial_name(self) -> str:
        """The trial's name, as its directory is called."""
        return f"trial_{self._trial_id}"

    def get_trial_dir(self) -> str:
        """The trial's directory in the run's storage."""
        return self._trial_dir

    def get_trial_resources(self) -> Mapping[str, Any]:
        """What the trial reserves; a share of a GPU that is left to the run as it is now, never "auto"."""
        return self._resources


class Session:
    """One attempt's line to the coordinator.

    `start_step` and `time_total_s` are those of the checkpoint that it goes on from, which lies at
    `resume_from` in `storage`. What it has to say goes to `emit`, as outbox items do. Where reports are
    decided on elsewhere, they wait a moment for `interrupt`, or for `heard`, which says that there is none.
    """

    def __init__(
        self,
        emit: Emit,
        context: Context,
        storage: Storage | None = None,
        *,
        attempt: int = 1,
        start_step: int = 0,
        time_total_s: float = 0.0,
        resume_from: str | None = None,
        patience: Patience | None = None,
        is_decided_on: bool = False,
    ):
        self.context = context
        self.mode: str | None = None
        self.verdict: BaseException | None = None
        self._emit = emit
        self._storage = storage
        self.attempt = attempt
        self._step = start_step
        self._total_s = time_total_s
        self._resume_from = resume_from
        self._patience = patience or Patience(None)
        self._longest_s: float | None = None
        self._has_checkpoint = False
        self._kept = (0, 0)
        self.grace_s = GRACE_S
        self._lock = threading.Lock()
        self._last = time.monotonic()
        self._told_at: float | None = None
        self._is_decided_on = is_decided_on
        self._heard = threading.Event()
        self._reported = 0
        self._uploads = Uploads(storage, self._stored)

    @classmethod
    def of(
        cls,
        command: Start,
        emit: Emit,
        run: str,
        storage: Storage,
        resources: Mapping[str, Any],
        *,
        is_decided_on: bool = False,
    ) -> Session:
        """The session of the attempt that `command` starts."""
        resume = command.resume_from
        directory = storage.path(f"trial_{command.trial}")
        return cls(
            emit,
            Context(run, command.trial, directory, resources),
            storage,
            attempt=command.attempt,
            start_step=resume.step if resume else 0,
            time_total_s=command.time_total_s,
            resume_from=resume.path if resume else None,
            patience=command.patience,
            is_decided_on=is_decided_on,
        )

    # --- for the trainable ---

    def report(self, metrics: Mapping[str, Any], checkpoint: Any = None, *, trains_on: bool = False) -> None:
        """Add a report, with a checkpoint if given; raises TrialInterrupted where the trial is to end.

        The checkpoint's directory is copied before this returns and uploaded behind. While two checkpoints
        are on their way, the report of a third waits until one of them is stored. Raises ReportError for
        metrics that are no flat or nested dictionary of plain values, and CheckpointError where a checkpoint
        cannot be stored. Another process may train on while this waits for a decision (`trains_on`).
        """
        try:
            values = _plain_metrics(metrics)
        except RecursionError:
            raise ReportError("the metrics are nested without end: report plain numbers") from None
        self._uploads.check()
        staged = None if checkpoint is None else self._uploads.stage(checkpoint)
        with self._lock:
            now = time.monotonic()
            took_s = now - self._last
            self._step += 1
            self._total_s += took_s
            self._longest_s = max(self._longest_s or 0.0, took_s)
            step = self._step
            values.setdefault("training_iteration", step)
            values.setdefault("time_this_iter_s", took_s)
            values.setdefault("time_total_s", self._total_s)
            self._last = now
            self._heard.clear()
            body = {"step": step, "metrics": values, "checkpoint": staged is not None}
            self._reported = self._emit("report", body)
            if staged is not None:
                self._add(step, staged)
        wait_s = longest_wait_s(took_s)
        if self._is_decided_on and self.mode is None and wait_s >= SOONEST_S:
            self._await_decision(wait_s, trains_on)
        self.check(saved=staged is not None)

    def _await_decision(self, wait_s: float, trains_on: bool) -> None:
        """Wait so long for what is decided about the last report: no time of training, unless it goes on."""
        began = time.monotonic()
        self._heard.wait(wait_s)
        with self._lock:
            if self._last <= began and not trains_on:  # and no other thread has made a report
                self._last = time.monotonic()

    def _add(self, step: int, staged: str) -> None:
        """Upload the copy of a checkpoint, behind; a step may have several."""
        last, count = self._kept
        again = count + 1 if step == last else 0
        self._kept = step, again
        name = checkpoint_name(self.attempt, step, again)
        self._uploads.add(step, staged, f"{self.context.get_trial_name()}/{name}")
        self._has_checkpoint = True

    @property
    def step(self) -> int:
        """How many reports the trial has made, those before its checkpoint included."""
        return self._step

    def relay(self, metrics: Mapping[str, Any], checkpoint: Any = None) -> bool:
        """A report on behalf of another process, which this attempt waits for; whether that is to go on.

        Where it is not, `verdict` is what `report` has raised: how the attempt ends, whatever its waiting
        raises then.
        """
        try:
            self.report(metrics, checkpoint, trains_on=True)
        except (TrialInterrupted, TrainableError) as error:
            self.verdict = error
        return self.verdict is None

    def check(self, *, saved: bool = False) -> None:
        """Raise TrialInterrupted if the trial is to end.

        One that is evicted may go on to its next checkpoint, if it makes any; `saved` says that this is one.
        """
        if self.mode is not None and (self.mode != "evict" or saved or not self._has_checkpoint):
            raise TrialInterrupted(self.mode)

    def keep(self, checkpoint: Any) -> None:
        """Store a checkpoint that belongs to the last report, which is made already; raises as `report` does.

        This is for whoever only watches a trainable: it raises no TrialInterrupted. `has_reported` must hold.
        """
        self._uploads.check()
        staged = self._uploads.stage(checkpoint)
        with self._lock:
            self._add(self._step, staged)

    def get_checkpoint(self) -> Checkpoint | None:
        """Where this attempt goes on from, or None."""
        if self._resume_from is None or self._storage is None:
            return None
        return self._storage.checkpoint(self._resume_from)

    # --- for the worker ---

    def interrupt(self, mode: str, grace_s: float = GRACE_S) -> None:
        """End the trainable at its next report; `mode` is stop, pause or evict.

        It is ended by force after `grace_s` seconds, which is for whoever has to end processes before.
        """
        if self._told_at is None:
            self._told_at = time.monotonic()
        self.grace_s = grace_s
        self.mode = mode
        self._heard.set()

    def heard(self, seq: int) -> None:
        """What it has said up to item `seq` is known, and it was told before if it is to end."""
        with self._lock:
            if seq >= self._reported:
                self._heard.set()

    def grace_left_s(self, grace_s: float) -> float:
        """How many seconds this attempt has to end; 0 or less where it is to be ended by force.

        It has `grace_s` from the time when it was told to end and could act on it: checkpoints that are on
        their way are stored first, for which there are UPLOAD_S in all.
        """
        now = time.monotonic()
        told, quiet = self._told_at or now, self._uploads.quiet_since
        latest = told + grace_s + UPLOAD_S
        return (latest if quiet is None else min(max(told, quiet) + grace_s, latest)) - now

    @property
    def last_sign(self) -> float | None:
        """When it was last heard of, by `time.monotonic`; None while its storage keeps it waiting."""
        quiet = self._uploads.quiet_since
        return None if quiet is None else max(self._last, quiet)

    @property
    def patience_s(self) -> float | None:
        """How long it may be silent before it hangs, in seconds; None for ever."""
        return self._patience.limit_s(self._longest_s)

    @property
    def has_reported(self) -> bool:
        """Whether the trial has made a report, in this attempt or before the checkpoint it goes on from."""
        return self._step > 0

    @property
    def is_first(self) -> bool:
        """Whether no trial of the run had made a report when this one began, and it has made none since."""
        return self._patience.known_s is None and not self.has_reported

    @property
    def can_store(self) -> bool:
        """Whether there is a storage for checkpoints."""
        return self._storage is not None

    @property
    def is_storing(self) -> bool:
        """Whether a checkpoint is on its way."""
        return self._uploads.quiet_since is None

    def finish(self) -> None:
        """Wait for the checkpoints that are still on their way. Raises TrainableError where one failed."""
        self._uploads.finish()

    def _stored(self, step: int, path: str) -> None:
        self._emit("checkpoint", {"step": step, "path": path})


_active: list[tuple[int, Session]] = []
"""The sessions of the attempts that this process runs, each with the thread that runs it; the newest last."""


@contextlib.contextmanager
def active(session: Session) -> Iterator[None]:
    """Within, `session` is the one that `tune.report` finds; after it, that of a trial around this one."""
    entry = threading.get_ident(), session
    _active.append(entry)
    try:
        yield
    finally:
        _active.remove(entry)


def current_session() -> Session:
    """The session of the attempt that this thread runs, or that this process does.

    Raises TrainableError outside of a trial, and in a thread of the trainable's own where it cannot be known
    which of several trials has started it.
    """
    sessions = list(_active)
    here = threading.get_ident()
    own = [session for thread, session in sessions if thread == here]
    if own:
        return own[-1]
    if not sessions:
        raise TrainableError(
            "there is no trial in this process: tune.report, tune.get_checkpoint and tune.get_context work "
            "inside a trainable that tune.run started"
        )
    if len({thread for thread, _ in sessions}) > 1:
        raise TrainableError(
            "several runs have a trial in this process, and it is not known whose thread this is: call "
            "tune.report, tune.get_checkpoint and tune.get_context in the one that the trainable runs in"
        )
    return sessions[-1][1]


def _plain_metrics(metrics: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """`metrics` flattened with `/`, numpy and torch scalars as Python's own numbers."""
    if not isinstance(metrics, Mapping):
        raise ReportError(f"report takes a dictionary of metrics; it was given {type(metrics).__name__}")
    plain: dict[str, Any] = {}
    for name, value in metrics.items():
        if not isinstance(name, str):
            raise ReportError(f"the metric name {name!r} is {type(name).__name__}; it must be a string")
        whole = prefix + _printable(name)
        if isinstance(value, Mapping):
            found = _plain_metrics(value, f"{whole}/")
        else:
            found = {whole: _plain(whole, value)}
        for twice in plain.keys() & found:
            raise ReportError(
                f"the metrics have {twice!r} twice, since nested ones are flattened with '/': rename one"
            )
        plain.update(found)
    return plain


def _printable(text: str) -> str:
    """`text` as a `str` proper, since the coordinator knows no subclasses, with "?" for what is no UTF-8."""
    return str.__str__(text) if text.isascii() else text.encode("utf-8", "replace").decode()


def _plain(name: str, value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _printable(value)
    if isinstance(value, int):
        if abs(value) > sys.float_info.max:
            raise ReportError(f"the metric {name!r} is an integer beyond 1.8e308: report a float")
        return int(value)
    if isinstance(value, float):
        return float(value)
    number = scalar(value)
    if isinstance(number, bool | int | float):
        return number
    if isinstance(value, list | tuple):
        return [_plain(name, v) for v in value]
    raise ReportError(
        f"the metric {name!r} is {type(value).__name__}, which cannot be journalled: report numbers, "
        f"strings, or lists of them; keep larger things in a checkpoint"
    )
