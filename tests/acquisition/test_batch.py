"""A batch keeps what its suggestions share, and proposes what each would get if all were made anew."""

from __future__ import annotations

import numpy as np
import pytest

from raytune_gp.acquisition import batch as greedy
from raytune_gp.acquisition.batch import GreedyBatch
from raytune_gp.acquisition.feasibility import Feasibility
from raytune_gp.acquisition.logei import LogEI
from raytune_gp.acquisition.optimize import Candidate
from raytune_gp.acquisition.region import Region
from raytune_gp.acquisition.weights import LogWeight, WeightedLogEI
from raytune_gp.surrogate import nearby
from raytune_gp.surrogate.features import Column, FeatureMap
from raytune_gp.surrogate.gp import Hyperparameters
from raytune_gp.surrogate.pending import PendingPosterior
from raytune_gp.surrogate.posterior import GPPosterior

COLUMNS = (Column(), Column(), Column((0.25, 0.75), categorical=True))
FEATURES = FeatureMap(COLUMNS)
HYPER = Hyperparameters((0.4, 0.6, 0.8), scale=1.2, noise=0.01, mean=0.1)
RNG = np.random.default_rng(0)
X = RNG.random((30, 3))
X[:, 2] = RNG.choice([0.25, 0.75], 30)
Y = np.sin(5 * X[:, 0]) - (X[:, 1] - 0.6) ** 2 + 0.3 * (X[:, 2] > 0.5)
POSTERIOR = GPPosterior.of(FEATURES, HYPER, X, Y)
FEASIBLE = Feasibility(GPPosterior.of(FEATURES, HYPER, X, np.sign(X[:, 0] - 0.3)), 0.0, 0.01)
ANYWHERE = Region(COLUMNS, np.full(3, np.nan))
CELLS = [Region(COLUMNS, np.array([np.nan, np.nan, level])) for level in (0.25, 0.75)]


def batch(pending: np.ndarray, *weights: LogWeight) -> GreedyBatch:
    return GreedyBatch(POSTERIOR, float(Y.max()), X[:3], pending, weights=weights, seed=5)


@pytest.mark.parametrize("weights", [(), (FEASIBLE,)], ids=["all feasible", "some fail"])
@pytest.mark.parametrize("regions", [[ANYWHERE], CELLS], ids=["one region", "two cells"])
def test_each_suggestion_is_that_of_a_batch_which_begins_with_it(
    regions: list[Region], weights: tuple[LogWeight, ...]
) -> None:
    together, pending = batch(X[:0], *weights), X[:0]
    for i in range(6):
        region = regions[i % len(regions)]
        candidate, _ = together.propose(region, None, np.random.default_rng(i))
        alone, _ = batch(pending, *weights).propose(region, None, np.random.default_rng(i))
        np.testing.assert_allclose(candidate.x, alone.x, atol=1e-4)
        assert candidate.value == pytest.approx(alone.value, abs=1e-6)
        together.add(candidate.x[None])
        pending = np.concatenate([pending, candidate.x[None]])
    gaps = np.linalg.norm(pending[:, None] - pending, axis=2)[np.triu_indices(6, 1)]
    assert gaps.min() > 1e-3


def test_more_cells_than_pools_are_kept_get_the_same_pools_again() -> None:
    columns = (Column(), Column(tuple((np.arange(9) + 0.5) / 9), categorical=True))
    hyper = Hyperparameters((0.4, 0.8), scale=1.0, noise=0.01, mean=0.0)
    posterior = GPPosterior.of(FeatureMap(columns), hyper, X[:, [0, 2]], Y)
    made = GreedyBatch(posterior, 1.0, np.full((1, 2), 0.5), np.empty((0, 2)))
    cells = [Region(columns, np.array([np.nan, place])) for place in columns[1].grid or ()]
    rounds = [
        [made.propose(cell, None, np.random.default_rng(0))[0].x.tolist() for cell in cells] for _ in range(2)
    ]
    assert rounds[0] == rounds[1]


MANY = RNG.random((400, 3))
MANY[:, 2] = RNG.choice([0.25, 0.75], 400)
HEIGHTS = np.sin(9 * MANY[:, 0]) - 3 * (MANY[:, 1] - 0.6) ** 2 + 0.3 * (MANY[:, 2] > 0.5)
BESIDE_MANY = GPPosterior.of(FEATURES, HYPER, MANY, HEIGHTS)
SOME_FAIL = Feasibility(GPPosterior.of(FEATURES, HYPER, MANY, np.sign(MANY[:, 0] - 0.1)), 0.0, 0.01)


@pytest.mark.parametrize("weights", [(), (SOME_FAIL,)], ids=["all feasible", "some fail"])
def test_beside_many_points_what_is_near_is_climbed_and_the_whole_decides(
    weights: tuple[LogWeight, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = GreedyBatch(
        BESIDE_MANY, float(HEIGHTS.max()), MANY[HEIGHTS.argsort()[-3:]], MANY[:5] + 0.01, weights=weights
    )
    of_size: list[int] = []
    factor = PendingPosterior.inverse_factor

    def counted(posterior: PendingPosterior, rows: np.ndarray) -> np.ndarray:
        of_size.append(len(rows))
        return factor(posterior, rows)

    def propose(seed: int, nearby_from: int) -> tuple[Candidate, LogEI]:
        monkeypatch.setattr(greedy, "_NEARBY_FROM", nearby_from)
        return made.propose(ANYWHERE, None, np.random.default_rng(seed))

    monkeypatch.setattr(nearby, "_COUNT", 150)
    monkeypatch.setattr(PendingPosterior, "inverse_factor", counted)
    gains = []
    for i in range(8):
        exact, improvement = propose(i, 10_000)
        assert of_size == [], "below the threshold all is as it ever was"
        (cheap, _), (again, _) = propose(i, 400), propose(i, 400)
        assert set(of_size) == {150}
        of_size.clear()
        np.testing.assert_array_equal(cheap.x, again.x)
        whole = WeightedLogEI(improvement, weights)
        assert cheap.value == pytest.approx(float(whole(cheap.x[None])[0]), rel=1e-9)
        gains.append(cheap.value - exact.value)
        made.add(exact.x[None])
    assert np.median(np.abs(gains)) < 1e-3
    assert min(gains) > -0.1
