"""The Gaussian process as GPyTorch states it: kernel, mean, likelihood and priors.

    y = f(x) + ε,   f ~ GP(m, s · Matérn52(r)),   r² = Σ_j D_j(x, x') / ℓ_j²,   ε ~ N(0, σ²)

The D_j are those of `features`, plain columns bent as `input_warp` says, or straight. The priors are normal
over log ℓ_j, log s, log σ² and the logarithms of the warp's shapes: their mode does not depend on whether the
fit moves a parameter or its logarithm. `MaternGP` defines the mathematics and fits on a GPU; `fit` and
`posterior` evaluate the same quantities in closed form, and the tests hold them equal.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gpytorch
import numpy as np
import torch
from gpytorch.constraints import Positive
from gpytorch.distributions import MultivariateNormal
from gpytorch.priors import NormalPrior
from torch import Tensor

from raytune_gp.surrogate.input_warp import EDGE, InputWarp

__all__ = ["NOISE_FLOOR", "Hyperparameters", "MaternGP", "prior_of_logs"]

NOISE_FLOOR = 1e-6
"""The smallest noise variance, in squared deviations of the targets: keeps every Cholesky factor sound."""


@dataclass(frozen=True)
class Hyperparameters:
    """What the fit finds: d lengthscales, output scale s, noise variance σ² and constant mean m.

    `warps` are the shapes (a, b) of the input warp for each plain column, or none for straight ones.
    """

    lengthscales: tuple[float, ...]
    scale: float
    noise: float
    mean: float
    warps: tuple[tuple[float, float], ...] = ()

    @property
    def theta(self) -> np.ndarray:
        """The fit moves (d + 3 + 2w): log ℓ_1 .. ℓ_d, log s, log σ², log a_1 .. a_w, log b_1 .. b_w; m."""
        shapes = np.array(self.warps).reshape(-1, 2).T.ravel()
        return np.concatenate([np.log([*self.lengthscales, self.scale, self.noise, *shapes]), [self.mean]])

    @property
    def input_warp(self) -> InputWarp:
        """The warp of the plain columns."""
        a, b = np.array(self.warps).reshape(-1, 2).T
        return InputWarp(a, b)

    @classmethod
    def from_theta(cls, theta: np.ndarray, dimension: int) -> Hyperparameters:
        """The inverse of `theta`, for d = `dimension`."""
        values = np.exp(theta[:-1]).tolist()
        lengthscales, scale, noise, shapes = (
            values[:dimension],
            values[dimension],
            values[dimension + 1],
            values[dimension + 2 :],
        )
        half = len(shapes) // 2
        warps = tuple(zip(shapes[:half], shapes[half:], strict=True))
        return cls(tuple(lengthscales), scale, noise, float(theta[-1]), warps)

    def to_json(self) -> dict[str, Any]:
        """JSON that `from_json` reads."""
        return {
            "lengthscales": list(self.lengthscales),
            "scale": self.scale,
            "noise": self.noise,
            "mean": self.mean,
            "warps": [list(warp) for warp in self.warps],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any] | None, dimension: int, plain: int) -> Hyperparameters | None:
        """The hyperparameters in `data`, or None unless they are whole, usable and fit `dimension` columns.

        `plain` of these may be bent, all or none.
        """
        if data is None:
            return None
        try:
            lengthscales = tuple(float(v) for v in data["lengthscales"])
            warps = tuple((float(a), float(b)) for a, b in data.get("warps", ()))
            found = cls(lengthscales, float(data["scale"]), float(data["noise"]), float(data["mean"]), warps)
            positive = [*lengthscales, found.scale, found.noise, *(v for warp in warps for v in warp)]
            fitting = len(lengthscales) == dimension and len(warps) in (0, plain)
            usable = fitting and min(positive) > 0 and bool(np.isfinite(found.theta).all())
            return found if usable else None
        except (KeyError, TypeError, ValueError):
            return None


def prior_of_logs(
    dimension: int, warped: int = 0, at_once: float | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Means and deviations (d + 2 + 2w) of the normal priors over theta but its last, w columns being warped.

    The lengthscale grows with the root of the number of columns that exist `at_once` (all d by default), as
    distances in the cube do (Hvarfner et al. 2024, arXiv 2402.02229).
    """
    length = math.log(0.35 * math.sqrt(at_once or dimension))
    means = [length] * dimension + [0.0, -5.0] + [0.0] * (2 * warped)
    deviations = [0.9] * dimension + [0.7, 1.5] + [0.5] * (2 * warped)
    return np.array(means), np.array(deviations)


class _Matern52(torch.autograd.Function):
    """(1 + √5 r + 5r²/3) exp(-√5 r) as a function of r²: its derivative at 0 is finite, that of r is not."""

    @staticmethod
    def forward(ctx: Any, squared: Tensor) -> Tensor:
        root = (5.0 * squared).sqrt()
        decay = torch.exp(-root)
        ctx.save_for_backward(root, decay)
        return (1.0 + root + root.square() / 3.0) * decay

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        root, decay = ctx.saved_tensors
        return gradient * (-5.0 / 6.0) * (1.0 + root) * decay


