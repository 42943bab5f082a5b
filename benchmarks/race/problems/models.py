"""Problems that train: scikit-learn models on the data sets that come with it; noisy, mixed, conditional.

A trial trains on a random two thirds and shows the loss on the rest. The truth is the mean over eight splits
that no trial sees. A training takes 5 to 100 ms; what raises or does not end finite has failed.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np

from benchmarks.race.problems.base import Config, Half, Problem, Task
from raytune_gp.space import choice, lograndint, loguniform, randint, uniform, when

__all__ = ["MODELS"]

_TRUTH_SPLITS = 8  # their seeds are below _FIRST_SPLIT, those of trials are not
_FIRST_SPLIT = 1000
_MOST_ROWS = 600


@lru_cache
def _data(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Features (n x d, standardised) and targets (n); regression targets are standardised too."""
    from sklearn import datasets

    x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    rows = np.random.default_rng(0).permutation(len(x))[:_MOST_ROWS]
    x, y = x[rows].astype(float), y[rows]
    deviations = x.std(0)
    x = (x - x.mean(0)) / np.where(deviations > 0, deviations, 1.0)
    return x, ((y - y.mean()) / y.std() if name == "diabetes" else y)


def _svm(config: Config, seed: int) -> Any:
    from sklearn.svm import SVC

    more = {name: config[name] for name in ("gamma", "degree", "coef0") if name in config}
    return SVC(C=config["C"], kernel=config["kernel"], max_iter=20_000, random_state=seed, **more)


_SVM: Mapping[str, Any] = {
    "kernel": choice(["linear", "rbf", "poly", "sigmoid"]),
    "C": loguniform(1e-4, 1e4),
    "gamma": when("kernel", ["rbf", "poly", "sigmoid"], loguniform(1e-6, 10.0)),
    "degree": when("kernel", ["poly"], randint(2, 6)),
    "coef0": when("kernel", ["poly", "sigmoid"], uniform(-1.0, 1.0)),
}


def _descent(config: Config, seed: int, *, regress: bool) -> Any:
    from sklearn.linear_model import SGDClassifier, SGDRegressor

    make = SGDRegressor if regress else SGDClassifier
    given = {name: value for name, value in config.items() if name != "epochs"}
    return make(max_iter=config["epochs"], tol=None, random_state=seed, **given)


def _descent_space(losses: list[str]) -> Mapping[str, Any]:
    return {
        "loss": choice(losses),
        "penalty": choice(["l2", "l1", "elasticnet"]),
        "l1_ratio": when("penalty", ["elasticnet"], uniform(0.0, 1.0)),
        "alpha": loguniform(1e-7, 1.0),
        "learning_rate": choice(["constant", "invscaling", "adaptive"]),
        "eta0": loguniform(1e-6, 10.0),
        "power_t": when("learning_rate", ["invscaling"], uniform(0.05, 1.0)),
        "epochs": lograndint(2, 41),
    }


def _forest(config: Config, seed: int) -> Any:
    from sklearn.ensemble import ExtraTreesRegressor, RandomForestRegressor

    given = dict(config)
    make = ExtraTreesRegressor if given.pop("kind") == "extra" else RandomForestRegressor
    return make(random_state=seed, **given)


_FOREST: Mapping[str, Any] = {
    "kind": choice(["forest", "extra"]),
    "n_estimators": lograndint(4, 41),
    "max_depth": randint(1, 21),
    "min_samples_split": lograndint(2, 65),
    "min_samples_leaf": lograndint(1, 65),
    "max_features": uniform(0.1, 1.0),
    "bootstrap": choice([True, False]),
}


def _boosting(config: Config, seed: int) -> Any:
    from sklearn.ensemble import GradientBoostingClassifier

    return GradientBoostingClassifier(random_state=seed, **config)


_BOOSTING: Mapping[str, Any] = {
    "learning_rate": loguniform(1e-3, 10.0),
    "n_estimators": lograndint(4, 65),
    "max_depth": randint(1, 9),
    "subsample": uniform(0.2, 1.0),
    "min_samples_leaf": lograndint(1, 65),
    "max_features": uniform(0.05, 1.0),
}


def _network(config: Config, seed: int) -> Any:
    from sklearn.neural_network import MLPClassifier

    given = dict(config)
    layers = (given.pop("width"),) * given.pop("depth")
    if "one_minus_beta1" in given:
        given["beta_1"] = 1.0 - given.pop("one_minus_beta1")
    return MLPClassifier(layers, max_iter=12, random_state=seed, **given)


