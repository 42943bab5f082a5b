"""The names that the user gave and no trial has reported so far, and what follows once one is put right.

The part of `RunState` that tells slips in names: unreported.py says what a run makes of them.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from raytune_gp.failures import FailureKind
from raytune_gp.spec import ExperimentSpec
from raytune_gp.trial import Observation, Trial, TrialStatus

__all__ = ["MOST", "WITHOUT_VALUE", "Unheard", "value_again"]

MOST = 10
"""Past so many trials that report nothing of the metric, no more is learnt."""

WITHOUT_VALUE = ", and it had reported no "
"""So the reason of a trial goes on that was stopped and has failed, as there was no value of the metric."""

_WITHOUT_METRIC = (FailureKind.METRIC_MISSING, FailureKind.STOPPED_EARLY, FailureKind.TIMEOUT)


@dataclass
class Unheard:
    """What no trial has reported.

    `metrics` are those to optimise that no trial ever reported as a number; `silent`, as long as there are
    any, the lowest numbers, ascending, of at most `MOST` trials that are through without: ended, or paused by
    a scheduler that ranks them. `criteria` are the names of stop criteria, and of what checkpoints are
    ranked by, that no trial has reported as a number, or as true or false.
    """

    metrics: set[str] = field(default_factory=set)
    silent: list[int] = field(default_factory=list)
    criteria: set[str] = field(default_factory=set)

    def expect(self, spec: ExperimentSpec, trials: Iterable[Trial]) -> None:
        """Begin anew, with the names of `spec` and what `trials` have reported."""
        self.silent.clear()
        self.metrics = {metric.name for metric in spec.metrics}
        self.criteria = set(spec.stop)
        if spec.checkpoint_metric is not None:
            self.criteria.add(spec.checkpoint_metric.name)
        for trial in trials:
            self.heard(trial)

    def heard(self, trial: Trial) -> None:
        """`trial` has made a report."""
        if self.metrics:
            self.metrics -= trial.history.columns.keys()
            if not self.metrics:
                self.silent.clear()
        if self.criteria:
            history = trial.history
            self.criteria -= history.columns.keys()
            self.criteria -= {name for name, value in history.last.items() if isinstance(value, bool)}

    def through(self, trial: Trial) -> None:
        """`trial` has reported what it will, for now, without the metric."""
        if self.metrics and trial.number not in self.silent:
            insort(self.silent, trial.number)
            del self.silent[MOST:]


def value_again(
    spec: ExperimentSpec, trials: Mapping[str, Trial], observations: list[Observation]
) -> set[str]:
    """Give a value to the trials that reported the metric of now, where the one before was a slip.

    Returns the ids of these trials.
    """
    given = set()
    for position, observation in enumerate(observations):
        if observation.failure not in _WITHOUT_METRIC:
            continue
        trial = trials[observation.trial_id]
        objective, failure = spec.objective_of(trial)
        if failure == FailureKind.METRIC_MISSING:
            continue
        observations[position] = Observation(trial.config, objective, trial.id, failure)
        trial.objective = objective
        given.add(trial.id)
        if observation.failure == FailureKind.TIMEOUT:
            trial.status = TrialStatus.STOPPED
            trial.reason = (trial.reason or "").partition(WITHOUT_VALUE)[0] or None
        elif trial.status is TrialStatus.FAILED:
            trial.status, trial.reason = TrialStatus.COMPLETED, None
    return given