def _matern52(a: Tensor, b: Tensor) -> Tensor:
    """The Matérn-5/2 correlation (n x m) of features over lengthscales `a` (n x D) and `b` (m x D)."""
    squared = a.square().sum(-1, keepdim=True) + b.square().sum(-1) - 2.0 * a @ b.mT
    return _Matern52.apply(squared.clamp_min(0.0))


class _ColumnMatern(gpytorch.kernels.Kernel):
    """Matérn-5/2 over features, with one lengthscale for each column of the unit cube."""

    has_lengthscale = True

    def __init__(self, groups: Tensor, dimension: int):
        super().__init__(ard_num_dims=dimension, lengthscale_constraint=_logarithmic())
        self.register_buffer("groups", groups)

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, **_: Any) -> Tensor:
        scales = self.lengthscale[..., self.groups]
        correlation = _matern52(x1 / scales, x2 / scales)
        return correlation.diagonal(dim1=-1, dim2=-2) if diag else correlation


class MaternGP(gpytorch.models.ExactGP):
    """The surrogate of targets `y` (n) at `features` (n x D), each of column `groups` (D).

    The first `warped` features are bent. Of the columns, so many exist `at_once`, as in `prior_of_logs`.
    """

    def __init__(
        self,
        features: Tensor,
        y: Tensor,
        groups: np.ndarray,
        dimension: int,
        warped: int = 0,
        at_once: float | None = None,
    ):
        likelihood = gpytorch.likelihoods.GaussianLikelihood(noise_constraint=_logarithmic())
        super().__init__(features, y, likelihood)
        means_and_deviations = np.stack(prior_of_logs(dimension, 1, at_once), axis=1)
        length, scale, noise, shape = (
            NormalPrior(*torch.tensor(means_and_deviations[i])) for i in (0, dimension, dimension + 1, -1)
        )
        self.mean_module = gpytorch.means.ConstantMean()
        kernel = _ColumnMatern(torch.as_tensor(groups, device=features.device), dimension)
        self.covar_module = gpytorch.kernels.ScaleKernel(kernel, outputscale_constraint=_logarithmic())
        kernel.register_prior("log_lengthscale_prior", length, lambda m: m.lengthscale.log())
        self.covar_module.register_prior("log_scale_prior", scale, lambda m: m.outputscale.log())
        likelihood.register_prior("log_noise_prior", noise, lambda m: m.noise.log())
        self.log_shapes = torch.nn.Parameter(torch.zeros(2 * warped))
        if warped:
            self.register_prior("log_shape_prior", shape, lambda m: m.log_shapes)
        self.to(features)

    def forward(self, features: Tensor) -> MultivariateNormal:
        """The prior of f at `features` (n x D)."""
        a, b = self.log_shapes.exp().reshape(2, -1)
        plain = features[..., : len(a)].clamp(EDGE, 1.0 - EDGE)
        bent = torch.cat([1.0 - (1.0 - plain**a) ** b, features[..., len(a) :]], dim=-1)
        return MultivariateNormal(self.mean_module(bent), self.covar_module(bent))

    def set(self, theta: np.ndarray) -> None:
        """Take the hyperparameters `theta` (d + 3 + 2w), as `Hyperparameters.theta` orders them."""
        parameters = self._parameters_of_theta()
        pieces = torch.as_tensor(theta).to(self.train_inputs[0]).split([p.numel() for p in parameters])
        with torch.no_grad():
            for parameter, piece in zip(parameters, pieces, strict=True):
                parameter.copy_(piece.reshape(parameter.shape))

    def log_density(self, theta: np.ndarray) -> tuple[float, np.ndarray]:
        """Log marginal likelihood plus log prior at `theta` (d + 3 + 2w), and slope; by Cholesky at any n."""
        self.set(theta)
        self.train()
        self.zero_grad()
        n = len(self.train_targets)
        objective = gpytorch.mlls.ExactMarginalLogLikelihood(self.likelihood, self)
        with gpytorch.settings.max_cholesky_size(n + 1):
            # GPyTorch divides by n, priors included
            density = n * objective(self(*self.train_inputs), self.train_targets)
            density.backward()
        gradients = [p.grad.reshape(-1) for p in self._parameters_of_theta()]
        return density.item(), torch.cat(gradients).cpu().numpy()

    def _parameters_of_theta(self) -> list[Any]:
        """The raw parameters, which `_logarithmic` makes the logarithms, in the order of theta."""
        covariance = self.covar_module
        return [
            covariance.base_kernel.raw_lengthscale,
            covariance.raw_outputscale,
            self.likelihood.noise_covar.raw_noise,
            self.log_shapes,
            self.mean_module.raw_constant,
        ]


def _logarithmic() -> Positive:
    """A constraint whose raw parameter is the logarithm, so that gradients are those of theta."""
    return Positive(transform=torch.exp, inv_transform=torch.log)
