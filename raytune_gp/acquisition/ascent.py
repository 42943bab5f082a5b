"""Projected L-BFGS over many starts at once: one batched evaluation a step, each start its own curvature.

Two-loop recursion (Nocedal & Wright 2006, algorithm 7.4) vectorised over starts, projection onto the unit box
(Bertsekas 1982) and backtracking until Armijo's condition holds. Starts share evaluations, never a step.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

__all__ = ["ascend"]

ValueAndGradient = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]

_MEMORY = 8  # pairs of differences kept for each start
_ARMIJO = 1e-4
_FIRST_STEP = 0.1  # length of a first step, in sides of the cube
_SHORTEST = 1e-4  # fraction of a step below which a start has arrived
_TRIES = 5  # steps that every start may make


def ascend(
    function: ValueAndGradient,
    x: np.ndarray,
    *,
    movable: np.ndarray,
    iterations: int = 25,
    tolerance: float = 1e-3,
    enough: float = 0.0,
    behind: float = np.inf,
) -> tuple[np.ndarray, np.ndarray]:
    """Climb from each row of `x` (b x d) inside [0, 1]^d, moving only where `movable` (b x d bool).

    `function` maps points (k x d) and the starts that they come from (k of 0 .. b - 1, ascending) to values
    (k) and gradients (k x d); it is asked of those alone that still climb. A start is done when its projected
    gradient falls below `tolerance`, a step gains less than `enough` or nothing, or when it is `behind` the
    highest of all after a few steps. Returns the places (b x d) and values (b), never below those of the
    starts.
    """
    x = x.copy()
    value, gradient = function(x, np.arange(len(x)))
    gradient = np.where(movable, gradient, 0.0)
    steps: list[np.ndarray] = []
    changes: list[np.ndarray] = []
    fraction = np.ones(len(x))
    live = np.isfinite(value)
    for turn in range(iterations):
        if turn >= _TRIES:
            live &= value >= value.max(initial=-np.inf, where=np.isfinite(value)) - behind
        free = movable & ~((x <= 0.0) & (gradient < 0.0)) & ~((x >= 1.0) & (gradient > 0.0))
        live &= np.abs(np.where(free, gradient, 0.0)).max(axis=1, initial=0.0) > tolerance
        if not live.any():
            break
        direction = _direction(np.where(free, gradient, 0.0), steps, changes, free)
        trial = np.clip(x + (live * fraction)[:, None] * direction, 0.0, 1.0)
        trial = np.where(movable, trial, x)
        rows = np.flatnonzero(live)
        trial_value, trial_gradient = value.copy(), gradient.copy()
        trial_value[rows], trial_gradient[rows] = function(trial[rows], rows)
        trial_gradient = np.where(movable, trial_gradient, 0.0)
        gain = _ARMIJO * ((trial - x) * gradient).sum(1)
        better = live & (trial_value >= value + gain) & (trial_value > value)

        taken = better[:, None]
        steps.append(np.where(taken, trial - x, 0.0))
        changes.append(np.where(taken, gradient - trial_gradient, 0.0))
        if len(steps) > _MEMORY:
            del steps[0], changes[0]
        x, gradient = np.where(taken, trial, x), np.where(taken, trial_gradient, gradient)
        arrived = better & (trial_value - value < enough)
        value = np.where(better, trial_value, value)
        fraction = np.where(better, 1.0, 0.25 * fraction)
        live &= (fraction > _SHORTEST) & ~arrived
    return x, value


def _direction(
    gradient: np.ndarray, steps: list[np.ndarray], changes: list[np.ndarray], free: np.ndarray
) -> np.ndarray:
    """L-BFGS ascent directions (b x d) in the `free` coordinates; at first a short step uphill."""
    moved, changed = (np.where(free, np.array(a).reshape(-1, *free.shape), 0.0) for a in (steps, changes))
    product, square = (moved * changed).sum(2), (changed * changed).sum(2)
    sound = product > 1e-10 * square
    inverse = np.where(sound, 1.0 / np.where(sound, product, 1.0), 0.0)
    q = gradient.copy()
    weights = np.empty_like(inverse)
    for k in reversed(range(len(steps))):
        weights[k] = inverse[k] * (moved[k] * q).sum(1)
        q -= weights[k][:, None] * changed[k]
    length = np.sqrt((gradient * gradient).sum(1))
    size = np.minimum(1.0, _FIRST_STEP / np.where(length > 0.0, length, 1.0))
    for curvature in inverse * square:  # the newest sound pair sets the scale
        size = np.where(curvature > 0.0, 1.0 / np.where(curvature > 0.0, curvature, 1.0), size)
    direction = size[:, None] * q
    for k in range(len(steps)):
        direction += (weights[k] - inverse[k] * (changed[k] * direction).sum(1))[:, None] * moved[k]
    uphill = (direction * gradient).sum(1) > 0.0
    return np.where(uphill[:, None], direction, (size[:, None] * gradient))
