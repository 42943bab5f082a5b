"""What a trial reserves, spelled in every way that Ray knows, and how many trials that makes."""

from __future__ import annotations

from typing import Any

import pytest
from ray._private.label_utils import validate_label_selector
from ray.train.v2.api.config import ScalingConfig

from raytune_gp.errors import SpecError
from raytune_gp.execution.placement import Demand, Node, fits, whole_trials
from raytune_gp.execution.resources import actor_options, check_demand, check_resources, check_sharing
from raytune_gp.spec import in_words
from raytune_gp.trainable.parameters import PlacementGroupFactory, resources_of

ZONE = {"zone": "in(a, b)"}


@pytest.mark.parametrize(
    ("given", "plain"),
    [
        ({}, {"cpu": 1}),
        ({"gpu": 1}, {"cpu": 1, "gpu": 1}),
        ({"CPU": 2, "GPU": 0.5}, {"cpu": 2, "gpu": 0.5}),
        ({"cpu": 0}, {"cpu": 0}),
        ({"GPU": "auto"}, {"cpu": 1, "gpu": "auto"}),
        ({"memory": 2**30}, {"cpu": 1, "memory": 2**30}),
        ({"accelerator_type": "A100"}, {"cpu": 1, "accelerator_type": "A100"}),
        ({"TPU": 4}, {"cpu": 1, "TPU": 4}),
        ({"custom_resources": {"disk": 2}}, {"cpu": 1, "disk": 2}),
        ({"resources": {"disk": 2}}, {"cpu": 1, "disk": 2}),
        ({"placement": "spread"}, {"cpu": 1, "placement": "spread"}),
        ({"label_selector": {"zone": "!a"}}, {"cpu": 1, "label_selector": {"zone": "!a"}}),
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
        ({"cpu": "auto"}, "cpu = 'auto'"),
        ({"gpu": True}, "gpu = True"),
        ({"gpu": None}, "gpu = None"),
        ({"memory": float("inf")}, "memory = inf"),
        ({"gpu": 1.5}, "gpu = 1.5; above 1 it must be a whole number"),
        ({"custom_resources": {"disk": -2}}, "disk = -2"),
        ({"custom_resources": 3}, "custom_resources = 3; it must be a dictionary"),
        ({"accelerator_type": 3}, "accelerator_type = 3; it must be a name such as"),
        ({"placement": "SPREAD"}, 'placement = \'SPREAD\'; it must be "pack" or "spread"'),
        ({"placement": ["spread"]}, "placement = \\['spread'\\]; it must be"),
        ({"label_selector": "spot"}, "label_selector = 'spot'; it must be a dictionary of labels"),
        ({"label_selector": {}}, "label_selector = {}; it must be a dictionary of labels"),
        ({"label_selector": {"ray.io/": "a"}}, "label_selector 'ray.io/'; a label's name is of at most 63"),
        ({"label_selector": {"a" * 64: "a"}}, "label_selector 'a{64}'; a label's name"),
        ({"label_selector": {3: "a"}}, "label_selector 3; a label's name"),
        (
            {"label_selector": {"rack": 3}},
            'label_selector rack = 3; it must be one of "value", "!value", "in',
        ),
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
        ({"cpu": 1, "label_selector": ZONE}, {"num_cpus": 1, "label_selector": ZONE}),
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
    assert fits(resources, Node(node)) == count


@pytest.mark.parametrize(
    ("condition", "zones"),
    [
        ("a", ["a"]),
        ("!a", ["b", "c", None]),
        ("in(a,b)", ["a", "b"]),
        ("in(a, b)", ["a", "b"]),
        ("!in(a, b)", ["c", None]),
        ("in(a)", ["a"]),
        ("in", []),
    ],
)
def test_which_nodes_a_condition_on_a_label_takes(condition: str, zones: list[str | None]) -> None:
    resources = check_resources({"label_selector": {"zone": condition}})
    assert validate_label_selector({"zone": condition}) is None
    labels = {zone: {"zone": zone} if zone else {} for zone in ("a", "b", "c", None)}
    assert [zone for zone in labels if fits(resources, Node({"CPU": 1.0}, labels[zone]))] == zones


@pytest.mark.parametrize(
    "condition", ["", "!", "!!a", "a b", "a,b", "-a", "in()", "in(a b)", "in(a,)", "a" * 64, None]
)
def test_conditions_that_ray_would_refuse_or_never_meet(condition: Any) -> None:
    with pytest.raises(SpecError, match=r"label_selector zone = .*; it must be one of"):
        check_resources({"label_selector": {"zone": condition}})
    assert not condition or validate_label_selector({"zone": condition})


def test_workers_of_a_trial_go_where_their_labels_say() -> None:
    nodes = [Node({"CPU": 4.0}, {"zone": "a"}), Node({"CPU": 3.0}, {"zone": "b"})]
    in_b = {"cpu": 1, "label_selector": {"zone": "b"}}
    assert whole_trials(Demand({"cpu": 0}, [in_b]), nodes) == 3
    assert whole_trials(Demand({"cpu": 0}, [in_b, in_b]), nodes) == 1
    assert whole_trials(Demand({"cpu": 0}, [in_b, {"cpu": 1}], "STRICT_PACK"), nodes) == 1
    in_a = {"cpu": 1, "label_selector": {"zone": "a"}}
    assert whole_trials(Demand({"cpu": 0}, [in_b, in_a], "STRICT_PACK"), nodes) == 0


def test_labels_in_words() -> None:
    resources = check_resources({"cpu": 2, "label_selector": {"zone": "!a", "rack": "in(1, 2)"}})
    assert in_words(resources) == "cpu 2, label_selector zone !a and rack in(1, 2)"


@pytest.mark.parametrize(
    ("selector", "zones"),
    [(None, [None] * 2), ({"zone": "a"}, ["a"] * 2), ([{"zone": "a"}, {}], ["a", None])],
)
def test_labels_of_the_workers_of_ray_train(selector: Any, zones: list[str | None]) -> None:
    scaling = ScalingConfig(num_workers=2, label_selector=selector)
    bundles = check_demand(resources_of(None, scaling)).bundles
    assert [bundle.get("label_selector", {}).get("zone") for bundle in bundles] == zones


def test_a_share_that_is_left_to_the_run_is_a_whole_gpu_at_first() -> None:
    asked = check_demand(resources_of(None, {"cpu": 1, "gpu": "auto"}))
    demand = asked.sharing(1)
    node = Node({"CPU": 8.0, "GPU": 2.0})
    assert actor_options(demand.resources)["num_gpus"] == 1
    assert whole_trials(demand, [node]) == 2
    assert actor_options(asked.sharing(3).resources)["num_gpus"] == 0.3333
    assert whole_trials(asked.sharing(3), [node]) == 6
    assert whole_trials(demand, [Node({"CPU": 8.0})]) == 0
    plain = check_demand(resources_of(None, {"gpu": 0.5}))
    assert plain.sharing(3) is plain


def test_where_no_share_can_be_left_to_the_run() -> None:
    with pytest.raises(SpecError, match="workers that a trial starts itself"):
        check_demand(resources_of(None, PlacementGroupFactory([{"CPU": 1}, {"GPU": "auto"}])))
    with pytest.raises(SpecError, match="executor is 'inline'"):
        check_sharing({"gpu": "auto"}, "inline")