_NETWORK: Mapping[str, Any] = {
    "width": lograndint(4, 65),
    "depth": randint(1, 4),
    "activation": choice(["relu", "tanh", "logistic"]),
    "solver": choice(["sgd", "adam"]),
    "learning_rate_init": loguniform(1e-5, 10.0),
    "batch_size": lograndint(8, 129),
    "alpha": loguniform(1e-7, 10.0),
    "momentum": when("solver", ["sgd"], uniform(0.0, 0.99)),
    "one_minus_beta1": when("solver", ["adam"], loguniform(1e-3, 1.0)),
}


def _any(config: Config, seed: int) -> Any:
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.svm import SVC

    given = dict(config)
    match given.pop("model"):
        case "svm":
            return SVC(C=given["C"], gamma=given["gamma"], max_iter=20_000)
        case "forest":
            return RandomForestClassifier(10, random_state=seed, **given)
        case "neighbours":
            return KNeighborsClassifier(**given)
        case _:
            return LogisticRegression(C=given["inverse_penalty"], max_iter=100)


_ANY: Mapping[str, Any] = {
    "model": choice(["svm", "forest", "neighbours", "logistic"]),
    "C": when("model", ["svm"], loguniform(1e-4, 1e4)),
    "gamma": when("model", ["svm"], loguniform(1e-6, 10.0)),
    "max_depth": when("model", ["forest"], randint(1, 16)),
    "max_features": when("model", ["forest"], uniform(0.05, 1.0)),
    "n_neighbors": when("model", ["neighbours"], lograndint(1, 65)),
    "p": when("model", ["neighbours"], uniform(1.0, 4.0)),
    "weights": when("model", ["neighbours"], choice(["uniform", "distance"])),
    "inverse_penalty": when("model", ["logistic"], loguniform(1e-5, 1e4)),
}


@dataclass(frozen=True)
class _Live:
    """A model and a data set."""

    make: Callable[[Config, int], Any]
    space: Mapping[str, Any]
    data: str

    def task(self) -> Task:
        return Task(self.space, truth=self.truth, shown=self.shown)

    def loss(self, config: Config, split: int) -> float:
        """The error rate, or the squared error, on the rows that `split` leaves out; NaN where it fails."""
        x, y = _data(self.data)
        rows = np.random.default_rng(split).permutation(len(x))
        train, rest = np.split(rows, [2 * len(x) // 3])
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")  # that it did not converge, or overflowed, shows in the loss
            try:
                guess = self.make(config, split).fit(x[train], y[train]).predict(x[rest])
            except ValueError:  # what scikit-learn raises where weights or predictions are not finite
                return math.nan
            wrong = (guess - y[rest]) ** 2 if self.data == "diabetes" else guess != y[rest]
            loss = float(np.mean(wrong))
        return loss if math.isfinite(loss) else math.nan

    def shown(self, config: Config, rng: np.random.Generator) -> float:
        return self.loss(config, int(rng.integers(_FIRST_SPLIT, 2**31)))

    def truth(self, config: Config) -> float:
        return float(np.mean([self.loss(config, split) for split in range(_TRUTH_SPLITS)]))


def _problem(name: str, groups: tuple[str, ...], half: Half, live: _Live) -> Problem:
    return Problem(name, (*groups, "noisy"), half, live.task)


_CLASSIFIES = ["hinge", "log_loss", "modified_huber", "squared_hinge", "perceptron"]
_REGRESSES = ["squared_error", "huber", "epsilon_insensitive"]

MODELS = (
    _problem("svm-cancer", ("conditional", "mixed"), "develop", _Live(_svm, _SVM, "breast_cancer")),
    _problem("svm-digits", ("conditional", "mixed"), "report", _Live(_svm, _SVM, "digits")),
    _problem(
        "descent-digits",
        ("conditional", "mixed"),
        "develop",
        _Live(partial(_descent, regress=False), _descent_space(_CLASSIFIES), "digits"),
    ),
    _problem(
        "descent-diabetes",
        ("conditional", "mixed", "cliffs"),
        "report",
        _Live(partial(_descent, regress=True), _descent_space(_REGRESSES), "diabetes"),
    ),
    _problem("forest-diabetes", ("trees", "mixed"), "develop", _Live(_forest, _FOREST, "diabetes")),
    _problem("boosting-cancer", ("trees",), "report", _Live(_boosting, _BOOSTING, "breast_cancer")),
    _problem("network-digits", ("nets", "conditional"), "develop", _Live(_network, _NETWORK, "digits")),
    _problem("network-cancer", ("nets", "conditional"), "report", _Live(_network, _NETWORK, "breast_cancer")),
    _problem("any-model-digits", ("conditional", "mixed"), "develop", _Live(_any, _ANY, "digits")),
    _problem("any-model-cancer", ("conditional", "mixed"), "report", _Live(_any, _ANY, "breast_cancer")),
)
"""The problems of this file, each in its half for good."""
