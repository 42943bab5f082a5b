"""Trials and what surrounds them: configs, suggestions, observations, reports, checkpoints."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from raytune_gp.failures import policy_of

__all__ = [
    "CheckpointRecord",
    "Config",
    "History",
    "Metric",
    "Observation",
    "Suggestion",
    "Trial",
    "TrialStatus",
]

Config = dict[str, Any]
"""One point of a search space: hyperparameter name to value, nested as the user nested it."""


class TrialStatus(StrEnum):
    """Where a trial is in its life.

    PENDING ──► RUNNING ──► COMPLETED   the trainable returned, or met a stop criterion
       ▲         │  │ └───► STOPPED     a scheduler or a person ended it early
       │ retry   │  └─────► FAILED      it raised more often than allowed
       ├─────────┤
       │ resume  ▼
       └────── PAUSED                   its checkpoint waits for a worker
    """

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    COMPLETED = "COMPLETED"
    STOPPED = "STOPPED"
    FAILED = "FAILED"

    @property
    def is_finished(self) -> bool:
        """Whether nothing more will happen to the trial."""
        return self in _FINISHED


_FINISHED = frozenset({TrialStatus.COMPLETED, TrialStatus.STOPPED, TrialStatus.FAILED})


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric to optimise: its name, and whether `"max"` or `"min"` is better."""

    name: str
    mode: str = "max"

    def better(self, a: float, b: float) -> bool:
        """Whether value `a` is strictly better than value `b`."""
        return a > b if self.mode == "max" else a < b


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A proposed config, without id: the experiment accepts it and makes it a trial.

    `provenance` is JSON: which method proposed it, and what it predicted.
    """

    config: Config
    provenance: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Observation:
    """A finished config as a searcher sees it.

    `values` has one finite float for each metric of the run, in the metric's own direction; None where
    the trial has no usable value (failed, diverged to NaN, never reported), and `failure` then says why: a
    `FailureKind`, some of which are not the config's fault (`failures.counts_against`).
    """

    config: Config
    values: tuple[float, ...] | None
    trial_id: str = ""
    failure: str | None = None


@dataclass(frozen=True, slots=True)
class CheckpointRecord:
    """A checkpoint that is safe in storage: `path` is a directory below the run's storage path."""

    path: str
    step: int
    attempt: int
    value: float | None = None


class History:
    """The reports of a trial, column by column: 8 bytes a number instead of a dictionary a report.

    `steps` ascend. A metric that is absent from a report is NaN in its column; the steps at which it was
    reported as NaN are in `nans`. Metrics that are no numbers are kept from the last report that counts
    alone, in `last`.
    """

    __slots__ = ("columns", "last", "nans", "steps", "times")

    def __init__(self) -> None:
        self.steps: array[int] = array("q")
        self.times: array[float] = array("d")
        self.columns: dict[str, array[float]] = {}
        self.nans: dict[str, list[int]] = {}
        self.last: dict[str, Any] = {}

    def __len__(self) -> int:
        return len(self.steps)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, History):
            return NotImplemented
        return (
            self.steps == other.steps
            and self.times == other.times
            and {k: v.tobytes() for k, v in self.columns.items()}
            == {k: v.tobytes() for k, v in other.columns.items()}
            and self.nans == other.nans
            and repr(self.last) == repr(other.last)
        )

    __hash__ = None  # type: ignore[assignment]

    def append(self, step: int, metrics: Mapping[str, Any], at: float, *, counts: bool = True) -> None:
        """Add the report of `step`, made at time `at` (seconds); those after the decision do not count."""
        columns, found = self.columns, 0
        for name, value in metrics.items():
            if not isinstance(value, float) and not _is_number(value):
                continue
            column = columns.get(name)
            if column is None:
                column = columns[name] = array("d", [math.nan]) * len(self.steps)
            column.append(value)
            found += 1
            if value != value:
                self.nans.setdefault(name, []).append(step)
        self.steps.append(step)
        self.times.append(at)
        if found < len(columns):
            count = len(self.steps)
            for column in columns.values():
                if len(column) < count:
                    column.append(math.nan)
        if counts:
            self.last = dict(metrics)

    def truncate(self, step: int) -> None:
        """Forget the reports beyond `step`: a new attempt makes them again."""
        keep = len(self.steps)
        while keep and self.steps[keep - 1] > step:
            keep -= 1
        if keep == len(self.steps):
            return
        del self.steps[keep:], self.times[keep:]
        for column in self.columns.values():
            del column[keep:]
        self.nans = {k: kept for k, s in self.nans.items() if (kept := [n for n in s if n <= step])}
        self.last = {k: c[-1] for k, c in self.columns.items() if keep and not math.isnan(c[-1])}

    def row(self, position: int) -> dict[str, float]:
        """The numeric metrics of the report at `position`, absent ones left out."""
        return {k: c[position] for k, c in self.columns.items() if not math.isnan(c[position])}

    def values(self, metric: str, upto: int | None = None) -> array[float]:
        """The values of `metric`, those of the reports up to step `upto` where it is given."""
        column = self.columns.get(metric)
        if column is None:
            return array("d")
        if upto is None or upto >= self.steps[-1]:
            return column
        return array("d", (v for v, s in zip(column, self.steps, strict=True) if s <= upto))

    def last_value(self, metric: str, upto: int | None = None) -> float | None:
        """The value of `metric` in the newest report that has it, up to step `upto` where it is given."""
        nans = self.nans.get(metric, ())
        values = self.values(metric, upto)
        for position in range(len(values) - 1, -1, -1):
            if not math.isnan(values[position]) or self.steps[position] in nans:
                return values[position]
        return None


