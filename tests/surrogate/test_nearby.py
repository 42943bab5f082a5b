"""The posterior by what is near: the means of the whole, and a variance that is too large by a little."""

from __future__ import annotations

import numpy as np
import pytest

from raytune_gp.surrogate.features import Column, FeatureMap
from raytune_gp.surrogate.gp import Hyperparameters
from raytune_gp.surrogate.nearby import NearbyPosterior
from raytune_gp.surrogate.pending import PendingPosterior
from raytune_gp.surrogate.posterior import GPPosterior
from tests.surrogate.reference import FEATURES, HYPER, check_pulling, points

X, Y, PLACES = points(300, 0), np.random.default_rng(9).standard_normal(300), points(4, 1)
KNOWN = PendingPosterior.of(GPPosterior.of(FEATURES, HYPER, X, Y))
BUSY = KNOWN.extended(points(30, 2)).drawn(np.random.default_rng(3).standard_normal((4, 30)))


def about(whole: PendingPosterior, count: int) -> NearbyPosterior:
    return NearbyPosterior.about(PLACES, whole, count)


@pytest.mark.parametrize("whole", [KNOWN, BUSY], ids=["nothing pending", "30 pending"])
def test_with_every_point_near_it_is_the_whole_posterior(whole: PendingPosterior) -> None:
    elsewhere = points(20, 5)
    for a, b in zip(about(whole, 1000).marginals(elsewhere), whole.marginals(elsewhere), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("whole", [KNOWN, BUSY], ids=["nothing pending", "30 pending"])
def test_with_some_near_the_means_are_the_same_and_the_variance_is_larger(whole: PendingPosterior) -> None:
    means, variance = about(whole, 80).marginals(PLACES)
    exact_means, exact_variance = whole.marginals(PLACES)
    np.testing.assert_allclose(means, exact_means, rtol=1e-8, atol=1e-9)
    assert (variance > exact_variance).all()
    np.testing.assert_allclose(variance, exact_variance, rtol=0.15)


def test_a_pending_point_nearby_counts() -> None:
    busy = KNOWN.extended(PLACES[:1]).drawn(np.zeros((1, 1)))
    variance, before = about(busy, 80).marginals(PLACES)[1], about(KNOWN, 80).marginals(PLACES)[1]
    assert variance[0] < 0.01 * before[0]


def test_each_place_has_its_share_however_far_off_it_is() -> None:
    hyper = Hyperparameters((1.0, 1.0), scale=1.0, noise=0.01, mean=0.0)
    rng = np.random.default_rng(0)
    crowd, few = 0.01 * rng.random((500, 2)), 0.9 + 0.1 * rng.random((20, 2))
    base = GPPosterior.of(
        FeatureMap([Column()] * 2), hyper, np.concatenate([crowd, few]), rng.standard_normal(520)
    )
    whole = PendingPosterior.of(base)
    places = np.array([[0.0, 0.0], [0.95, 0.95]])
    near = NearbyPosterior.about(places, whole, 40).near
    assert len(near) == 40
    assert near.tolist() == sorted(set(near.tolist()))
    assert (near >= 500).sum() == 20


def test_points_that_coincide_with_a_place_are_no_trouble() -> None:
    base = GPPosterior.of(FEATURES, HYPER, np.repeat(X[:3], 50, axis=0), np.repeat(Y[:3], 50))
    whole = PendingPosterior.of(base)
    near = NearbyPosterior.about(X[:3], whole, 60)
    assert len(near.near) == 60
    assert np.isfinite(near.marginals(PLACES)[0]).all()


def test_pulling_marginals_are_the_marginals_and_pull_gradients_back() -> None:
    check_pulling(about(BUSY, 80), points(6, 6), (0, 2))
