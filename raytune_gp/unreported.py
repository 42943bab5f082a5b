"""What a run makes of a name that no trial reports: a slip in one must not cost the whole budget.

A trial may report its metric at its last step alone, so that only trials that are through say anything;
Ray Tune, which refuses the first report without the metric, has no room for such trainables.
"""

from __future__ import annotations

from collections.abc import Iterable, Set

from raytune_gp.failures import FailureKind
from raytune_gp.naming import near
from raytune_gp.state import RunState
from raytune_gp.trial import Trial, TrialStatus
from raytune_gp.unheard import MOST

__all__ = ["idle_criteria", "never_reported", "reported_instead", "unranked_checkpoints"]

FEWEST = 3
"""Between this and `MOST`, so many trials as run side by side must have been heard to the end. A config that
is refused with no report is no rarity, three in a row without any trial that has the metric are."""

MANY = 20
"""Without a stop criterion's name in so many reports of a trial, it is taken for a slip: trials that only
such a criterion ends are never through."""

AUTOMATIC = frozenset({"training_iteration", "time_this_iter_s", "time_total_s"})
"""What `tune.report` adds by itself, and nobody means by another name for a metric."""

SHOWN = 20
"""A message names no more metrics than this."""

SIMILAR = 0.54
"""How similar a name must be to be what was meant: "acc" for "accuracy" is .545."""


def never_reported(state: RunState, workers: int) -> str | None:
    """Why the run is to end, where the first trials are through and none ever reported the metric.

    `workers` is how many trials run side by side. The first ones by number, for those that end at once
    would else be heard before those that train.
    """
    enough = min(max(workers, FEWEST), MOST)
    first = state.unheard.silent[:enough]
    if len(first) < enough:
        return None
    if any(state.trials[trial_id].number <= first[-1] for trial_id in (*state.running, *state.queue)):
        return None
    missing = [m.name for m in state.spec.metrics if m.name in state.unheard.metrics]
    heard = [trial for trial in state.trials.values() if trial.number in first]
    told = next((trial for trial in heard if trial.tally[FailureKind.METRIC_MISSING]), None)
    why = f". Trial {told.number}: {told.reason}" if told is not None else ""
    return (
        f"no trial reported {', '.join(map(repr, missing))}, the metric to optimise. Set it to a name that "
        f"is reported, or have the trainable report {missing[0]!r}; then resume the run, or start it anew. "
        f"The first {enough} trials reported {reported_instead(missing[0], heard)}{why}"
    )


def idle_criteria(state: RunState, names: Iterable[str] | None = None) -> dict[str, str]:
    """What to say, by name, of each stop criterion (or those of `names`) that ends no trial: none reports it.

    Nothing while one may yet. That is found out by a trial that has made many reports, or that is through: by
    itself, for one that another criterion or a scheduler has ended may have had it still to come.
    """
    idle = [name for name in (state.spec.stop if names is None else names) if name in state.unheard.criteria]
    if not idle:
        return {}
    heard = _first_that_has_said_all(state)
    if heard is None:
        return {}
    return {name: _idle(name, heard) for name in idle}


def _idle(name: str, heard: Trial) -> str:
    return (
        f"stop has {name!r}, which no trial has reported so far, so that it ends none. To put it right, end "
        f"the run and resume it with the right stop. {_reports(name, heard)}"
    )


def unranked_checkpoints(state: RunState) -> str | None:
    """What to say where no trial reports what its checkpoints are to be ranked by, as `idle_criteria`."""
    metric, instead = state.spec.checkpoint_metric, state.spec.metric
    if metric is None or metric.name not in state.unheard.criteria:
        return None
    heard = _first_that_has_said_all(state)
    if heard is None:
        return None
    return (
        f"checkpoint_score_attribute is {metric.name!r}, which no trial has reported so far: checkpoints are "
        f"ranked by {instead.name!r} ({instead.mode}) instead. To put it right, end the run and resume it "
        f"with the right one. {_reports(metric.name, heard)}"
    )


def _reports(wanted: str, heard: Trial) -> str:
    count, instead = len(heard.history), reported_instead(wanted, [heard], frozenset())
    return f"Trial {heard.number} made {count} report{'s' if count > 1 else ''}, of {instead}"


def _first_that_has_said_all(state: RunState) -> Trial | None:
    return next((trial for trial in state.trials.values() if _has_said_all(trial)), None)


def _has_said_all(trial: Trial) -> bool:
    returned = trial.status is TrialStatus.COMPLETED and trial.decided_by is None
    return len(trial.history) >= MANY or (returned and len(trial.history) > 0)


def reported_instead(metric: str, trials: Iterable[Trial], hidden: Set[str] = AUTOMATIC) -> str:
    """What `trials` reported where `metric` was wanted, with the name that may have been meant.

    The names in `hidden` are shown only where there are no others.
    """
    names: set[str] = set()
    for trial in trials:
        if metric in trial.history.last and metric not in trial.history.columns:
            return f"{metric!r} as {trial.history.last[metric]!r}, which is no number"
        names |= trial.history.columns.keys() | trial.history.last.keys()
    shown = sorted(names - hidden) or sorted(names)
    more = f" and {len(shown) - SHOWN} more" if len(shown) > SHOWN else ""
    return (", ".join(shown[:SHOWN]) or "nothing") + more + near(metric, shown, cutoff=SIMILAR)
