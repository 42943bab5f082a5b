from __future__ import annotations

import math
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from raytune_gp import tune
from raytune_gp.errors import RunError, SpecError, TrialFailedError
from raytune_gp.results import Result, ResultGrid
from raytune_gp.space import SearchSpace, choice
from raytune_gp.trial import Metric, TrialStatus
from tests.analysis.examples import SPACE, Maker, best_of, example_run

RUN = example_run()


def rising(top: float) -> list[dict[str, float]]:
    return [{"accuracy": top * (s + 1) / 4, "loss": 1.0 - top * (s + 1) / 4} for s in range(4)]


def small(**settings: object) -> Maker:
    maker = Maker(**settings)
    maker.trial({"x": 1}, rising(0.5), checkpoints=True)
    maker.trial({"x": 2}, rising(0.8), checkpoints=True)
    maker.trial({"x": 3}, rising(0.9)[:2], status="FAILED", error="Traceback:\n  …\nValueError: bad luck")
    maker.trial({"x": 4}, [*rising(0.6), {"accuracy": math.nan}])
    return maker


def test_a_grid_is_a_sequence_of_results() -> None:
    grid = ResultGrid(RUN)
    assert len(grid) == 32
    assert [r.trial_id for r in grid] == list(RUN.trials)
    assert isinstance(grid[-1], Result)
    assert [r.trial_id for r in grid[2:4]] == ["00002", "00003"]
    with pytest.raises(IndexError):
        grid[32]


def test_the_best_result_is_the_runs_own_by_default() -> None:
    grid = ResultGrid(RUN, restore_config=SPACE.from_json)
    best = best_of(RUN)
    assert grid.get_best_result().trial_id == best.id
    assert grid.get_best_result("accuracy", "max", "last").trial_id == best.id
    assert grid.best_config == SPACE.from_json(best.config)


def test_a_metric_that_is_not_in_every_report_is_in_the_metrics() -> None:
    grid = ResultGrid(Maker().trial({"x": 1}, [{"accuracy": 0.9}, {"loss": 0.1}]).end())
    assert grid.best_result.metrics["accuracy"] == 0.9
    assert grid.get_dataframe()["accuracy"].tolist() == [0.9]


def test_another_metric_mode_and_scope() -> None:
    grid = ResultGrid(small().end())
    assert grid.get_best_result("loss", "min").config == {"x": 2}
    assert grid.get_best_result("accuracy", "min").config == {"x": 1}
    assert grid.get_best_result("loss", "max", scope="all").config == {"x": 1}
    maker = Maker().trial({"x": 1}, [{"accuracy": 0.9}, {"accuracy": 0.1}])
    grid = ResultGrid(maker.trial({"x": 2}, [{"accuracy": 0.3}, {"accuracy": 0.4}]).end())
    assert grid.get_best_result().config == {"x": 2}
    assert grid.get_best_result(scope="all").config == {"x": 1}
    assert grid.get_best_result(scope="avg").config == {"x": 1}


def test_a_failed_trial_is_never_the_best_one() -> None:
    maker = Maker().trial({"x": 1}, [{"accuracy": 0.2}])
    grid = ResultGrid(maker.trial({"x": 2}, [{"accuracy": 0.9}], status="FAILED", error="E").end())
    assert grid.get_best_result("accuracy", "max").config == {"x": 1}


def test_nan_is_the_best_only_if_asked_for() -> None:
    grid = ResultGrid(Maker().trial({"x": 1}, [{"accuracy": math.nan}]).end())
    with pytest.raises(RunError, match="none of 1 trials has a finite value of 'accuracy'"):
        grid.get_best_result()
    assert grid.get_best_result(filter_nan_and_inf=False).config == {"x": 1}
    maker = Maker().trial({"x": 1}, [{"accuracy": math.inf}]).trial({"x": 2}, [{"accuracy": 0.1}])
    assert ResultGrid(maker.end()).get_best_result(filter_nan_and_inf=False).config == {"x": 2}


def test_without_a_best_result_the_error_says_why() -> None:
    maker = Maker()
    for k in range(3):
        maker.trial({"x": k}, [], status="FAILED", error=f"Traceback:\nOSError: disk {k} is full")
    with pytest.raises(RunError, match="3 failed, first trial 00000: OSError: disk 0 is full"):
        _ = ResultGrid(maker.end()).best_config
    with pytest.raises(RunError, match="no trials yet"):
        ResultGrid(Maker().state).get_best_result()
    going = Maker().trial({"x": 1}, [{"accuracy": 0.5}], status=None)
    with pytest.raises(RunError, match="1 are not finished"):
        ResultGrid(going.state).get_best_result()


def test_wrong_questions() -> None:
    grid = ResultGrid(RUN)
    with pytest.raises(SpecError, match=r"no trial has reported 'acuracy'.*accuracy, loss"):
        grid.get_best_result("acuracy", "max")
    with pytest.raises(SpecError, match="mode is 'maximum'"):
        grid.get_best_result("accuracy", "maximum")
    with pytest.raises(SpecError, match="scope is 'first'"):
        grid.get_best_result(scope="first")
    with pytest.raises(SpecError, match="needs a filter_metric"):
        grid.get_dataframe(filter_mode="max")
    with pytest.raises(SpecError, match=r"no trial has reported 'los'; they have reported accuracy, loss"):
        grid.get_dataframe("los", "min")


