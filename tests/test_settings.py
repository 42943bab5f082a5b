"""What a user says, and what it becomes; what cannot be is refused with the value, the limit and the fix."""

from __future__ import annotations

import datetime
import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raytune_gp import tune
from raytune_gp.errors import SpaceError, SpecError, TrainableError
from raytune_gp.schedulers import FIFOScheduler, MedianStoppingRule, make_scheduler, resolve_scheduler
from raytune_gp.searchers import resolve_searcher
from raytune_gp.searchers.asking import make_guesses
from raytune_gp.searchers.gp import GPSearcher
from raytune_gp.searchers.grid import GridSearcher
from raytune_gp.searchers.random import RandomSearcher
from raytune_gp.settings import (
    CheckpointConfig,
    FailureConfig,
    absolute_storage_path,
    check_name,
    default_name,
    fingerprints,
    resolve_stop,
    seconds,
    total_trials,
)
from raytune_gp.space import SearchSpace, choice, grid_search, randint, uniform
from raytune_gp.trial import Metric, Trial

METRIC = Metric("loss", "min")
SPACE = SearchSpace({"x": uniform(0, 1)})
GRID = SearchSpace({"a": grid_search([1, 2, 3]), "b": grid_search(["u", "v"])})


def train(config: Any) -> None:
    """Does nothing."""


# --- names ---


