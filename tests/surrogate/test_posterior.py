"""The posterior agrees with GPyTorch and the textbook formula, also after conditioning on more points."""

from __future__ import annotations

import numpy as np
import torch

from raytune_gp.surrogate.features import Column, FeatureMap
from raytune_gp.surrogate.gp import NOISE_FLOOR, Hyperparameters, MaternGP, matern52
from raytune_gp.surrogate.posterior import GPPosterior

LEVELS = (1 / 6, 0.5, 5 / 6)
FEATURES = FeatureMap([Column(), Column(LEVELS, categorical=True), Column(conditional=True)])
HYPER = Hyperparameters((0.4, 0.9, 1.7), scale=1.4, noise=0.02, mean=0.3)


def points(n: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = rng.random((n, 3))
    x[:, 1] = rng.choice(LEVELS, n)
    x[rng.random(n) < 0.4, 2] = np.nan
    return x


X, Y, NEW = points(20, 0), np.random.default_rng(9).standard_normal(20), torch.from_numpy(points(6, 1))


def prior(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    lengths = torch.tensor(HYPER.lengthscales, dtype=torch.float64)[FEATURES.groups]
    return HYPER.scale * matern52(FEATURES(a) / lengths, FEATURES(b) / lengths)


def test_matern_is_gpytorchs_own() -> None:
    import gpytorch

    a, b = torch.rand(5, 3, dtype=torch.float64), torch.rand(4, 3, dtype=torch.float64)
    kernel = gpytorch.kernels.MaternKernel(nu=2.5).double()
    kernel.lengthscale = 1.0
    torch.testing.assert_close(matern52(a, b), kernel(a, b).to_dense().detach())


def test_marginals_and_joint_equal_gpytorchs() -> None:
    posterior = GPPosterior.of(FEATURES, HYPER, X, Y)
    model = MaternGP(FEATURES(torch.from_numpy(X)), torch.from_numpy(Y), FEATURES.groups, 3)
    model.set(HYPER.theta)
    model.eval()
    with torch.no_grad():
        expected = model(FEATURES(NEW))
    mean, variance = posterior.marginals(NEW)
    torch.testing.assert_close(mean[:, 0], expected.mean)
    torch.testing.assert_close(variance, expected.variance)
    mean, covariance = posterior.joint(NEW)
    torch.testing.assert_close(mean[:, 0], expected.mean)
    torch.testing.assert_close(covariance, expected.covariance_matrix)


def test_conditioning_is_the_textbook_formula_with_everything_at_once() -> None:
    pending = torch.from_numpy(points(3, 2))
    values = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    mean, variance = GPPosterior.of(FEATURES, HYPER, X, Y).condition(pending, values).marginals(NEW)

    known = torch.cat([torch.from_numpy(X), pending])
    noise = torch.tensor([HYPER.noise] * 20 + [NOISE_FLOOR * HYPER.scale] * 3, dtype=torch.float64)
    covariance = prior(known, known) + torch.diag(noise)
    weights = torch.linalg.solve(covariance, prior(known, NEW))
    targets = torch.cat([torch.from_numpy(Y).expand(4, 20), values], dim=1)
    torch.testing.assert_close(mean, HYPER.mean + ((targets - HYPER.mean) @ weights).mT)
    torch.testing.assert_close(variance, HYPER.scale - (prior(NEW, known) * weights.mT).sum(1))


def test_conditioning_twice_is_conditioning_once() -> None:
    pending = torch.from_numpy(points(4, 2))
    values = torch.randn(2, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    posterior = GPPosterior.of(FEATURES, HYPER, X, Y)
    once = posterior.condition(pending, values)
    twice = posterior.condition(pending[:1], values[:, :1]).condition(pending[1:], values[:, 1:])
    for a, b in zip(once.marginals(NEW), twice.marginals(NEW), strict=True):
        torch.testing.assert_close(a, b)


def test_gradients_are_those_of_differences_and_finite_at_a_known_point() -> None:
    posterior = GPPosterior.of(FEATURES, HYPER, X, Y)
    assert torch.autograd.gradcheck(
        lambda x: posterior.marginals(torch.cat([x, NEW[:2, 1:]], dim=1)),
        NEW[:2, :1].clone().requires_grad_(),
    )
    known = torch.from_numpy(X[:3]).requires_grad_()
    mean, variance = posterior.marginals(known)
    (gradient,) = torch.autograd.grad(mean.sum() + variance.sum(), known)
    assert torch.isfinite(gradient).all()


def test_coinciding_pending_points_are_no_trouble() -> None:
    posterior = GPPosterior.of(FEATURES, HYPER, X, Y)
    twice = NEW[:1].repeat(3, 1)
    mean, variance = posterior.condition(twice, torch.zeros(2, 3, dtype=torch.float64)).marginals(NEW)
    assert torch.isfinite(mean).all()
    assert (variance > 0).all()