def test_errors_carry_the_traceback() -> None:
    grid = ResultGrid(small().end())
    assert (grid.num_errors, grid.num_terminated, len(grid.errors)) == (1, 3, 1)
    assert isinstance(grid[2].error, TrialFailedError)
    assert "Traceback:\n  …\nValueError: bad luck" in str(grid[2].error)
    assert grid[0].error is None
    assert grid[2].status is TrialStatus.FAILED


def test_paths() -> None:
    grid = ResultGrid(small().end(), storage_path="s3://bucket/runs/demo/")
    assert grid.experiment_path == "s3://bucket/runs/demo"
    assert grid[1].path == "s3://bucket/runs/demo/trial_00001"
    assert grid[1].log_path == "s3://bucket/runs/demo/trial_00001/log.txt"


def test_checkpoints_are_made_by_the_factory() -> None:
    grid = ResultGrid(small().end(), checkpoint_factory=lambda record: f"<{record.path}>")
    result = grid[1]
    assert result.checkpoint == "<trial_00001/4>"
    assert grid[3].checkpoint is None
    assert [c for c, _ in result.best_checkpoints] == [f"<trial_00001/{s}>" for s in (1, 2, 3, 4)]
    assert result.best_checkpoints[1][1]["accuracy"] == pytest.approx(0.4)
    assert result.get_best_checkpoint("loss", "max") == "<trial_00001/1>"
    assert result.get_best_checkpoint("loss", "min") == "<trial_00001/4>"
    with pytest.raises(SpecError, match="no checkpoint of trial 00001 has metric 'f1'"):
        result.get_best_checkpoint("f1", "max")
    with pytest.raises(RunError, match="no checkpoint"):
        grid[3].get_best_checkpoint("loss", "min")


def test_metrics_and_their_frame() -> None:
    result = ResultGrid(small().end())[1]
    assert result.metrics["accuracy"] == 0.8
    assert result.metrics["training_iteration"] == 4
    frame = result.metrics_dataframe
    assert list(frame["training_iteration"]) == [1, 2, 3, 4]
    assert list(frame["accuracy"]) == pytest.approx([0.2, 0.4, 0.6, 0.8])


def test_dataframe_has_rays_columns() -> None:
    grid = ResultGrid(small().end(), storage_path="runs")
    frame = grid.get_dataframe()
    assert list(frame["config/x"]) == [1, 2, 3, 4]
    assert frame.loc[1, "accuracy"] == 0.8
    assert frame.loc[1, "logdir"] == "runs/trial_00001"
    best = grid.get_dataframe(filter_metric="accuracy", filter_mode="min")
    assert best["accuracy"].tolist() == pytest.approx([0.125, 0.2, 0.225, 0.15])
    assert ResultGrid(Maker().state).get_dataframe().empty


def test_configs_are_the_users_own_objects() -> None:
    space = SearchSpace({"activation": choice([math.sin, math.cos])})
    maker = Maker(space=space.describe())
    maker.trial(space.to_json({"activation": math.cos}), [{"accuracy": 0.5}])
    grid = ResultGrid(maker.end(), restore_config=space.from_json)
    assert grid.best_config["activation"] is math.cos
    assert grid.get_dataframe().loc[0, "config/activation"] == "math.cos"


def test_the_mode_of_a_further_metric_is_known() -> None:
    maker = Maker(metrics=(Metric("accuracy"), Metric("loss", "min")))
    for k, loss in enumerate((0.5, 0.2, 0.7)):
        maker.trial({"x": k}, [{"accuracy": 0.1 * k, "loss": loss}])
    assert ResultGrid(maker.end()).get_best_result("loss").config == {"x": 1}


def test_a_report_is_written(tmp_path: Path) -> None:
    path = ResultGrid(RUN).write_report(tmp_path / "report.html")
    assert path.stat().st_size > 1_000_000


def test_a_report_finds_its_name_in_a_directory_and_says_where_it_cannot_be(tmp_path: Path) -> None:
    grid = ResultGrid(small().end())
    assert grid.write_report(tmp_path) == tmp_path / f"{grid.state.spec.name}.html"
    (tmp_path / "file").touch()
    with pytest.raises(
        SpecError, match=r"no report can be written to '.*/file/r.html': .*; name another file"
    ):
        grid.write_report(tmp_path / "file" / "r.html")


def test_results_can_be_pickled(run_settings: dict[str, Any]) -> None:
    space = {"x": tune.uniform(0, 1), "shape": tune.choice([(3, 3), (5, 5)])}
    results = tune.run(
        train_shape, config=space, metric="size", mode="max", num_samples=3, executor="inline", **run_settings
    )
    again = pickle.loads(pickle.dumps(results))
    assert repr(again) == repr(results)
    assert pickle.loads(pickle.dumps(results.best_result)).config == results.best_config
    assert again.state == results.state


def train_shape(config: dict[str, Any]) -> dict[str, Any]:
    return {"size": config["x"] * config["shape"][0]}


def test_repr_names_every_trial() -> None:
    text = repr(ResultGrid(small().end()))
    assert text.startswith("ResultGrid<[")
    assert text.count("Result(trial_id=") == 4


def test_results_load_neither_pandas_nor_plotly_nor_sklearn() -> None:
    code = "import sys, raytune_gp.results; print({'pandas', 'plotly', 'sklearn'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
