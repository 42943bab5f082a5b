"""From a snapshot to a fitted model: warp, surrogate, what failures say, and whether to trust it.

A model is trusted as long as its leave-one-out intervals hold as many of the known values as they should. One
that is not is fitted to ranks instead; if that does not help either, `Uncalibrated` says so.
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
from raytune_gp.surrogate.fit import fit
from raytune_gp.surrogate.gp import Hyperparameters
from raytune_gp.surrogate.posterior import GPPosterior
from raytune_gp.surrogate.ranks import RankWarp
from raytune_gp.surrogate.thinning import thinned
from raytune_gp.surrogate.transforms import OutputWarp

__all__ = ["Known", "Model", "Uncalibrated", "model_of"]

_CENTRAL = {50: 0.6745, 90: 1.6449}  # half the widths of these intervals of a standard normal, in per cent
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
class Model:
    """A fitted surrogate, and what a search with it needs.

    Attributes:
        posterior: f given what is finished.
        warp: from the metric to the posterior's targets.
        incumbent: the best posterior mean at a config that has a value.
        best: places (k x d) of the best configs.
        feasibilities: for each kind of failure that was seen.
        plateaus: where the objective is known to be flat.
        coverage: the shares of the known values in the central 50 and 90 % intervals of what all the others
            predict.
        memory: JSON, to go on from at the next fit.
    """

    posterior: GPPosterior
    warp: OutputWarp | RankWarp
    incumbent: float
    best: np.ndarray
    feasibilities: tuple[Feasibility, ...]
    plateaus: Plateaus | None
    coverage: tuple[float, float]
    memory: dict[str, Any]

    @property
    def weights(self) -> tuple[LogWeight, ...]:
        """What expected improvement is multiplied by."""
        return (*self.feasibilities, self.plateaus) if self.plateaus else self.feasibilities


def model_of(
    known: Known,
    columns: Sequence[Column],
    *,
    maximise: bool,
    memory: Mapping[str, Any] | None,
    rng: np.random.Generator,
    device: str,
) -> Model:
    """The model of what is `known`; hyperparameters in `memory` stay where little is new.

    Raises Uncalibrated, and what the numerics raise.
    """
    features = FeatureMap(columns)
    for warp in (OutputWarp, RankWarp):
        model = _model(known, features, warp.fit(known.values, maximise=maximise), memory, rng, device)
        if _calibrated(model.coverage, int(np.isfinite(known.values).sum())):
            return model
    raise Uncalibrated(
        "central intervals of 50 and 90 % hold {:.0%} and {:.0%} of the known values".format(*model.coverage)
    )


def _model(
    known: Known,
    features: FeatureMap,
    warp: OutputWarp | RankWarp,
    memory: Mapping[str, Any] | None,
    rng: np.random.Generator,
    device: str,
) -> Model:
    targets = warp.forward(known.values)
    warm = Hyperparameters.from_json(memory, features.dimension, features.plain)
    count = len(targets)
    fresh = memory is None or warm is None or not _still_good(memory, count, warp)
    if fresh:
        bend = count >= _BENT_FROM * features.dimension
        warm = fit(features, known.points, targets, rng=rng, warm=warm, bend=bend, device=device)
    assert warm is not None
    kept = thinned(features, warm, known.points, targets, _MOST_POINTS, rng)
    posterior = GPPosterior.of(features, warm, known.points[kept], targets[kept])
    values = known.values[kept]
    good = np.isfinite(values)
    means = np.where(good, posterior.smoothed(targets[kept]), -np.inf)
    order = np.argsort(-means, kind="stable")
    off = np.abs(posterior.leave_one_out()[good])
    failures = _Failures(known, features, kept, None if memory is None else memory.get("feasibility"))
    fitted = failures.fitted(fresh, rng, device)
    return Model(
        posterior,
        warp,
        float(means[order[0]]),
        known.places[kept[order[:3]]],
        tuple(failures.feasibility(kind, found) for kind, found in fitted.items()),
        Plateaus.of(posterior, known.points[kept], values),
        (float((off < _CENTRAL[50]).mean()), float((off < _CENTRAL[90]).mean())),
        {
            **warm.to_json(),
            "warp": type(warp).__name__,
            "observations": count if fresh else (memory or {})["observations"],
            "feasibility": {kind: found.to_json() for kind, found in fitted.items()},
        },
    )


class _Failures:
    """Labels of each kind of failure: 0 for what failed by it, 1 for what has a value."""

    def __init__(self, known: Known, features: FeatureMap, kept: np.ndarray, memory: Any):
        self._known, self._features, self._kept = known, features, kept
        self._memory = memory if isinstance(memory, Mapping) else {}
        self._has_value = np.isfinite(known.values)

    def fitted(self, fresh: bool, rng: np.random.Generator, device: str) -> dict[str, Hyperparameters]:
        """Hyperparameters for each kind that was seen; those of the last fit where they are not `fresh`."""
        found = {}
        for kind in sorted(
            {str(f) for f, has in zip(self._known.failures, self._has_value, strict=True) if not has}
        ):
            warm = Hyperparameters.from_json(
                self._memory.get(kind), self._features.dimension, self._features.plain
            )
            if fresh or warm is None:
                rows = np.flatnonzero(self._has_value | self._failed(kind))
                targets = self._targets(kind, rows)[0]
                warm = fit(
                    self._features, self._known.points[rows], targets, rng=rng, warm=warm, device=device
                )
            found[kind] = warm
        return found

    def feasibility(self, kind: str, hyperparameters: Hyperparameters) -> Feasibility:
        """The probability not to fail by `kind`, given the points that are kept."""
        rows = self._kept[(self._has_value | self._failed(kind))[self._kept]]
        targets, threshold = self._targets(kind, rows)
        posterior = GPPosterior.of(self._features, hyperparameters, self._known.points[rows], targets)
        return Feasibility(posterior, threshold, hyperparameters.noise)

    def _failed(self, kind: str) -> np.ndarray:
        return np.array([str(f) == kind for f in self._known.failures]) & ~self._has_value

    def _targets(self, kind: str, rows: np.ndarray) -> tuple[np.ndarray, float]:
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


def _still_good(memory: Mapping[str, Any], count: int, warp: OutputWarp | RankWarp) -> bool:
    """Whether the hyperparameters in `memory` serve `count` observations warped by `warp`."""
    fitted = memory.get("observations")
    if memory.get("warp") != type(warp).__name__ or not isinstance(fitted, int):
        return False
    return count > _REFIT_FROM and fitted <= count < _REFIT_GROWTH * fitted
