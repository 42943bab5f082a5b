from __future__ import annotations

import json
import math
import time

import numpy as np
import pytest

from raytune_gp import events as ev
from raytune_gp.analysis.frames import best_so_far, reports_frame, trials_frame
from raytune_gp.analysis.labels import duration, flat_config, last_line, short, varied_config
from raytune_gp.analysis.parameters import Parameter, parameters
from raytune_gp.analysis.quality import importance, methods, predicted, prediction_quality
from raytune_gp.analysis.summary import summary, time_left_s, time_saved_s
from raytune_gp.trial import Metric
from tests.analysis.examples import Maker, best_of, example_run, example_simulation, value_of

RUN = example_run()


def test_trials_frame_has_a_row_a_trial_and_prefixed_columns() -> None:
    frame = trials_frame(RUN)
    assert list(frame["number"]) == list(range(32))
    trial = RUN.trials["00003"]
    row = frame.iloc[3]
    assert row["objective"] == value_of(trial)
    assert row["config/optimizer/learning_rate"] == trial.config["optimizer"]["learning_rate"]
    assert row["metrics/loss"] == trial.history.last["loss"]
    assert row["provenance/method"] == "sobol"
    assert list(frame.columns[:6]) == ["trial_id", "number", "status", "attempt", "step", "objective"]


def test_a_conditional_parameter_is_missing_where_it_does_not_hold() -> None:
    frame = trials_frame(RUN)
    adam = frame["config/optimizer/name"] == "adam"
    assert frame.loc[adam, "config/momentum"].isna().all()
    assert frame.loc[~adam, "config/momentum"].notna().all()


def test_a_failed_trial_has_no_objective_and_its_errors_last_line() -> None:
    error = "Traceback (most recent call last):\n  File …\nValueError: no <b>luck</b>\n"
    state = Maker().trial({"x": 1}, [{"accuracy": 0.5}], status="FAILED", error=error).end()
    row = trials_frame(state).iloc[0]
    assert row["error"] == "ValueError: no <b>luck</b>"
    assert row["failure"] == "error"
    assert math.isnan(row["objective"])


def test_further_metrics_have_columns_of_their_own() -> None:
    maker = Maker(metrics=(Metric("accuracy"), Metric("loss", "min")))
    frame = trials_frame(maker.trial({"x": 1}, [{"accuracy": 0.5, "loss": 2.0}]).end())
    assert frame.loc[0, "objective"] == 0.5
    assert frame.loc[0, "objective/loss"] == 2.0


def test_frames_of_a_run_without_trials_have_their_columns() -> None:
    state = Maker().state
    assert trials_frame(state).empty
    assert "objective" in trials_frame(state)
    assert list(reports_frame(state).columns) == ["trial_id", "number", "step", "time"]
    assert best_so_far(state).empty
    assert summary(state)["best"] is None


def test_reports_frame_has_a_row_a_report_and_nan_where_a_metric_is_absent() -> None:
    maker = Maker().trial({"x": 1}, [{"accuracy": 0.1}, {"accuracy": 0.2, "extra": 7.0}])
    frame = reports_frame(maker.trial({"x": 2}, [{"accuracy": 0.3}]).end())
    assert list(frame["number"]) == [0, 0, 1]
    assert list(frame["step"]) == [1, 2, 1]
    np.testing.assert_array_equal(frame["metrics/extra"], [np.nan, 7.0, np.nan])


@pytest.mark.parametrize(("mode", "best"), [("max", [0.3, 0.3, 0.3, 0.6]), ("min", [0.3, 0.3, 0.2, 0.2])])
def test_best_so_far_skips_trials_without_value(mode: str, best: list[float]) -> None:
    maker = Maker(metrics=(Metric("accuracy", mode),))
    for value in (0.3, math.nan, 0.2, 0.6):
        maker.trial({"x": 1}, [{"accuracy": value}])
    frame = best_so_far(maker.end())
    assert list(frame["best"]) == best
    assert math.isnan(frame.loc[1, "value"])


