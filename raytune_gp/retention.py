"""Which of a trial's checkpoints stay: the newest, the best ones, and those that other trials go on from."""

from __future__ import annotations

import math
from collections.abc import Set

from raytune_gp.spec import ExperimentSpec
from raytune_gp.trial import CheckpointRecord, Trial

__all__ = ["checkpoint_value", "kept_checkpoints"]


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


def kept_checkpoints(trial: Trial, spec: ExperimentSpec, borrowed: Set[str]) -> list[CheckpointRecord]:
    """The trial's checkpoints that stay, in order; `borrowed` are the paths that trials go on from."""
    checkpoints, limit = trial.checkpoints, spec.keep_checkpoints
    if limit is None or len(checkpoints) <= limit:
        return checkpoints
    sign = -1.0 if (spec.checkpoint_metric or spec.metric).mode == "max" else 1.0

    def rank(checkpoint: CheckpointRecord) -> tuple[float, int]:
        ranked = spec.checkpoint_metric is not None and checkpoint.value is not None
        score = sign * checkpoint.value if ranked and checkpoint.value is not None else math.inf
        return (score, -checkpoint.step)

    newest = checkpoints[-1]
    best = sorted(checkpoints[:-1], key=rank)[: limit - 1]
    return [c for c in checkpoints if c is newest or c in best or c.path in borrowed]
