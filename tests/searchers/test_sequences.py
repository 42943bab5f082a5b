"""What is particular to random, Sobol and grid search, how they are made by name, and how an Asker asks."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from raytune_gp.errors import SpaceError, SpecError
from raytune_gp.messages import Suggest, Suggested, SuggestFailed
from raytune_gp.protocols import SuggestionBatch, SuggestionRequest
from raytune_gp.searchers import make_searcher
from raytune_gp.searchers.asking import Asker
from raytune_gp.searchers.grid import GridSearcher
from raytune_gp.searchers.random import RandomSearcher
from raytune_gp.searchers.sobol import SobolSearcher, sobol_points
from raytune_gp.space import (
    SearchSpace,
    choice,
    grid_search,
    lograndint,
    loguniform,
    randint,
    sample_from,
    uniform,
    when,
)
from raytune_gp.trial import Config, Metric, Observation, Suggestion

METRIC = Metric("score", "max")


def configs(searcher: Any, count: int, start: int = 0) -> list[Config]:
    return [s.config for s in searcher.suggest(SuggestionRequest(0, count, start)).suggestions]


# --- by name ---


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("tpe", {}, "search_alg is 'tpe'; it must be one of gp, random, sobol, grid"),
        ("", {}, "search_alg is ''"),
        ("random", {"n": 3}, "'n' is no option of search_alg 'random'; it takes none"),
        ("gp", {"kernel": "rbf"}, "'kernel' is no option of search_alg 'gp'; it takes initial, device"),
        ("gp", {"initial": -1}, "initial is -1"),
        ("gp", {"initial": 2.5}, "initial is 2.5; it must be a whole number of at least 0, or None"),
        ("gp", {"device": "gpu"}, "device is .gpu.; it must be .cpu. or .cuda."),
        ("gp", {"device": "mps"}, "device is .mps.; it must be .cpu. or .cuda."),
        (
            "gp",
            {"device": "cuda:64"},
            "device is .cuda:64., and PyTorch .* sees . GPUs here: install one for CUDA",
        ),
    ],
)
def test_a_name_or_option_that_is_unknown_is_refused(name: str, options: Any, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        make_searcher(name, SearchSpace({"x": uniform(0, 1)}), METRIC, seed=0, options=options)


@pytest.mark.parametrize("seed", [-1, 1.0, True, None, "0"])
def test_a_seed_is_a_whole_number(seed: Any) -> None:
    with pytest.raises(SpecError, match=r"seed is .*; it must be a whole number of at least 0"):
        make_searcher("random", SearchSpace({"x": uniform(0, 1)}), METRIC, seed=seed)


def test_names_may_be_written_large() -> None:
    assert isinstance(make_searcher("Sobol", SearchSpace({}), METRIC, seed=0), SobolSearcher)


# --- random and Sobol ---


def test_random_draws_have_the_domains_distributions() -> None:
    space = SearchSpace({"rate": loguniform(1e-4, 1), "kind": choice(["a", "b"]), "k": randint(0, 4)})
    drawn = configs(RandomSearcher(space, seed=1), 2000)
    assert np.mean([np.log10(c["rate"]) for c in drawn]) == pytest.approx(-2, abs=0.1)
    assert np.mean([c["kind"] == "a" for c in drawn]) == pytest.approx(0.5, abs=0.05)
    assert [np.mean([c["k"] == k for c in drawn]) for k in range(4)] == pytest.approx([0.25] * 4, abs=0.05)


def test_sobol_covers_more_evenly_than_chance() -> None:
    space = SearchSpace({"x": uniform(0, 1), "y": uniform(0, 1)})
    cells = {(int(8 * c["x"]), int(8 * c["y"])) for c in configs(SobolSearcher(space, seed=3), 64)}
    assert len(cells) == 64


def test_sobol_points_continue_where_they_stopped() -> None:
    whole = sobol_points(5, 0, 100, seed=2)
    assert ((whole > 0) & (whole < 1)).all()
    np.testing.assert_array_equal(sobol_points(5, 37, 63, seed=2), whole[37:])


# --- grid ---


def test_a_grid_goes_through_everything_once_with_the_first_name_slowest() -> None:
    space = SearchSpace({"a": choice(["u", "v"]), "b": randint(1, 4)})
    grid = GridSearcher(space)
    assert [(c["a"], c["b"]) for c in configs(grid, 99)] == [(a, b) for a in "uv" for b in (1, 2, 3)]
    assert configs(grid, 99, start=6) == []


def test_points_stand_for_a_continuum_and_end_at_its_bounds() -> None:
    space = SearchSpace({"rate": loguniform(1e-4, 1), "k": lograndint(1, 100_000)})
    grid = GridSearcher(space, points=3)
    assert len(grid) == 9
    found = configs(grid, 9)
    assert sorted({c["rate"] for c in found}) == pytest.approx([1e-4, 1e-2, 1])
    assert sorted({c["k"] for c in found}) == pytest.approx([1, 316, 99_999], abs=2)


def test_what_a_condition_switches_off_is_not_gone_through() -> None:
    space = SearchSpace(
        {
            "optimizer": choice(["sgd", "adam"]),
            "momentum": when("optimizer", ["sgd"], choice([0.0, 0.5, 0.9])),
            "axis": grid_search([1, 2]),
        }
    )
    found = configs(GridSearcher(space), 99)
    assert len(found) == len(GridSearcher(space)) == 2 * (3 + 1)
    assert len({space.key(c) for c in found}) == 8


def test_a_space_of_constants_is_a_grid_of_one() -> None:
    grid = GridSearcher(SearchSpace({"epochs": 3}))
    assert len(grid) == 1
    assert configs(grid, 5) == [{"epochs": 3}]


def test_a_large_grid_is_ready_at_once_and_a_huge_one_refused() -> None:
    began = time.process_time()
    grid = GridSearcher(SearchSpace({f"k{i}": randint(0, 50) for i in range(3)}))
    assert configs(grid, 1, start=124_999) == [{"k0": 49, "k1": 49, "k2": 49}]
    assert time.process_time() - began < 3
    with pytest.raises(SpaceError, match="the grid has 1,000,000,000 configs, and 1,000,000 is the limit"):
        GridSearcher(SearchSpace({f"k{i}": randint(0, 1000) for i in range(3)}))


@pytest.mark.parametrize("points", [None, 1])
def test_a_grid_of_a_continuum_needs_points(points: int | None) -> None:
    with pytest.raises(SpaceError, match=r"cannot list the values of 'x': .* say points=n"):
        GridSearcher(SearchSpace({"x": uniform(0, 1)}), points=points)


# --- the Asker ---


class Learner:
    """A searcher whose suggestion is the number of what it knows."""

    uses_results = True

    def update(self, completed: Any, pending: Any) -> None:
        self.completed, self.pending = completed, pending

    def suggest(self, request: SuggestionRequest) -> SuggestionBatch:
        best = max((o.values[0] for o in self.completed), default=0.0)
        return SuggestionBatch([Suggestion({"x": best})] * request.count, {"seen": len(self.completed)})


def command(count: int = 1, start: int = 0, completed: Any = (), pending: Any = ()) -> Suggest:
    return Suggest(3, count, start, completed, pending, None)


def test_an_asker_answers_in_the_journals_own_form() -> None:
    space = SearchSpace({"kind": choice([len, max]), "twice": sample_from(lambda rng: float(rng.random()))})
    asker = Asker(make_searcher("random", space, METRIC, seed=0), space, seed=0)
    answer = asker.ask(command(4))
    assert isinstance(answer, Suggested)
    assert (answer.request, answer.exhausted, answer.memory) == (3, False, None)
    assert {s["config"]["kind"]["$choice"] for s in answer.suggestions} <= {0, 1}
    assert len({s["config"]["twice"] for s in answer.suggestions}) == 4
    assert all(s["provenance"]["milliseconds"] >= 0 for s in answer.suggestions)


def test_what_it_remembers_of_a_trial_never_changes_an_answer() -> None:
    space = SearchSpace({"x": uniform(0, 9)})
    asker = Asker(Learner(), space, seed=0)
    for value in (1.0, 2.0, 3.0):
        answer = asker.ask(command(completed=[Observation({"x": 0.5}, (value,), "00000")]))
        assert isinstance(answer, Suggested)
        assert answer.suggestions[0]["config"] == {"x": value}
        assert answer.memory == {"seen": 1}


def test_guesses_of_the_same_batch_are_pending_for_the_rest() -> None:
    space, learner = SearchSpace({"x": uniform(0, 9)}), Learner()
    asker = Asker(learner, space, seed=0, guesses=[{"x": 4.0}, {"x": 5.0}])
    answer = asker.ask(command(3, pending=[{"x": 1.0}]))
    assert isinstance(answer, Suggested)
    assert len(answer.suggestions) == 3
    assert learner.pending == [{"x": 1.0}, {"x": 4.0}, {"x": 5.0}]


def test_a_guess_that_names_an_axis_takes_a_cell_that_agrees() -> None:
    space = SearchSpace(
        {
            "kind": grid_search(["plain", "deep"]),
            "layers": when("kind", ["deep"], grid_search([2, 4])),
            "x": uniform(0, 1),
        }
    )
    guesses: list[Config] = [{"x": 0.5}, {"kind": "deep"}, {"kind": "deep", "layers": 4}, {"kind": "plain"}]
    asker = Asker(RandomSearcher(space), space, seed=0, guesses=guesses)
    answer = asker.ask(command(4))
    assert isinstance(answer, Suggested)
    found = [(s["config"]["kind"], s["config"].get("layers")) for s in answer.suggestions]
    assert found == [("plain", None), ("deep", 2), ("deep", 4), ("plain", None)]


def test_a_searcher_that_raises_is_an_answer_too() -> None:
    space = SearchSpace({"x": uniform(0, 1)})
    answer = Asker(Learner(), space, seed=0).ask(command(completed=[Observation({"x": 0.5}, None)]))
    assert isinstance(answer, SuggestFailed)
    assert "TypeError" in answer.error