def test_best_so_far_is_in_order_of_completion() -> None:
    frame = best_so_far(RUN)
    assert list(frame["ended_at"]) == sorted(frame["ended_at"])
    assert list(frame["number"]) != sorted(frame["number"])
    assert frame["best"].iloc[-1] == value_of(best_of(RUN))


def test_a_dictionary_that_is_a_choice_is_one_value() -> None:
    config = {"model": {"depth": 3}, "block": {"kind": "a"}, "f": {"$choice": 1, "repr": "relu"}, "l": [1, 2]}
    flat = flat_config(config, {"block"})
    assert flat == {"model/depth": 3, "block": '{"kind": "a"}', "f": "relu", "l": "[1, 2]"}


def test_varied_config_leaves_constants_out() -> None:
    assert "epochs" not in varied_config(RUN, RUN.trials["00000"])
    assert "layers" in varied_config(RUN, RUN.trials["00000"])


def test_summary_is_json_and_counts() -> None:
    facts = summary(RUN)
    json.dumps(facts, allow_nan=False)
    assert sum(facts["counts"].values()) == facts["finished"] == 32
    assert facts["counts"]["FAILED"] >= 1
    assert facts["counts"]["STOPPED"] >= 1
    assert facts["best"]["value"] == max(t.objective[0] for t in RUN.trials.values() if t.objective)
    assert facts["time_left_s"] == 0.0


def test_time_saved_is_the_rest_of_the_stopped_trials() -> None:
    maker = Maker().trial({"x": 1}, [{"accuracy": 0.5}] * 10)
    assert time_saved_s(maker.trial({"x": 2}, [{"accuracy": 0.1}] * 4, status="STOPPED").state) == 6.0
    assert time_saved_s(Maker().trial({"x": 1}, [{"accuracy": 0.5}], status="STOPPED").state) is None


def test_time_left_shares_what_is_to_come_among_the_slots() -> None:
    maker = Maker(num_samples=5, max_concurrent_trials=None).trial({"x": 1}, [{"accuracy": 0.5}] * 10)
    assert time_left_s(maker.state, maker.at) == 40.0
    assert time_left_s(Maker(num_samples=5).state, 0.0) is None
    limited = Maker(num_samples=-1, time_budget_s=25.0).trial({"x": 1}, [{"accuracy": 0.5}] * 10)
    assert time_left_s(limited.state, limited.at) == 15.0


def test_workers_that_wait_for_a_node_train_nothing() -> None:
    maker = Maker(num_samples=5, max_concurrent_trials=None).trial({"x": 1}, [{"accuracy": 0.5}] * 10)
    state = maker.state
    state.apply(ev.CapacityKnown(maker.at, 4))
    for slot in range(3):
        state.apply(ev.WorkerRequested(maker.at, f"w{slot + 7}/1", slot + 7, 1))
    assert summary(state, maker.at)["slots"] == 4, "they may be starting"
    assert summary(state, maker.at + 60.0)["slots"] == 1
    assert time_left_s(state, maker.at + 60.0) == 40.0


def test_parameters_come_from_the_space() -> None:
    found = {p.name: p for p in parameters(RUN, trials_frame(RUN))}
    assert list(found) == ["optimizer/name", "optimizer/learning_rate", "momentum", "batch_size", "layers"]
    assert found["optimizer/learning_rate"].scale == "log"
    assert found["batch_size"].choices == ("32", "64", "128", "256")


def test_parameters_of_an_undescribed_space_come_from_the_values() -> None:
    maker = Maker()
    for rate, name in ((1e-4, "a"), (0.5, True)):
        maker.trial({"rate": rate, "name": name, "fixed": 3, "size": rate + 1}, [{"accuracy": 0.5}])
    found = {p.name: (p.scale, p.choices) for p in parameters(maker.end(), trials_frame(maker.state))}
    assert found == {"rate": ("log", ()), "name": ("choice", ("a", "true")), "size": ("linear", ())}


