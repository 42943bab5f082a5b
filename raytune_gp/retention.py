"""Which of a trial's checkpoints stay: the newest, the best ones, and those that other trials go on from."""

from __future__ import annotations

import math
from collections.abc import Container, Set
from dataclasses import dataclass, field

from raytune_gp.spec import ExperimentSpec
from raytune_gp.trial import CheckpointRecord, Trial

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
    metric = spec.checkpoint_metric or spec.metric
    column = trial.history.columns.get(metric.name)
    if column is None:
        return None
    for position in range(len(trial.history) - 1, -1, -1):
        if trial.history.steps[position] == step:
            return None if math.isnan(column[position]) else column[position]
    return None


def kept_checkpoints(trial: Trial, spec: ExperimentSpec, borrowed: Container[str]) -> list[CheckpointRecord]:
    """The trial's checkpoints that stay, in order; `borrowed` are the paths that trials go on from.

    Those that came after the decision to end the trial are the first to go.
    """
    checkpoints, limit = trial.checkpoints, spec.keep_checkpoints
    if limit is None or len(checkpoints) <= limit:
        return checkpoints
    sign = -1.0 if (spec.checkpoint_metric or spec.metric).mode == "max" else 1.0

    def rank(checkpoint: CheckpointRecord) -> tuple[bool, float, int]:
        ranked = spec.checkpoint_metric is not None and checkpoint.value is not None
        score = sign * checkpoint.value if ranked and checkpoint.value is not None else math.inf
        return (not trial.counts(checkpoint.step), score, -checkpoint.step)

    newest = trial.checkpoint
    best = sorted((c for c in checkpoints if c is not newest), key=rank)[: limit - 1]
    return [c for c in checkpoints if c is newest or c in best or c.path in borrowed]
