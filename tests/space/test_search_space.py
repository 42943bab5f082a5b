"""The search space: nesting, conditions, functions, the grid, guesses, counting, and the journal's JSON."""

from __future__ import annotations

import enum
import itertools
import json
import math
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import cloudpickle
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raytune_gp import space as s
from raytune_gp.errors import SpaceError
from raytune_gp.space import SearchSpace
from tests.patience import HANGS_S


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


class Colour(enum.Enum):
    RED = 1


def relu(x: float) -> float:
    return max(x, 0.0)


MODELS = SearchSpace(
    {
        "lr": s.loguniform(1e-4, 1e-1),
        "optimizer": s.choice(["sgd", "adam", "rmsprop"]),
        "momentum": s.when("optimizer", ["sgd", "rmsprop"], s.uniform(0, 0.99)),
        "nesterov": s.when("optimizer", ["sgd"], s.choice([True, False])),
        "model": {
            "kind": s.choice(["cnn", "mlp"]),
            "conv": s.when(
                "model/kind",
                ["cnn"],
                {
                    "layers": s.randint(1, 4),
                    "kernel": s.when("model/conv/layers", [2, 3], s.choice([(3, 3), (5, 5)])),
                },
            ),
            "scheme": s.when("model/kind", ["mlp"], "he"),
        },
        "epochs": 5,
    }
)


# Shape


def test_the_flat_names_are_joined_paths() -> None:
    assert list(MODELS.domains) == [
        "lr",
        "optimizer",
        "momentum",
        "nesterov",
        "model/kind",
        "model/conv/layers",
        "model/conv/kernel",
    ]
    assert dict(MODELS.constants) == {"model/scheme": "he", "epochs": 5}
    assert MODELS.order.index("model/conv/layers") < MODELS.order.index("model/conv/kernel")


def test_a_config_is_nested_as_its_space_is() -> None:
    config = {"lr": 0.01, "optimizer": "adam", "model": {"kind": "mlp", "scheme": "he"}, "epochs": 5}
    flat = {"lr": 0.01, "optimizer": "adam", "model/kind": "mlp", "model/scheme": "he", "epochs": 5}
    assert MODELS.flat(config) == flat
    assert MODELS.flat(flat) == flat
    assert MODELS.nested(flat) == config


def test_values_that_are_dictionaries_are_not_taken_apart() -> None:
    choices = s.choice([{"a": 1}, {}])
    nested: dict[Any, Any] = {"x": choices, "empty": {}, "grid": {"grid_search": [1, 2]}, 3: {"k": 1}}
    space = SearchSpace(nested)
    assert list(space.grid_axes) == ["grid"]
    config: dict[Any, Any] = space.sample(rng())
    assert config["empty"] == {}
    assert config[3] == {"k": 1}
    assert space.flat(config)["x"] in ({"a": 1}, {})
    assert space.from_json(json.loads(json.dumps(space.to_json(config)))) == config


def test_a_space_may_be_empty() -> None:
    space = SearchSpace({})
    assert space.sample(rng()) == {}
    assert space.size == 1
    assert space.grid_cells() == [{}]


def test_a_space_travels_to_the_coordinator() -> None:
    assert MODELS.size is None
    copy = cloudpickle.loads(cloudpickle.dumps(MODELS))
    assert copy.fingerprint() == MODELS.fingerprint()
    assert copy.sample(rng()) == MODELS.sample(rng())


# Conditions


@given(st.integers(0, 10_000))
@settings(max_examples=100, deadline=None)
def test_a_parameter_exists_exactly_where_its_conditions_hold(seed: int) -> None:
    config = MODELS.sample(rng(seed))
    assert ("momentum" in config) == (config["optimizer"] != "adam")
    assert ("nesterov" in config) == (config["optimizer"] == "sgd")
    model = config["model"]
    assert ("conv" in model) == (model["kind"] == "cnn")
    assert ("scheme" in model) == (model["kind"] == "mlp")
    if "conv" in model:
        assert ("kernel" in model["conv"]) == (model["conv"]["layers"] > 1)
    assert MODELS.contains(config)
    MODELS.validate(config)
    assert MODELS.snap(config) == config


