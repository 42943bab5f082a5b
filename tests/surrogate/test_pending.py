"""The posterior beside pending points is the textbook formula, however the points are appended."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import ndtri

from raytune_gp.surrogate.gp import NOISE_FLOOR
from raytune_gp.surrogate.matern import matern52
from raytune_gp.surrogate.pending import PendingPosterior, Watched
from raytune_gp.surrogate.posterior import GPPosterior
from tests.surrogate.reference import FEATURES, HYPER, check_pulling, joint, points

X, Y, NEW = points(20, 0), np.random.default_rng(9).standard_normal(20), points(6, 1)
PENDING, NORMALS = points(5, 2), np.random.default_rng(3).standard_normal((4, 5))
BASE = PendingPosterior.of(GPPosterior.of(FEATURES, HYPER, X, Y))


def prior(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    lengths = np.array(HYPER.lengthscales)[FEATURES.groups]
    bend = HYPER.input_warp
    return HYPER.scale * matern52(bend(FEATURES(a)) / lengths, bend(FEATURES(b)) / lengths)


def from_scratch(values: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means (b x s) and variance (b) given Y at X and `values` (s x q) at PENDING, all at once."""
    known = np.concatenate([X, PENDING])
    noise = np.array([HYPER.noise] * len(X) + [NOISE_FLOOR * HYPER.scale] * len(PENDING))
    weights = np.linalg.solve(prior(known, known) + np.diag(noise), prior(known, x))
    targets = np.concatenate([np.broadcast_to(Y, (len(values), len(Y))), values], axis=1)
    variance = HYPER.scale - (prior(x, known) * weights.T).sum(1)
    return HYPER.mean + ((targets - HYPER.mean) @ weights).T, variance


@pytest.mark.parametrize("parts", [[5], [1, 1, 1, 1, 1], [3, 0, 2]], ids=str)
def test_appended_in_any_parts_it_is_the_textbook_formula_with_everything_at_once(parts: list[int]) -> None:
    posterior, watched, done = BASE, Watched.of(BASE, NEW), 0
    for count in parts:
        posterior = posterior.extended(PENDING[done : done + count])
        watched = watched.followed(posterior)
        done += count
    posterior = posterior.drawn(NORMALS)
    expected = from_scratch(posterior.values, NEW)
    for found in (posterior.marginals(NEW), watched.marginals(posterior)):
        np.testing.assert_allclose(found[0], expected[0], rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(found[1], expected[1], rtol=1e-9)


def test_the_values_drawn_have_the_posteriors_joint_distribution() -> None:
    mean, covariance = joint(BASE.base, PENDING)
    normals = np.concatenate([np.zeros((1, 5)), np.eye(5)])
    values = BASE.extended(PENDING[:2]).extended(PENDING[2:]).drawn(normals).values
    np.testing.assert_allclose(values[0], mean[:, 0], rtol=1e-9)
    root = (values[1:] - values[0]).T
    np.testing.assert_allclose(root @ root.T, covariance + NOISE_FLOOR * HYPER.scale * np.eye(5), atol=1e-9)


def test_without_pending_points_it_is_the_posterior_of_what_is_known() -> None:
    for posterior in (BASE, BASE.extended(PENDING[:0]).drawn(NORMALS[:, :0])):
        for a, b in zip(posterior.marginals(NEW), BASE.base.marginals(NEW), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12)


def test_pulling_marginals_are_the_marginals_and_pull_gradients_back() -> None:
    check_pulling(BASE.extended(PENDING).drawn(NORMALS), NEW, (0, 2))


def test_a_hundred_points_appended_one_by_one_lose_no_digits() -> None:
    many = points(100, 7)
    normals = ndtri((np.arange(1, 201).reshape(2, 100) * 0.618) % 1)
    one_by_one = BASE
    for i in range(100):
        one_by_one = one_by_one.extended(many[[i]])
    found, expected = (p.drawn(normals).marginals(NEW) for p in (one_by_one, BASE.extended(many)))
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-8)


def test_coinciding_pending_points_are_no_trouble() -> None:
    twice = BASE.extended(np.repeat(NEW[:1], 3, axis=0)).extended(NEW[:1]).drawn(NORMALS[:, :4])
    mean, variance = twice.marginals(NEW)
    assert np.isfinite(mean).all()
    assert (variance > 0).all()
    np.testing.assert_allclose(twice.values, np.repeat(twice.values[:, :1], 4, axis=1), atol=0.02)
