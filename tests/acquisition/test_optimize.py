"""The maximiser finds known optima, level by level where columns are discrete, and avoids what is taken."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from raytune_gp.acquisition import optimize
from raytune_gp.acquisition.ascent import ascend
from raytune_gp.acquisition.optimize import Candidate, Nearby, draw_pool
from raytune_gp.acquisition.region import Region, Taken, sobol
from raytune_gp.surrogate.features import Column
from tests.acquisition.taken import Among

FREE3 = np.full(3, np.nan)
LEVELS = tuple((np.arange(5) + 0.5) / 5)


@dataclass
class Utility:
    """A function of tensors as the maximiser takes it, with its gradient by autograd."""

    function: Callable[[torch.Tensor], torch.Tensor]

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return self.function(torch.from_numpy(x)).numpy()

    def with_gradient(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        leaf = torch.from_numpy(x).requires_grad_()
        values = self.function(leaf)
        (gradient,) = torch.autograd.grad(values.sum(), leaf)
        return values.detach().numpy(), gradient.numpy()


@dataclass
class CountingUtility(Utility):
    """It counts the points it is asked of, and how often gradients are asked for."""

    points: int = 0
    gradients: int = 0

    def __call__(self, x: np.ndarray) -> np.ndarray:
        self.points += len(x)
        return super().__call__(x)

    def with_gradient(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.gradients += 1
        return super().with_gradient(x)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def maximise(
    acquisition: Utility,
    region: Region,
    *,
    best: np.ndarray,
    rng: np.random.Generator,
    taken: Taken | None = None,
    nearby: Nearby | None = None,
) -> Candidate:
    pool = draw_pool(region, best, rng)
    values = acquisition(region.masked(pool.x))
    return optimize.maximise(acquisition, region, pool, values, taken=taken, rng=rng, nearby=nearby)


def rosenbrock(x: np.ndarray, _: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    a, b = 2 * x[:, 0], 2 * x[:, 1]
    value = -((1 - a) ** 2) - 100 * (b - a**2) ** 2
    slope = np.stack([2 * (1 - a) + 400 * a * (b - a**2), -200 * (b - a**2)], axis=1)
    return value, 2 * slope


def test_the_ascent_reaches_the_top_from_every_start() -> None:
    starts = np.random.default_rng(0).random((6, 2))
    x, value = ascend(rosenbrock, starts, movable=np.ones_like(starts, dtype=bool), iterations=200)
    np.testing.assert_allclose(x, 0.5, atol=1e-3)
    np.testing.assert_allclose(value, 0.0, atol=1e-4)


def test_a_start_does_not_depend_on_the_others() -> None:
    starts = np.random.default_rng(0).random((6, 2))
    together, _ = ascend(rosenbrock, starts, movable=np.ones_like(starts, dtype=bool))
    alone, _ = ascend(rosenbrock, starts[2:3], movable=np.ones((1, 2), dtype=bool))
    np.testing.assert_array_equal(together[2], alone[0])


def test_only_starts_that_still_climb_are_evaluated() -> None:
    starts = np.array([[0.5, 0.5], [0.1, 0.9]])  # the first is the top already
    asked: list[list[int]] = []

    def function(x: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        asked.append(rows.tolist())
        return rosenbrock(x)

    ascend(function, starts, movable=np.ones_like(starts, dtype=bool))
    assert asked[0] == [0, 1]
    assert len(asked) > 3
    assert all(rows == [1] for rows in asked[1:])


def test_a_start_far_behind_is_given_up_and_so_is_one_that_hardly_gains() -> None:
    asked: list[list[int]] = []

    def two_hills(x: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        asked.append(rows.tolist())
        value, gradient = rosenbrock(x)
        return value - 2.0 * rows, gradient

    starts = np.array([[0.1, 0.9], [0.1, 0.9]])
    movable = np.ones_like(starts, dtype=bool)
    x, _ = ascend(two_hills, starts, movable=movable, iterations=200, behind=1.0)
    assert asked.index([0]) == 6, "the start, and five steps of both"
    np.testing.assert_allclose(x[0], 0.5, atol=1e-3)
    evaluations = len(asked)
    asked.clear()
    ascend(two_hills, starts, movable=movable, iterations=200, behind=1.0, enough=0.1)
    assert 6 < len(asked) < evaluations


def test_the_ascent_stops_at_the_bounds_as_scipy_does() -> None:
    matrix = np.array([[3.0, 1.0, 0.2], [1.0, 2.0, -0.4], [0.2, -0.4, 1.0]])
    target = np.array([1.4, -0.3, 0.6])

    def function(x: np.ndarray, _: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        away = x - target
        return -0.5 * ((away @ matrix) * away).sum(1), -away @ matrix

    x, _ = ascend(function, np.full((1, 3), 0.4), movable=np.ones((1, 3), dtype=bool))
    expected = minimize(lambda p: -function(p[None])[0][0], np.full(3, 0.4), bounds=[(0, 1)] * 3, tol=1e-12)
    np.testing.assert_allclose(x[0], expected.x, atol=1e-4)


def test_the_ascent_moves_only_what_is_movable_and_never_down() -> None:
    starts = np.random.default_rng(1).random((4, 2))
    movable = np.zeros_like(starts, dtype=bool)
    movable[:, 1] = True
    x, value = ascend(rosenbrock, starts, movable=movable)
    np.testing.assert_array_equal(x[:, 0], starts[:, 0])
    assert (value >= rosenbrock(starts)[0]).all()


def test_a_smooth_peak_is_found_to_four_digits() -> None:
    peak = torch.tensor([0.123, 0.777, 1.0], dtype=torch.float64)
    region = Region((Column(),) * 3, FREE3)
    found = maximise(
        Utility(lambda x: -(x - peak).square().sum(1)),
        region,
        best=np.full((1, 3), 0.5),
        rng=rng(),
    )
    np.testing.assert_allclose(found.x, peak, atol=1e-4)
    assert not found.exhausted


def mixed_utility(x: torch.Tensor) -> torch.Tensor:
    """Its best level (third) shows only next to the right float and the right wide integer."""
    near = (-30 * (x[:, 0] - 0.31).square() - 3 * (x[:, 1] - 0.64).square()).exp()
    return near * torch.where((x[:, 2] - LEVELS[3]).abs() < 1e-9, 2.0, 1.0)


def test_discrete_columns_are_searched_and_every_answer_lies_on_its_levels() -> None:
    wide = tuple(np.linspace(0, 1, 101))
    region = Region((Column(), Column(wide), Column(LEVELS, categorical=True)), FREE3)
    found = maximise(Utility(mixed_utility), region, best=np.full((1, 3), 0.5), rng=rng())
    np.testing.assert_allclose(found.x, [0.31, 0.64, LEVELS[3]], atol=1e-3)
    assert found.x[1] in wide


def test_a_function_that_holds_nearby_is_climbed_in_its_place() -> None:
    region = Region(
        (Column(), Column(tuple(np.linspace(0, 1, 101))), Column(LEVELS, categorical=True)), FREE3
    )
    whole, asked = CountingUtility(mixed_utility), list[int]()

    def nearby(x: np.ndarray) -> Utility:
        asked.append(len(x))
        centre = torch.from_numpy(x[0])
        return Utility(lambda p: mixed_utility(p) + 0.01 * (p - centre).square().sum(1))

    found = maximise(whole, region, best=np.full((1, 3), 0.5), rng=rng(), nearby=nearby)
    np.testing.assert_allclose(found.x, [0.31, 0.64, LEVELS[3]], atol=0.02)
    assert found.value == pytest.approx(float(mixed_utility(torch.from_numpy(found.x[None]))[0]), rel=1e-12)
    assert len(asked) == 2
    assert whole.gradients == 0
    assert whole.points < 800, "the pool, the tops of both rounds, and sweeps of the highest"


def test_those_that_the_cheap_function_leads_astray_climb_again_once_it_is_known_where_to() -> None:
    region = Region((Column(),) * 3, FREE3)
    truth = Utility(lambda x: -(x - 0.3).square().sum(1))

    def nearby(x: np.ndarray) -> Utility:
        seen = bool((x[:, 0] > 0.9).any())
        return truth if seen else Utility(lambda p: truth.function(p) + 10 * p[:, 0])

    found = maximise(truth, region, best=np.full((1, 3), 0.35), rng=rng(), nearby=nearby)
    np.testing.assert_allclose(found.x, 0.3, atol=1e-3)


def test_what_is_higher_by_the_cheap_function_alone_is_given_up() -> None:
    """It rises where the true one falls: the best of the pool stays."""
    region = Region((Column(),) * 3, FREE3)
    utility = Utility(lambda x: -(x - 0.5).square().sum(1))
    best = np.full((1, 3), 0.4)
    found = maximise(
        utility,
        region,
        best=best,
        rng=rng(),
        nearby=lambda _: Utility(lambda x: (x - 0.5).square().sum(1)),
    )
    pool = draw_pool(region, best, rng())
    assert found.value == utility(pool.x).max()
    assert found.x.tolist() in pool.x.tolist()


def test_fixed_columns_stay_where_they_are() -> None:
    region = Region(
        (Column(), Column(), Column(LEVELS, categorical=True)), np.array([np.nan, 0.2, LEVELS[1]])
    )
    found = maximise(Utility(mixed_utility), region, best=np.full((1, 3), 0.5), rng=rng())
    assert found.x[1:].tolist() == [0.2, LEVELS[1]]
    assert found.x[0] == pytest.approx(0.31, abs=1e-3)


def test_a_child_counts_only_where_its_parent_has_it() -> None:
    """Level 0 of the parent has no child; elsewhere the child's best place pays more than level 0 does."""

    def active(x: np.ndarray) -> np.ndarray:
        flags = np.ones(x.shape, dtype=bool)
        flags[:, 1] = x[:, 0] > LEVELS[0]
        return flags

    def utility(x: torch.Tensor) -> torch.Tensor:
        child = 1.5 - 4 * (torch.nan_to_num(x[:, 1], 0.0) - 0.8).square()
        return torch.where(torch.isnan(x[:, 1]), 1.0, child) - 0.1 * x[:, 0]

    region = Region((Column(LEVELS, categorical=True), Column(conditional=True)), np.full(2, np.nan), active)
    found = maximise(Utility(utility), region, best=np.array([[LEVELS[0], 0.5]]), rng=rng())
    np.testing.assert_allclose(found.x, [LEVELS[1], 0.8], atol=1e-3)