def test_conditions_on_numbers_constants_and_several_parents() -> None:
    space = SearchSpace(
        {
            "mode": "train",
            "a": s.quniform(0, 1, 0.1),
            "b": s.randint(0, 3),
            "always": s.when("mode", ["train"], s.choice([1, 2])),
            "both": s.when("a", [3 * 0.1, 0.4], s.when("b", (np.int64(1),), s.choice([7, 8]))),
        }
    )
    assert "always" not in space.conditions
    assert [str(c) for c in space.conditions["both"]] == ["'a' is one of 0.3, 0.4", "'b' is 1"]
    assert space.contains({"a": 0.3, "b": 1, "always": 1, "both": 7})
    assert not space.contains({"a": 0.3, "b": 1, "always": 1})
    assert not space.contains({"a": 0.3, "b": 2, "always": 1, "both": 7})


def test_a_condition_on_a_conditional_constant_is_that_constants_condition() -> None:
    space = SearchSpace(
        {
            "k": s.choice(["x", "y"]),
            "flag": s.when("k", ["x"], True),
            "z": s.when("flag", [True], s.choice([1, 2])),
        }
    )
    assert space.conditions["z"] == space.conditions["flag"]
    assert space.size == 3


def test_sample_from_and_constants_may_be_conditional() -> None:
    space = SearchSpace(
        {
            "k": s.choice(["x", "y"]),
            "f": s.when("k", ["x"], s.sample_from(lambda c: c["k"] * 2)),
            "g": s.when("k", ["y"], 1),
        }
    )
    assert space.resolve({"k": "x"}, rng()) == {"k": "x", "f": "xx"}
    assert space.resolve({"k": "y"}, rng()) == {"k": "y", "g": 1}


WRONG_SPACES: dict[str, Any] = {
    "is a dictionary of names and domains, not 3": 3,
    "'m' depends on 'optimiser', which is not in the space; did you mean 'optimizer'": {
        "optimizer": s.choice(["sgd"]),
        "m": s.when("optimiser", ["sgd"], 1),
    },
    "which is not in the space; there are 'q', 'm'": {"q": 1, "m": s.when("zzz", ["sgd"], 1)},
    "'m' depends on 'o' being 'adam', which choice\\(\\[sgd\\]\\) cannot be": {
        "o": s.choice(["sgd"]),
        "m": s.when("o", ["sgd", "adam"], 1),
    },
    "depends on 'n' being 9, which randint\\(0, 9\\) cannot be": {
        "n": s.randint(0, 9),
        "m": s.when("n", [9], 1),
    },
    "depends on 'g' being 3, which grid_search": {"g": s.grid_search([1, 2]), "m": s.when("g", [3], 1)},
    "'m' could never exist: 'o' is the constant 'sgd', and none of \\['adam'\\]": {
        "o": "sgd",
        "m": s.when("o", ["adam"], 1),
    },
    "hardly ever has one exact value": {"x": s.uniform(0, 1), "m": s.when("x", [0.5], 1)},
    "a sample_from, which is resolved too late": {"x": s.sample_from(lambda: 1), "m": s.when("x", [1], 1)},
    "round in a circle, ": {
        "a": s.when("b", [1], s.choice([1, 2])),
        "b": s.when("a", [1], s.choice([1, 2])),
    },
    "circle, 'a' -> 'a'": {"a": s.when("a", [1], s.choice([1, 2]))},
    "its conditions want different values of 'a'": {
        "a": s.choice([1, 2]),
        "b": s.when("a", [1], s.choice([1, 2])),
        "c": s.when("b", [1], s.when("a", [2], 1)),
    },
    "the grid axis 'g' depends on 'a', chosen by a searcher": {
        "a": s.choice([1, 2]),
        "g": s.when("a", [1], s.grid_search([1, 2])),
    },
    "two parameters have the flat name 'a/b'": {"a": {"b": 1}, "a/b": 2},
    "two parameters have the flat name '1'": {1: 1, "1": 2},
    "'m/x' is the function loguniform itself, not a domain: .*tune.loguniform\\(lower, upper\\)": {
        "m": {"x": s.loguniform}
    },
    "'m' is the function choice itself, .*tune.choice\\(categories\\)": {
        "o": "sgd",
        "m": s.when("o", ["sgd"], s.choice),
    },
    "'x' is a list with a domain inside: use": {"x": [s.uniform]},
    "'x' is a list with a domain inside": {"x": [1, {"y": (s.uniform(0, 1),)}]},
    "'x' is a choice with a domain inside of one of its values": {"x": s.choice([{"y": s.uniform(0, 1)}, 2])},
    "'x' is a choice with a domain inside of one": {"x": s.choice([1, [s.sample_from(lambda c: 1)]])},
    "'x' is a grid_search with a domain inside": {"x": {"grid_search": [[s.uniform], 2]}},
}


