"""The median stopping rule: a trial whose best result lags behind the median of the others is stopped."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping

from raytune_gp.errors import SpecError
from raytune_gp.events import AttemptAssigned, Event, Reported
from raytune_gp.protocols import Continue, Decision, Stop
from raytune_gp.trial import Metric, Trial

__all__ = ["MedianStoppingRule"]


class MedianStoppingRule:
    """Stop a trial at step t if its best value so far is worse than the median of the others' averages.

    The others' averages are of their values up to step t, over all trials that have reported at step t or
    later (Golovin et al. 2017, "Google Vizier", section 3.2.1; Ray Tune's rule of the same name). Steps
    are reports, not seconds.

    Args:
        metric: what to compare, and its direction.
        grace_period: a trial is never stopped before it has reported so many times. Ray's default is 60
            seconds, which trials shorter than a minute never reach; ours is 1 report.
        min_samples_required: no decision before so many other trials have got as far.
    """

    rule = "median/1"

    def __init__(self, metric: Metric, *, grace_period: int = 1, min_samples_required: int = 3):
        if grace_period < 0 or min_samples_required < 1:
            raise SpecError(
                f"the median stopping rule needs grace_period >= 0 and min_samples_required >= 1; they are "
                f"{grace_period} and {min_samples_required}"
            )
        self._metric = metric
        self._grace = grace_period
        self._min_samples = min_samples_required
        self._finite: dict[str, list[int]] = {}
        self._means: dict[str, list[float]] = {}
        """For each trial, up to its n-th report: how many values were finite, and their average or NaN."""

    def apply(self, event: Event, trials: Mapping[str, Trial]) -> None:
        """Extend the running average of the trial that reported; a superseded tail is forgotten."""
        if isinstance(event, AttemptAssigned) and event.trial in self._finite:
            keep = len(trials[event.trial].history)
            del self._finite[event.trial][keep:], self._means[event.trial][keep:]
        if not isinstance(event, Reported):
            return
        finite, means = self._finite.setdefault(event.trial, []), self._means.setdefault(event.trial, [])
        count, mean = (finite[-1], means[-1]) if means else (0, math.nan)
        value = trials[event.trial].history.row(-1).get(self._metric.name, math.nan)
        if math.isfinite(value):
            count += 1
            mean = value if count == 1 else mean + (value - mean) / count
        finite.append(count)
        means.append(mean)

    def on_result(self, trial: Trial) -> Decision:
        """Stop `trial` where its best value is worse than the median average of the others."""
        step = len(trial.history)
        if step <= self._grace:
            return Continue()
        others = [
            means[step - 1]
            for other, means in self._means.items()
            if other != trial.id and len(means) >= step and not math.isnan(means[step - 1])
        ]
        if len(others) < self._min_samples:
            return Continue()
        values = [v for v in trial.history.values(self._metric.name) if math.isfinite(v)]
        median = statistics.median(others)
        if not values:
            return Stop(f"no finite {self._metric.name} after {step} reports")
        best = max(values) if self._metric.mode == "max" else min(values)
        if self._metric.better(median, best):
            return Stop(
                f"its best {self._metric.name} of {best:.6g} after {step} reports is worse than "
                f"{median:.6g}, the median of {len(others)} trials"
            )
        return Continue()

    def next_to_resume(self) -> str | None:
        """No trial is ever paused."""
        return None