@pytest.mark.parametrize("name", ["a", "run-1", "2026.01_x", "A" * 200])
def test_names_that_serve(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize("name", ["", "a b", "a/b", "../up", ".hidden", "-x", "é", "A" * 201, "a\n"])
def test_names_that_do_not(name: str) -> None:
    with pytest.raises(SpecError, match=re.escape(f"name is {name!r}; it must be 1 to 200 letters")):
        check_name(name)


@pytest.mark.parametrize(
    ("trainable", "begins"),
    [
        (train, "train_20"),
        (lambda config: None, "lambda_20"),
        (functools.partial(train), "partial_20"),
        (tune.Script(["python"], {"x": "(x)"}), "Script_20"),
    ],
)
def test_a_run_without_a_name_is_called_by_its_trainable_and_the_time(trainable: Any, begins: str) -> None:
    assert default_name(trainable).startswith(begins)


# --- searchers and schedulers ---


def test_searchers_by_name_by_options_and_as_objects() -> None:
    assert isinstance(resolve_searcher(None, SPACE, METRIC, 0)[0], GPSearcher)
    assert isinstance(resolve_searcher(None, GRID, METRIC, 0)[0], RandomSearcher), "nothing to search"
    searcher, about = resolve_searcher({"name": "grid", "points": 4}, SPACE, METRIC, 0)
    assert isinstance(searcher, GridSearcher)
    assert about == {"name": "grid", "points": 4}
    mine = RandomSearcher(SPACE)
    about = {"name": "RandomSearcher", "class": "raytune_gp.searchers.random.RandomSearcher"}
    assert resolve_searcher(mine, SPACE, METRIC, 0) == (mine, about)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("tpe", "search_alg is 'tpe'; it must be one of gp, random, sobol, grid$"),
        ("Rnadom", "search_alg is 'Rnadom'; it must be one of .*; did you mean 'random'"),
        (
            {"points": 3},
            r"search_alg is {'points': 3}, which lacks a name: add one of gp, random, sobol, grid",
        ),
        ({"name": None}, "search_alg is None; it must be one of gp"),
        ({"name": "gp", "depth": 3}, "'depth' is no option of search_alg 'gp'; it takes initial, device$"),
        ({"name": "gp", "initail": 3}, "it takes initial, device; did you mean 'initial'"),
        ({"name": "gp", "seed": 3}, "'seed' is no option of search_alg 'gp', since the run gives it"),
        ({"name": "sobol", "seeds": 3}, "'seeds' is no option of search_alg 'sobol'; it takes none$"),
        ({"name": "grid", "points": "3"}, "search_alg 'grid' cannot be made with points='3': "),
        (RandomSearcher, "search_alg is <class .*; it must be a name such as 'gp', or an object"),
        (object(), "search_alg is <object.*; it must be a name such as 'gp', or an object with uses_results"),
        (3, "search_alg is 3"),
    ],
)
def test_searchers_that_cannot_be(given: Any, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        resolve_searcher(given, SPACE, METRIC, 0)


@pytest.mark.parametrize("alg", ["random", RandomSearcher(SPACE)])
def test_a_seed_that_cannot_be(alg: Any) -> None:
    with pytest.raises(SpecError, match="seed is -3; it must be a whole number of at least 0"):
        resolve_searcher(alg, SPACE, METRIC, -3)


@pytest.mark.parametrize("name", ["median", "Median_Stopping_Rule", "medianstopping"])
def test_the_median_rule_has_rays_names_too(name: str) -> None:
    make, about = resolve_scheduler(name, METRIC)
    assert isinstance(make(), MedianStoppingRule)
    assert make() is not make(), "each replay needs a fresh one"
    assert about == {"name": name}


def test_schedulers_by_options_and_as_objects() -> None:
    assert isinstance(resolve_scheduler(None, METRIC)[0](), FIFOScheduler)
    make, about = resolve_scheduler({"name": "median", "grace_period": 5}, METRIC)
    assert make()._grace == 5  # type: ignore[attr-defined]
    assert about == {"name": "median", "grace_period": 5}
    mine = MedianStoppingRule(METRIC)
    make, about = resolve_scheduler(mine, METRIC)
    assert make() is not mine
    assert about == {"name": "MedianStoppingRule"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("asha2", "scheduler is 'asha2'; it must be one of .*fifo.*median"),
        ({}, "scheduler is {}, which lacks a name: add one of fifo, median"),
        ({"name": "median", "grace_perod": 3}, "it takes grace_period, min_samples_required; did you mean"),
        (
            {"name": "fifo", "grace_period": 3},
            "'grace_period' is no option of scheduler 'fifo'; it takes none",
        ),
        ({"name": "median", "grace_period": -1}, "grace_period of the median rule is -1; .* at least 0"),
        (
            {"name": "median", "grace_period": "3"},
            "grace_period of the median rule is '3'; it must be a whole",
        ),
        ({"name": "median", "min_samples_required": 0}, "min_samples_required .* is 0; .* at least 1"),
        (MedianStoppingRule, "scheduler is <class .*, a class; it must be a name"),
        (object(), "scheduler is <object.*, which has no on_result; it must be a name such as 'median'"),
    ],
)
def test_schedulers_that_cannot_be(given: Any, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        resolve_scheduler(given, METRIC)


def test_a_scheduler_is_made_for_the_runs_metric() -> None:
    assert make_scheduler("median", METRIC)._metric == METRIC  # type: ignore[attr-defined]


# --- stopping, times, trials ---


def test_stop_criteria_and_functions() -> None:
    assert resolve_stop(None, SPACE) == ({}, None)
    assert resolve_stop({"training_iteration": 10, "loss": 0.5}, SPACE)[0] == {
        "training_iteration": 10.0,
        "loss": 0.5,
    }
    heard = []

    def stop(trial_id: str, result: dict[str, Any]) -> bool:
        heard.append((trial_id, result))
        return bool(result["loss"] < 1)

    criteria, stopper = resolve_stop(stop, SPACE)
    assert criteria == {}
    assert stopper is not None
    trial = Trial("00002", 2, {"x": 0.5}, {}, 0.0)
    trial.history.append(1, {"loss": 2.0}, 0.0)
    assert stopper(trial) is False
    trial.history.append(2, {"loss": 0.5, "text": "t"}, 0.0)
    assert stopper(trial) is True
    assert heard[1] == ("00002", {"loss": 0.5, "text": "t", "trial_id": "00002", "config": {"x": 0.5}})
    assert stopper.stop_all() is False


def test_a_stopper_gets_the_config_as_the_trainable_does() -> None:
    space = SearchSpace(
        {"act": choice([np.tanh, np.exp]), "shape": choice([(3, 3), (5, 5)]), "x": uniform(0, 1)}
    )
    config = {"act": np.exp, "shape": (5, 5), "x": 0.5}
    heard = []
    _, stopper = resolve_stop(lambda trial_id, result: heard.append(result["config"]), space)
    assert stopper is not None
    form = space.to_json(config)
    assert form != config
    assert not stopper(Trial("00000", 0, form, {}, 0.0))
    assert heard == [config]


def test_a_stopper_of_ray_ends_the_whole_run() -> None:
    class Stopper:
        calls = 0

        def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
            self.calls += 1
            return False

        def stop_all(self) -> bool:
            return self.calls >= 2

    _, stopper = resolve_stop(Stopper(), SPACE)
    assert stopper is not None
    trial = Trial("00002", 2, {}, {}, 0.0)
    assert [(stopper(trial), stopper.stop_all()) for _ in range(2)] == [(False, False), (False, True)]


@pytest.mark.parametrize(
    ("stop", "message"),
    [
        (5, r"stop is 5; it must be a dictionary, a function of \(trial_id, result\), or a Stopper"),
        (dict, "stop is <class 'dict'>; it must be .*, not its class"),
        (lambda result: True, r"stop cannot be called with \(trial_id, result\): too many positional"),
        ({"loss": "low"}, r"stop\['loss'\] is 'low'; it must be a number to be reached"),
        ({"loss": True}, r"stop\['loss'\] is True"),
        ({"loss": float("nan")}, r"stop\['loss'\] is nan"),
    ],
)
def test_stop_criteria_that_cannot_be(stop: Any, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        resolve_stop(stop, SPACE)


def test_time_budgets() -> None:
    assert seconds(None) is None
    assert seconds(2.5) == 2.5
    assert seconds(datetime.timedelta(minutes=2)) == 120.0


@pytest.mark.parametrize(
    ("num_samples", "space", "searcher", "guesses", "expected"),
    [
        (None, SPACE, RandomSearcher(SPACE), 0, 1),
        (7, SPACE, RandomSearcher(SPACE), 0, 7),
        (-1, SPACE, RandomSearcher(SPACE), 0, -1),
        (None, GRID, RandomSearcher(GRID), 0, 6),
        (2, GRID, RandomSearcher(GRID), 3, 12),
        (None, GRID, GridSearcher(GRID), 0, 6),
        (4, GRID, GridSearcher(GRID), 0, 4),
        (99, GRID, GridSearcher(GRID), 0, 6),
        (None, GRID, GridSearcher(GRID), 2, 8),
        (99, GRID, GridSearcher(GRID), 2, 8),
    ],
)
def test_how_many_trials(num_samples: Any, space: Any, searcher: Any, guesses: int, expected: int) -> None:
    assert total_trials(num_samples, space, searcher, guesses) == expected


@pytest.mark.parametrize("num_samples", [0, -2, 1.5, True, "3"])
def test_numbers_of_trials_that_cannot_be(num_samples: Any) -> None:
    with pytest.raises(SpecError, match=r"num_samples is .*; it must be at least 1, or -1 for no bound"):
        total_trials(num_samples, SPACE, RandomSearcher(SPACE))


def test_guesses_are_checked_and_copied() -> None:
    given = [{"x": 0.5}]
    guesses = make_guesses(given, SPACE)
    assert guesses == given
    assert guesses[0] is not given[0]
    assert make_guesses(None, SPACE) == []
    assert make_guesses(({"x": x} for x in (0.1, 0.2)), SPACE) == [{"x": 0.1}, {"x": 0.2}]
    with pytest.raises(SpaceError, match=r"points_to_evaluate\[0\]: 'x': 3 is not in uniform"):
        make_guesses([{"x": 3}], SPACE)
    with pytest.raises(SpaceError, match=r"points_to_evaluate is {'x': 0.5}; it must be a list of configs"):
        make_guesses({"x": 0.5}, SPACE)  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CheckpointConfig(num_to_keep=0), "num_to_keep is 0; it must be at least 1, or None to keep"),
        (lambda: CheckpointConfig(num_to_keep=1.5), "num_to_keep is 1.5"),  # type: ignore[arg-type]
        (lambda: CheckpointConfig(2, 3), "checkpoint_score_attribute is 3; it must be the name of a"),  # type: ignore[arg-type]
        (lambda: CheckpointConfig(None, "loss", "best"), "checkpoint_score_order is 'best'; it must be"),
    ],
)
def test_checkpoint_settings_that_cannot_be(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        make()


def test_checkpoint_settings() -> None:
    assert CheckpointConfig().metric is None
    assert CheckpointConfig(2, "loss", "min").metric == METRIC
    assert FailureConfig() == FailureConfig(0, False)


# --- what has changed ---


def test_fingerprints_tell_when_space_or_source_has_changed() -> None:
    def one(config: Any) -> int:
        return 1

    def other(config: Any) -> int:
        return 2

    first = fingerprints(one, SPACE)
    assert first == fingerprints(one, SearchSpace({"x": uniform(0, 1)}))
    assert fingerprints(other, SPACE)["trainable"] != first["trainable"]
    assert fingerprints(one, SearchSpace({"x": uniform(0, 2)}))["space"] != first["space"]
    wrapped = tune.with_parameters(tune.with_resources(one, {"cpu": 1}), data=[1])
    assert fingerprints(wrapped, SPACE) == first, "neither resources nor data are what it does"


def test_fingerprints_of_objects_do_not_depend_on_where_they_lie() -> None:
    class Trainer:
        def __call__(self, config: Any) -> None:
            """Trains."""

    assert fingerprints(Trainer(), SPACE) == fingerprints(Trainer(), SPACE)
    assert fingerprints(functools.partial(train), SPACE) == fingerprints(train, SPACE)
    scripts = [tune.Script(["python", name], {"x": "(x)"}) for name in ("a.py", "a.py", "b.py")]
    a, same, b = (fingerprints(s, SPACE)["trainable"] for s in scripts)
    assert a == same != b


def test_a_storage_path_is_the_same_for_processes_that_work_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute_storage_path("results") == str(tmp_path / "results")
    assert absolute_storage_path(Path("results")) == str(tmp_path / "results")
    assert absolute_storage_path("s3://bucket/runs") == "s3://bucket/runs"


# --- refused by tune.run before anything starts ---


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"metric": None}, r"metric is None and mode is 'max'; say what to optimise"),
        ({"mode": None}, r"metric is 'score' and mode is None"),
        ({"mode": "best"}, r"mode is 'best'; it must be \"max\" or \"min\""),
        ({"num_samples": 0}, "num_samples is 0"),
        ({"max_concurrent_trials": 0}, "max_concurrent_trials is 0; it must be at least 1, or None"),
        ({"resources_per_trial": {"gpu": -1}}, "asks for gpu = -1; it must be a number of at least 0"),
        ({"resources_per_trial": {"gpu": 1.5}}, "asks for gpu = 1.5; above 1 it must be a whole number"),
        ({"resources_per_trial": 1}, "resources_per_trial is 1; it must be a dictionary"),
        ({"scope": "best"}, "scope is 'best'; it must be one of last, avg"),
        ({"time_budget_s": 0}, "time_budget_s is 0; it must be a positive number of seconds"),
        ({"time_budget_s": float("inf")}, "time_budget_s is inf"),
        ({"grace_period_s": -1}, "grace_period_s is -1; it must be a positive number of seconds"),
        ({"grace_period_s": None}, "grace_period_s is None; it must be a positive number of seconds"),
        ({"report_timeout_s": "never"}, "report_timeout_s is 'never'; it must be a positive number"),
        ({"max_failures": -2}, "max_failures is -2; it must be 0 or more, or -1"),
        ({"max_failures": "3"}, "max_failures is '3'"),
        ({"max_concurrent_trials": 1.5}, "max_concurrent_trials is 1.5"),
        ({"name": "a/b"}, "name is 'a/b'"),
        ({"name": 3}, "name is 3; it must be 1 to 200 letters"),
        ({"metric": ["score"]}, r"metric is \['score'\]; it must be the name of one metric"),
        ({"storage_path": 3}, "storage_path is 3; it must be a directory, or a URI"),
        ({"resume": "AUTO", "name": "a"}, r"resume is 'AUTO'; it must be False or True or \"auto\""),
        ({"fail_fast": 1}, "fail_fast is 1; it must be False or True"),
        ({"journal": 3}, "journal is 3; it must be the URL of a database, or the path"),
        ({"seed": 2.0}, "seed is 2.0"),
        ({"search_alg": {"name": "random", "note": {1}}}, "'note' is no option"),
        ({"fail_fast": "raise"}, "fail_fast is 'raise'; it must be False or True"),
        ({"verbose": "no"}, "verbose is 'no'; it must be 0 for silence"),
        (
            {"checkpoint_config": {"num_to_keep": 1}},
            r"checkpoint_config is .*; it must be a raytune_gp.tune.CheckpointConfig\(",
        ),
        ({"callbacks": tune.Callback()}, r"callbacks is <.*; it must be a list, such as \[Callback\(\)\]"),
        ({"callbacks": [print]}, "callbacks has the function print, which nothing would call: write a"),
        ({"callbacks": [tune.Callback]}, r"callbacks has the class Callback: make one, Callback\(\)"),
        (
            {"config": {"m": {"lr": uniform}}},
            r"'m/lr' is the function uniform itself, .* tune.uniform\(lower, upper\)",
        ),
        ({"seed": -1}, "seed is -1"),
        ({"executor": "slurm"}, r"executor is 'slurm'; it must be \"ray\" or \"inline\""),
        ({"resume": True}, "resume needs the name of the run to go on with: give name="),
        ({"stop": 3}, "stop is 3"),
        ({"search_alg": "grid"}, "grid search cannot list the values of 'x'"),
        ({"points_to_evaluate": [{"y": 1}]}, "'y' is not in the search space"),
        ({"config": [1]}, r"a search space is a dictionary of names and domains, not \[1\]"),
    ],
)
def test_a_run_that_cannot_be_leaves_no_trace(given: dict[str, Any], message: str, run_settings: Any) -> None:
    settings = {"config": {"x": uniform(0, 1)}, "metric": "score", "mode": "max", **run_settings, **given}
    settings.setdefault("executor", "inline")
    with pytest.raises((SpecError, SpaceError), match=message):
        tune.run(train, **settings)
    assert not Path(run_settings["journal"].removeprefix("sqlite:///")).exists()