def _mean(values: array[float]) -> float:
    """The mean of `values`; NaN where infinities of both signs are among them."""
    try:
        return math.fsum(values) / len(values)
    except (OverflowError, ValueError):  # a sum beyond what floats hold, or inf - inf
        return sum(value / len(values) for value in values)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


@dataclass(slots=True)
class Trial:
    """An accepted config with its status and history. Only `RunState.apply` changes one.

    `stopping` is why the attempt was told to end, if it was: a decision's action, or halt where the whole
    run stops; it has `grace_s` seconds for it. `resume_from` is where the attempt went on from, or will where
    the trial waits for one. `decided_by` is the rule of the last decision on this attempt, "user" where a
    person made it. `next_config` and `next_checkpoint` are what an exploit decision gives to the next
    attempt. `tally` counts the attempts that failed, by kind; the next one begins at `due_at`, or any time.
    `deadline` is when the time of a running trial is up, if it has a limit. `usage` is what its attempts that
    told of their end have used, as usage.py says.
    """

    id: str
    number: int
    config: Config
    provenance: Mapping[str, Any]
    created_at: float
    status: TrialStatus = TrialStatus.PENDING
    attempt: int = 0
    worker: str | None = None
    started: bool = False
    resume_from: CheckpointRecord | None = None
    checkpoints: list[CheckpointRecord] = field(default_factory=list)
    history: History = field(default_factory=History)
    stopping: str | None = None
    grace_s: float = 0.0
    decided_step: int | None = None
    decided_by: str | None = None
    reason: str | None = None
    next_config: Config | None = None
    next_checkpoint: CheckpointRecord | None = None
    tally: Counter[str] = field(default_factory=Counter)
    due_at: float | None = None
    deadline: float | None = None
    error: str | None = None
    objective: tuple[float, ...] | None = None
    started_at: float | None = None
    ended_at: float | None = None
    time_total_s: float = 0.0
    usage: dict[str, float] = field(default_factory=dict)

    @property
    def failures(self) -> int:
        """How many attempts failed by what the config can be blamed for."""
        return sum(count for kind, count in self.tally.items() if policy_of(kind).blamed)

    @property
    def losses(self) -> int:
        """How many attempts failed by what it cannot be blamed for."""
        return self.tally.total() - self.failures

    def forgive(self) -> bool:
        """Forget the failures that it cannot be blamed for, and the wait after them; whether it had any."""
        blamed = Counter({kind: count for kind, count in self.tally.items() if policy_of(kind).blamed})
        changed = self.due_at is not None or blamed != self.tally
        self.tally, self.due_at = blamed, None
        return changed

    @property
    def step(self) -> int:
        """The last reported step; 0 before the first report."""
        return self.history.steps[-1] if self.history.steps else 0

    def counts(self, step: int) -> bool:
        """Whether the trial is judged by its report of `step`, not told to end at an earlier one."""
        return self.decided_step is None or step <= self.decided_step

    @property
    def checkpoint(self) -> CheckpointRecord | None:
        """The newest checkpoint of those that count, of all where none does; None before the first."""
        newest = self.checkpoints[-1] if self.checkpoints else None
        return next((c for c in reversed(self.checkpoints) if self.counts(c.step)), newest)

    def last_report(self, metrics: Iterable[Metric]) -> dict[str, Any]:
        """The last report that counts; one of `metrics` that is not in it, as it was last reported."""
        report = dict(self.history.last)
        for metric in metrics:
            if metric.name not in report:
                value = self.history.last_value(metric.name, self.decided_step)
                report |= {} if value is None else {metric.name: value}
        return report

    @property
    def resume_point(self) -> CheckpointRecord | None:
        """Where one would go on from here: the newest checkpoint of this attempt, else its own beginning."""
        newest = self.checkpoint
        waits = self.status in (TrialStatus.PENDING, TrialStatus.PAUSED)
        if newest is None or newest.attempt != self.attempt or waits:
            return self.resume_from
        return newest

    @property
    def label(self) -> str:
        """The trial's id as people read it and as its directory is named."""
        return f"trial_{self.id}"

    def value(self, metric: Metric, scope: str = "last") -> float | None:
        """The trial's value of `metric` in Ray's `scope`, up to the step it was decided on.

        The last one reported, the average of all or of the last 5 or 10 (`"avg"`, `"last-5-avg"`,
        `"last-10-avg"`), or the best of all (`"all"`). None when the metric was never reported. A last value
        of NaN, and infinities, are returned as they are; averages and the best leave NaN out, and an average
        of infinities of both signs is NaN.
        """
        last = self.history.last_value(metric.name, self.decided_step)
        if scope == "last" or last is None:
            return last
        values = self.history.values(metric.name, self.decided_step)
        values = array("d", (v for v in values if not math.isnan(v)))
        if not values:
            return last
        if scope == "all":
            return max(values) if metric.mode == "max" else min(values)
        window = {"avg": len(values), "last-5-avg": 5, "last-10-avg": 10}[scope]
        return _mean(values[-window:])
