"""Histories, objectives, and the bookkeeping of checkpoints."""

from __future__ import annotations

import math
from typing import Any

import pytest

from raytune_gp.trial import CheckpointRecord, History, Metric, Trial, TrialStatus

NAN = math.nan


def history(*reports: dict[str, Any]) -> History:
    made = History()
    for step, metrics in enumerate(reports, start=1):
        made.append(step, metrics, float(step))
    return made


def trial(*scores: float | None, **fields: Any) -> Trial:
    made = Trial("00000", 0, {}, {}, 0.0, **fields)
    for step, score in enumerate(scores, start=1):
        metrics = {} if score is None else {"score": score}
        made.history.append(step, metrics, float(step), counts=made.counts(step))
    return made


def test_a_metric_that_comes_and_goes_keeps_its_places() -> None:
    made = history({"a": 1}, {"a": 2, "b": 0.5}, {"b": 0.25, "note": "text", "flag": True})
    assert list(made.steps) == [1, 2, 3]
    assert [made.row(i) for i in range(3)] == [{"a": 1.0}, {"a": 2.0, "b": 0.5}, {"b": 0.25}]
    assert made.last == {"b": 0.25, "note": "text", "flag": True}
    assert set(made.columns) == {"a", "b"}
    assert {len(c) for c in made.columns.values()} == {3}


def test_truncation_forgets_what_a_new_attempt_reports_again() -> None:
    made = history({"a": 1.0}, {"a": NAN}, {"a": 3.0, "b": 1.0})
    made.truncate(3)
    assert len(made) == 3
    made.truncate(1)
    assert (list(made.steps), made.last, made.nans) == ([1], {"a": 1.0}, {})
    made.append(2, {"a": 5.0}, 9.0)
    again = history({"a": 1.0}, {"a": 5.0})
    assert list(made.columns["a"]) == list(again.columns["a"])
    made.truncate(0)
    assert (len(made), made.last) == (0, {})


def test_histories_are_equal_where_every_number_is() -> None:
    assert history({"a": NAN}) == history({"a": NAN})
    assert history({"a": NAN, "b": 1}) != history({"b": 1, "c": 2})
    assert history({"a": 1.0}) != history({"a": 2.0})
    assert history({"a": 1.0}, {"a": NAN}) != history({"a": 1.0}, {})
    assert history() != "something else"


@pytest.mark.parametrize(
    ("scores", "last"),
    [
        ([], None),
        ([None], None),
        ([1.0, 2.0, None], 2.0),
        ([1.0, math.inf], math.inf),
        ([2.0, 1.0], 1.0),
    ],
)
def test_the_last_value(scores: list[float | None], last: float | None) -> None:
    assert trial(*scores).value(Metric("score")) == last


@pytest.mark.parametrize("scores", [[NAN], [1.0, NAN], [1.0, NAN, None]])
def test_a_last_value_of_nan_stays_nan(scores: list[float | None]) -> None:
    """A run that diverged and then reported nothing of the metric has diverged all the same."""
    value = trial(*scores).value(Metric("score"))
    assert value is not None
    assert math.isnan(value)


@pytest.mark.parametrize(
    ("scope", "mode", "expected"),
    [
        ("all", "max", 9.0),
        ("all", "min", 0.0),
        ("avg", "max", 5.0),
        ("last-5-avg", "max", 7.0),
        ("last-10-avg", "max", 5.0),
        ("last", "max", 9.0),
    ],
)
def test_scopes_as_in_ray(scope: str, mode: str, expected: float) -> None:
    ten_and_one = trial(*[float(k) for k in range(10)], NAN)
    ten_and_one.decided_step = 10
    if scope in ("last-10-avg", "avg"):
        expected = 4.5
    assert ten_and_one.value(Metric("score", mode), scope) == expected


def test_averages_leave_nan_out_and_all_nan_is_nan() -> None:
    assert trial(1.0, NAN, 3.0).value(Metric("score"), "avg") == 2.0
    assert math.isnan(trial(NAN, NAN).value(Metric("score"), "avg") or 0.0)
    assert trial(None, None).value(Metric("score"), "all") is None


def test_averages_of_infinities_and_of_huge_values() -> None:
    assert trial(1.0, math.inf).value(Metric("score"), "avg") == math.inf
    assert math.isnan(trial(math.inf, -math.inf).value(Metric("score"), "avg") or 0.0)
    assert trial(1.5e308, 1.5e308).value(Metric("score"), "last-5-avg") == 1.5e308


def test_reports_after_the_decision_are_history() -> None:
    decided = trial(1.0, 2.0, 3.0, NAN, decided_step=2)
    assert decided.value(Metric("score")) == 2.0
    assert decided.value(Metric("score"), "all") == 2.0
    assert decided.value(Metric("another")) is None
    assert math.isnan(trial(1.0, NAN, 3.0, decided_step=2).value(Metric("score")) or 0.0)


def test_the_last_report_has_the_metric_as_it_was_last_reported() -> None:
    sometimes = trial(1.0, 2.0, None)
    assert sometimes.history.last == {}
    assert sometimes.last_report([Metric("score"), Metric("another")]) == {"score": 2.0}
    decided = trial(1.0, 2.0, None, 4.0, decided_step=3)
    assert decided.last_report([Metric("score")])["score"] == 2.0


def test_the_newest_checkpoint_is_the_newest_that_counts() -> None:
    early, counted, after = (CheckpointRecord(f"{step}", step, 1) for step in (2, 5, 7))
    made = trial(checkpoints=[early, counted, after])
    assert made.checkpoint == after
    made.decided_step = 5
    assert made.checkpoint == counted
    made.checkpoints = [after]
    assert made.checkpoint == after, "better than none"


def test_where_one_goes_on_from() -> None:
    older, newer = CheckpointRecord("a", 4, 1), CheckpointRecord("b", 6, 2)
    made = trial(status=TrialStatus.RUNNING, attempt=2, checkpoints=[older], resume_from=older)
    assert made.resume_point == older, "this attempt has none yet"
    made.checkpoints.append(newer)
    assert made.resume_point == newer
    made.status, made.resume_from = TrialStatus.PENDING, CheckpointRecord("of another trial", 8, 1)
    assert made.resume_point == made.resume_from, "an exploited trial waits for its next attempt"


def test_metrics_compare_strictly() -> None:
    assert Metric("score").better(2.0, 1.0)
    assert not Metric("score").better(1.0, 1.0)
    assert Metric("loss", "min").better(1.0, 2.0)
    assert not Metric("loss", "min").better(NAN, 2.0)


@pytest.mark.parametrize("status", list(TrialStatus))
def test_finished_or_not(status: TrialStatus) -> None:
    assert status.is_finished == (status.value in ("COMPLETED", "STOPPED", "FAILED"))
