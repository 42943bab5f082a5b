"""Ask and tell, in the user's own loop."""

from __future__ import annotations

import math
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch

from raytune_gp.errors import SpaceError, SpecError
from raytune_gp.protocols import SuggestionBatch, SuggestionRequest
from raytune_gp.searchers.optimizer import Optimizer
from raytune_gp.searchers.random import RandomSearcher
from raytune_gp.space import SearchSpace, choice, grid_search, randint, sample_from, uniform, when

SPACE = {"x": uniform(0, 1), "k": randint(0, 5)}


class Spy:
    """A searcher that keeps what it was told, and draws at random."""

    uses_results = True

    def __init__(self, space: SearchSpace):
        self.random = RandomSearcher(space)
        self.snapshots: list[tuple[Any, Any]] = []
        self.broken = False

    def update(self, completed: Any, pending: Any) -> None:
        self.snapshots.append((list(completed), list(pending)))

    def suggest(self, request: SuggestionRequest) -> SuggestionBatch:
        if self.broken:
            raise ZeroDivisionError("on purpose")
        return self.random.suggest(request)


def spied(space: Any = SPACE, **options: Any) -> tuple[Optimizer, Spy]:
    made = SearchSpace(space)
    spy = Spy(made)
    return Optimizer(made, search_alg=spy, **options), spy


def test_it_finds_an_optimum() -> None:
    optimizer = Optimizer({"x": uniform(0, 1)}, mode="min")
    for _ in range(12):
        [suggestion] = optimizer.ask()
        optimizer.tell(suggestion, (suggestion.config["x"] - 0.3) ** 2)
    assert optimizer.best is not None
    assert optimizer.best[0]["x"] == pytest.approx(0.3, abs=0.05)


def test_what_is_asked_is_pending_until_it_is_told() -> None:
    optimizer, spy = spied()
    first, second = optimizer.ask(2)
    assert optimizer.pending == [first.config, second.config]
    optimizer.tell(first.config, 1.0)
    optimizer.ask()
    completed, pending = spy.snapshots[-1]
    assert [(o.config, o.values) for o in completed] == [(first.config, (1.0,))]
    assert pending == [second.config]
    optimizer.tell(second, None)
    assert len(optimizer.pending) == 1


def test_results_that_are_told_at_the_beginning_take_the_place_of_a_start() -> None:
    optimizer = Optimizer({"x": uniform(0, 1)}, mode="min")
    for x in (0.0, 0.2, 0.6, 0.8, 1.0):
        optimizer.tell({"x": x}, (x - 0.3) ** 2)
    [suggestion] = optimizer.ask()
    assert "log_ei" in suggestion.provenance
    assert suggestion.config["x"] == pytest.approx(0.3, abs=0.1)


def test_the_gp_steers_clear_of_the_pending() -> None:
    optimizer = Optimizer({"x": uniform(0, 1)}, seed=1)
    for _ in range(6):
        [suggestion] = optimizer.ask()
        optimizer.tell(suggestion, -((suggestion.config["x"] - 0.5) ** 2))
    asked = sorted(s.config["x"] for s in (*optimizer.ask(2), *optimizer.ask(2)))
    assert min(np.diff(asked)) > 1e-3, asked


def test_a_config_asked_twice_is_pending_twice() -> None:
    optimizer, _ = spied({"a": choice(["only"])})
    optimizer.ask(2)
    optimizer.tell({"a": "only"}, 1.0)
    assert optimizer.pending == [{"a": "only"}]


def test_configs_that_were_not_asked_for_teach_it_too() -> None:
    optimizer, spy = spied()
    optimizer.tell({"x": 0.25, "k": 3}, 7)
    optimizer.ask()
    assert spy.snapshots[-1][0][0].values == (7.0,)
    assert optimizer.best == ({"x": 0.25, "k": 3}, 7.0)


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf, 10**400])
def test_failures_are_observations_without_a_value(value: float | None) -> None:
    optimizer, spy = spied()
    [suggestion] = optimizer.ask()
    optimizer.tell(suggestion, value)
    optimizer.ask()
    [observation] = spy.snapshots[-1][0]
    assert observation.values is None
    assert observation.failure
    assert optimizer.best is None