def test_the_metric_of_a_program_is_one_that_it_has_a_pattern_for(run_settings: Any) -> None:
    script = tune.Script(["python", "-c", "print('loss=1')"], {"loss": "loss=(.*)"})
    with pytest.raises(
        SpecError, match="metric is 'los', for which the program has no pattern; did you mean"
    ):
        tune.run(script, config={}, metric="los", mode="min", executor="inline", **run_settings)
    results = tune.run(
        script, config={}, metric="time_total_s", mode="min", executor="inline", **run_settings
    )
    assert results.best_result.metrics["loss"] == 1


def test_numbers_of_numpy_are_taken_as_pythons(run_settings: Any) -> None:
    def best(config: Any) -> None:
        tune.report({"score": config["x"]})

    three: Any = np.int64(3)
    minute: Any = np.float32(60)
    results = tune.run(
        best,
        config={"x": uniform(0, 1)},
        metric="score",
        mode="max",
        num_samples=three,
        max_concurrent_trials=three,
        max_failures=three,
        seed=three,
        resources_per_trial={"cpu": np.float64(1)},
        time_budget_s=minute,
        grace_period_s=three,
        search_alg={"name": "gp", "initial": three},
        scheduler={"name": "median", "grace_period": three},
        stop={"score": np.float32(2)},
        checkpoint_config=CheckpointConfig(num_to_keep=three),
        executor="inline",
        **{**run_settings, "journal": Path(run_settings["journal"].removeprefix("sqlite:///"))},
    )
    assert len(results) == 3
    assert not results.errors


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tune_config": {"metric": "m"}}, r"tune_config is {.*}; it must be a raytune_gp.tune.TuneConfig"),
        ({"num_samples": 3}, r"num_samples belongs in tune_config=tune.TuneConfig\(num_samples=…\)"),
        ({"fail_fast": True}, r"belongs in failure_config of run_config=tune.FailureConfig\(fail_fast=…\)"),
        ({"stop": {"m": 3}}, r"stop belongs in run_config=tune.RunConfig\(stop=…\)"),
        ({"run_config": {"name": "n"}}, r"run_config is {.*}; it must be a raytune_gp.tune.RunConfig"),
        (
            {"run_config": tune.RunConfig(failure_config={"max_failures": 1})},  # type: ignore[arg-type]
            r"failure_config is {.*}; it must be a raytune_gp.tune.FailureConfig",
        ),
    ],
)
def test_settings_of_tuner_that_cannot_be(settings: Any, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        tune.Tuner(train, **settings).fit()


def test_a_trainable_that_cannot_be_called_is_refused(run_settings: Any) -> None:
    with pytest.raises(TrainableError, match="cannot be called with one config"):
        tune.run(lambda: None, config={}, metric="m", mode="max", **run_settings)


def test_the_objects_of_tuner_say_the_same_as_the_settings_of_run(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: dict[str, Any] = {}
    monkeypatch.setattr(tune, "run", lambda trainable, **settings: heard.update(settings))
    space = {"x": choice([1])}
    tune_config = tune.TuneConfig(metric="m", mode="min", num_samples=3, seed=5, time_budget_s=9)
    run_config = tune.RunConfig(
        name="n",
        failure_config=FailureConfig(max_failures=2, fail_fast=True),
        checkpoint_config=CheckpointConfig(num_to_keep=1),
    )
    tune.Tuner(
        train, param_space=space, tune_config=tune_config, run_config=run_config, executor="inline"
    ).fit()
    expected = {"metric": "m", "mode": "min", "num_samples": 3, "seed": 5, "time_budget_s": 9, "name": "n"}
    expected |= {"max_failures": 2, "fail_fast": True, "checkpoint_config": CheckpointConfig(num_to_keep=1)}
    expected |= {"config": space, "executor": "inline"}
    assert {k: heard[k] for k in expected} == expected
    assert not heard.get("resume")
    tune.Tuner.restore("old", train, param_space=space, tune_config=tune_config, run_config=run_config).fit()
    assert (heard["name"], heard["resume"]) == ("old", True)
    assert run_config.name == "n", "what the user made stays as it was"


def test_a_grid_of_integers_needs_no_number_of_samples() -> None:
    space = SearchSpace({"k": randint(0, 5)})
    searcher, _ = resolve_searcher("grid", space, METRIC, 0)
    assert total_trials(None, space, searcher) == 5
