"""Suggestions made one after another, each pending for the next: sequential greedy maximisation of qEI.

Pending values are integrated out by joint draws, made anew for each suggestion. What does not depend on them
is kept over the batch: the factor of the pending points is appended to, and the pool that a region's search
starts from is drawn and whitened once.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import ndtri

from raytune_gp.acquisition.logei import LogEI, log_ei
from raytune_gp.acquisition.optimize import Acquisition, Candidate, Nearby, Pool, draw_pool, maximise
from raytune_gp.acquisition.region import Region, Taken, sobol
from raytune_gp.acquisition.weights import LogWeight, WeightedLogEI
from raytune_gp.surrogate.nearby import NearbyPosterior
from raytune_gp.surrogate.pending import PendingPosterior, Watched
from raytune_gp.surrogate.posterior import GPPosterior

__all__ = ["GreedyBatch"]

_SAMPLES = 16  # joint draws of the pending values
_NEARBY_FROM = 1500  # points, known and pending, from which climbs over what is near cost clearly less
_POOLS = 4  # pools kept: a run with more grid cells draws them again, the same ones


class GreedyBatch:
    """What a batch of suggestions has in common.

    Args:
        posterior: f given what is finished.
        incumbent: the target to improve on.
        best: places (k x d) worth a look nearby.
        pending: points (q x d, NaN where inactive) without a value.
        weights: what expected improvement is multiplied by.
        seed: of the pools: of two batches with one seed they are the same.
    """

    def __init__(
        self,
        posterior: GPPosterior,
        incumbent: float,
        best: np.ndarray,
        pending: np.ndarray,
        *,
        weights: Sequence[LogWeight] = (),
        seed: int = 0,
    ):
        self._incumbent, self._weights = incumbent, tuple(weights)
        self._best, self._seed = best, seed
        self._posterior = PendingPosterior.of(posterior)
        self._added = [pending]
        self._pools: dict[bytes, _WatchedPool] = {}

    def add(self, x: np.ndarray) -> None:
        """From now on points `x` (k x d, NaN where inactive) are pending as well."""
        self._added.append(x)

    def propose(
        self, region: Region, taken: Taken | None, rng: np.random.Generator
    ) -> tuple[Candidate, LogEI]:
        """The point of `region` of highest log EI (and the weights) that is not `taken`, and log EI itself.

        Raises LinAlgError where the covariance of the pending points has no factor.
        """
        self._posterior = self._posterior.extended(np.concatenate(self._added))
        self._added = [np.empty((0, len(region.columns)))]
        posterior, incumbents = self._draw(rng)
        improvement = LogEI(posterior, incumbents)
        pool = self._pool(region)
        values = pool.values(posterior, incumbents)
        acquisition = WeightedLogEI(improvement, self._weights)
        nearby = self._nearby(posterior, incumbents) if len(posterior.points) >= _NEARBY_FROM else None
        found = maximise(acquisition, region, pool.pool, values, taken=taken, rng=rng, nearby=nearby)
        return found, improvement

    def _nearby(self, posterior: PendingPosterior, incumbents: np.ndarray) -> Nearby:
        """What costs less than log EI under `posterior` with its weights, and holds near given points."""

        def about(x: np.ndarray) -> Acquisition:
            improvement = LogEI(NearbyPosterior.about(x, posterior), incumbents)
            return WeightedLogEI(improvement, [weight.near(x) for weight in self._weights])

        return about

    def _draw(self, rng: np.random.Generator) -> tuple[PendingPosterior, np.ndarray]:
        """The posterior given fresh draws of the pending values, and the incumbents that these may raise."""
        count = len(self._posterior.means)
        if not count:
            return self._posterior, np.array([self._incumbent])
        drawn = self._posterior.drawn(ndtri(sobol(_SAMPLES, count, int(rng.integers(2**31)))))
        return drawn, np.maximum(drawn.values.max(1), self._incumbent)

    def _pool(self, region: Region) -> _WatchedPool:
        """The pool of `region`, up to date with what is pending."""
        key = region.fixed.tobytes()
        pool = self._pools.pop(key, None)
        if pool is None:
            drawn = draw_pool(region, self._best, np.random.default_rng(self._seed))
            pool = _WatchedPool(drawn, region, self._posterior, self._weights)
            if len(self._pools) == _POOLS:
                del self._pools[next(iter(self._pools))]
        pool.follow(self._posterior)
        self._pools[key] = pool
        return pool


class _WatchedPool:
    """A pool, and what is known of its points already."""

    def __init__(self, pool: Pool, region: Region, posterior: PendingPosterior, weights: Sequence[LogWeight]):
        self.pool = pool
        masked = region.masked(pool.x)
        self._watched = Watched.of(posterior, masked)
        self._log_weight = np.zeros(len(masked)) + sum(weight(masked) for weight in weights)

    def follow(self, posterior: PendingPosterior) -> None:
        self._watched = self._watched.followed(posterior)

    def values(self, posterior: PendingPosterior, incumbents: np.ndarray) -> np.ndarray:
        """Weighted log EI at the pool's points (b), under the `posterior` that they follow."""
        return log_ei(*self._watched.marginals(posterior), incumbents) + self._log_weight
