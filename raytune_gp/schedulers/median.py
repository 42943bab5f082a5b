"""The median stopping rule: a trial whose best result lags behind the median of the others is stopped."""

from __future__ import annotations

import bisect
import math
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from raytune_gp.errors import SpecError
from raytune_gp.events import AttemptAssigned, Event, Reported, TrialEnded
from raytune_gp.protocols import Continue, Decision, Stop
from raytune_gp.trial import Metric, Trial

__all__ = ["MedianStoppingRule"]


class MedianStoppingRule:
    """Stop a trial at step t if its best value so far is worse than the median of the others' averages.

    The others' averages are of their values up to step t, over all trials that have reported at step t or
    later (Golovin et al. 2017, "Google Vizier", section 3.2.1; Ray Tune's rule of the same name). Steps
    are reports, not seconds. A trial that has yet to report the metric goes on.

    Args:
        metric: what to compare, and its direction.
        grace_period: a trial is never stopped before it has reported so many times. Ray's default is 60
            seconds, which trials shorter than a minute never reach; ours is 1 report.
        min_samples_required: no decision before so many other trials have got as far.
    """

    rule = "median/1"

    def __init__(self, metric: Metric, *, grace_period: int = 1, min_samples_required: int = 3):
        for name, value, least in (
            ("grace_period", grace_period, 0),
            ("min_samples_required", min_samples_required, 1),
        ):
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise SpecError(
                    f"{name} of the median rule is {value!r}; it must be a whole number of at least {least}"
                )
        self._metric = metric
        self._grace = grace_period
        self._min_samples = min_samples_required
        self._curves: dict[str, list[_Point]] = {}
        """Of each unfinished trial, the points after each of its reports."""
        self._at_step: list[array[float]] = []
        """For each number of reports, the averages of all trials that made so many, in ascending order."""

    def apply(self, event: Event, trials: Mapping[str, Trial]) -> None:
        """Extend the running average of the trial that reported; a superseded tail is forgotten."""
        if isinstance(event, AttemptAssigned) and event.trial in self._curves:
            self._forget(self._curves[event.trial], len(trials[event.trial].history))
        elif isinstance(event, TrialEnded):
            self._curves.pop(event.trial, None)
        if not isinstance(event, Reported):
            return
        curve = self._curves.setdefault(event.trial, [])
        value = trials[event.trial].history.row(-1).get(self._metric.name, math.nan)
        point = (curve[-1] if curve else _NOTHING).then(value, self._metric)
        curve.append(point)
        while len(self._at_step) < len(curve):
            self._at_step.append(array("d"))
        if point.finite:
            bisect.insort(self._at_step[len(curve) - 1], point.mean)

    def _forget(self, curve: list[_Point], keep: int) -> None:
        for step in range(keep, len(curve)):
            if curve[step].finite:
                column = self._at_step[step]
                del column[bisect.bisect_left(column, curve[step].mean)]
        del curve[keep:]

    def on_result(self, trial: Trial) -> Decision:
        """Stop `trial` where its best value is worse than the median average of the others."""
        step = len(trial.history)
        if step <= self._grace:
            return Continue()
        own, column = self._curves[trial.id][step - 1], self._at_step[step - 1]
        count = len(column) - bool(own.finite)
        if count < self._min_samples:
            return Continue()
        if not own.finite:
            if trial.history.last_value(self._metric.name) is None:
                return Continue()  # it may report the metric at its last step alone
            return Stop(f"no finite {self._metric.name} after {step} reports")
        median = _median_without(column, own.mean)
        if self._metric.better(median, own.best):
            return Stop(
                f"its best {self._metric.name} of {own.best:.6g} after {step} reports is worse than "
                f"{median:.6g}, the median of {count} trials"
            )
        return Continue()

    def next_to_resume(self) -> str | None:
        """No trial is ever paused."""
        return None

    def snapshot(self) -> Mapping[str, Any]:
        """Everything is in the trials' histories."""
        return {}

    def restore(self, snapshot: Mapping[str, Any], trials: Mapping[str, Trial]) -> None:
        """Average the histories again."""
        at_step: list[array[float]] = []
        for trial in trials.values():
            point, curve = _NOTHING, []
            values = trial.history.values(self._metric.name) or [math.nan] * len(trial.history)
            while len(at_step) < len(values):
                at_step.append(array("d"))
            for position, value in enumerate(values):
                point = point.then(value, self._metric)
                curve.append(point)
                if point.finite:
                    at_step[position].append(point.mean)
            if curve and not trial.status.is_finished:
                self._curves[trial.id] = curve
        self._at_step = [array("d", sorted(means)) for means in at_step]


@dataclass(frozen=True, slots=True)
class _Point:
    """A trial after some report: how many values were finite, their average, and the best of them."""

    finite: int
    mean: float
    best: float

    def then(self, value: float, metric: Metric) -> _Point:
        """The point after one more report of `value`."""
        if not math.isfinite(value):
            return self
        if not self.finite:
            return _Point(1, value, value)
        mean = self.mean + (value - self.mean) / (self.finite + 1)
        return _Point(self.finite + 1, mean, value if metric.better(value, self.best) else self.best)


_NOTHING = _Point(0, math.nan, math.nan)


def _median_without(ordered: Sequence[float], own: float) -> float:
    """The median of ascending values with one that equals `own` left out."""
    left_out = bisect.bisect_left(ordered, own)
    count = len(ordered) - 1

    def at(position: int) -> float:
        return ordered[position + (position >= left_out)]

    middle = count // 2
    return at(middle) if count % 2 else (at(middle - 1) + at(middle)) / 2