def test_numbers_of_numpy_and_pytorch_serve() -> None:
    optimizer, _ = spied(seed=np.int64(3))
    values: tuple[Any, ...] = (np.float32(0.5), np.int64(3), torch.tensor(1.5))
    count: Any = np.int64(1)
    for value in values:
        optimizer.tell(optimizer.ask(count)[0], value)
    assert optimizer.best is not None
    assert optimizer.best[1] == 3.0
    assert type(optimizer.best[1]) is float


@pytest.mark.parametrize("mode", ["max", "min"])
def test_the_best_is_the_earliest_among_equals(mode: str) -> None:
    optimizer, _ = spied(mode=mode)
    values = [2.0, 1.0, 2.0, 1.0]
    configs = [s.config for s in optimizer.ask(4)]
    for config, value in zip(configs, values, strict=True):
        optimizer.tell(config, value)
    assert optimizer.best == ((configs[0], 2.0) if mode == "max" else (configs[1], 1.0))


def test_guesses_come_first_and_what_they_lack_is_drawn() -> None:
    guesses: list[dict[str, Any]] = [{"x": 0.125, "k": 1}, {"k": 4}]
    optimizer = Optimizer(SPACE, search_alg="random", points_to_evaluate=guesses)
    first, second, third = optimizer.ask(3)
    assert first.config == guesses[0]
    assert second.config["k"] == 4
    assert [s.provenance["method"] for s in (first, second, third)] == ["guess", "guess", "random"]
    assert second.config["x"] != third.config["x"], "chance of its own"


def test_guesses_come_as_the_space_would_give_them() -> None:
    layers = [(3, 3), (5, 5)]
    optimizer = Optimizer(
        {"n": randint(0, 9), "layers": choice(layers)}, points_to_evaluate=[{"n": 3.0, "layers": (5, 5)}]
    )
    config = optimizer.ask()[0].config
    assert type(config["n"]) is int
    assert config["layers"] == layers[1]


def test_the_grid_ends_and_its_guesses_leave_nothing_out() -> None:
    space = {"a": choice(["u", "v"]), "b": randint(0, 3)}
    optimizer = Optimizer(space, search_alg="grid")
    assert [len(optimizer.ask(4)), len(optimizer.ask(4)), len(optimizer.ask(4))] == [4, 2, 0]
    guessed = Optimizer(space, search_alg="grid", points_to_evaluate=[{"a": "v", "b": 1}])
    configs = [s.config for s in guessed.ask(99)]
    assert configs[0] == {"a": "v", "b": 1}
    assert len(configs) == 7
    assert {(c["a"], c["b"]) for c in configs} == {(a, b) for a in "uv" for b in range(3)}


def test_grid_axes_go_round_and_guesses_take_their_turn() -> None:
    space = {"axis": grid_search([1, 2, 3]), "x": uniform(0, 1)}
    guesses: list[dict[str, Any]] = [{"x": 0.5}, {"axis": 3}]
    for alg in ("random", "sobol", "gp"):
        optimizer = Optimizer(space, search_alg=alg, points_to_evaluate=guesses)
        assert [s.config["axis"] for s in optimizer.ask(6)] == [1, 3, 3, 1, 2, 3], alg


def test_conditions_computed_values_and_objects_come_back_as_the_user_made_them() -> None:
    kinds = [len, max]
    space = {
        "kind": choice(kinds),
        "depth": when("kind", [len], randint(1, 9)),
        "twice": sample_from(lambda config: 2 * config.get("depth", 0)),
        "nested": {"x": uniform(0, 1)},
    }
    optimizer = Optimizer(space, search_alg="random")
    for suggestion in optimizer.ask(8):
        config = suggestion.config
        assert config["kind"] in kinds
        assert ("depth" in config) == (config["kind"] is len)
        assert config["twice"] == 2 * config.get("depth", 0)
        optimizer.tell(config, config["nested"]["x"])
    assert optimizer.pending == []


