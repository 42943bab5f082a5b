"""`ResultGrid.predict`: what new trials would come to, whoever searched the run."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from raytune_gp import tune
from raytune_gp.analysis.report import report_html
from raytune_gp.errors import RunError, SpaceError, SpecError
from raytune_gp.results import ResultGrid
from raytune_gp.space import SearchSpace
from raytune_gp.space.definition import definition
from tests.analysis.examples import Maker, example_run

SPACE = SearchSpace(
    {
        "model": {"kind": tune.choice(["net", "tree"]), "rate": tune.loguniform(1e-4, 1.0)},
        "momentum": tune.when("model/kind", ["net"], tune.uniform(0.0, 1.0)),
        "shape": tune.choice([(3, 3), (5, 5)]),
        "epochs": 3,
    }
)


def accuracy(config: dict[str, Any]) -> float:
    return 0.8 - 0.1 * (math.log10(config["model"]["rate"]) + 2) ** 2 - 0.1 * config.get("momentum", 0.5)


def grid(count: int, noise: float = 0.02) -> ResultGrid:
    """A run of `count` random trials."""
    maker = Maker(space={**SPACE.describe(), "definition": definition(SPACE)})
    rng = np.random.default_rng(0)
    for _ in range(count):
        config = SPACE.resolve(SPACE.sample(rng), rng)
        maker.trial(SPACE.to_json(config), [{"accuracy": accuracy(config) + noise * rng.normal()}])
    return ResultGrid(maker.end(), restore_config=SPACE.from_json)


@pytest.fixture(scope="module")
def results() -> ResultGrid:
    return grid(60)


def test_intervals_hold_what_new_trials_come_to(results: ResultGrid) -> None:
    rng = np.random.default_rng(1)
    configs = [SPACE.sample(rng) for _ in range(100)]
    reported = np.array([accuracy(config) + 0.02 * rng.normal() for config in configs])
    found = results.predict(configs)
    assert list(found) == ["median", "low", "high"]
    assert ((found["low"] <= found["median"]) & (found["median"] <= found["high"])).all()
    assert ((found["low"] <= reported) & (reported <= found["high"])).mean() >= 0.8
    assert np.abs(found["median"] - reported).median() < 0.05
    half = results.predict(configs, share=0.5)
    assert ((half["high"] - half["low"]) < (found["high"] - found["low"])).mean() > 0.9


def test_the_trials_of_the_run_can_be_asked_for_as_they_are(results: ResultGrid) -> None:
    found = results.predict([results.best_config])
    assert found["low"][0] < results.best_result.metrics["accuracy"] < found["high"][0]
    assert results.predict([]).empty


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model": {"kind": "net"}}, "lacks 'model/rate', 'momentum', 'shape': give all of it"),
        ({"model": {"kind": "net", "rate": 2.0}, "momentum": 0.5, "shape": (3, 3)}, "2.0 is not in"),
        ({"model": {"kind": "cart", "rate": 0.1}, "shape": (3, 3)}, "'cart' is not in"),
        ({"model": {"kind": "tree", "rate": 0.1}, "shape": len}, "is none of"),
        ({"rate": 0.1}, "'rate' is not in the search space"),
    ],
)
def test_what_is_no_config_of_the_space_is_said(results: ResultGrid, config: Any, message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        results.predict([config])


def test_what_results_cannot_say_is_an_error_that_says_why() -> None:
    with pytest.raises(SpecError, match="9 of the observations have a value; a prediction needs 10"):
        grid(9).predict([])
    with pytest.raises(SpecError, match=r"share is 1\.5"):
        grid(10).predict([], share=1.5)
    wrong: Any = "0.9"
    with pytest.raises(SpecError, match=r"share is '0\.9'"):
        grid(10).predict([], share=wrong)
    one: Any = {"model": {"kind": "tree"}}
    with pytest.raises(SpecError, match=r"configs is {'model': .*}; it must be a list of configs"):
        grid(10).predict(one)
    with pytest.raises(RunError, match=r"cannot be read again: .* was not kept"):
        ResultGrid(example_run()).predict([])
    nothing = Maker(space={"definition": definition(SearchSpace({"n": 3}))})
    for _ in range(10):
        nothing.trial({"n": 3}, [{"accuracy": 0.5}])
    with pytest.raises(SpecError, match="there is nothing to predict by"):
        ResultGrid(nothing.end()).predict([{"n": 3}])
    assert "another trial" not in report_html(nothing.state)
    torn = Maker(space={"definition": {"leaves": [{"path": 7}]}}).trial({}, [{"accuracy": 0.5}])
    with pytest.raises(RunError, match="cannot be read again"):
        ResultGrid(torn.end()).predict([])


def test_a_run_of_any_searcher_predicts(run_settings: dict[str, Any]) -> None:
    def train(config: dict[str, Any]) -> None:
        tune.report({"loss": (config["x"] - 0.3) ** 2})

    results = tune.run(
        train,
        config={"x": tune.uniform(0, 1)},
        metric="loss",
        mode="min",
        num_samples=20,
        search_alg="random",
        executor="inline",
        **run_settings,
    )
    near, far = results.predict([{"x": 0.3}, {"x": 0.9}])["median"]
    assert near == pytest.approx(0.0, abs=0.02)
    assert far == pytest.approx(0.36, abs=0.05)
