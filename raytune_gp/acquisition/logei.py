"""The logarithm of expected improvement, sound where the improvement itself underflows.

    EI(x) = E[(f(x) - b)₊] = σ h(z),   z = (μ(x) - b) / σ(x),   h(z) = φ(z) + z Φ(z)

for an incumbent b, by Ament et al. 2023 (arXiv 2310.20708). Pending points are integrated over: their
values are drawn jointly from the posterior, each draw conditions the mean and may raise the incumbent, and
EI is averaged over the draws. As the deviation does not depend on the values it is conditioned once. In the
limit of many draws this is qEI(x and pending) - qEI(pending), the gain that x brings to the batch (Snoek et
al. 2012, 3.2; Wilson et al. 2018).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

__all__ = ["LogEI", "Posterior", "log_ei", "log_h", "with_pending"]

_LOG_SQRT_2PI = 0.5 * math.log(2.0 * math.pi)
_FAR = (
    -50.0
)  # below, 1 + zR has lost more digits than the first terms of its series, 1/z² - 3/z⁴ + .., leave out


class Posterior(Protocol):
    """A joint normal posterior over f, in s variants that share their covariance."""

    def marginals(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Means (b x s) and positive variance (b) at points `x` (b x d), differentiable in `x`."""

    def joint(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Means (q x s) and covariance (q x q) at points `x` (q x d)."""

    def condition(self, x: Tensor, values: Tensor) -> Posterior:
        """The posterior given f = `values` (s x q) at points `x` (q x d) as well."""


class _LogH(torch.autograd.Function):
    """log h(z) and its slope Φ(z) / h(z), each without the cancellation of φ(z) + z Φ(z) at negative z."""

    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:
        near = z.clamp_min(-1.0)
        below = torch.special.ndtr(near)
        sum_near = torch.exp(-0.5 * near.square() - _LOG_SQRT_2PI) + near * below

        # h(z) = φ(z) (1 + z R) with the Mills ratio R = Φ(z) / φ(z) = √(π/2) erfcx(-z / √2)
        tail = z.clamp_max(-1.0)
        mills = math.sqrt(math.pi / 2.0) * torch.special.erfcx(-tail / math.sqrt(2.0))
        inverse = tail.square().reciprocal()
        series = inverse * (1.0 - 3.0 * inverse * (1.0 - 5.0 * inverse * (1.0 - 7.0 * inverse)))
        shrink = torch.where(tail < _FAR, series, 1.0 + tail * mills)

        ctx.save_for_backward(torch.where(z > -1.0, below / sum_near, mills / shrink))
        in_tail = torch.log(shrink) - 0.5 * tail.square() - _LOG_SQRT_2PI
        return torch.where(z > -1.0, torch.log(sum_near), in_tail)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient * ctx.saved_tensors[0]


def log_h(z: Tensor) -> Tensor:
    """log(φ(z) + z Φ(z)) elementwise, to 12 digits or more, for z down to -1e150."""
    return _LogH.apply(z)


def log_ei(mean: Tensor, variance: Tensor, incumbent: Tensor) -> Tensor:
    """log EI (b) for means (b x s) and variance (b) against incumbents (s), averaged over the s variants."""
    deviation = variance.sqrt()[:, None]
    values = log_h((mean - incumbent) / deviation) + deviation.log()
    variants = values.shape[1]
    return values[:, 0] if variants == 1 else values.logsumexp(1) - math.log(variants)


@dataclass(frozen=True)
class LogEI:
    """The acquisition function: log EI over `posterior` (s variants) against `incumbent` (s)."""

    posterior: Posterior
    incumbent: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """log EI (b) at points `x` (b x d)."""
        mean, variance = self.posterior.marginals(x)
        return log_ei(mean, variance, self.incumbent)


def with_pending(posterior: Posterior, incumbent: float, pending: Tensor, normals: Tensor) -> LogEI:
    """log EI over `posterior` (one variant) with the values at `pending` (q x d) integrated out.

    `normals` (s x q) are standard normal draws, quasi-random for choice: one joint sample of the pending
    values each.
    """
    if not len(pending):
        return LogEI(posterior, torch.tensor([incumbent], dtype=torch.float64))
    mean, covariance = posterior.joint(pending)
    samples = mean.mT + normals @ _root(covariance).mT
    incumbents = samples.amax(1).clamp_min(incumbent)
    return LogEI(posterior.condition(pending, samples), incumbents)


def _root(covariance: Tensor) -> Tensor:
    """A with AA' = `covariance` (q x q), also where points coincide: by eigenvalues, those below 0 cut."""
    values, vectors = torch.linalg.eigh(covariance)
    return vectors * values.clamp_min(0.0).sqrt()