@pytest.mark.parametrize(("message", "config"), WRONG_SPACES.items(), ids=str)
def test_wrong_spaces_are_refused_with_the_reason(message: str, config: Any) -> None:
    with pytest.raises(SpaceError, match=message):
        SearchSpace(config)


# Functions


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "config": lambda config: config["n"] + config["m"]["k"],
    "config attributes": lambda config: config.n + config.m.k,
    "spec attributes": lambda spec: spec.config.n + spec.config.m.k,
    "spec items": lambda spec: spec["config"]["n"] + spec["config"]["m"]["k"],
    "nothing": lambda: 12,
}


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
def test_functions_read_the_config_in_all_of_rays_ways(function: Callable[..., Any]) -> None:
    space = SearchSpace({"n": s.randint(0, 10), "m": {"k": 5}, "f": s.sample_from(function)})
    assert space.resolve({"n": 7}, rng())["f"] == 12


def test_functions_are_called_after_those_they_read() -> None:
    space = SearchSpace(
        {
            "a": s.sample_from(lambda config: config["b"] + 1),
            "b": s.sample_from(lambda spec: spec.config.c * 2),
            "c": s.choice([10]),
        }
    )
    assert space.resolve({"c": 10}, rng()) == {"a": 21, "b": 20, "c": 10}


def test_functions_may_draw_from_the_runs_generator() -> None:
    space = SearchSpace({"n": 10, "f": s.sample_from(lambda config, rng: rng.integers(config["n"]))})
    drawn = [space.resolve({}, rng(seed))["f"] for seed in range(20)]
    assert drawn == [space.resolve({}, rng(seed))["f"] for seed in range(20)]
    assert len(set(drawn)) > 3
    assert all(type(value) is int for value in drawn)


def test_a_given_result_is_kept_and_a_tuple_becomes_what_the_journal_gives_back() -> None:
    space = SearchSpace({"f": s.sample_from(lambda: (1, (2,)))})
    assert space.resolve({}, rng()) == {"f": [1, [2]]}
    assert space.resolve({"f": 9}, rng()) == {"f": 9}


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (
            lambda config: config["nothing"],
            "sample_from of 'f' reads what this config does not have.*'nothing'",
        ),
        (lambda config: config["f"], "unresolved: 'f'"),
        (lambda: 1 / 0, "sample_from of 'f' raised ZeroDivisionError"),
        (lambda: relu, "sample_from of 'f': .* is not JSON"),
        (lambda: math.nan, "nan is not JSON"),
    ],
)
def test_functions_that_fail_are_named(function: Callable[..., Any], message: str) -> None:
    space = SearchSpace({"f": s.sample_from(function)})
    with pytest.raises(SpaceError, match=message):
        space.sample(rng())


