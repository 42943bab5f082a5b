"""What a trial reserves, spelled in every way that Ray knows, and how many trials that makes."""

from __future__ import annotations

from typing import Any

import pytest

from raytune_gp.errors import SpecError
from raytune_gp.execution.placement import fits
from raytune_gp.execution.resources import actor_options, check_resources


@pytest.mark.parametrize(
    ("given", "plain"),
    [
        ({}, {"cpu": 1}),
        ({"gpu": 1}, {"cpu": 1, "gpu": 1}),
        ({"CPU": 2, "GPU": 0.5}, {"cpu": 2, "gpu": 0.5}),
        ({"cpu": 0}, {"cpu": 0}),
        ({"memory": 2**30}, {"cpu": 1, "memory": 2**30}),
        ({"accelerator_type": "A100"}, {"cpu": 1, "accelerator_type": "A100"}),
        ({"TPU": 4}, {"cpu": 1, "TPU": 4}),
        ({"custom_resources": {"disk": 2}}, {"cpu": 1, "disk": 2}),
        ({"resources": {"disk": 2}}, {"cpu": 1, "disk": 2}),
        ({"placement": "spread"}, {"cpu": 1, "placement": "spread"}),
    ],
)
def test_one_spelling(given: dict[str, Any], plain: dict[str, Any]) -> None:
    assert check_resources(given) == plain
    assert check_resources(plain) == plain


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"cpu": -1}, "cpu = -1; it must be a number of at least 0"),
        ({"gpu": "one"}, "gpu = 'one'"),
        ({"gpu": True}, "gpu = True"),
        ({"gpu": None}, "gpu = None"),
        ({"memory": float("inf")}, "memory = inf"),
        ({"gpu": 1.5}, "gpu = 1.5; above 1 it must be a whole number"),
        ({"custom_resources": {"disk": -2}}, "disk = -2"),
        ({"custom_resources": 3}, "custom_resources = 3; it must be a dictionary"),
        ({"accelerator_type": 3}, "accelerator_type = 3; it must be a name such as"),
        ({"placement": "SPREAD"}, 'placement = \'SPREAD\'; it must be "pack" or "spread"'),
        ({"placement": ["spread"]}, "placement = \\['spread'\\]; it must be"),
    ],
)
def test_amounts_that_ray_would_refuse(given: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=f"resources_per_trial asks for {message}"):
        check_resources(given)


@pytest.mark.parametrize(
    ("resources", "options"),
    [
        ({"cpu": 1}, {"num_cpus": 1}),
        ({"cpu": 0, "gpu": 0}, {"num_cpus": 0}),
        ({"cpu": 2, "gpu": 0.5, "memory": 99}, {"num_cpus": 2, "num_gpus": 0.5, "memory": 99}),
        (
            {"cpu": 1, "accelerator_type": "A100", "disk": 2, "none": 0},
            {"num_cpus": 1, "accelerator_type": "A100", "resources": {"disk": 2}},
        ),
        ({"cpu": 1, "placement": "pack"}, {"num_cpus": 1, "scheduling_strategy": "DEFAULT"}),
        ({"cpu": 1, "placement": "spread"}, {"num_cpus": 1, "scheduling_strategy": "SPREAD"}),
    ],
)
def test_options_of_an_actor(resources: dict[str, Any], options: dict[str, Any]) -> None:
    assert actor_options(resources) == options


@pytest.mark.parametrize(
    ("resources", "node", "count"),
    [
        ({"cpu": 1}, {"CPU": 4.0}, 4),
        ({"cpu": 3}, {"CPU": 4.0}, 1),
        ({"cpu": 1, "gpu": 0.3}, {"CPU": 8.0, "GPU": 1.0}, 3),
        ({"cpu": 1, "gpu": 0.1}, {"CPU": 64.0, "GPU": 1.0}, 10),
        ({"cpu": 0.1}, {"CPU": 0.3}, 3),
        ({"cpu": 1, "gpu": 1}, {"CPU": 8.0}, 0),
        ({"cpu": 1, "memory": 4e9}, {"CPU": 8.0, "memory": 9e9}, 2),
        ({"cpu": 1, "disk": 2}, {"CPU": 8.0, "disk": 3.0}, 1),
        ({"cpu": 1, "placement": "spread"}, {"CPU": 8.0}, 8),
        ({"cpu": 1, "accelerator_type": "A100"}, {"CPU": 8.0, "accelerator_type:A100": 1.0}, 8),
        ({"cpu": 1, "accelerator_type": "A100"}, {"CPU": 8.0, "accelerator_type:T4": 1.0}, 0),
        ({"cpu": 0}, {}, 1000),
    ],
)
def test_how_many_trials_a_node_holds(resources: dict[str, Any], node: dict[str, float], count: int) -> None:
    assert fits(resources, node) == count
