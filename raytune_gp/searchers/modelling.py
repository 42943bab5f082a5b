"""From a snapshot to a fitted model: warp, surrogate, whether to trust it, and what failures say.

A surrogate is trusted as long as its leave-one-out intervals hold as many of the known values as they should.
Where hyperparameters are fitted to a part of these, half of it the best, such a part is the judge: noise that
is larger among bad configs than among good ones is no fault of a model that is to find better ones. One that
is not trusted is fitted to ranks instead; if that does not help either, `Uncalibrated` says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from raytune_gp.acquisition.feasibility import Feasibility
from raytune_gp.acquisition.plateaus import Plateaus
from raytune_gp.acquisition.weights import LogWeight
from raytune_gp.surrogate.features import Column, FeatureMap
from raytune_gp.surrogate.fit import MOST_FITTED, fit
from raytune_gp.surrogate.gp import Hyperparameters
from raytune_gp.surrogate.posterior import GPPosterior
from raytune_gp.surrogate.ranks import RankWarp
from raytune_gp.surrogate.thinning import half_best, thinned
from raytune_gp.surrogate.transforms import OutputWarp, Warp

__all__ = ["Known", "Model", "Surrogate", "Uncalibrated", "model_of", "surrogate_of"]

_CENTRAL_50, _CENTRAL_90 = 0.6745, 1.6449  # half the widths of these intervals of a standard normal
_JUDGED_FROM = 10  # values from which on coverage is judged
_DOUBT = 3.0  # deviations of chance by which coverage must fall short
_BENT_FROM = 5  # observations a dimension from which on columns are bent
_MOST_POINTS = 2000  # beyond, the posterior is conditioned on so many of the observations
_REFIT_FROM, _REFIT_GROWTH = 200, 1.05  # past so many observations, refit when they grew by a twentieth


class Uncalibrated(ArithmeticError):
    """A model whose intervals hold far fewer of the known values than they say."""


@dataclass(frozen=True)
class Known:
    """What is finished: `places` (n x d) in the unit cube, the same as `points` with NaN where inactive.

    `values` (n) are NaN for failed configs, and `failures` (n) say by which kind of failure.
    """

    places: np.ndarray
    points: np.ndarray
    values: np.ndarray
    failures: tuple[str | None, ...]

    def only(self, rows: np.ndarray) -> Known:
        """What is known at `rows` (indices) alone."""
        failures = tuple(self.failures[i] for i in rows)
        return Known(self.places[rows], self.points[rows], self.values[rows], failures)


@dataclass(frozen=True)
class Surrogate:
    """A fitted surrogate that is to be trusted.

    Attributes:
        warp: from the metric to the posterior's targets.
        posterior: f given what is known at the rows `kept`.
        kept: indices, ascending; all rows where the posterior can take them.
        smoothed: the posterior means at those rows.
        coverage: the shares of the known values in the central 50 and 90 % intervals of what all the others
            predict; of a part of them where they are more than hyperparameters are fitted to.
        judged: how many values that is.
        refitted: whether the hyperparameters are new, or those of the memory.
        fitted_to: how many observations were known when they were fitted.
    """

    warp: Warp
    posterior: GPPosterior
    kept: np.ndarray
    smoothed: np.ndarray
    coverage: tuple[float, float]
    judged: int
    refitted: bool
    fitted_to: int


@dataclass(frozen=True)
class Model:
    """A surrogate, and what a search with it needs.

    Attributes:
        incumbent: the best posterior mean at a config that has a value.
        best: places (k x d) of the best configs.
        feasibilities: for each kind of failure that was seen.
        plateaus: where the objective is known to be flat.
        memory: JSON, to go on from at the next fit.
    """

    surrogate: Surrogate
    incumbent: float
    best: np.ndarray
    feasibilities: tuple[Feasibility, ...]
    plateaus: Plateaus | None
    memory: dict[str, Any]

    @property
    def weights(self) -> tuple[LogWeight, ...]:
        """What expected improvement is multiplied by."""
        return (*self.feasibilities, self.plateaus) if self.plateaus else self.feasibilities


def surrogate_of(
    known: Known,
    features: FeatureMap,
    *,
    maximise: bool,
    memory: Mapping[str, Any] | None,
    rng: np.random.Generator,
    device: str,
) -> Surrogate:
    """The surrogate of what is `known`; hyperparameters in `memory` stay where little is new.

    So does the choice of ranks. Raises Uncalibrated, and what the numerics raise.
    """
    warps: list[type[OutputWarp] | type[RankWarp]] = [OutputWarp, RankWarp]
    if memory is not None and _still_good(memory, len(known.values), RankWarp):
        warps.reverse()
    for warp in warps:
        found = _fitted(known, features, warp.fit(known.values, maximise=maximise), memory, rng, device)
        if _calibrated(found.coverage, found.judged):
            return found
    raise Uncalibrated(
        "central intervals of 50 and 90 % hold {:.0%} and {:.0%} of the known values".format(*found.coverage)
    )


def model_of(
    known: Known,
    columns: Sequence[Column],
    *,
    maximise: bool,
    memory: Mapping[str, Any] | None,
    rng: np.random.Generator,
    device: str,
) -> Model:
    """The surrogate of what is `known`, as `surrogate_of` makes it, with what a search needs beside it."""
    features = FeatureMap(columns)
    surrogate = surrogate_of(known, features, maximise=maximise, memory=memory, rng=rng, device=device)
    kept = surrogate.kept
    values = known.values[kept]
    means = np.where(np.isfinite(values), surrogate.smoothed, -np.inf)
    order = np.argsort(-means, kind="stable")
    failures = _Failures(known, features, kept)
    fitted = failures.fitted(memory, surrogate.refitted, rng, device)
    return Model(
        surrogate,
        float(means[order[0]]),
        known.places[kept[order[:3]]],
        tuple(failures.feasibility(kind, found) for kind, found in fitted.items()),
        Plateaus.of(surrogate.posterior, known.points[kept], values),
        {
            **surrogate.posterior.hyperparameters.to_json(),
            "warp": type(surrogate.warp).__name__,
            "observations": surrogate.fitted_to,
            "feasibility": {kind: found.to_json() for kind, found in fitted.items()},
        },
    )


def _fitted(
    known: Known,
    features: FeatureMap,
    warp: Warp,
    memory: Mapping[str, Any] | None,
    rng: np.random.Generator,
    device: str,
) -> Surrogate:
    targets = warp.forward(known.values)
    warm = Hyperparameters.from_json(memory, features.dimension, features.plain)
    count = len(targets)
    if memory is not None and warm is not None and _still_good(memory, count, type(warp)):
        hyperparameters, refitted, fitted_to = warm, False, int(memory["observations"])
    else:
        bend = count >= _BENT_FROM * features.dimension
        hyperparameters = fit(features, known.points, targets, rng=rng, warm=warm, bend=bend, device=device)
        refitted, fitted_to = True, count
    kept = thinned(features, hyperparameters, known.points, targets, _MOST_POINTS, rng)
    posterior = GPPosterior.of(features, hyperparameters, known.points[kept], targets[kept])
    judge, judged = posterior, kept
    if count > MOST_FITTED:
        judged = half_best(targets, MOST_FITTED, rng)
        judge = GPPosterior.of(features, hyperparameters, known.points[judged], targets[judged])
    off = np.abs(judge.leave_one_out()[np.isfinite(known.values[judged])])
    coverage = (float((off < _CENTRAL_50).mean()), float((off < _CENTRAL_90).mean()))
    smoothed = posterior.smoothed(targets[kept])
    return Surrogate(warp, posterior, kept, smoothed, coverage, len(off), refitted, fitted_to)


class _Failures:
    """Labels of each kind of failure: 0 for what failed by it, 1 for what has a value."""

    def __init__(self, known: Known, features: FeatureMap, kept: np.ndarray):
        self._known, self._features, self._kept = known, features, kept
        self._has_value = np.isfinite(known.values)
        self._kinds = np.where(
            self._has_value, "", np.array([str(kind) for kind in known.failures], dtype=str)
        )

    def fitted(
        self, memory: Mapping[str, Any] | None, fresh: bool, rng: np.random.Generator, device: str
    ) -> dict[str, Hyperparameters]:
        """Hyperparameters for each kind that was seen; those in `memory` unless they are to be `fresh`."""
        remembered = (memory or {}).get("feasibility")
        if not isinstance(remembered, Mapping):
            remembered = {}
        found = {}
        for kind in np.unique(self._kinds[~self._has_value]).tolist():
            warm = Hyperparameters.from_json(
                remembered.get(kind), self._features.dimension, self._features.plain
            )
            if fresh or warm is None:
                rows = self._rows(kind)
                warm = fit(
                    self._features,
                    self._known.points[rows],
                    self._targets(rows)[0],
                    rng=rng,
                    warm=warm,
                    device=device,
                )
            found[kind] = warm
        return found

    def feasibility(self, kind: str, hyperparameters: Hyperparameters) -> Feasibility:
        """The probability not to fail by `kind`, given the points that are kept."""
        rows = np.intersect1d(self._kept, self._rows(kind))
        targets, threshold = self._targets(rows)
        posterior = GPPosterior.of(self._features, hyperparameters, self._known.points[rows], targets)
        return Feasibility(posterior, threshold, hyperparameters.noise)

    def _rows(self, kind: str) -> np.ndarray:
        """What says something of `kind`: what failed by it, and what did not fail."""
        return np.flatnonzero(self._has_value | (self._kinds == kind))

    def _targets(self, rows: np.ndarray) -> tuple[np.ndarray, float]:
        """Standardised labels of `rows`, and where ½ lies on their scale."""
        labels = self._has_value[rows].astype(float)
        centre, spread = float(labels.mean()), float(labels.std()) or 1.0
        return (labels - centre) / spread, (0.5 - centre) / spread


def _calibrated(coverage: tuple[float, float], count: int) -> bool:
    """Whether the shares of `count` values in central intervals are as large as chance allows, or larger."""
    if count < _JUDGED_FROM:
        return True
    nominal = np.array([0.5, 0.9])
    least = nominal - _DOUBT * np.sqrt(nominal * (1.0 - nominal) / count)
    return bool((np.array(coverage) >= least).all())


def _still_good(memory: Mapping[str, Any], count: int, warp: type[Warp]) -> bool:
    """Whether the hyperparameters in `memory` serve `count` observations warped by a `warp`."""
    fitted = memory.get("observations")
    if memory.get("warp") != warp.__name__ or not isinstance(fitted, int):
        return False
    return count > _REFIT_FROM and fitted <= count < _REFIT_GROWTH * fitted
