"""log-EI agrees with exact arithmetic, with integration, and for pending points with Monte Carlo."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
import torch
from scipy import integrate, stats

from raytune_gp.acquisition.logei import LogEI, log_ei, log_h, with_pending
from raytune_gp.acquisition.region import sobol
from raytune_gp.surrogate.features import Column, FeatureMap
from raytune_gp.surrogate.gp import Hyperparameters
from raytune_gp.surrogate.posterior import GPPosterior

FEATURES = FeatureMap([Column(), Column()])
HYPER = Hyperparameters((0.4, 0.6), scale=1.2, noise=0.01, mean=0.1)
RNG = np.random.default_rng(0)
X, Y = RNG.random((10, 2)), RNG.standard_normal(10)
POSTERIOR = GPPosterior.of(FEATURES, HYPER, X, Y)
NEW = torch.from_numpy(RNG.random((5, 2)))
PENDING = torch.from_numpy(RNG.random((3, 2)))


def exact_h(z: float) -> tuple[mpmath.mpf, mpmath.mpf]:
    with mpmath.workdps(80):
        below = mpmath.erfc(-mpmath.mpf(z) / mpmath.sqrt(2)) / 2
        density = mpmath.exp(-(mpmath.mpf(z) ** 2) / 2) / mpmath.sqrt(2 * mpmath.pi)
        h = density + z * below
        return mpmath.log(h), below / h


@pytest.mark.parametrize("z", [9.0, 1.0, 0.0, -0.99, -1.0, -1.01, -7.0, -49.9, -50.1, -300.0, -5000.0])
def test_log_h_and_its_slope_have_their_digits(z: float) -> None:
    leaf = torch.tensor([z], dtype=torch.float64, requires_grad=True)
    value = log_h(leaf)
    value.sum().backward()
    expected, slope = exact_h(z)
    assert leaf.grad is not None
    assert value.item() == pytest.approx(float(expected), rel=1e-12, abs=1e-14)
    assert leaf.grad.item() == pytest.approx(float(slope), rel=1e-10)


def test_log_h_stays_finite_and_increasing_far_out() -> None:
    z = -torch.logspace(100, 0, 200, dtype=torch.float64)
    values = log_h(z)
    assert torch.isfinite(values).all()
    assert (values.diff() > 0).all()


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
        mu, variance, best = (
            torch.tensor(v, dtype=torch.float64) for v in ([[mean]], [deviation**2], [incumbent])
        )
        assert log_ei(mu, variance, best).item() == pytest.approx(math.log(improvement), abs=1e-7)


def test_variants_are_averaged_before_the_logarithm() -> None:
    mean = torch.tensor([[0.0, 1.0]], dtype=torch.float64)
    variance, best = torch.ones(1, dtype=torch.float64), torch.tensor([0.5, 0.2], dtype=torch.float64)
    each = [log_ei(mean[:, [s]], variance, best[[s]]).exp().item() for s in range(2)]
    assert log_ei(mean, variance, best).exp().item() == pytest.approx(sum(each) / 2)


def test_without_pending_points_it_is_plain_log_ei() -> None:
    none = torch.empty(0, 2, dtype=torch.float64)
    acquisition = with_pending(POSTERIOR, 0.7, none, torch.empty(16, 0, dtype=torch.float64))
    plain = LogEI(POSTERIOR, torch.tensor([0.7], dtype=torch.float64))
    torch.testing.assert_close(acquisition(NEW), plain(NEW))


def test_with_pending_points_it_is_the_gain_in_joint_expected_improvement() -> None:
    """EI(x | pending) = qEI(x, pending) - qEI(pending), the right side by brute-force sampling."""
    incumbent = 0.8
    draws = torch.special.ndtri(torch.from_numpy(sobol(4096, 3, seed=1)))
    gain = with_pending(POSTERIOR, incumbent, PENDING, draws)(NEW).exp().numpy()

    mean, covariance = POSTERIOR.joint(torch.cat([PENDING, NEW]))
    normal = stats.multivariate_normal(mean[:, 0].numpy(), covariance.numpy(), allow_singular=True, seed=3)
    f = normal.rvs(2_000_000)
    among_pending = np.maximum(f[:, :3].max(1), incumbent)
    brute_force = np.maximum(f[:, 3:] - among_pending[:, None], 0.0).mean(0)
    np.testing.assert_allclose(gain, brute_force, rtol=0.02, atol=2e-4)


def test_few_samples_are_near_the_limit_and_pending_points_repel() -> None:
    few, many = (
        with_pending(POSTERIOR, 0.8, PENDING, torch.special.ndtri(torch.from_numpy(sobol(s, 3, seed=2))))
        for s in (16, 4096)
    )
    torch.testing.assert_close(few(NEW).exp(), many(NEW).exp(), rtol=0.2, atol=1e-3)
    plain = LogEI(POSTERIOR, torch.tensor([0.8], dtype=torch.float64))
    assert (few(PENDING) < plain(PENDING) - 1).all()


def test_gradients_with_pending_points_are_those_of_differences() -> None:
    draws = torch.special.ndtri(torch.from_numpy(sobol(8, 3, seed=2)))
    acquisition = with_pending(POSTERIOR, 0.8, PENDING, draws)
    assert torch.autograd.gradcheck(acquisition, NEW.clone().requires_grad_())


def test_a_config_pending_twice_is_no_trouble() -> None:
    draws = torch.special.ndtri(torch.from_numpy(sobol(16, 2, seed=2)))
    acquisition = with_pending(POSTERIOR, 0.8, PENDING[:1].repeat(2, 1), draws)
    assert torch.isfinite(acquisition(NEW)).all()