# Guesses


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (3, "a config is a dictionary"),
        ({"lr": 1.0}, "'lr': 1.0 is not in loguniform\\(0.0001, 0.1\\)"),
        ({"lr": "0.01"}, "'lr': '0.01' is not in"),
        ({"learning_rate": 1.0}, "'learning_rate' is not in the search space; there are"),
        ({"optimiser": "sgd"}, "did you mean 'optimizer'"),
        ({"optimizer": "lion"}, "'optimizer': 'lion' is not in choice"),
        (
            {"optimizer": "adam", "momentum": 0.9},
            "'momentum' exists only where 'optimizer' is one of 'sgd', 'rmsprop'; here it is 'adam': leave",
        ),
        ({"momentum": 0.9}, "give 'optimizer' too"),
        (
            {"model": {"kind": "mlp", "conv": {"layers": 2}}},
            "'model/conv/layers' exists only where 'model/kind' is 'cnn'",
        ),
        ({"epochs": 6}, "'epochs' is the constant 5, not 6"),
        ({"model": 3}, "'model' is not in the search space"),
    ],
)
def test_wrong_guesses_are_refused_with_the_reason(config: Any, message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        MODELS.validate(config)
    if isinstance(config, dict):
        assert not MODELS.contains(config)


def test_a_partial_guess_is_completed_and_kept_to_the_bit() -> None:
    guess = {"lr": 0.0123456789, "optimizer": "sgd", "epochs": 5}
    for seed in range(10):
        config = MODELS.complete(guess, rng(seed))
        assert MODELS.contains(config)
        assert config["lr"] == 0.0123456789
        assert config["optimizer"] == "sgd"
        assert "momentum" in config
    assert not MODELS.contains(guess)
    with pytest.raises(SpaceError, match="'lr'"):
        MODELS.complete({"lr": 5}, rng())


def test_snapping_moves_drops_and_fills() -> None:
    snapped = MODELS.snap(
        {"lr": 5, "optimizer": "adam", "momentum": 0.3, "model": {"kind": "cnn", "conv": {"layers": 2.2}}}
    )
    assert snapped["lr"] == 0.1
    assert "momentum" not in snapped
    assert snapped["model"] == {"kind": "cnn", "conv": {"layers": 2, "kernel": (5, 5)}}
    assert snapped["epochs"] == 5
    with pytest.raises(SpaceError, match="'optimizer': 'x' is none of"):
        MODELS.snap({"optimizer": "x"})


def test_the_same_seed_gives_the_same_config() -> None:
    assert MODELS.sample(rng(3)) == MODELS.sample(rng(3))
    assert MODELS.sample(rng(3)) != MODELS.sample(rng(4))


def test_keys_tell_configs_apart_as_far_as_a_searcher_can() -> None:
    config = {"lr": 0.01, "optimizer": "adam", "model": {"kind": "mlp"}}
    assert MODELS.key(config) == MODELS.key({**config, "momentum": 0.5, "epochs": 5})
    assert MODELS.key(config) == MODELS.key(MODELS.snap(config))
    assert MODELS.key(config) != MODELS.key({**config, "lr": 0.0101})
    assert MODELS.key(config) != MODELS.key({**config, "optimizer": "sgd"})
    assert len({MODELS.key(MODELS.sample(rng(seed))) for seed in range(50)}) == 50


# Grid and size


def test_the_first_axis_of_the_grid_is_the_slowest() -> None:
    space = SearchSpace(
        {"x": s.grid_search([10, 20]), "lr": s.uniform(0, 1), "y": {"z": s.grid_search(["a", "b", "c"])}}
    )
    assert space.grid_cells() == [{"x": x, "y/z": z} for x, z in itertools.product([10, 20], "abc")]
    assert space.contains(space.sample(rng()))
    assert space.key({"x": 10, "y/z": "a", "lr": 0.5}) != space.key({"x": 20, "y/z": "a", "lr": 0.5})


def test_a_conditional_axis_adds_no_cells_where_it_does_not_exist() -> None:
    space = SearchSpace(
        {"depth": s.when("kind", ["tree"], s.grid_search([1, 2])), "kind": s.grid_search(["tree", "line"])}
    )
    assert space.grid_cells() == [
        {"depth": 1, "kind": "tree"},
        {"kind": "line"},
        {"depth": 2, "kind": "tree"},
    ]


def test_size_counts_the_distinct_configs() -> None:
    space = SearchSpace(
        {
            "o": s.choice(["a", "b", "c"]),
            "n": s.when("o", ["a", "b"], s.randint(0, 4)),
            "deep": s.when("n", [1, 2], s.when("o", ["a"], s.quniform(0, 1, 0.5))),
            "free": s.choice([1, 2]),
            "g": s.grid_search([1, 2]),
            "constant": 3,
        }
    )
    # a: n in {0, 3} or {1, 2} x 3 = 8; b: 4; c: 1
    assert space.size == 2 * (8 + 4 + 1)
    keys = {space.key({**space.sample(rng(seed)), "g": 1}) for seed in range(1500)}
    assert len(keys) == space.size
    assert SearchSpace({"x": s.choice([1, 2]), "y": s.uniform(0, 1)}).size is None
    assert SearchSpace({"x": s.choice([1, 2]), "y": s.when("x", [1], s.uniform(0, 1))}).size is None


def test_size_is_that_of_the_largest_cell_and_quick_with_many_conditions() -> None:
    space = SearchSpace({"g": s.grid_search([1, 2]), "x": s.when("g", [2], s.randint(0, 7))})
    assert space.size == 7
    assert space.size_in({"g": 1}) == 1
    root = {"root": s.choice([0, 1])}
    flags = {f"f{i}": s.when("root", [1], s.choice([0, 1])) for i in range(60)}
    children = {f"c{i}": s.when(f"f{i}", [1], s.choice([1, 2, 3])) for i in range(60)}
    assert SearchSpace({**children, **flags, **root}).size == 1 + 4**60


# Description and journal


def test_spaces_of_many_hyperparameters_and_deep_conditions_are_counted() -> None:
    assert SearchSpace({f"x{i}": s.choice([1, 2]) for i in range(1500)}).size == 2**1500
    assert SearchSpace({f"x{i}": s.uniform(0, 1) for i in range(1500)}).size is None
    chain: dict[str, Any] = {"k0": s.choice([0, 1])}
    chain |= {f"k{i}": s.when(f"k{i - 1}", [1], s.choice([0, 1])) for i in range(1, 400)}
    assert SearchSpace(chain).size == 401


def test_a_choice_of_lists_may_be_a_parent() -> None:
    space = SearchSpace(
        {"shape": s.choice([[3, 3], [5, 5]]), "x": s.when("shape", [[3, 3]], s.uniform(0, 1))}
    )
    assert space.contains({"shape": [3, 3], "x": 0.5})
    assert space.contains({"shape": [5, 5]})
    assert not space.contains({"shape": [5, 5], "x": 0.5})


def test_the_description_is_json_enough_for_plots() -> None:
    described = MODELS.describe()
    assert json.loads(json.dumps(described)) == described
    assert described["dimensions"]["lr"]["log"] is True
    assert described["dimensions"]["model/conv/kernel"]["choices"] == ["[3, 3]", "[5, 5]"]
    assert described["conditions"]["momentum"] == [{"parent": "optimizer", "values": ["sgd", "rmsprop"]}]
    assert described["constants"] == {"model/scheme": "he", "epochs": "5"}
    assert repr(MODELS).startswith("SearchSpace(lr: loguniform(0.0001, 0.1), optimizer: choice(")


def test_the_fingerprint_changes_with_the_space_only() -> None:
    base = {"x": s.uniform(0, 1), "f": s.choice([relu, len]), "k": relu}
    same = {"k": relu, "f": s.choice([relu, len]), "x": s.uniform(0, 1)}
    assert SearchSpace(base).fingerprint() == SearchSpace(same).fingerprint()
    changes: list[dict[str, Any]] = [
        {"x": s.uniform(0, 2)},
        {"x": s.loguniform(1e-3, 1)},
        {"f": s.choice([len, relu])},
        {"k": len},
        {"k": 1},
        {"new": 1},
        {"f": s.grid_search([relu, len])},
    ]
    prints = {SearchSpace({**base, **change}).fingerprint() for change in [{}, *changes]}
    assert len(prints) == len(changes) + 1


def test_the_fingerprint_is_the_same_in_another_process() -> None:
    script = (
        "from raytune_gp.space import *; import random;"
        "print(SearchSpace({'a': choice([random.random, object, 'x']),"
        " 'b': when('a', ['x'], 1), 'c': sample_from(lambda: 1)}).fingerprint())"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=HANGS_S
        )
        for _ in "ab"
    ]
    assert runs[0].stdout == runs[1].stdout
    assert len(runs[0].stdout.strip()) == 16