def test_places_of_values() -> None:
    choice = Parameter("c", "choice", ("32", "true", "a"))
    np.testing.assert_array_equal(choice.places([32, True, "a", None, "?"]), [0, 1, 2, np.nan, np.nan])
    np.testing.assert_array_equal(Parameter("x", "log").places([1e-3, 0.0, None]), [1e-3, np.nan, np.nan])


def test_importance_finds_what_matters() -> None:
    maker, rng = Maker(), np.random.default_rng(0)
    for x, y in rng.uniform(size=(60, 2)):
        maker.trial({"x": float(x), "noise": float(y)}, [{"accuracy": float(x * x)}])
    trials = trials_frame(maker.end())
    found = importance(trials, parameters(maker.state, trials))
    assert found is not None
    assert list(found["name"]) == ["x", "noise"]
    assert found["importance"][0] > 10 * abs(found["importance"][1])
    assert found.attrs["r2"] > 0.8
    assert 0.5 < found["importance"][0] < 1.3


def test_importance_says_nothing_of_noise_or_of_few_trials() -> None:
    maker, rng = Maker(), np.random.default_rng(0)
    for x, y in rng.uniform(size=(40, 2)):
        maker.trial({"x": float(x)}, [{"accuracy": float(y)}])
    trials = trials_frame(maker.end())
    axes = parameters(maker.state, trials)
    assert importance(trials, axes) is None
    assert importance(trials.head(9), axes) is None


def test_prediction_quality_compares_with_what_was_observed() -> None:
    maker = Maker()
    for mean, value in ((0.5, 0.6), (0.7, 0.7), (0.9, 0.5)):
        provenance = {"method": "gp", "predicted_mean": mean, "predicted_deviation": 0.1001}
        maker.trial({"x": 1}, [{"accuracy": value}], provenance=provenance)
    maker.trial({"x": 1}, [{"accuracy": 0.1}], provenance={"method": "sobol"})
    table = predicted(trials_frame(maker.end()))
    quality = prediction_quality(table)
    assert list(table["number"]) == [0, 1, 2]
    assert quality["error"] == pytest.approx(0.5 / 3)
    assert quality["within_1"] == pytest.approx(2 / 3)
    assert quality["within_2"] == pytest.approx(2 / 3)
    assert quality["rank_correlation"] == pytest.approx(-0.5)


def test_methods_tell_what_became_of_their_trials() -> None:
    table = methods(trials_frame(RUN), "max").set_index("method")
    assert table.loc["sobol", "trials"] == 8
    assert table.loc["gp", "trials"] == 24
    assert table["failed"].sum() == summary(RUN)["counts"]["FAILED"]


def test_a_frame_of_5000_trials_takes_seconds() -> None:
    maker = Maker()
    reports = [{"accuracy": 0.01 * s, "loss": 1.0} for s in range(20)]
    for k in range(5000):
        maker.trial({"x": k, "nested": {"y": 0.5 * k}}, reports)
    began = time.process_time()
    assert len(trials_frame(maker.state)) == 5000
    assert len(reports_frame(maker.state)) == 100_000
    assert len(best_so_far(maker.state)) == 5000
    summary(maker.state)
    assert time.process_time() - began < 20


def test_a_running_run_has_a_summary_at_every_turn() -> None:
    simulation = example_simulation().start()
    for _ in range(300):
        simulation.loop.turn()
        facts = summary(simulation.state)
        json.dumps(facts, allow_nan=False)
        assert facts["finished"] <= facts["trials"]
        assert facts["time_left_s"] is None or facts["time_left_s"] >= 0


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(None, "–"), (0.5, "0.5 s"), (59.96, "60 s"), (90, "2 min"), (3840, "1 h 04 min"), (200_000, "2 d 7 h")],
)
def test_durations(seconds: float | None, shown: str) -> None:
    assert duration(seconds) == shown


def test_short_texts() -> None:
    assert last_line("a\nb\n\n") == "b"
    assert last_line(None) == ""
    assert short("a" * 50, 11) == "aaaaa…aaaaa"
    assert short("abc") == "abc"
