"""log-EI agrees with exact arithmetic, with integration, and for pending points with Monte Carlo."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
from scipy import integrate, stats
from scipy.special import ndtri

from raytune_gp.acquisition.logei import LogEI, log_ei, log_h
from raytune_gp.acquisition.region import sobol
from raytune_gp.surrogate.features import Column, FeatureMap
from raytune_gp.surrogate.gp import Hyperparameters
from raytune_gp.surrogate.pending import PendingPosterior
from raytune_gp.surrogate.posterior import GPPosterior
from tests.surrogate.reference import joint

FEATURES = FeatureMap([Column(), Column()])
HYPER = Hyperparameters((0.4, 0.6), scale=1.2, noise=0.01, mean=0.1)
RNG = np.random.default_rng(0)
X, Y = RNG.random((10, 2)), RNG.standard_normal(10)
POSTERIOR = GPPosterior.of(FEATURES, HYPER, X, Y)
NEW, PENDING = RNG.random((5, 2)), RNG.random((3, 2))


def with_pending(incumbent: float, pending: np.ndarray, normals: np.ndarray) -> LogEI:
    drawn = PendingPosterior.of(POSTERIOR).extended(pending).drawn(normals)
    return LogEI(drawn, np.maximum(drawn.values.max(1, initial=-np.inf), incumbent)[: drawn.normals.shape[1]])


def exact_h(z: float) -> tuple[mpmath.mpf, mpmath.mpf]:
    with mpmath.workdps(80):
        below = mpmath.erfc(-mpmath.mpf(z) / mpmath.sqrt(2)) / 2
        density = mpmath.exp(-(mpmath.mpf(z) ** 2) / 2) / mpmath.sqrt(2 * mpmath.pi)
        h = density + z * below
        return mpmath.log(h), below / h


@pytest.mark.parametrize("z", [9.0, 1.0, 0.0, -0.99, -1.0, -1.01, -7.0, -49.9, -50.1, -300.0, -5000.0])
def test_log_h_and_its_slope_have_their_digits(z: float) -> None:
    value, slope = log_h(np.array([z]))
    expected, expected_slope = exact_h(z)
    assert value[0] == pytest.approx(float(expected), rel=1e-12, abs=1e-14)
    assert slope[0] == pytest.approx(float(expected_slope), rel=1e-10)


def test_log_h_stays_finite_and_increasing_far_out() -> None:
    values, slopes = log_h(-np.logspace(100, 0, 200))
    assert np.isfinite(values).all()
    assert (np.diff(values) > 0).all()
    assert np.isfinite(slopes).all()


def test_log_ei_is_the_logarithm_of_the_integral() -> None:
    for mean, deviation, incumbent in [(0.3, 0.5, 0.1), (-1.0, 0.4, 0.5), (2.0, 0.1, 0.0)]:
        density = stats.norm(mean, deviation).pdf
        top = mean + 12 * deviation
        improvement, _ = integrate.quad(
            lambda f, d=density, b=incumbent: (f - b) * d(f),
            incumbent,
            top,
            points=[mean] if mean > incumbent else None,
        )
        value = log_ei(np.array([[mean]]), np.array([deviation**2]), np.array([incumbent]))
        assert value.item() == pytest.approx(math.log(improvement), abs=1e-7)


def test_variants_are_averaged_before_the_logarithm() -> None:
    mean, variance, best = np.array([[0.0, 1.0]]), np.ones(1), np.array([0.5, 0.2])
    each = [math.exp(log_ei(mean[:, [s]], variance, best[[s]]).item()) for s in range(2)]
    assert math.exp(log_ei(mean, variance, best).item()) == pytest.approx(sum(each) / 2)


def test_without_pending_points_it_is_plain_log_ei() -> None:
    acquisition = with_pending(0.7, np.empty((0, 2)), np.empty((16, 0)))
    np.testing.assert_array_equal(acquisition(NEW), LogEI(POSTERIOR, np.array([0.7]))(NEW))


def test_with_pending_points_it_is_the_gain_in_joint_expected_improvement() -> None:
    """EI(x | pending) = qEI(x, pending) - qEI(pending), the right side by brute-force sampling."""
    incumbent = 0.8
    draws = ndtri(sobol(4096, 3, seed=1))
    gain = np.exp(with_pending(incumbent, PENDING, draws)(NEW))

    mean, covariance = joint(POSTERIOR, np.concatenate([PENDING, NEW]))
    normal = stats.multivariate_normal(mean[:, 0], covariance, allow_singular=True, seed=3)
    f = normal.rvs(2_000_000)
    among_pending = np.maximum(f[:, :3].max(1), incumbent)
    brute_force = np.maximum(f[:, 3:] - among_pending[:, None], 0.0).mean(0)
    np.testing.assert_allclose(gain, brute_force, rtol=0.02, atol=2e-4)


def test_few_samples_are_near_the_limit_and_pending_points_repel() -> None:
    few, many = (with_pending(0.8, PENDING, ndtri(sobol(s, 3, seed=2))) for s in (16, 4096))
    np.testing.assert_allclose(np.exp(few(NEW)), np.exp(many(NEW)), rtol=0.2, atol=1e-3)
    plain = LogEI(POSTERIOR, np.array([0.8]))
    assert (few(PENDING) < plain(PENDING) - 1).all()


@pytest.mark.parametrize("pending", [PENDING, PENDING[:0]])
def test_gradients_are_those_of_differences(pending: np.ndarray) -> None:
    acquisition = with_pending(0.8, pending, ndtri(sobol(8, 3, seed=2))[:, : len(pending)])
    values, gradients = acquisition.with_gradient(NEW)
    np.testing.assert_allclose(values, acquisition(NEW), rtol=1e-12)
    for j in range(2):
        step = 1e-6 * np.eye(2)[j]
        slope = (acquisition(NEW + step) - acquisition(NEW - step)) / 2e-6
        np.testing.assert_allclose(gradients[:, j], slope, rtol=1e-5, atol=1e-6)


def test_a_config_pending_twice_is_no_trouble() -> None:
    acquisition = with_pending(0.8, np.repeat(PENDING[:1], 2, axis=0), ndtri(sobol(16, 2, seed=2)))
    assert np.isfinite(acquisition(NEW)).all()