MIXED: dict[Any, Any] = {
    "activation": s.choice(
        [relu, math.tanh, Colour.RED, (1, 2), [1, 2], (1, (2, 3)), "text", 1, True, None, 1.0 / 3]
    ),
    "x": s.uniform(0, 1),
    "nested": {"loss": relu, "shape": (3, 4), "n": 1},
    5: s.randint(0, 9),
    "axis": s.grid_search([math.nan, math.inf, 2.5]),
    "f": s.sample_from(lambda: 0.1),
}
OBJECTS = SearchSpace(MIXED)


@given(st.integers(0, 10_000))
@settings(max_examples=100, deadline=None)
def test_a_config_comes_back_from_the_journal_the_very_same(seed: int) -> None:
    config = OBJECTS.sample(rng(seed))
    back = OBJECTS.from_json(json.loads(json.dumps(OBJECTS.to_json(config), allow_nan=False)))
    assert back == config or math.isnan(config["axis"])
    assert type(back["activation"]) is type(config["activation"])
    assert back["x"].hex() == config["x"].hex()
    assert back["axis"] is config["axis"]
    assert back["nested"]["loss"] is relu
    assert back["nested"]["shape"] == (3, 4)
    assert list(back) == list(config)


def test_json_forms() -> None:
    config: dict[Any, Any] = {
        "activation": relu,
        "x": np.float64(0.1),
        "nested": {"loss": relu, "shape": (3, 4), "n": np.int64(1)},
        5: 2,
    }
    form = OBJECTS.to_json(config)
    assert form["activation"] == {"$choice": 0, "repr": f"{__name__}.relu"}
    assert form["nested"]["loss"] == {"$constant": True, "repr": f"{__name__}.relu"}
    assert form["nested"]["shape"] == [3, 4]
    assert form["5"] == 2
    assert type(form["x"]) is float
    assert OBJECTS.to_json({"activation": (1, 2)})["activation"] == [1, 2]
    assert OBJECTS.to_json({"activation": [1, 2]})["activation"] == {"$choice": 4, "repr": "[1, 2] (2)"}
    assert s.label(form["activation"]) == f"{__name__}.relu"
    assert s.label((1, 2)) == s.label([1, 2]) == "[1, 2]"


