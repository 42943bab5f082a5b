"""Problems from a table of recorded configs, which says nothing of the configs between them.

Two answers for those: the nearest record's value, or a regression's over all records. On records that it
has not seen the regression is nearer to the truth, on tables of 1,000 records or more by far (`python -m
benchmarks.fidelity`); the nearest record's value is mostly chance in 6 to 8 dimensions, and the same all
around.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import norm, rankdata
from sklearn.ensemble import ExtraTreesRegressor

from benchmarks.race.problems.base import Config, Task
from raytune_gp.space import Encoding, SearchSpace

__all__ = ["Failures", "Fit", "Table", "fitted", "nearest", "nearest_records"]

_TREES = 100


@dataclass(frozen=True)
class Table:
    """n recorded configs.

    Attributes:
        space: what was searched.
        columns: a name of `space` to its n recorded values.
        values: what is minimised, n; NaN is a failed trial.
        seconds: how long each took, n; None where that is not on record.
    """

    space: Mapping[str, Any]
    columns: Mapping[str, np.ndarray]
    values: np.ndarray
    seconds: np.ndarray | None = None

    def places(self, encoding: Encoding) -> np.ndarray:
        """The records in the unit cube, n x d."""
        domains = encoding.space.domains
        return np.column_stack([domains[name].encode(self.columns[name].tolist()) for name in self.space])


def nearest_records(places: np.ndarray, records: np.ndarray) -> np.ndarray:
    """Which of n records (n x d) is nearest to each of m places (m x d), m."""
    return np.array([((records - place) ** 2).sum(1).argmin() for place in places])


def nearest(table: Table) -> Task:
    """The nearest record answers: its value, NaN too, and its seconds."""
    encoding = Encoding(SearchSpace(table.space))
    places, seconds = table.places(encoding), table.seconds

    def row(config: Config) -> int:
        return int(nearest_records(encoding.encode([config]), places)[0])

    return Task(
        table.space,
        truth=lambda config: float(table.values[row(config)]),
        timed=None if seconds is None else lambda config: float(seconds[row(config)]),
        best=float(np.nanmin(table.values)),
    )


def fitted(table: Table) -> Task:
    """Extremely randomised trees answer, fitted to all records, so that each record has its own value.

    A config fails where most of the trees, fitted to what failed, say so.
    """
    encoding = Encoding(SearchSpace(table.space))
    places = table.places(encoding)
    known = np.isfinite(table.values)
    value = Fit(places[known], table.values[known])
    time = None if table.seconds is None else Fit(places, table.seconds)
    fails = None if known.all() else Failures(places, ~known)

    def truth(config: Config) -> float:
        place = encoding.encode([config])
        if fails is not None and fails(place)[0]:
            return float("nan")
        return float(value(place)[0])

    return Task(
        table.space,
        truth=truth,
        timed=None if time is None else lambda config: float(time(encoding.encode([config]))[0]),
        best=float(table.values[known].min()),
    )


class Fit:
    """Trees fitted to the normal scores of n values at n places (n x d): no unit, no heavy tail matters."""

    def __init__(self, places: np.ndarray, values: np.ndarray):
        scores = norm.ppf((rankdata(values) - 0.5) / len(values))
        self._trees = _Trees(places, scores)
        self._scores, index = np.unique(scores, return_index=True)
        self._values = values[index]

    def __call__(self, places: np.ndarray) -> np.ndarray:
        """The values at m places (m x d), m."""
        return np.interp(self._trees(places), self._scores, self._values)


class Failures:
    """Trees fitted to which of n places (n x d) have failed."""

    def __init__(self, places: np.ndarray, failed: np.ndarray):
        self._trees = _Trees(places, failed.astype(float))

    def __call__(self, places: np.ndarray) -> np.ndarray:
        """Whether most trees say so of m places (m x d), m."""
        return self._trees(places) > 0.5


class _Trees:
    """The mean of extremely randomised trees, each fitted to all n targets."""

    def __init__(self, places: np.ndarray, targets: np.ndarray):
        forest = ExtraTreesRegressor(_TREES, max_features=1.0, random_state=0).fit(places, targets)
        self._trees = forest.estimators_

    def __call__(self, places: np.ndarray) -> np.ndarray:
        inputs = places.astype(np.float32)  # as the forest does once; its own predict takes ten times as long
        return np.mean([tree.predict(inputs, check_input=False) for tree in self._trees], axis=0)
