"""Runs compared: ranks, regrets, who beats whom, trials needed.

A run's score after t trials is the true value of the config with the best observation among the first t.
Runs are compared within a pair (problem, seed), and only where all optimisers compared have run it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.race.records import Key

__all__ = ["Standings", "gather"]

RANDOM = "random"
TIE = 1e-3  # of a problem's scale


@dataclass(frozen=True)
class Standings:
    """Runs of k optimisers on n pairs of problem and seed, t trials each.

    Attributes:
        optimisers: k labels.
        problems: the problem of each pair, n.
        scores: k x n x t; infinite as long as no trial had succeeded.
        best: the best known value of each pair's problem, n.
        scale: its median regret of random search, n.
        target: the median final score of random search with four times the trials, n; NaN where not raced.
        seconds: CPU seconds of each suggestion, k x n x t.
    """

    optimisers: tuple[str, ...]
    problems: tuple[str, ...]
    scores: np.ndarray
    best: np.ndarray
    scale: np.ndarray
    target: np.ndarray
    seconds: np.ndarray

    def at(self, share: float) -> np.ndarray:
        """The scores after that share of the trials, k x n."""
        return self.scores[:, :, max(1, round(share * self.scores.shape[2])) - 1]

    def beats(self, share: float) -> np.ndarray:
        """1 where i did better than j, .5 where they tie, 0 where worse, k x k x n."""
        scores = self.at(share)
        with np.errstate(invalid="ignore"):
            ahead = scores[None] - scores[:, None]  # infinity less infinity is NaN: a tie
        return np.where(ahead > TIE * self.scale, 1.0, np.where(ahead < -TIE * self.scale, 0.0, 0.5))

    def ranks(self, share: float) -> np.ndarray:
        """The rank of each run in its pair, 1 the best and ties averaged, k x n."""
        return 0.5 + len(self.optimisers) - self.beats(share).sum(1)

    def regrets(self, share: float) -> np.ndarray:
        """Regret over `scale`, k x n; NaN where random search finds the best."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self.scale > 0, (self.at(share) - self.best) / self.scale, np.nan)

    def needed(self) -> np.ndarray:
        """How many trials each run needed to reach `target`, k x n; infinite if never, NaN without one."""
        reached = self.scores <= (self.target + TIE * self.scale)[:, None]
        trials = np.where(reached.any(2), reached.argmax(2) + 1.0, math.inf)
        return np.where(np.isnan(self.target), np.nan, trials)


def gather(
    records: Sequence[Mapping[str, Any]],
    *,
    trials: int,
    workers: int,
    optimisers: Sequence[str] = (),
    problems: Sequence[str] = (),
) -> Standings:
    """The standings of the runs of that size, among `optimisers` (all, if none are given).

    Raises:
        ValueError: no pair that all have run, or a problem that random search has not.
    """
    runs = {Key.of(record): record for record in records}
    sized = [k for k in runs if (k.trials, k.workers) == (trials, workers)]
    shown = tuple(optimisers or dict.fromkeys(k.optimiser for k in sized))
    pairs = [
        (problem, seed)
        for problem, seed in dict.fromkeys((k.problem, k.seed) for k in sized)
        if (not problems or problem in problems)
        and all(Key(name, problem, seed, trials, workers) in runs for name in shown)
    ]
    if not pairs:
        raise ValueError(f"no problem and seed was run by all of {', '.join(shown) or 'no optimiser'}")

    def column(name: str) -> np.ndarray:
        rows = [[runs[Key(label, *pair, trials, workers)][name] for pair in pairs] for label in shown]
        return np.array(rows, dtype=float)  # None becomes NaN

    names = tuple(problem for problem, _ in pairs)
    best = {name: _best(name, runs) for name in names}
    random = {name: _random(name, runs, trials, workers) for name in names}
    target = {name: _random(name, runs, 4 * trials, workers) for name in names}
    missing = sorted(name for name, value in random.items() if math.isnan(value))
    if missing:
        raise ValueError(f"random search sets the scale and has not run {', '.join(missing)}: race it too")
    scores = column("scores")
    return Standings(
        shown,
        names,
        np.where(np.isnan(scores), math.inf, scores),
        np.array([best[name] for name in names]),
        np.array([random[name] - best[name] for name in names]),
        np.array([target[name] for name in names]),
        column("seconds"),
    )


def _random(problem: str, runs: Mapping[Key, Mapping[str, Any]], trials: int, workers: int) -> float:
    """The median final score of random search on `problem`; NaN where no run has that size."""
    wanted = (RANDOM, problem, trials, workers)
    ends = [
        run["scores"][-1]
        for key, run in runs.items()
        if (key.optimiser, key.problem, key.trials, key.workers) == wanted
    ]
    return float(np.median([math.inf if end is None else end for end in ends])) if ends else math.nan


def _best(problem: str, runs: Mapping[Key, Mapping[str, Any]]) -> float:
    """The best known value: that of the table or function, or else the best that any run has seen."""
    own = [run for key, run in runs.items() if key.problem == problem]
    if own[0]["best"] is not None:
        return float(own[0]["best"])
    return min(score for run in own for score in run["scores"] if score is not None)