def test_the_same_calls_give_the_same_configs() -> None:
    def configs() -> list[Any]:
        optimizer, found = Optimizer(SPACE, seed=4), []
        for turn in range(4):
            for suggestion in optimizer.ask(2):
                found.append(suggestion.config)
                optimizer.tell(suggestion, suggestion.config["x"] * turn)
        return found

    assert configs() == configs()


def test_threads_may_share_it() -> None:
    optimizer = Optimizer(SPACE, search_alg="sobol")
    barrier = threading.Barrier(4)

    def work(_: int) -> list[float]:
        barrier.wait()
        found = []
        for _ in range(20):
            [suggestion] = optimizer.ask()
            found.append(suggestion.config["x"])
            optimizer.tell(suggestion, suggestion.config["x"])
        return found

    with ThreadPoolExecutor(4) as pool:
        found = [x for xs in pool.map(work, range(4)) for x in xs]
    expected = [s.config["x"] for s in Optimizer(SPACE, search_alg="sobol").ask(80)]
    assert sorted(found) == sorted(expected), "none twice, none left out"
    assert optimizer.pending == []


@pytest.mark.parametrize(
    ("config", "value", "message"),
    [
        ({"x": 2.0, "k": 1}, 1.0, r"'x': 2.0 is not in uniform"),
        ({"x": 0.5, "q": 1}, 1.0, r"'q' is not in the search space"),
        ({"x": 0.5}, 1.0, r"lacks 'k': give all of it"),
        ({"x": 0.5, "k": 1}, "good", "value is 'good'; it must be a number, or None"),
        ({"x": 0.5, "k": 1}, True, "value is True"),
        ({"x": 0.5, "k": 1}, torch.ones(2), "value is tensor"),
        ([0.5, 1], 1.0, "a config is a dictionary"),
    ],
)
def test_what_cannot_be_told(config: Any, value: Any, message: str) -> None:
    optimizer, _ = spied()
    with pytest.raises(SpaceError, match=message):
        optimizer.tell(config, value)
    assert optimizer.best is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "up"}, "mode is 'up'"),
        ({"search_alg": "cma"}, "search_alg is 'cma'; it must be one of gp, random, sobol, grid"),
        ({"search_alg": {"points": 3}}, "search_alg is {'points': 3}, which lacks a name"),
        ({"search_alg": 3}, "search_alg is 3; it must be a name such as 'gp', or an object"),
        ({"seed": -1}, "seed is -1; it must be a whole number of at least 0"),
        ({"seed": 0.5}, "seed is 0.5"),
        ({"points_to_evaluate": [{"x": 9}]}, "'x': 9 is not in"),
        ({"search_alg": "grid"}, "grid search cannot list the values of 'x'"),
    ],
)
def test_what_cannot_be_made(options: dict[str, Any], message: str) -> None:
    with pytest.raises((SpecError, SpaceError), match=message):
        Optimizer(SPACE, **options)


def test_a_searcher_takes_options_and_may_be_left_out() -> None:
    grid = Optimizer({"x": uniform(0, 1)}, search_alg={"name": "grid", "points": 3})
    assert [s.config["x"] for s in grid.ask(9)] == [0.0, 0.5, 1.0]
    assert Optimizer(SPACE, search_alg=None).ask(2)


@pytest.mark.parametrize("count", [0, -1, 1.5, True])
def test_what_cannot_be_asked(count: Any) -> None:
    with pytest.raises(SpecError, match=r"count is .*; it must be a whole number of at least 1"):
        Optimizer(SPACE, search_alg="random").ask(count)


def test_a_searcher_that_raises_is_named_and_the_optimizer_stays_usable() -> None:
    optimizer, spy = spied()
    spy.broken = True
    with pytest.raises(SpecError, match=r"(?s)the searcher raised: .*ZeroDivisionError: on purpose"):
        optimizer.ask()
    assert optimizer.pending == []
    spy.broken = False
    assert len(optimizer.ask()) == 1