def test_small_regions_are_searched_whole_until_nothing_is_left() -> None:
    region = Region((Column(LEVELS), Column(LEVELS[:2])), np.full(2, np.nan))
    used: list[tuple[float, ...]] = []
    for _ in range(10):
        found = maximise(
            Utility(lambda x: x.sum(1)),
            region,
            best=np.full((1, 2), 0.5),
            taken=Among(used),
            rng=rng(),
        )
        assert not found.exhausted
        used.append(tuple(found.x))
    assert used == sorted(itertools.product(LEVELS, LEVELS[:2]), key=lambda p: -sum(p))
    again = maximise(
        Utility(lambda x: x.sum(1)),
        region,
        best=np.full((1, 2), 0.5),
        taken=Among(used, another=(0.5, 0.5)),
        rng=rng(),
    )
    assert again.exhausted
    assert tuple(again.x) == used[0]


def test_where_all_that_was_looked_at_is_taken_another_is_settled_in_the_region() -> None:
    wide = tuple(np.linspace(0, 1, 50))
    region = Region((Column(wide), Column(wide)), np.full(2, np.nan))
    everything = list(itertools.product(wide, wide))
    for another, exhausted in (((wide[17] + 0.001, wide[31]), False), (None, True)):
        found = maximise(
            Utility(lambda x: x.sum(1)),
            region,
            best=np.full((1, 2), 0.5),
            taken=Among(everything, another),
            rng=rng(),
        )
        assert found.exhausted is exhausted
        assert exhausted or tuple(found.x) == (wide[17], wide[31])


def test_a_utility_that_is_not_a_number_anywhere_still_gives_a_point() -> None:
    region = Region((Column(),) * 3, FREE3)
    found = maximise(Utility(lambda x: x.sum(1) * torch.nan), region, best=np.full((1, 3), 0.5), rng=rng())
    assert ((found.x >= 0) & (found.x <= 1)).all()


def test_same_seed_same_bits() -> None:
    region = Region((Column(), Column(LEVELS), Column(LEVELS, categorical=True)), FREE3)
    first, second = (
        maximise(Utility(mixed_utility), region, best=np.full((1, 3), 0.5), rng=rng()) for _ in range(2)
    )
    np.testing.assert_array_equal(first.x, second.x)


def test_pieces_of_the_sobol_sequence_join() -> None:
    whole = sobol(10, 3, seed=4)
    np.testing.assert_array_equal(np.concatenate([sobol(4, 3, 4), sobol(6, 3, 4, start=4)]), whole)
    assert ((whole > 0) & (whole < 1)).all()
