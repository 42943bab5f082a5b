"""How good the searcher's predictions were, and which hyperparameters matter."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from raytune_gp.analysis.parameters import Parameter

__all__ = ["MIN_TRIALS", "importance", "methods", "predicted", "prediction_quality"]

MIN_TRIALS = 10
"""Fewer trials than this say nothing about importance."""

MAX_TRIALS = 500
"""As many trials are enough to tell; of more a random choice is taken."""


def methods(trials: pd.DataFrame, mode: str) -> pd.DataFrame:
    """For each method that proposed: `method`, `trials`, `failed`, `best`, `median`, `milliseconds`."""
    if "provenance/method" not in trials:
        return pd.DataFrame()
    groups = trials.groupby("provenance/method", sort=False)
    value = groups["objective"]
    table = pd.DataFrame(
        {
            "trials": groups.size(),
            "failed": groups["status"].agg(lambda s: int((s == "FAILED").sum())),
            "best": value.max() if mode == "max" else value.min(),
            "median": value.median(),
        }
    )
    if "provenance/milliseconds" in trials:
        table["milliseconds"] = groups["provenance/milliseconds"].median()
    return table.rename_axis("method").reset_index()


def predicted(trials: pd.DataFrame) -> pd.DataFrame:
    """The trials whose value the searcher predicted: `number`, `mean`, `deviation`, `value`.

    A provenance's `predicted_mean` and `predicted_deviation` are of the first metric, in its own unit and
    direction.
    """
    columns = ["provenance/predicted_mean", "provenance/predicted_deviation", "objective"]
    if any(c not in trials for c in columns):
        return pd.DataFrame(columns=["number", "mean", "deviation", "value"])
    numbers = trials[columns].apply(pd.to_numeric, errors="coerce")
    numbers.columns = pd.Index(["mean", "deviation", "value"])
    numbers.insert(0, "number", trials["number"])
    return numbers[np.isfinite(numbers.to_numpy(dtype=float)).all(axis=1)].reset_index(drop=True)


def prediction_quality(table: pd.DataFrame) -> dict[str, float]:
    """How well `predicted` values were foretold.

    `count`; `error`, the mean absolute difference; `baseline`, the same for always predicting the mean of
    these values, which nobody knew beforehand; `rank_correlation` (Spearman's, NaN for fewer than 3 trials);
    `within_1` and `within_2`, the shares within one and two predicted deviations (0.68 and 0.95 would be
    right for a normal distribution).
    """
    off = (table["value"] - table["mean"]).abs()
    ranks = table[["mean", "value"]].rank()
    enough = len(table) >= 3 and (ranks.nunique() > 1).all()
    return {
        "count": len(table),
        "error": float(off.mean()),
        "baseline": float((table["value"] - table["value"].mean()).abs().mean()),
        "rank_correlation": float(ranks["mean"].corr(ranks["value"])) if enough else float("nan"),
        "within_1": float((off <= table["deviation"]).mean()),
        "within_2": float((off <= 2 * table["deviation"]).mean()),
    }


def importance(trials: pd.DataFrame, axes: list[Parameter]) -> pd.DataFrame | None:
    """How much each hyperparameter says about a trial's rank: `name`, `importance`, `deviation`, best first.

    A random forest is fitted to the ranks of the trials' values and tested on trials it has not seen (five
    folds). A parameter's importance is half of what its squared error grows by when the parameter is
    shuffled among those, in units of the ranks' variance: the share of the variance that it accounts for,
    alone and with others (a total Sobol index). `attrs["r2"]` is what the forest explains in all. None for
    fewer than MIN_TRIALS trials with a value, or where the forest explains nothing.

    Permutation importance is of Breiman 2001, "Random Forests", section 10; the half of Gregorutti, Michel
    and Saint-Pierre 2017. Trials that a searcher chose are no random sample: this says what mattered among
    the configs it tried.
    """
    some = trials[trials["objective"].notna()]
    if len(some) < MIN_TRIALS or not axes or some["objective"].nunique() < 2:
        return None
    if len(some) > MAX_TRIALS:
        some = some.sample(MAX_TRIALS, random_state=0)
    features = np.column_stack([_feature(p, some) for p in axes])
    target = some["objective"].rank().to_numpy() / len(some)
    r2, losses = _held_out(features, target)
    if not r2 > 0:
        return None
    table = pd.DataFrame(
        {"name": [p.name for p in axes], "importance": losses.mean(axis=0), "deviation": losses.std(axis=0)}
    )
    table = table.sort_values("importance", ascending=False, ignore_index=True)
    table.attrs["r2"] = r2
    return table


def _feature(parameter: Parameter, trials: pd.DataFrame) -> np.ndarray:
    """The parameter as the forest sees it, n: its place, -1 below all others where it is absent."""
    places = parameter.places(trials[f"config/{parameter.name}"].tolist())
    lowest = np.min(places, where=np.isfinite(places), initial=np.inf)
    return np.where(np.isfinite(places), places, lowest - 1.0 if np.isfinite(lowest) else 0.0)


def _held_out(features: np.ndarray, target: np.ndarray) -> tuple[float, np.ndarray]:
    """The forest's R² over five held-out folds (pooled) and its loss by each shuffled column, folds x d."""
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance
    from sklearn.model_selection import KFold

    residual = np.empty_like(target)
    losses: list[Any] = []
    for fit, test in KFold(5, shuffle=True, random_state=0).split(features):
        forest = RandomForestRegressor(50, min_samples_leaf=2, random_state=0).fit(features[fit], target[fit])
        residual[test] = target[test] - forest.predict(features[test])
        shuffled = permutation_importance(
            forest,
            features[test],
            target[test],
            n_repeats=5,
            random_state=0,
            scoring="neg_mean_squared_error",
        )
        losses.append(shuffled.importances_mean / (2.0 * target.var()))
    return float(1.0 - np.mean(residual**2) / target.var()), np.array(losses)
