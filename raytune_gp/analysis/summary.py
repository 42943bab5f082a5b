"""A run in a few numbers: how far it is, what is best, how long it takes, what early stopping saved."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from typing import Any

from raytune_gp.advice import warnings_of
from raytune_gp.analysis.labels import flat_config, leaf_names
from raytune_gp.state import RunState
from raytune_gp.trial import Trial, TrialStatus

__all__ = ["summary", "time_left_s", "time_saved_s", "utilisation"]


def summary(state: RunState, now: float | None = None) -> dict[str, Any]:
    """What to say about a run at a glance, ready for JSON. Times are in seconds.

    `now` is the present (seconds since the epoch); by default the time of the last event. `elapsed_s` goes
    from the run's creation to then, pauses between a stop and a resume included; `trial_time_s` is what all
    trials trained together, `utilisation` as that function says. `warnings` are sentences.
    Entries that cannot be known are None.
    """
    spec = state.spec
    now = state.now if now is None or state.status.is_ended else max(now, state.now)
    counts = Counter(trial.status.value for trial in state.trials.values())
    failures = Counter(o.failure for o in state.observations if o.failure)
    return {
        "name": spec.name,
        "status": state.status.value,
        "reason": state.reason,
        "metric": spec.metric.name,
        "mode": spec.metric.mode,
        "trials": len(state.trials),
        "num_samples": spec.num_samples if spec.num_samples >= 0 else None,
        "counts": {status.value: counts[status.value] for status in TrialStatus},
        "finished": len(state.observations),
        "without_value": dict(failures),
        "warnings": list(warnings_of(state).values()),
        "trials_per_gpu": state.trials_per_gpu,
        "slots": _slots(state, now),
        "created_at": state.created_at,
        "elapsed_s": now - state.created_at,
        "trial_time_s": math.fsum(t.time_total_s for t in state.trials.values()),
        "utilisation": utilisation(state, now),
        "time_left_s": time_left_s(state, now),
        "time_saved_s": time_saved_s(state),
        "best": _described(state, state.best()),
    }


def _described(state: RunState, trial: Trial | None) -> dict[str, Any] | None:
    if trial is None or trial.objective is None:
        return None
    values = dict(zip((m.name for m in state.spec.metrics), trial.objective, strict=True))
    return {
        "trial_id": trial.id,
        "number": trial.number,
        "status": trial.status.value,
        "step": trial.step,
        "value": trial.objective[0],
        "values": values,
        "config": flat_config(trial.config, leaf_names(state)),
    }


def _slots(state: RunState, now: float) -> int | None:
    """How many trials can run at a time, or None where that is not known yet.

    Workers that wait for a node of an autoscaler run none.
    """
    limits = [n for n in (state.capacity, state.spec.max_concurrent_trials) if n is not None]
    return max(0, min(limits) - state.crew.overdue(now)) if limits else None


def utilisation(state: RunState, now: float) -> float | None:
    """The share of the time of the run's workers in which they had an attempt, until `now`; None at first.

    A worker counts from when it was asked for, up to 10 s for its start, until it is released.
    """
    since = 0.0 if state.status.is_ended else max(0.0, now - state.now)
    running = len(state.running)
    worker_s = state.worker_s + since * (running + len(state.crew.idle))
    return (state.busy_s + since * running) / worker_s if worker_s > 0 else None


def time_left_s(state: RunState, now: float) -> float | None:
    """An estimate of the seconds until the run ends at its present pace, or None where there is no telling.

    The trials still to come and the rest of the running ones take as long as the finished ones did on
    average, shared among the slots; the time budget is a limit.
    """
    if state.status.is_ended:
        return 0.0
    budget = state.spec.time_budget_s
    limit = math.inf if budget is None else max(0.0, state.created_at + budget - now)
    finished = [t.time_total_s for t in state.trials.values() if t.status.is_finished and t.step]
    if finished:
        mean = statistics.fmean(finished)
        waiting = state.budget + len(state.ready) + len(state.queue) + len(state.paused)
        running = math.fsum(max(0.0, mean - state.trials[t].time_total_s) for t in state.running)
        limit = min(limit, (waiting * mean + running) / max(1, _slots(state, now) or 1))
    return limit if math.isfinite(limit) else None


def time_saved_s(state: RunState) -> float | None:
    """An estimate of the training that early stopping saved, or None where no completed trial says so.

    Each stopped trial would have gone on to the median length of the completed ones (steps), at its own pace.
    """
    trials = state.trials.values()
    lengths = [t.step for t in trials if t.status is TrialStatus.COMPLETED and t.step]
    stopped = [t for t in trials if t.status is TrialStatus.STOPPED and t.step]
    if not lengths:
        return None
    full = statistics.median(lengths)
    return math.fsum(max(0.0, full - t.step) * t.time_total_s / t.step for t in stopped)
