"""What the runs of the story come to."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import product
from statistics import mean, median
from typing import Any

import numpy as np

from benchmarks.story.runs import WAYS

__all__ = ["by_way", "expected_best", "summary"]


def by_way(runs: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """The runs of each way."""
    of: dict[str, list[Mapping[str, Any]]] = {}
    for run in runs:
        of.setdefault(run["way"], []).append(run)
    return of


def expected_best(values: Sequence[float], count: int) -> float:
    """The mean of the largest of `count` draws from the values, with replacement."""
    ordered = np.sort(values)
    largest_at_most = (np.arange(1, len(ordered) + 1) / len(ordered)) ** count
    return float(ordered @ np.diff(largest_at_most, prepend=0.0))


def summary(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What came of each way and what it cost; each way against each random run."""
    of = by_way(runs)
    pool = [value for run in of["random"] for value in _ends(run)]
    target = expected_best(pool, WAYS["random"]["num_samples"])
    epochs = mean(_epochs(run) for run in of["random"])
    reached = {way: [_reached(run, target, epochs) for run in made] for way, made in of.items()}
    return {
        "expected_best_of_random": {str(n): expected_best(pool, n) for n in (10, 30, 60, 120)},
        "ways": {
            way: {
                "runs": len(made),
                "trials": _trials(made[0]["trials"]),
                "epochs": mean(_epochs(run) for run in made),
                "share_of_epochs": mean(_epochs(run) for run in made) / epochs,
                "validation": [max(_ends(run)) for run in made],
                "test": [mean(run["test"]) for run in made],
                "mean_validation": mean(max(_ends(run)) for run in made),
                "mean_test": mean(mean(run["test"]) for run in made),
                "to_reach_120_random": reached[way],
                "median_share_of_epochs_to_reach_it": _median_share(reached[way]),
                **_against(made, of["random"]),
            }
            for way, made in of.items()
        },
    }


def _against(made: Sequence[Mapping[str, Any]], randoms: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """In how many of all pairs with a random run its config is better."""
    pairs = [(a, b) for a, b in product(made, randoms) if a is not b]
    return {
        "pairs": len(pairs),
        "better_in_validation": sum(max(_ends(a)) > max(_ends(b)) for a, b in pairs),
        "better_in_test": sum(mean(a["test"]) > mean(b["test"]) for a, b in pairs),
    }


def _trials(trials: Sequence[Mapping[str, Any]]) -> int:
    return sum("goes_on" not in trial for trial in trials)


def _ends(run: Mapping[str, Any]) -> list[float]:
    return [trial["curve"][-1] for trial in run["trials"]]


def _epochs(run: Mapping[str, Any]) -> int:
    return sum(len(trial["curve"]) for trial in run["trials"])


def _median_share(reached: Sequence[Mapping[str, float] | None]) -> float | None:
    """The median over the runs of what `_reached` says of the epochs; None: never."""
    share = median(at["share_of_epochs"] if at else math.inf for at in reached)
    return share if math.isfinite(share) else None


def _reached(run: Mapping[str, Any], target: float, epochs: float) -> dict[str, float] | None:
    """After how many trials, and which share of `epochs`, a trial ends with `target`; None: never."""
    spent = 0
    for count, trial in enumerate(run["trials"], 1):
        spent += len(trial["curve"])
        if trial["curve"][-1] >= target:
            return {"trials": _trials(run["trials"][:count]), "share_of_epochs": spent / epochs}
    return None
