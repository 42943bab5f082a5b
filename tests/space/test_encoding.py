"""The encoding: configs to the unit cube and back, snapped, conditional, and fast."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raytune_gp import space as s
from raytune_gp.errors import SpaceError
from raytune_gp.space import Encoding, SearchSpace

SPACE = SearchSpace(
    {
        "lr": s.loguniform(1e-5, 1e-1),
        "optimizer": s.choice(["sgd", "adam", "lion"]),
        "momentum": s.when("optimizer", ["sgd"], s.reverse_loguniform(0, 0.999)),
        "model": {
            "layers": s.when("mode", ["deep"], s.lograndint(1, 100)),
            "width": s.when("model/layers", range(2, 50), s.qrandint(8, 64, 8)),
        },
        "mode": s.grid_search(["deep", "wide"]),
        "level": s.grid_search([3, 1, 2]),
        "noise": s.qrandn(0, 1, 0.5),
        "note": s.when("optimizer", ["adam"], "slow"),
        "epochs": 7,
        "late": s.sample_from(lambda config: config["epochs"]),
    }
)
ENCODING = Encoding(SPACE)
D = len(ENCODING.dimensions)

points = st.lists(st.lists(st.floats(0, 1), min_size=D, max_size=D), min_size=1, max_size=6).map(np.array)


@given(points)
@settings(max_examples=200, deadline=None)
def test_points_and_configs_go_back_and_forth(x: np.ndarray) -> None:
    configs = ENCODING.decode(x)
    encoded = ENCODING.encode(configs)
    np.testing.assert_array_equal(encoded, ENCODING.snap(x))
    np.testing.assert_array_equal(ENCODING.snap(encoded), encoded)
    assert ENCODING.decode(encoded) == configs
    for config in configs:
        assert SPACE.contains(config)
        assert SPACE.snap(config) == config
    assert ENCODING.keys(*ENCODING.place(configs)) == [SPACE.key(config) for config in configs]


@given(st.integers(0, 10_000), st.floats(1e-6, 1), st.floats(-5, 5))
@settings(max_examples=100, deadline=None)
def test_decoding_an_encoded_config_snaps_it(seed: int, lr: float, noise: float) -> None:
    config = {**SPACE.sample(np.random.default_rng(seed)), "lr": lr, "noise": noise, "momentum": 0.5}
    (decoded,) = ENCODING.decode(ENCODING.encode([config]))
    assert decoded == SPACE.snap(config)
    assert SPACE.key(decoded) == SPACE.key(config)


def test_the_dimensions_describe_the_columns() -> None:
    assert [d.name for d in ENCODING.dimensions] == list(SPACE.dimensions)
    by_name = {d.name: d for d in ENCODING.dimensions}
    assert (by_name["lr"].kind, by_name["lr"].levels, by_name["lr"].grid) == ("float", None, None)
    assert (by_name["model/layers"].kind, by_name["model/layers"].levels) == ("int", 99)
    assert by_name["optimizer"].kind == "categorical"
    grid = by_name["optimizer"].grid
    assert grid is not None
    np.testing.assert_allclose(grid, [1 / 6, 1 / 2, 5 / 6])
    assert [d.name for d, free in zip(ENCODING.dimensions, ENCODING.free, strict=True) if not free] == [
        "mode",
        "level",
    ]


def test_places() -> None:
    config = {"lr": 1e-3, "optimizer": "sgd", "momentum": 0.0, "mode": "wide", "level": 2, "noise": 0.0}
    places = dict(zip(SPACE.dimensions, ENCODING.encode([config])[0], strict=True))
    assert places["lr"] == pytest.approx(0.5)
    assert places["optimizer"] == pytest.approx(1 / 6)
    assert places["momentum"] == 0
    assert places["model/layers"] == places["model/width"] == 0.5
    assert places["mode"] == 0.75
    assert places["level"] == pytest.approx(0.5)
    assert places["noise"] == pytest.approx(0.5)


def test_active_follows_chains_of_conditions_and_absence() -> None:
    base = {"lr": 1e-3, "optimizer": "adam", "mode": "deep", "level": 1, "noise": 0.0}
    configs = [
        {**base, "model": {"layers": 3, "width": 8}},
        {**base, "model": {"layers": 1, "width": 8}},
        {**base, "model": {"layers": 3, "width": 8}, "mode": "wide"},
        {**base, "model": {"layers": 3}, "momentum": 0.5},
    ]
    active = ENCODING.active(configs)
    columns = {name: active[:, i].tolist() for i, name in enumerate(SPACE.dimensions)}
    assert columns["model/layers"] == [True, True, False, True]
    assert columns["model/width"] == [True, False, False, False]
    assert columns["momentum"] == [False] * 4
    assert columns["lr"] == [True] * 4
    assert (ENCODING.encode(configs)[~active] == 0.5).all()


def test_decoding_fills_constants_and_leaves_functions_to_resolve() -> None:
    (config,) = ENCODING.decode(np.full((1, D), 0.5))
    assert config["optimizer"] == "adam"
    assert config["note"] == "slow"
    assert config["epochs"] == 7
    assert "late" not in config
    assert SPACE.resolve(config, np.random.default_rng(0))["late"] == 7


def test_fixed_values_override_their_columns_and_their_children_follow() -> None:
    x = np.random.default_rng(0).random((20, D))
    for cell in SPACE.grid_cells():
        for config in ENCODING.decode(x, fixed=cell):
            assert {name: config[name] for name in cell} == cell
            assert ("layers" in config.get("model", {})) == (cell["mode"] == "deep")
    assert {config["lr"] for config in ENCODING.decode(x, fixed={"lr": 0.0123})} == {0.0123}
    pinned = ENCODING.pin({"mode": "wide"})
    assert pinned[list(SPACE.dimensions).index("mode")] == 0.75
    assert np.isnan(pinned).sum() == D - 1


def test_uniform_points_decode_to_the_samples_distribution() -> None:
    configs = ENCODING.decode(np.random.default_rng(0).random((6000, D)))
    layers = [config["model"]["layers"] for config in configs if "layers" in config.get("model", {})]
    assert len(layers) == pytest.approx(3000, abs=150)
    assert np.mean(np.array(layers) < 10) == pytest.approx(0.5, abs=0.03)
    assert np.mean([config["optimizer"] == "sgd" for config in configs]) == pytest.approx(1 / 3, abs=0.03)
    assert np.std([config["noise"] for config in configs]) == pytest.approx(1, abs=0.05)


def test_values_of_other_spaces_are_clipped_and_ignored() -> None:
    x = ENCODING.encode([{"lr": 3.0, "unknown": 1, "model": {"other": 2}, "epochs": 9}])
    assert x[0, 0] == 1.0
    assert (x[0, 1:] == 0.5).all()


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: ENCODING.encode([{"optimizer": "x"}]), "'optimizer': 'x' is none of choice"),
        (lambda: ENCODING.encode([{"lr": "fast"}]), "'lr': 'fast' has no place in loguniform"),
        (lambda: ENCODING.decode(np.zeros(D)), f"points must be n x {D}, not of shape"),
        (lambda: ENCODING.snap(np.zeros((1, D + 1))), "points must be n x"),
        (lambda: ENCODING.decode(np.full((1, D), np.nan)), "points must be finite"),
        (
            lambda: ENCODING.decode(np.zeros((1, D)), fixed={"mood": "x"}),
            "'mood' cannot be fixed.*did you mean 'mode'",
        ),
        (lambda: ENCODING.pin({"mode": "x"}), "'mode': 'x' is none of grid_search"),
    ],
)
def test_what_cannot_be_encoded_is_named(act: Callable[[], object], message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        act()


def test_no_configs_and_no_dimensions() -> None:
    assert ENCODING.encode([]).shape == (0, D)
    assert ENCODING.decode(np.empty((0, D))) == []
    empty = Encoding(SearchSpace({"constant": 1}))
    assert empty.encode([{}, {}]).shape == (2, 0)
    assert empty.decode(np.empty((2, 0))) == [{"constant": 1}, {"constant": 1}]


def test_encoding_2000_configs_takes_milliseconds() -> None:
    makers = [
        s.loguniform(1e-5, 1),
        s.randint(0, 100),
        s.choice(["a", "b", "c"]),
        s.uniform(0, 1),
        s.quniform(0, 1, 0.1),
    ]
    space = SearchSpace({f"x{i}": makers[i % 5] for i in range(10)})
    encoding = Encoding(space)
    configs = encoding.decode(np.random.default_rng(0).random((2000, 10)))
    took = []
    for _ in range(5):
        start = time.process_time()
        encoding.encode(configs)
        took.append(time.process_time() - start)
    assert min(took) < 0.2