def test_values_beyond_the_space_survive_the_journal_where_json_holds_them() -> None:
    assert OBJECTS.from_json(OBJECTS.to_json({"x": 1.2, "activation": "new"})) == {
        "x": 1.2,
        "activation": "new",
    }
    assert OBJECTS.from_json(OBJECTS.to_json({"nested": {"n": 2}})) == {"nested": {"n": 2}}


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: OBJECTS.to_json({"y": 1}), "'y' is not in the search space"),
        (lambda: OBJECTS.to_json({"activation": abs}), "'activation': .* is none of choice"),
        (lambda: OBJECTS.to_json({"x": abs}), "'x' is <.*abs>, which the journal cannot keep"),
        (lambda: OBJECTS.to_json({"f": {1}}), "'f' is \\{1\\}, which the journal cannot keep"),
        (lambda: OBJECTS.from_json({"y": 1}), "'y' is not in the search space"),
        (
            lambda: OBJECTS.from_json({"activation": {"$choice": 99, "repr": "old"}}),
            "'old', choice 99, is none of",
        ),
        (
            lambda: OBJECTS.from_json({"nested": {"n": {"$constant": True, "repr": "old"}}}),
            "was the constant old, but is 1",
        ),
    ],
)
def test_what_the_journal_cannot_keep_or_give_back_is_named(act: Callable[[], object], message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        act()
