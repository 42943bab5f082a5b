"""Which of a trial's checkpoints stay: the newest, the best ones, and those that other trials go on from."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Container, Set
from dataclasses import dataclass, field

from raytune_gp.spec import ExperimentSpec
from raytune_gp.trial import CheckpointRecord, Metric, Trial

__all__ = ["Loans", "checkpoint_value", "kept_checkpoints", "needed_checkpoints"]


@dataclass
class Loans:
    """The checkpoints that some trial goes on from, by path, each with the ids of the trials that do."""

    borrowers: dict[str, set[str]] = field(default_factory=dict)
    paths: dict[str, Set[str]] = field(default_factory=dict)

    def __contains__(self, path: object) -> bool:
        return path in self.borrowers

    def settle(self, borrower: str, needed: Set[str]) -> list[str]:
        """`borrower` needs these paths from now on and no others; returns those that nobody needs now."""
        before = self.paths.get(borrower, frozenset())
        for path in needed - before:
            self.borrowers.setdefault(path, set()).add(borrower)
        returned = sorted(before - needed)
        for path in returned:
            self.borrowers[path].discard(borrower)
            if not self.borrowers[path]:
                del self.borrowers[path]
        self.paths[borrower] = needed
        if not needed:
            del self.paths[borrower]
        return [path for path in returned if path not in self]


def needed_checkpoints(trial: Trial) -> frozenset[str]:
    """The paths of the checkpoints that `trial` goes on from now or next, or that one takes over from it.

    An attempt may read what it goes on from at any time, so this stays until the attempt is over. A
    finished trial gives up what it came from once it has a checkpoint of its own that is newer.
    """
    if trial.status.is_finished:
        needed = [trial.resume_from if trial.resume_point == trial.resume_from else None]
    else:
        needed = [trial.resume_from, trial.next_checkpoint]
    return frozenset(record.path for record in needed if record is not None)


def checkpoint_value(trial: Trial, spec: ExperimentSpec, step: int) -> float | None:
    """The value that the checkpoint of `step` is ranked by; None where there is none, or it is NaN."""
    return _value(trial, spec.checkpoint_metric or spec.metric, step)


def _value(trial: Trial, metric: Metric, step: int) -> float | None:
    column, steps = trial.history.columns.get(metric.name), trial.history.steps
    position = bisect_right(steps, step) - 1
    if column is None or position < 0 or steps[position] != step or math.isnan(column[position]):
        return None
    return column[position]


def kept_checkpoints(trial: Trial, spec: ExperimentSpec, borrowed: Container[str]) -> list[CheckpointRecord]:
    """The trial's checkpoints that stay, in order; `borrowed` are the paths that trials go on from.

    Those that came after the decision to end the trial are the first to go. Where the trial has not reported
    the metric to rank them by, whose name may have a slip in it, the run's own ranks them.
    """
    checkpoints, limit = trial.checkpoints, spec.keep_checkpoints
    if limit is None or len(checkpoints) <= limit:
        return checkpoints
    metric = spec.checkpoint_metric
    if metric is not None and metric.name not in trial.history.columns:
        metric = spec.metric

    def rank(checkpoint: CheckpointRecord) -> tuple[bool, float, int]:
        value = None if metric is None else _value(trial, metric, checkpoint.step)
        score = math.inf if metric is None or value is None else -value if metric.mode == "max" else value
        return (not trial.counts(checkpoint.step), score, -checkpoint.step)

    newest = trial.checkpoint
    best = sorted((c for c in checkpoints if c is not newest), key=rank)[: limit - 1]
    return [c for c in checkpoints if c is newest or c in best or c.path in borrowed]
