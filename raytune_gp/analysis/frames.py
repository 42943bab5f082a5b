"""What is known about a run, computed once for every reader: results, report, dashboard, terminal.

All of it is read off a `RunState`, live or replayed from a journal. Columns that the user named are kept
apart from ours by a prefix: `config/`, `metrics/` and `provenance/`, and nested names are joined by `/` as
in Ray Tune.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd

from raytune_gp.analysis.labels import as_cell, error_line, flat_config, leaf_names
from raytune_gp.state import RunState
from raytune_gp.trial import Trial
from raytune_gp.usage import shown

__all__ = ["best_so_far", "reports_frame", "trials_frame"]


def trials_frame(state: RunState) -> pd.DataFrame:
    """One row a trial, in order of creation.

    `trial_id`, `number`, `status`, `attempt`, `step`, `objective` (the first metric, in its own direction;
    NaN where there is no usable value), `objective/<metric>` for each further metric, `time_total_s`
    (training, seconds), `started_at` and `ended_at` (seconds since the epoch), `failures` (attempts that
    raised), `failure` (why there is no objective), `reason` (why it was ended early), `error` (the last line
    of a failed trial's); then `usage/` (as `Result.usage`), `config/`, `metrics/` (the last report) and
    `provenance/` columns.
    """
    failures = {o.trial_id: o.failure for o in state.observations}
    leaves = leaf_names(state)
    rows = [_trial_row(state, trial, failures.get(trial.id), leaves) for trial in state.trials.values()]
    further = [f"objective/{metric.name}" for metric in state.spec.metrics[1:]]
    return pd.DataFrame(rows, columns=_columns(rows, [*_TRIAL_COLUMNS[:6], *further, *_TRIAL_COLUMNS[6:]]))


_TRIAL_COLUMNS = [
    *("trial_id", "number", "status", "attempt", "step", "objective"),
    *("time_total_s", "started_at", "ended_at", "failures", "failure", "reason", "error"),
]


def _trial_row(state: RunState, trial: Trial, failure: str | None, leaves: Collection[str]) -> dict[str, Any]:
    row: dict[str, Any] = {
        "trial_id": trial.id,
        "number": trial.number,
        "status": trial.status.value,
        "attempt": trial.attempt,
        "step": trial.step,
        "objective": trial.objective[0] if trial.objective else math.nan,
        "time_total_s": trial.time_total_s,
        "started_at": math.nan if trial.started_at is None else trial.started_at,
        "ended_at": math.nan if trial.ended_at is None else trial.ended_at,
        "failures": trial.failures,
        "failure": failure,
        "reason": trial.reason,
        "error": error_line(trial),
    }
    for position, metric in enumerate(state.spec.metrics[1:], start=1):
        row[f"objective/{metric.name}"] = trial.objective[position] if trial.objective else math.nan
    row |= {f"usage/{k}": v for k, v in shown(trial.usage).items()}
    row |= {f"config/{k}": v for k, v in flat_config(trial.config, leaves).items()}
    row |= {f"metrics/{k}": v for k, v in trial.last_report(state.spec.metrics).items()}
    row |= {f"provenance/{k}": as_cell(v) for k, v in trial.provenance.items()}
    return row


def _columns(rows: list[dict[str, Any]], first: list[str]) -> list[str]:
    """All keys of `rows`: `first`, then group by group in the order in which they were met."""
    met = dict.fromkeys(chain.from_iterable(rows))
    groups = ("usage/", "config/", "metrics/", "provenance/")
    return [*first, *(name for group in groups for name in met if name.startswith(group))]


def reports_frame(state: RunState) -> pd.DataFrame:
    """One row a report: `trial_id`, `number`, `step`, `time` (the worker's clock, seconds), `metrics/…`.

    Numeric metrics only; NaN where a report lacks one.
    """
    trials = [t for t in state.trials.values() if len(t.history)]
    counts = [len(t.history) for t in trials]
    names = dict.fromkeys(chain.from_iterable(t.history.columns for t in trials))
    columns: dict[str, Any] = {
        "trial_id": np.repeat(np.array([t.id for t in trials], dtype=object), counts),
        "number": np.repeat(np.array([t.number for t in trials], dtype=int), counts),
        "step": _joined([np.array(t.history.steps, dtype=int) for t in trials], int),
        "time": _joined([np.array(t.history.times) for t in trials], float),
    }
    for name in names:
        parts = [np.array(t.history.columns.get(name, [math.nan] * len(t.history))) for t in trials]
        columns[f"metrics/{name}"] = _joined(parts, float)
    return pd.DataFrame(columns)


def _joined(parts: list[np.ndarray], kind: type) -> np.ndarray:
    return np.concatenate(parts) if parts else np.empty(0, dtype=kind)


def best_so_far(state: RunState) -> pd.DataFrame:
    """The finished trials in the order in which they finished.

    `completed` (from 1), `number`, `trial_id`, `status`, `ended_at`, `value` (NaN where there is none) and
    `best`, the incumbent after that trial (NaN before there is one).
    """
    trials = [state.trials[o.trial_id] for o in state.observations]
    values = np.array([t.objective[0] if t.objective else math.nan for t in trials], dtype=float)
    better = np.fmax if state.spec.metric.mode == "max" else np.fmin
    return pd.DataFrame(
        {
            "completed": np.arange(1, len(trials) + 1),
            "number": np.array([t.number for t in trials], dtype=int),
            "trial_id": [t.id for t in trials],
            "status": [t.status.value for t in trials],
            "ended_at": np.array([t.ended_at for t in trials], dtype=float),
            "value": values,
            "best": better.accumulate(values),
        }
    )
