"""Trainables that bring large objects or resources of their own."""

from __future__ import annotations

from typing import Any

import cloudpickle
import pytest

from raytune_gp import tune
from raytune_gp.errors import SpecError
from raytune_gp.trainable.parameters import Equipped, resources_of
from raytune_gp.trainable.run import check_trainable


def train(config: Any, data: Any = None, scale: float = 1.0) -> Any:
    return {"score": sum(data or ()) * scale * config["x"]}


def test_objects_come_with_each_call() -> None:
    made: Any = tune.with_parameters(train, data=[1, 2], scale=2.0)
    check_trainable(made)
    assert made({"x": 3}) == {"score": 18.0}
    assert made.__name__ == "train"


def test_objects_stay_behind_when_it_travels_and_are_put_back() -> None:
    made = tune.with_parameters(train, data=list(range(100_000)))
    light = cloudpickle.dumps(made.without())
    assert len(light) < 5_000
    back = cloudpickle.loads(light).given(made.parameters)
    assert isinstance(back, Equipped)
    assert back({"x": 1}) == made({"x": 1})


def test_only_functions_take_parameters() -> None:
    with pytest.raises(SpecError, match="with_parameters takes a function or a class; it was given 'train'"):
        tune.with_parameters("train", data=1)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("trainable", "resources", "expected"),
    [
        (train, None, {"cpu": 1}),
        (train, {"gpu": 0.5}, {"gpu": 0.5}),
        (tune.with_resources(train, {"cpu": 2}), None, {"cpu": 2}),
        (tune.with_resources(train, {"cpu": 2}), {"cpu": 3}, {"cpu": 3}),
        (train, tune.PlacementGroupFactory([{"CPU": 2, "GPU": 1}]), {"CPU": 2, "GPU": 1}),
        (train, tune.PlacementGroupFactory([{}, {"CPU": 4}]), {"CPU": 4}),
    ],
)
def test_what_a_trial_reserves(trainable: Any, resources: Any, expected: Any) -> None:
    assert resources_of(trainable, resources).process == expected


def test_rays_own_placement_group_factory_serves() -> None:
    class Theirs:
        bundles = ({"CPU": 1.0, "GPU": 2.0},)

    assert resources_of(train, Theirs()).process == {"CPU": 1.0, "GPU": 2.0}


@pytest.mark.parametrize(
    "made",
    [
        tune.with_parameters(tune.with_resources(train, {"cpu": 2}), data=[5]),
        tune.with_resources(tune.with_parameters(train, data=[5]), {"cpu": 2}),
    ],
    ids=["resources inside", "resources outside"],
)
def test_parameters_and_resources_go_together(made: Any) -> None:
    check_trainable(made)
    assert made({"x": 2}) == {"score": 10.0}
    assert resources_of(made, None).process == {"cpu": 2}
    assert resources_of(made.without(), None).process == {"cpu": 2}


@pytest.mark.parametrize("bundles", [[], [{}]])
def test_a_trial_reserves_something(bundles: Any) -> None:
    with pytest.raises(SpecError, match="was given no bundle that is not empty"):
        tune.PlacementGroupFactory(bundles)


def test_strategies_are_rays() -> None:
    with pytest.raises(SpecError, match="strategy is 'NEAR'; it must be one of PACK, SPREAD, STRICT_PACK"):
        tune.PlacementGroupFactory([{"CPU": 1}], "NEAR")


@pytest.mark.parametrize(
    ("bundles", "process", "workers"),
    [
        ([{"CPU": 1}, {"CPU": 2}, {"GPU": 1}], {"CPU": 1}, [{"CPU": 2}, {"GPU": 1}]),
        ([{}, {"CPU": 2}, {"CPU": 2}], {}, [{"CPU": 2}, {"CPU": 2}]),
    ],
)
def test_further_bundles_are_for_workers_that_it_starts(bundles: Any, process: Any, workers: Any) -> None:
    made = tune.PlacementGroupFactory(bundles)
    assert (made.process, made.workers) == (process, workers)
    assert resources_of(train, made) is made


def test_resources_are_a_dictionary() -> None:
    with pytest.raises(SpecError, match="resources_per_trial is 2; it must be a dictionary such as"):
        resources_of(train, 2)
