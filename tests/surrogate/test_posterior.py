"""The posterior agrees with GPyTorch."""

from __future__ import annotations

import numpy as np
import torch

from raytune_gp.surrogate.gp import MaternGP
from raytune_gp.surrogate.matern import matern52
from raytune_gp.surrogate.posterior import GPPosterior
from tests.surrogate.reference import FEATURES, HYPER, check_pulling, joint, points

X, Y, NEW = points(20, 0), np.random.default_rng(9).standard_normal(20), points(6, 1)


def test_matern_is_gpytorchs_own() -> None:
    import gpytorch

    a, b = np.random.default_rng(0).random((5, 3)), np.random.default_rng(1).random((4, 3))
    kernel = gpytorch.kernels.MaternKernel(nu=2.5).double()
    kernel.lengthscale = 1.0
    expected = kernel(torch.from_numpy(a), torch.from_numpy(b)).to_dense().detach().numpy()
    np.testing.assert_allclose(matern52(a, b), expected, rtol=1e-7)


def test_marginals_and_joint_equal_gpytorchs() -> None:
    posterior = GPPosterior.of(FEATURES, HYPER, X, Y)
    model = MaternGP(torch.from_numpy(FEATURES(X)), torch.from_numpy(Y), FEATURES.groups, 3, warped=1)
    model.set(HYPER.theta)
    model.eval()
    with torch.no_grad():
        expected = model(torch.from_numpy(FEATURES(NEW)))
    mean, variance = posterior.marginals(NEW)
    np.testing.assert_allclose(mean[:, 0], expected.mean.numpy(), rtol=1e-6)
    np.testing.assert_allclose(variance, expected.variance.numpy(), rtol=1e-6)
    mean, covariance = joint(posterior, NEW)
    np.testing.assert_allclose(mean[:, 0], expected.mean.numpy(), rtol=1e-6)
    np.testing.assert_allclose(covariance, expected.covariance_matrix.numpy(), atol=1e-7)


def test_pulling_marginals_are_the_marginals_and_pull_gradients_back() -> None:
    check_pulling(GPPosterior.of(FEATURES, HYPER, X, Y), NEW, (0, 2))


def test_means_in_bulk_and_at_the_known_points_are_the_marginals() -> None:
    posterior = GPPosterior.of(FEATURES, HYPER, X, Y)
    for x in (NEW, points(300, 2), NEW[:0]):
        np.testing.assert_allclose(posterior.means(x), posterior.marginals(x)[0][:, 0], rtol=1e-9)
    np.testing.assert_allclose(posterior.smoothed(Y), posterior.marginals(X)[0][:, 0], rtol=1e-10)


def test_gradients_are_finite_at_a_known_point() -> None:
    means, variance, pull_back = GPPosterior.of(FEATURES, HYPER, X, Y).pulling_marginals(X[:3])
    assert np.isfinite(pull_back(np.ones_like(means), np.ones_like(variance))).all()
