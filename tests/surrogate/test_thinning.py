"""Thinning keeps what predicts well, of every good region, and is not taken in by lucky values."""

from __future__ import annotations

import numpy as np

from raytune_gp.surrogate.features import Column, FeatureMap
from raytune_gp.surrogate.gp import Hyperparameters
from raytune_gp.surrogate.posterior import GPPosterior
from raytune_gp.surrogate.thinning import thinned

FEATURES = FeatureMap([Column(), Column()])
HYPER = Hyperparameters((0.3, 0.3), scale=1.0, noise=0.25, mean=0.0)
RNG = np.random.default_rng(0)
X = RNG.random((3000, 2))
PEAKS = np.array([[0.2, 0.2], [0.8, 0.7]])
TRUTH = 2 * np.exp(-30 * ((X[:, None] - PEAKS) ** 2).sum(2)).sum(1) - 0.5
NOISE = 0.5 * RNG.standard_normal(3000)
Y = TRUTH + NOISE


def kept(most: int, seed: int = 1) -> np.ndarray:
    return thinned(FEATURES, HYPER, X, Y, most, np.random.default_rng(seed))


def test_what_is_few_stays_whole_and_draws_no_random_numbers() -> None:
    rng = np.random.default_rng(1)
    assert thinned(FEATURES, HYPER, X, Y, 3000, rng).tolist() == list(range(3000))
    assert rng.random() == np.random.default_rng(1).random()


def test_so_many_stay_in_order_and_the_same_each_time() -> None:
    chosen = kept(600)
    assert len(chosen) == 600
    assert (np.diff(chosen) > 0).all()
    np.testing.assert_array_equal(chosen, kept(600))


def test_every_good_region_stays_and_some_of_everywhere() -> None:
    chosen = np.zeros(len(X), dtype=bool)
    chosen[kept(600)] = True
    away = ((X[:, None] - PEAKS) ** 2).sum(2)
    for region in away.T < 0.08**2:
        assert chosen[region].mean() > 0.9
    far = away.min(1) > 0.3**2
    assert 0.05 < chosen[far].mean() < 0.3


def test_noisy_values_are_not_kept_for_their_luck() -> None:
    best_values = np.argsort(-Y)[:300]
    assert NOISE[best_values].mean() > 0.2
    assert abs(NOISE[kept(600)].mean()) < 0.05


def test_where_it_matters_few_points_predict_what_all_would() -> None:
    chosen = kept(900)
    near = PEAKS[np.arange(40) % 2] + RNG.uniform(-0.1, 0.1, (40, 2))
    exact, thin = (
        GPPosterior.of(FEATURES, HYPER, x, y).marginals(near) for x, y in ((X, Y), (X[chosen], Y[chosen]))
    )
    assert np.abs(thin[0] - exact[0]).max() < 0.15
    assert np.sqrt(thin[1] / exact[1]).max() < 1.5
