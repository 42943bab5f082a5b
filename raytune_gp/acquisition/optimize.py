"""The maximiser of an acquisition function over a mixed region.

From a pool of quasi-random points and perturbations of the best configs so far the best few climb by batched
L-BFGS in the continuous columns (wide integer columns relaxed), then move level by level in the
discrete ones, each column in turn. The best point that is not taken wins.

Where the function is dear, climbs go over a cheaper one that holds near their starting points. How high
they have come the dear one says, and what is no higher than its start is given up. Levels are always compared
by the dear one: of levels that no start has the cheaper one knows too little.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from raytune_gp.acquisition.ascent import ascend
from raytune_gp.acquisition.region import Region, Taken, sobol

__all__ = ["Acquisition", "Candidate", "Nearby", "Pool", "draw_pool", "maximise"]


class Acquisition(Protocol):
    """A function over the unit cube to maximise."""

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Values (b) at points `x` (b x d, NaN where inactive)."""

    def with_gradient(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Values (b) and gradients (b x d) there; what is inactive or categorical may have any."""


Nearby = Callable[[np.ndarray], Acquisition]
"""Given points (b x d, NaN where inactive), an acquisition function that costs less and holds near them."""

_SOBOL = 512
_PERTURBED = 32  # perturbations of each of the best configs so far
_STARTS = 8
_ENOUGH, _BEHIND = 1e-3, 1.0  # of log EI: a step that gains so little ends a climb, as does so low a place
_ROUNDS = 2  # of climbing and sweeping, where there are discrete columns or climbs go over a cheaper function
_FEW = 3  # of the highest go on once all have climbed over a cheaper function
_RELAXED_FROM = 8  # integer columns of more levels climb like continuous ones, then are snapped
_CLOSE = 8  # so many of the best are looked at before the others, whether they are taken
_SWEPT = 24  # discrete columns of more levels are swept about the present one


@dataclass(frozen=True)
class Candidate:
    """A point (d) and its acquisition value; `exhausted` where every point of the region was taken."""

    x: np.ndarray
    value: float
    exhausted: bool = False


@dataclass(frozen=True)
class Pool:
    """Points of a region (b x d) to look at first; `whole` where they are all that it has."""

    x: np.ndarray
    whole: bool


def draw_pool(region: Region, best: np.ndarray, rng: np.random.Generator) -> Pool:
    """Quasi-random points of `region` and neighbours of `best` (k x d), or all points where they are few."""
    everything = region.everything()
    if everything is not None:
        return Pool(everything, whole=True)
    spread = sobol(_SOBOL, len(region.columns), int(rng.integers(2**31)))
    return Pool(region.settle(np.concatenate([spread, _perturbed(best, region, rng)])), whole=False)


def maximise(
    acquisition: Acquisition,
    region: Region,
    pool: Pool,
    values: np.ndarray,
    *,
    rng: np.random.Generator,
    taken: Taken | None = None,
    nearby: Nearby | None = None,
) -> Candidate:
    """The point of `region` with the highest `acquisition` that is not `taken`; `values` are those at `pool`.

    Where all is taken, the best of all, marked `exhausted`. With `nearby` it is that which is climbed.
    """
    x, values = pool.x, _ordered(values)
    if not pool.whole:
        tops = _highest(values, _STARTS)
        if nearby is None or not _columns(region)[0]:
            polished, heights = _polish(acquisition, region, x[tops], values[tops])
        else:
            polished, heights = _polish_nearby(acquisition, nearby, region, x[tops], values[tops])
        x, values = np.concatenate([polished, x]), np.concatenate([heights, values])
    order = np.argsort(-values, kind="stable")
    for some in np.split(order, [_CLOSE]):  # mostly the first is free
        free = some if taken is None else some[~taken.flags(x[some])]
        if len(free):
            return Candidate(x[free[0]], float(values[free[0]]))
    other = None if taken is None or pool.whole else taken.another(rng)
    if other is None:
        return Candidate(x[order[0]], float(values[order[0]]), exhausted=True)
    other = region.settle(other[None])
    return Candidate(other[0], float(_evaluate(acquisition, region, other)[0]))


def _evaluate(acquisition: Acquisition, region: Region, x: np.ndarray) -> np.ndarray:
    """Values (b) at points `x` (b x d); what is not a number counts as the worst."""
    return _ordered(acquisition(region.masked(x)))


def _highest(values: np.ndarray, count: int) -> np.ndarray:
    return np.argsort(-values, kind="stable")[:count]


def _ordered(values: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(values), -np.inf, values)


def _perturbed(best: np.ndarray, region: Region, rng: np.random.Generator) -> np.ndarray:
    """`_PERTURBED` neighbours of each of `best` (k x d): steps of many sizes, now and then another level."""
    centres = np.repeat(best, _PERTURBED, axis=0)
    sizes = 10.0 ** rng.uniform(-3.0, -0.5, (len(centres), 1))
    moved = centres + sizes * rng.standard_normal(centres.shape)
    discrete = np.array([c.grid is not None for c in region.columns])
    redrawn = discrete & (rng.random(centres.shape) < 1.0 / len(region.columns))
    return np.where(redrawn, rng.random(centres.shape), moved)


def _polish(
    acquisition: Acquisition, region: Region, x: np.ndarray, values: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Climb and sweep from each of `x` (b x d) with `values` (b)."""
    climbing, swept = _columns(region)
    for _ in range(_ROUNDS if swept else 1):
        before = values.copy()
        if climbing:
            x, values = _climb(acquisition, region, x, values, climbing)
        for j in swept:
            x, values = _sweep(acquisition, region, x, values, j)
        if not (values > before).any():
            break
    return x, values


def _polish_nearby(
    acquisition: Acquisition, nearby: Nearby, region: Region, x: np.ndarray, values: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """`_polish`, climbing over what holds `nearby`, by `acquisition` alone where levels are compared.

    In the second round the highest few go on, and those that the first led astray: where they have come to is
    then known too.
    """
    climbing, swept = _columns(region)
    compared = np.full(len(x), -np.inf)  # values of places whose levels are the best already
    rows, about = np.arange(len(x)), x
    for _ in range(_ROUNDS):
        tops = _tops(nearby(region.masked(about)), region, x[rows], climbing)
        heights = _evaluate(acquisition, region, tops)
        astray = heights < values[rows]
        x[rows], values[rows] = _better(x[rows], values[rows], tops, heights)
        highest = _highest(values, _FEW)
        risen = highest[values[highest] > compared[highest] + _ENOUGH]
        for j in swept if len(risen) else ():
            x[risen], values[risen] = _sweep(acquisition, region, x[risen], values[risen], j)
        compared[risen] = values[risen]
        rows = np.union1d(highest, rows[astray])
        about = np.concatenate([x[rows], tops[astray]])
    return x, values


def _columns(region: Region) -> tuple[list[int], list[int]]:
    """The columns to climb in, and those to sweep; wide integer columns are both."""
    climbing = [j for j in region.free if _climbs(region, j)]
    return climbing, [j for j in region.free if region.columns[j].grid is not None]


def _climbs(region: Region, j: int) -> bool:
    column = region.columns[j]
    return column.grid is None or (not column.categorical and len(column.grid) > _RELAXED_FROM)


def _climb(
    acquisition: Acquisition, region: Region, x: np.ndarray, values: np.ndarray, climbing: list[int]
) -> tuple[np.ndarray, np.ndarray]:
    """L-BFGS from each of `x` in the columns `climbing`, snapped at the end and kept where it is better."""
    climbed = _tops(acquisition, region, x, climbing)
    return _better(x, values, climbed, _evaluate(acquisition, region, climbed))


def _tops(acquisition: Acquisition, region: Region, x: np.ndarray, climbing: list[int]) -> np.ndarray:
    """Where L-BFGS comes to from each of `x` in the columns `climbing`, snapped."""
    inactive = np.isnan(region.masked(x))
    movable = np.zeros(x.shape, dtype=bool)
    movable[:, climbing] = True
    movable &= ~inactive

    def value_and_gradient(points: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return acquisition.with_gradient(np.where(inactive[rows], np.nan, points))

    return region.settle(ascend(value_and_gradient, x, movable=movable, enough=_ENOUGH, behind=_BEHIND)[0])


def _sweep(
    acquisition: Acquisition, region: Region, x: np.ndarray, values: np.ndarray, j: int
) -> tuple[np.ndarray, np.ndarray]:
    """The best level of column `j` for each of `x` (b x d), all else kept."""
    grid = np.asarray(region.columns[j].grid)
    if len(grid) <= _SWEPT:
        levels = np.broadcast_to(grid, (len(x), len(grid)))
    else:
        here = np.searchsorted(grid, x[:, j] - 1e-9)
        levels = grid[np.clip(here[:, None] + np.array([-4, -2, -1, 1, 2, 4]), 0, len(grid) - 1)]
    moved = np.repeat(x, levels.shape[1], axis=0)
    moved[:, j] = levels.ravel()
    heights = _evaluate(acquisition, region, moved).reshape(levels.shape)
    top = heights.argmax(1)
    rows = np.arange(len(x))
    return _better(x, values, moved.reshape(*levels.shape, -1)[rows, top], heights[rows, top])


def _better(
    x: np.ndarray, values: np.ndarray, other: np.ndarray, heights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Row by row, whichever of two sets of points is higher."""
    higher = heights > values
    return np.where(higher[:, None], other, x), np.where(higher, heights, values)
