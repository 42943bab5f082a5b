from __future__ import annotations

import json
import math
import re
from pathlib import Path

import plotly.graph_objects as go
import pytest

from raytune_gp.analysis.drawing import beyond, evenly, value_range
from raytune_gp.analysis.frames import reports_frame, trials_frame
from raytune_gp.analysis.parameter_plots import over_time, parallel, scatter
from raytune_gp.analysis.parameters import parameters
from raytune_gp.analysis.plots import MAX_CURVE_POINTS, MAX_CURVES, learning_curves
from raytune_gp.analysis.report import MAX_DOTS, report_html, write_report
from raytune_gp.space.definition import definition
from raytune_gp.state import RunState
from raytune_gp.trial import Metric
from tests.analysis.examples import SPACE, Maker, best_of, example_run, example_simulation, value_of

RUN = example_run()
EVIL = "</script><img src=x onerror=alert(1)>"


@pytest.fixture(autouse=True)
def _without_plotly_js(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pages of these tests leave out the 5 MB of plotly.js."""
    monkeypatch.setattr("plotly.offline.get_plotlyjs", lambda: "/* plotly.js */")


def figures(page: str) -> list[go.Figure]:
    """The page's figures, each validated by plotly."""
    texts = re.findall(r"<script type=application/json>(.*?)</script>", page, re.S)
    return [go.Figure(json.loads(text)) for text in texts]


def many(count: int, mode: str = "max") -> RunState:
    maker = Maker(metrics=(Metric("accuracy", mode),))
    for k in range(count):
        maker.trial({"x": 0.001 * k, "c": "ab"[k % 2]}, [{"accuracy": math.sin(k)}])
    return maker.end()


def test_the_page_says_what_was_tuned_and_found() -> None:
    page = report_html(RUN)
    best = best_of(RUN)
    assert "<h1>cifar10 &lt;demo&gt;</h1>" in page
    assert f"{value_of(best):.6g}" in page
    assert f"{best.config['optimizer']['learning_rate']:.6g}" in page
    for heading in ("Results", "Hyperparameters", "Learning curves", "The searcher", "Trials", "The run"):
        assert f"<h2>{heading}</h2>" in page
    assert page.count('<tr id="trial-') == 32
    assert len(figures(page)) == 1 + 2 * 5 + 1 + 1 + 2


def test_the_page_says_what_another_trial_of_the_best_config_would_come_to() -> None:
    kept = {**SPACE.describe(), "definition": definition(SPACE)}
    page = report_html(example_run(space=kept))
    found = re.search(r"another trial of this config at (\S+) \(90 %: (\S+) to (\S+)\)", page)
    assert found is not None
    median, low, high = map(float, found.groups())
    assert low < median < high
    assert median == pytest.approx(value_of(best_of(RUN)), abs=0.1)
    assert "another trial" not in report_html(RUN)  # of a version that kept no definition


def test_the_page_needs_nothing_from_elsewhere() -> None:
    assert not re.findall(r"(?:src|href)\s*=|@import|url\(|https?://", report_html(RUN))


def test_what_users_wrote_is_text_and_nothing_else() -> None:
    maker = Maker(name=EVIL, trainable=EVIL, metrics=(Metric(EVIL),), searcher={EVIL: EVIL})
    for k in range(12):
        provenance = {"method": EVIL, "predicted_mean": 1.0, "predicted_deviation": 1.0}
        config = {f"x{EVIL}": float(k * k), "c": f"{EVIL}{k % 2}", "n": {EVIL: k}}
        maker.trial(config, [{EVIL: float(k)}, {EVIL: k + 0.5}], provenance=provenance)
    maker.trial({"c": EVIL}, [], status="FAILED", error=f"Traceback\nValueError: {EVIL}")
    page = report_html(maker.end())
    assert "<img" not in page
    assert page.count("</script>") == page.count("<script")
    assert "<img" not in "".join(figure.to_json() for figure in figures(page))


@pytest.mark.parametrize("mode", ["max", "min"])
def test_all_trials_failed(mode: str) -> None:
    maker = Maker(metrics=(Metric("accuracy", mode),))
    for _ in range(3):
        maker.trial({"x": 1.0}, [], status="FAILED", error="OSError: disk full")
    page = report_html(maker.end())
    assert "No trial has a usable value." in page
    assert "OSError: disk full" in page
    assert "3 trials" in page
    figures(page)


def test_no_trial_at_all() -> None:
    assert "No trial has been created yet." in report_html(Maker().state)


def test_a_single_trial_that_goes_on() -> None:
    page = report_html(Maker().trial({"x": 1.0}, [{"accuracy": 0.5}], status=None).state)
    assert "RUNNING" in page
    figures(page)


def test_one_finished_trial_nan_and_infinity() -> None:
    maker = Maker()
    for value in (0.5, math.nan, math.inf):
        maker.trial({"x": value if value == 0.5 else 1.0}, [{"accuracy": value}] * 2)
    page = report_html(maker.end())
    assert "not finite" in page
    assert all("NaN" not in figure.to_json() for figure in figures(page))


def test_a_page_can_be_made_at_every_moment_of_a_run() -> None:
    simulation = example_simulation(num_samples=12).start()
    turns = 0
    while not simulation.loop.experiment.is_over:
        simulation.loop.turn()
        turns += 1
        if turns % 100 == 1:
            figures(report_html(simulation.state))


def test_thousands_of_trials_are_thinned_and_the_best_is_among_them() -> None:
    state = many(4000)
    page = report_html(state)
    assert page.count('<tr id="trial-') == 4000
    history = figures(page)[0]
    assert MAX_DOTS / 2 < len(history.data[0].x) < 1.3 * MAX_DOTS
    assert best_of(state).number in history.data[0].customdata
    assert len(page) < 4e6


def test_long_names_and_many_parameters() -> None:
    maker = Maker()
    for k in range(4):
        config = {f"{'very_long_name_' * 8}{i}": float(k + i) for i in range(20)}
        maker.trial(config, [{"accuracy": 0.1 * k}])
    page = report_html(maker.end())
    assert "The first 16 of 20" in page
    figures(page)


def test_write_report_makes_the_directory(tmp_path: Path) -> None:
    path = write_report(RUN, tmp_path / "new" / "report.html")
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_axes_are_as_the_domains_are() -> None:
    trials = trials_frame(RUN)
    axes = {p.name: p for p in parameters(RUN, trials)}
    assert (
        scatter(axes["optimizer/learning_rate"], trials, RUN.spec.metric)["layout"]["xaxis"]["type"] == "log"
    )
    batch = over_time(axes["batch_size"], trials, RUN.spec.metric)["layout"]["yaxis"]
    assert batch["ticktext"] == ["32", "64", "128", "256"]


def test_choices_are_spread_but_never_mixed_up() -> None:
    trials = trials_frame(RUN)
    axis = next(p for p in parameters(RUN, trials) if p.name == "batch_size")
    some = trials[trials["objective"].notna()]
    x = scatter(axis, trials, RUN.spec.metric)["data"][0]["x"]
    assert [axis.choices[round(place)] for place in x] == [str(v) for v in some["config/batch_size"]]
    assert len(set(x)) == len(x)


def test_parallel_coordinates_put_absent_values_at_the_foot() -> None:
    trials = trials_frame(RUN)
    figure = parallel(parameters(RUN, trials), trials, RUN.spec.metric)
    momentum = next(d for d in figure["data"][0]["dimensions"] if d["label"] == "momentum")
    some = trials[trials["objective"].notna()]
    absent = some["config/momentum"].isna().tolist()
    assert [v == momentum["range"][0] for v in momentum["values"]] == pytest.approx(absent)
    assert momentum["ticktext"][0] == "absent"


def test_learning_curves_are_capped_with_the_best_among_them() -> None:
    maker = Maker()
    for k in range(MAX_CURVES + 50):
        maker.trial({"x": k}, [{"accuracy": float(k == 77)}] * (500 if k == 77 else 2))
    trials, reports = trials_frame(maker.end()), reports_frame(maker.state)
    figure = learning_curves(reports, trials, Metric("accuracy"), 77)
    numbers = {n for trace in figure["data"] for n in trace["customdata"]} - {None}
    assert len(numbers) in (MAX_CURVES, MAX_CURVES + 1)
    best = figure["data"][-1]
    assert best["name"] == "best"
    assert len(best["x"]) == MAX_CURVE_POINTS + 1


def test_ranges_leave_out_what_is_far_worse_and_never_the_best() -> None:
    values = trials_frame(many(40))["objective"].copy()
    assert value_range(values, Metric("accuracy")) == {}
    values[3] = -1e6
    low, high = value_range(values, Metric("accuracy"))["range"]
    assert -20 < low < values.drop(3).min()
    assert values.max() < high
    assert beyond(values, Metric("accuracy")) == 1
    assert value_range(-values, Metric("accuracy", "min"))["range"] == pytest.approx([-high, -low])


def test_evenly_keeps_both_ends() -> None:
    assert list(evenly(reports_frame(RUN)["step"].to_numpy()[:5], 9)) == [1, 2, 3, 4, 1]
    chosen = evenly(trials_frame(RUN)["number"].to_numpy(), 5)
    assert (chosen[0], chosen[-1], len(chosen)) == (0, 31, 5)
