"""The median stopping rule, by itself and in a run."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest

from raytune_gp import events as ev
from raytune_gp.errors import SpecError
from raytune_gp.protocols import Continue, Decision, Stop
from raytune_gp.schedulers import FIFOScheduler, MedianStoppingRule, make_scheduler
from raytune_gp.trial import Config, Metric, Trial, TrialStatus
from tests.support import Simulation, make_spec


class Reports:
    """Feeds a rule with reports, as an experiment would."""

    def __init__(self, mode: str = "max", **options: int):
        self.rule = MedianStoppingRule(Metric("score", mode), **options)
        self.trials: dict[str, Trial] = {}

    def tell(self, trial_id: str, *values: float | None) -> Decision:
        trial = self.trials.setdefault(trial_id, Trial(trial_id, 0, {}, {}, 0.0))
        for value in values:
            metrics = {} if value is None else {"score": value}
            step = trial.step + 1
            trial.history.append(step, metrics, 0.0)
            event = ev.Reported(0.0, "w0/1", step, trial_id, 1, step, metrics, 0.0)
            self.rule.apply(event, self.trials)
        return self.rule.on_result(trial)

    def restart(self, trial_id: str, step: int) -> None:
        self.trials[trial_id].history.truncate(step)
        self.rule.apply(ev.AttemptAssigned(0.0, trial_id, 2, "w0/1", None), self.trials)


def three(reports: Reports) -> Reports:
    """Averages after two reports: 2, 4, 6."""
    reports.tell("a", 1.0, 3.0)
    reports.tell("b", 3.0, 5.0)
    reports.tell("c", 5.0, 7.0)
    return reports


@pytest.mark.parametrize(("best", "stops"), [(3.9, True), (4.0, False), (4.1, False)])
def test_the_best_value_is_compared_with_the_median_of_averages(best: float, stops: bool) -> None:
    decision = three(Reports()).tell("d", best, 0.0)
    assert isinstance(decision, Stop) == stops
    if stops:
        assert decision == Stop(
            "its best score of 3.9 after 2 reports is worse than 4, the median of 3 trials"
        )


def test_a_minimised_metric_is_compared_the_other_way() -> None:
    assert isinstance(three(Reports("min")).tell("d", 4.1, 9.0), Stop)
    assert three(Reports("min")).tell("e", 3.9, 9.0) == Continue()


def test_no_decision_without_enough_others_that_got_as_far() -> None:
    reports = three(Reports(min_samples_required=4))
    assert reports.tell("d", 0.0, 0.0) == Continue()
    assert isinstance(reports.tell("e", 0.0, 0.0), Stop), "now there are four"
    assert three(Reports()).tell("d", 0.0, 0.0, 0.0) == Continue(), "none got to the third report"


def test_the_grace_period_counts_reports() -> None:
    assert three(Reports(grace_period=2)).tell("d", 0.0, 0.0) == Continue()
    assert isinstance(three(Reports(grace_period=0)).tell("d", 0.0), Stop)


def test_nan_spoils_no_average_and_a_trial_of_nothing_but_nan_stops() -> None:
    reports = Reports()
    reports.tell("a", math.nan, 2.0, 4.0)
    reports.tell("b", 3.0, math.nan, None)
    reports.tell("c", 1.0, math.inf, 1.0)
    assert isinstance(reports.tell("d", 2.9, 2.9), Continue), "the averages are 2, 3 and 1"
    assert isinstance(reports.tell("d", 2.9), Stop), "the averages are 3, 3 and 1"
    assert isinstance(Reports().tell("x", math.nan), Continue)
    stopped = three(Reports()).tell("d", math.nan, math.nan)
    assert stopped == Stop("no finite score after 2 reports")


def test_a_trial_that_has_yet_to_report_the_metric_goes_on() -> None:
    assert three(Reports()).tell("d", None, None) == Continue()


def test_superseded_reports_do_not_count() -> None:
    reports = three(Reports())
    reports.restart("c", 1)
    assert reports.tell("d", 0.0, 0.0) == Continue(), "only two others are as far now"
    reports.tell("c", 0.0)
    assert isinstance(reports.tell("e", 2.4, 2.0), Continue), "the averages are 2, 4, 2.5 and 0"
    assert isinstance(reports.tell("f", 2.1, 2.0), Stop)


def test_in_a_run_the_worst_are_stopped_early_and_keep_their_values() -> None:
    def curve(config: Config, first: int) -> Iterator[tuple[float, dict[str, float]]]:
        for step in range(first + 1, 11):
            yield 1.0, {"score": -float(config["x"]) + step / 100}

    run = Simulation(
        make_spec(num_samples=10),
        curve,
        slots=2,
        scheduler=lambda: make_scheduler("median", Metric("score")),
    )
    run.start().run()
    trials = list(run.state.trials.values())
    assert [t.status for t in trials[:3]] == [TrialStatus.COMPLETED] * 3
    assert [t.status for t in trials[3:]] == [TrialStatus.STOPPED] * 7
    for trial in trials[3:]:
        assert trial.objective == (-float(trial.config["x"]) + 2 / 100,), "of the step of the decision"
        assert trial.step == 2, "it went no further"
        assert "worse than" in (trial.reason or "")
    assert {d.rule for d in run.journal.of(ev.Decided)} == {"median/1"}


def test_schedulers_by_name() -> None:
    metric = Metric("score")
    for name in ("median", "median_stopping_rule", "MedianStopping"):
        assert isinstance(make_scheduler(name, metric, {"grace_period": 4}), MedianStoppingRule)
    assert isinstance(make_scheduler("FIFO", metric), FIFOScheduler)
    with pytest.raises(SpecError, match="'hyperbandit'; it must be one of fifo"):
        make_scheduler("hyperbandit", metric)
    with pytest.raises(SpecError, match=r"'patience' is no option of scheduler 'median'"):
        make_scheduler("median", metric, {"patience": 3})
    with pytest.raises(SpecError, match="grace_period of the median rule is -1"):
        make_scheduler("median", metric, {"grace_period": -1})
