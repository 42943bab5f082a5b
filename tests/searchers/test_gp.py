"""The GP searcher: a pure function of its inputs, never a repeat, never fatal, and better than chance."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from scipy.linalg import LinAlgError

from benchmarks.synthetic import PROBLEMS, Problem, run
from raytune_gp.acquisition import batch as greedy
from raytune_gp.errors import SpecError
from raytune_gp.protocols import Searcher, SuggestionRequest
from raytune_gp.searchers import modelling
from raytune_gp.searchers.gp import GPSearcher
from raytune_gp.searchers.random import RandomSearcher
from raytune_gp.space import (
    SearchSpace,
    choice,
    grid_search,
    loguniform,
    randint,
    uniform,
    when,
)
from raytune_gp.surrogate import fit as fitting
from raytune_gp.surrogate import nearby
from raytune_gp.trial import Config, Observation

MIXED = SearchSpace(
    {
        "rate": loguniform(1e-5, 1.0),
        "layers": randint(1, 6),
        "width": randint(16, 512),
        "kind": choice(["a", "b", "c"]),
    }
)


def score(config: Mapping[str, Any]) -> float:
    return -((math.log10(config["rate"]) + 2) ** 2) - abs(config["layers"] - 3) + 2 * (config["kind"] == "b")


def observe(
    space: SearchSpace, count: int, value: Callable[[Any], float | None] = score, seed: int = 0
) -> list[Observation]:
    rng = np.random.default_rng(seed)
    configs = [space.sample(rng) for _ in range(count)]
    values = [value(c) for c in configs]
    return [Observation(c, None if v is None else (v,)) for c, v in zip(configs, values, strict=True)]


def searcher(
    space: SearchSpace, observations: Sequence[Observation], pending: Sequence[Any] = (), **options: Any
) -> GPSearcher:
    made = GPSearcher(space, **options)
    made.update(observations, pending)
    return made


def test_it_is_a_searcher_and_refuses_what_it_cannot_do() -> None:
    assert isinstance(GPSearcher(MIXED), Searcher)
    with pytest.raises(SpecError, match="mode is 'best'"):
        GPSearcher(MIXED, mode="best")
    with pytest.raises(SpecError, match="initial is -1"):
        GPSearcher(MIXED, initial=-1)


def test_any_whole_seed_serves() -> None:
    space = SearchSpace({"x": uniform(0, 1)})
    for seed in (2**63, 2**64 - 1, 2**70):
        made = GPSearcher(space, seed=seed)
        made.update(observe(space, 5, lambda c: c["x"]), ())
        methods = [s.provenance["method"] for s in made.suggest(SuggestionRequest(0, 6)).suggestions]
        assert set(methods) <= {"initial", "gp"}


def test_it_starts_with_one_quasi_random_design_however_it_is_asked() -> None:
    at_once = GPSearcher(MIXED).suggest(SuggestionRequest(0, 5))
    in_parts = [GPSearcher(MIXED).suggest(SuggestionRequest(k, 1, start=k)).suggestions[0] for k in range(5)]
    assert [s.config for s in at_once.suggestions] == [s.config for s in in_parts]
    assert {s.provenance["method"] for s in at_once.suggestions} == {"initial"}
    assert at_once.memory is None


@pytest.mark.parametrize(("dimensions", "expected"), [(1, 4), (6, 7), (20, 10)])
def test_the_start_grows_with_the_space_within_limits(dimensions: int, expected: int) -> None:
    space = SearchSpace({f"x{i}": uniform(0, 1) for i in range(dimensions)})
    made = searcher(space, observe(space, 3, lambda c: c["x0"]))
    methods = [s.provenance["method"] for s in made.suggest(SuggestionRequest(0, expected + 1)).suggestions]
    assert methods == ["initial"] * expected + ["gp"]


def test_the_first_configs_keep_off_the_edges_and_try_all_choices() -> None:
    space = SearchSpace({"x": uniform(0, 1), "rate": loguniform(1e-4, 1), "kind": choice(["a", "b", "c"])})
    made = GPSearcher(space, initial=60).suggest(SuggestionRequest(0, 60)).suggestions
    first, later = [s.config for s in made[:10]], [s.config for s in made[10:]]
    assert first[0]["x"] == 0.5
    assert all(0.125 <= c["x"] <= 0.875 and 10**-3.5 <= c["rate"] <= 10**-0.5 for c in first)
    assert {c["kind"] for c in first} == {"a", "b", "c"}
    assert min(c["x"] for c in later) < 0.1
    assert max(c["rate"] for c in later) > 10**-0.4


def test_a_suggestion_says_what_the_surrogate_thinks_of_it() -> None:
    pending = [MIXED.sample(np.random.default_rng(5))]
    batch = searcher(MIXED, observe(MIXED, 30), pending).suggest(SuggestionRequest(9, 1, start=30))
    provenance = batch.suggestions[0].provenance
    json.dumps([provenance, batch.memory])
    assert provenance["method"] == "gp"
    assert provenance["aim"] in ("explore", "exploit")
    assert (provenance["observations"], provenance["pending"]) == (30, 1)
    assert -20 < provenance["predicted_mean"] < 5
    assert 0 < provenance["predicted_deviation"] < 10
    assert math.isfinite(provenance["log_ei"])
    assert 0 <= provenance["coverage_50"] <= provenance["coverage_90"] <= 1
    assert "probability_feasible" not in provenance, "nothing has failed"


@pytest.mark.parametrize("mode", ["max", "min"])
def test_predictions_are_in_the_metrics_units_and_near_the_truth(mode: str) -> None:
    sign = 1 if mode == "max" else -1
    made = searcher(MIXED, observe(MIXED, 60, lambda c: 1000 + sign * score(c)), mode=mode)
    suggestion = made.suggest(SuggestionRequest(1, 1, start=60)).suggestions[0]
    truth = 1000 + sign * score(suggestion.config)
    assert suggestion.provenance["predicted_mean"] == pytest.approx(truth, abs=1.0)
    assert suggestion.config["kind"] == "b"


def test_a_choice_of_numbers_is_a_scale_and_one_of_names_is_not() -> None:
    sizes = [64, 8, 256, 32, 16, 128]

    def predicted(choices: Sequence[Any]) -> float:
        """What 32, of which nothing is known, is expected to reach between neighbours that are known."""
        space = SearchSpace({"size": choice(choices), "rate": loguniform(1e-5, 1.0)})
        known = observe(space, 60, lambda config: math.log2(float(config["size"])))
        made = searcher(space, [o for o in known if float(o.config["size"]) != 32])
        return float(made.predict([{"size": choices[3], "rate": 0.01}])[0][0])

    assert predicted(sizes) == pytest.approx(5, abs=0.3)
    assert abs(predicted([str(size) for size in sizes]) - 5) > 0.3


def test_an_answer_is_a_function_of_snapshot_seed_and_request_alone() -> None:
    observations = observe(MIXED, 20)
    request = SuggestionRequest(7, 3, start=20)
    fresh = searcher(MIXED, observations, seed=3).suggest(request)
    used = searcher(MIXED, observations[:9], seed=3)
    used.suggest(SuggestionRequest(2, 1, start=9))
    used.update(observations, ())
    assert used.suggest(request) == fresh
    assert used.suggest(request) == fresh
    other_seed = searcher(MIXED, observations, seed=4).suggest(request)
    assert other_seed.suggestions != fresh.suggestions


def test_the_memory_survives_json_and_warms_the_next_fit() -> None:
    first = searcher(MIXED, observe(MIXED, 20)).suggest(SuggestionRequest(0, 1, start=20))
    assert first.memory is not None
    assert len(first.memory["lengthscales"]) == 4
    memory = json.loads(json.dumps(first.memory))
    made = searcher(MIXED, observe(MIXED, 21))
    again = [made.suggest(SuggestionRequest(1, 1, 21, m)) for m in (memory, first.memory)]
    assert again[0] == again[1]


def test_past_200_observations_hyperparameters_stay_until_there_is_news() -> None:
    memory = {
        "lengthscales": [0.5] * 4, "scale": 1.0, "noise": 0.01, "mean": 0.0, "observations": 205,
        "warps": [], "warp": "OutputWarp", "feasibility": {},
    }  # fmt: skip
    kept = searcher(MIXED, observe(MIXED, 210)).suggest(SuggestionRequest(1, 1, 210, memory))
    assert kept.memory == memory
    refitted = searcher(MIXED, observe(MIXED, 220)).suggest(SuggestionRequest(1, 1, 220, memory))
    assert refitted.memory is not None
    assert refitted.memory["observations"] == 220


def test_past_200_observations_the_model_of_failures_stays_with_the_main_one() -> None:
    made = searcher(MIXED, observe(MIXED, 205, lambda c: None if c["layers"] == 5 else score(c)))
    first = made.suggest(SuggestionRequest(0, 1, 205))
    assert first.memory is not None
    assert "feasibility" in first.memory
    assert made.suggest(SuggestionRequest(1, 1, 205, first.memory)).memory == first.memory
    started = {**first.memory, "observations": 195}
    assert made.suggest(SuggestionRequest(2, 1, 205, started)).memory != first.memory


def test_gpytorch_on_another_device_fits_the_same() -> None:
    """There is no GPU in tests: "cpu:0" takes the way of one, through GPyTorch."""
    closed, other = (
        searcher(MIXED, observe(MIXED, 30), device=device).suggest(SuggestionRequest(0, 1, start=30))
        for device in ("cpu", "cpu:0")
    )
    assert closed.memory is not None
    assert other.memory is not None
    for name in ("lengthscales", "scale", "noise", "mean"):
        np.testing.assert_allclose(other.memory[name], closed.memory[name], rtol=1e-2, atol=1e-2)
    means = [answer.suggestions[0].provenance["predicted_mean"] for answer in (closed, other)]
    assert means[1] == pytest.approx(means[0], rel=1e-2, abs=1e-2)


@pytest.mark.parametrize("failing", [False, True], ids=["all finish", "some fail"])
def test_more_observations_than_the_posterior_takes_are_thinned_and_searched_by_those_nearby(
    failing: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(modelling, "_MOST_POINTS", 60)
    monkeypatch.setattr(greedy, "_NEARBY_FROM", 60)
    monkeypatch.setattr(nearby, "_COUNT", 30)
    of_size: list[int] = []
    whole = modelling.GPPosterior.of

    def counted(features: Any, hyperparameters: Any, x: np.ndarray, y: np.ndarray) -> Any:
        of_size.append(len(x))
        return whole(features, hyperparameters, x, y)

    monkeypatch.setattr(modelling.GPPosterior, "of", counted)
    rng = np.random.default_rng(1)

    def outcome(config: Config) -> float | None:
        return None if failing and config["layers"] == 5 else score(config) + 0.2 * rng.standard_normal()

    observations = observe(MIXED, 600, outcome)
    request = SuggestionRequest(0, 2, start=600)
    answers = [searcher(MIXED, observations).suggest(request) for _ in range(2)]
    assert answers[0] == answers[1]
    assert sorted(set(of_size)) == [
        60,
        500,
    ]  # the posterior; the coarse model that chooses its points, and the judge
    best = answers[0].suggestions[0]
    assert best.provenance["observations"] == 600
    assert best.config["kind"] == "b"
    assert abs(math.log10(best.config["rate"]) + 2) < 1


def test_kinds_of_failure_are_learned_apart() -> None:
    """Memory runs out for large `x`, values diverge for large `y`: the best that is left has neither."""
    space = SearchSpace({"x": uniform(0, 1), "y": uniform(0, 1)})

    def outcome(config: Mapping[str, Any]) -> Observation:
        kind = "out of GPU memory" if config["x"] > 0.6 else "not finite" if config["y"] > 0.6 else None
        return Observation(dict(config), None if kind else (config["x"] + config["y"],), failure=kind)

    observations = [outcome(o.config) for o in observe(space, 40, lambda c: 0.0)]
    answer = searcher(space, observations).suggest(SuggestionRequest(0, 8, start=40))
    assert answer.memory is not None
    assert set(answer.memory["feasibility"]) == {"out of GPU memory", "not finite"}
    works = [outcome(s.config).failure is None for s in answer.suggestions]
    assert sum(works) >= 6
    assert all(0 < s.provenance["probability_feasible"] < 1 for s in answer.suggestions)


def test_a_plateau_is_left_alone() -> None:
    """Everything below .5 reports the same best value: nothing better can be seen well within."""
    space = SearchSpace({"x": uniform(0, 1)})
    observations = observe(space, 24, lambda c: 1.0 if c["x"] < 0.5 else 1.0 - c["x"])
    batch = searcher(space, observations).suggest(SuggestionRequest(0, 4, start=24))
    assert all(s.config["x"] > 0.45 for s in batch.suggestions)


def test_a_model_that_is_off_is_fitted_to_ranks_and_then_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    observations = observe(MIXED, 20)
    judge = modelling._calibrated
    for doubted, expected in ((1, {"gp"}), (2, {"fallback: Uncalibrated: central intervals of 50 and 90 %"})):
        verdicts = [False] * doubted

        def judged(*seen: Any, verdicts: list[bool] = verdicts) -> bool:
            return verdicts.pop() if verdicts else judge(*seen)

        monkeypatch.setattr(modelling, "_calibrated", judged)
        batch = searcher(MIXED, observations).suggest(SuggestionRequest(0, 2, start=20))
        provenance = [s.provenance for s in batch.suggestions]
        assert {p["method"].partition(" hold")[0] for p in provenance} == expected
        assert [p.get("warp") for p in provenance] == (["ranks"] * 2 if doubted == 1 else [None] * 2)


@pytest.mark.parametrize("seed", [0, 2])
def test_noise_among_bad_configs_makes_no_model_doubtful(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modelling, "MOST_FITTED", 80)
    monkeypatch.setattr(fitting, "MOST_FITTED", 80)
    rng = np.random.default_rng(seed)

    def noisy_where_bad(config: Config) -> float:
        distance = math.hypot(config["x"] - 0.3, config["y"] - 0.6)
        noise = rng.standard_normal()
        return -distance + (0.001 * noise if distance < 0.45 else min(0.0, 0.3 * noise))

    space = SearchSpace({"x": uniform(0, 1), "y": uniform(0, 1)})
    made = searcher(space, observe(space, 300, noisy_where_bad))
    suggestion = made.suggest(SuggestionRequest(0, 1, start=300)).suggestions[0]
    assert suggestion.provenance["method"] == "gp", (
        "by all of them the intervals are too narrow, by the best not"
    )
    assert math.hypot(suggestion.config["x"] - 0.3, suggestion.config["y"] - 0.6) < 0.1


def test_ranks_stay_until_there_is_enough_new_to_fit_again(monkeypatch: pytest.MonkeyPatch) -> None:
    observations = observe(MIXED, 260)
    fits: list[int] = []
    fit = modelling.fit

    def counted(features: Any, x: np.ndarray, y: np.ndarray, **options: Any) -> Any:
        fits.append(len(y))
        return fit(features, x, y, **options)

    def ask(count: int, memory: Any) -> Any:
        request = SuggestionRequest(count, 1, start=count, memory=memory)
        return searcher(MIXED, observations[:count]).suggest(request)

    monkeypatch.setattr(modelling, "fit", counted)
    verdicts = [False]
    monkeypatch.setattr(modelling, "_calibrated", lambda *seen: not verdicts or verdicts.pop())
    first = ask(240, None)
    second = ask(241, first.memory)
    assert fits == [240, 240], "the targets as they are, and their ranks"
    assert [b.suggestions[0].provenance.get("warp") for b in (first, second)] == ["ranks", "ranks"]
    third = ask(260, second.memory)
    assert fits[2:] == [260]
    assert "warp" not in third.suggestions[0].provenance


@pytest.mark.parametrize(
    ("coverage", "count", "calibrated"),
    [
        ((0.0, 0.2), 9, True),
        ((0.5, 0.9), 60, True),
        ((1.0, 1.0), 60, True),
        ((0.3, 0.9), 60, False),
        ((0.5, 0.7), 60, False),
    ],
)
def test_coverage_is_judged_against_chance(
    coverage: tuple[float, float], count: int, calibrated: bool
) -> None:
    assert modelling._calibrated(coverage, count) is calibrated


def test_predictions_hold_what_trials_report() -> None:
    rng = np.random.default_rng(0)
    known = observe(MIXED, 60, lambda c: score(c) + 0.1 * rng.standard_normal())
    unknown = [o.config for o in observe(MIXED, 160)[60:]]
    outcomes = np.array([score(c) + 0.1 * rng.standard_normal() for c in unknown])
    median, low, high = searcher(MIXED, known).predict(unknown)
    assert ((low <= median) & (median <= high)).all()
    assert 0.8 < ((low <= outcomes) & (outcomes <= high)).mean() <= 1.0


def test_predictions_need_values_and_a_share() -> None:
    with pytest.raises(SpecError, match="2 of the observations have a value; a prediction needs 10"):
        searcher(MIXED, observe(MIXED, 2)).predict([])
    with pytest.raises(SpecError, match="share is 90; it must be between 0 and 1"):
        searcher(MIXED, observe(MIXED, 12)).predict([], share=90)


def test_several_at_once_differ_and_keep_apart() -> None:
    space = SearchSpace({"x": uniform(0, 1), "y": uniform(0, 1)})
    observations = observe(space, 15, lambda c: -((c["x"] - 0.5) ** 2) - (c["y"] - 0.5) ** 2)
    batch = searcher(space, observations).suggest(SuggestionRequest(0, 5, start=15))
    points = np.array([[s.config["x"], s.config["y"]] for s in batch.suggestions])
    gaps = np.linalg.norm(points[:, None] - points, axis=2)[np.triu_indices(5, 1)]
    assert gaps.min() > 1e-3
    assert [s.provenance["pending"] for s in batch.suggestions] == [0, 1, 2, 3, 4]


def test_what_is_pending_is_not_proposed_again() -> None:
    observations = observe(MIXED, 20)
    first = searcher(MIXED, observations).suggest(SuggestionRequest(1, 1, start=20)).suggestions[0]
    second = searcher(MIXED, observations, [first.config]).suggest(SuggestionRequest(1, 1, start=20))
    assert MIXED.key(second.suggestions[0].config) != MIXED.key(first.config)


def test_a_finite_space_is_walked_through_before_anything_repeats() -> None:
    space = SearchSpace(
        {"n": randint(0, 5), "kind": choice(["a", "b"]), "extra": when("kind", ["b"], randint(0, 3))}
    )
    assert space.size == 20
    made = GPSearcher(space, seed=1)
    done: list[Observation] = []
    for k in range(20):
        made.update(done, ())
        config = made.suggest(SuggestionRequest(k, 1, start=k)).suggestions[0].config
        done.append(Observation(config, (float(config["n"]),)))
    assert len({space.key(o.config) for o in done}) == 20
    made.update(done, ())
    more = made.suggest(SuggestionRequest(20, 1, start=20)).suggestions[0]
    assert space.contains(more.config)
    assert more.provenance["exhausted"] is True


def test_grid_axes_take_the_values_of_their_cells() -> None:
    space = SearchSpace({"x": uniform(0, 1), "fold": grid_search([1, 2, 3])})
    cells = [{"fold": 1 + k % 3} for k in range(8)]
    observations = observe(space, 6, lambda c: c["x"])
    batch = searcher(space, observations).suggest(SuggestionRequest(0, 8, start=0, fixed=cells))
    assert [s.config["fold"] for s in batch.suggestions] == [1, 2, 3, 1, 2, 3, 1, 2]
    assert batch.suggestions[-1].provenance["method"] == "gp"


def test_conditional_parameters_are_present_only_where_they_exist() -> None:
    space = SearchSpace(
        {
            "kind": choice(["sgd", "adam"]),
            "momentum": when("kind", ["sgd"], uniform(0, 1)),
            "rate": uniform(0, 1),
        }
    )

    def value(c: Mapping[str, Any]) -> float:
        return c["rate"] - (c["momentum"] - 0.9) ** 2 if c["kind"] == "sgd" else c["rate"] - 0.5

    batch = searcher(space, observe(space, 25, value)).suggest(SuggestionRequest(0, 4, start=25))
    for suggestion in batch.suggestions:
        assert space.contains(suggestion.config)
        assert suggestion.provenance["method"] == "gp"
    assert batch.suggestions[0].config["kind"] == "sgd"
    assert batch.suggestions[0].config["momentum"] == pytest.approx(0.9, abs=0.2)


def test_the_surrogate_knows_how_often_a_conditional_parameter_exists() -> None:
    space = SearchSpace(
        {
            "kind": choice(["sgd", "adam", "none", "one"]),
            "nesterov": when("kind", ["sgd"], choice([True, False])),
            "momentum": when("nesterov", [True], uniform(0, 1)),
            "rate": uniform(0, 1),
        }
    )
    made = searcher(space, [])
    assert [c.share for c in made._columns] == pytest.approx([1.0, 0.25, 0.125, 1.0], abs=0.01)


def test_failed_trials_are_used_and_shunned() -> None:
    space = SearchSpace({"x": uniform(0, 1)})
    # the better half fails: its edge is where to look, not its middle
    observations = observe(space, 25, lambda c: c["x"] if c["x"] < 0.5 else None)
    batch = searcher(space, observations).suggest(SuggestionRequest(0, 3, start=25))
    assert batch.suggestions[0].provenance["observations"] == 25
    assert all(s.provenance["method"] == "gp" for s in batch.suggestions)
    assert 0.3 < batch.suggestions[0].config["x"] < 0.7
    assert all(0 < s.provenance["probability_feasible"] <= 1 for s in batch.suggestions)


def test_a_smooth_function_is_predicted_within_the_intervals_that_the_model_says() -> None:
    space = SearchSpace({"x": uniform(0, 1), "y": uniform(0, 1)})
    rng = np.random.default_rng(0)
    observations = observe(space, 60, lambda c: math.sin(5 * c["x"]) + c["y"] + 0.1 * rng.standard_normal())
    provenance = (
        searcher(space, observations).suggest(SuggestionRequest(0, 1, start=60)).suggestions[0].provenance
    )
    assert 0.35 <= provenance["coverage_50"] <= 0.7
    assert 0.8 <= provenance["coverage_90"] <= 1


def test_a_run_of_failures_alone_goes_on_quasi_random() -> None:
    made = searcher(MIXED, observe(MIXED, 20, lambda c: None))
    batch = made.suggest(SuggestionRequest(0, 2, start=20))
    assert [s.provenance["method"] for s in batch.suggestions] == ["initial", "initial"]


def test_what_a_config_is_not_to_blame_for_is_no_failure_of_it() -> None:
    """Nodes that die are no news of the config: suggestions are those of a run without it, but for itself."""
    observations = observe(MIXED, 20)
    lost = Observation(MIXED.sample(np.random.default_rng(5)), None, "9", "node lost")
    plain = searcher(MIXED, observations).suggest(SuggestionRequest(0, 1, start=30)).suggestions[0]
    with_loss = searcher(MIXED, [*observations, lost])
    told = with_loss.suggest(SuggestionRequest(0, 1, start=30)).suggestions[0]
    assert (told.config, told.provenance) == (plain.config, plain.provenance)
    failed = searcher(MIXED, [*observations, replace(lost, failure="error")])
    blamed = failed.suggest(SuggestionRequest(0, 1, start=30)).suggestions[0]
    assert "probability_feasible" in blamed.provenance
    again = searcher(MIXED, [*observations, replace(lost, config=plain.config)])
    assert again.suggest(SuggestionRequest(0, 1, start=30)).suggestions[0].config != plain.config, "finished"


@pytest.mark.parametrize("value", [0.0, 1e308, -1e-300], ids=str)
def test_constant_metrics_are_no_trouble(value: float) -> None:
    batch = searcher(MIXED, observe(MIXED, 12, lambda c: value)).suggest(SuggestionRequest(0, 2, start=12))
    assert all(MIXED.contains(s.config) for s in batch.suggestions)
    assert all(s.provenance["method"] == "gp" for s in batch.suggestions)


@pytest.mark.parametrize("broken", [(modelling, "fit"), (greedy, "maximise")], ids=["fit", "maximise"])
def test_a_numerical_failure_falls_back_and_says_so(
    broken: tuple[ModuleType, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise LinAlgError("not positive definite")

    monkeypatch.setattr(*broken, fail)
    observations = observe(MIXED, 20)
    batch = searcher(MIXED, observations).suggest(SuggestionRequest(0, 2, start=20))
    assert {s.provenance["method"] for s in batch.suggestions} == {
        "fallback: LinAlgError: not positive definite"
    }
    keys = {MIXED.key(s.config) for s in batch.suggestions} | {MIXED.key(o.config) for o in observations}
    assert len(keys) == 22


@pytest.mark.parametrize("memory", [{}, {"lengthscales": [1.0]}, {"lengthscales": "x", "observations": None}])
def test_a_memory_of_another_space_is_ignored(memory: Mapping[str, Any]) -> None:
    batch = searcher(MIXED, observe(MIXED, 12)).suggest(SuggestionRequest(0, 1, 12, memory))
    assert batch.suggestions[0].provenance["method"] == "gp"


def test_a_space_of_constants_has_its_one_config() -> None:
    space = SearchSpace({"epochs": 3})
    made = searcher(space, [Observation({"epochs": 3}, (1.0,))] * 5)
    assert made.suggest(SuggestionRequest(0, 1, start=5)).suggestions[0].config == {"epochs": 3}


@pytest.mark.parametrize("problem", PROBLEMS[:2], ids=lambda p: p.name)
def test_it_beats_random_search_clearly(problem: Problem) -> None:
    space = SearchSpace(problem.space)
    for seed in range(2):
        found = run(problem, GPSearcher(space, mode="min", seed=seed), trials=30)
        chance = run(problem, RandomSearcher(space, seed=seed), trials=30)
        assert found.regrets[-1] < 0.6 * chance.regrets[-1]
