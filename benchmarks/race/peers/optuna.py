"""Optuna's samplers by ask and tell: spaces defined by run, failures told as FAIL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import optuna

from raytune_gp.errors import SpecError
from raytune_gp.space import Choice, Domain, Float, Integer, SearchSpace

__all__ = ["gp", "suggest", "tpe", "tpe_univariate"]

optuna.logging.set_verbosity(optuna.logging.ERROR)


class _Study:
    """A study in memory that minimises."""

    def __init__(self, space: SearchSpace, sampler: optuna.samplers.BaseSampler):
        self._space = space
        self._study = optuna.create_study(sampler=sampler, direction="minimize")
        self._running: dict[int, optuna.Trial] = {}

    def ask(self, ordinal: int) -> Mapping[str, Any]:
        trial = self._running[ordinal] = self._study.ask()
        flat: dict[str, Any] = {}
        for name in self._space.order:
            if self._space.is_active(name, flat):
                flat[name] = suggest(trial, name, self._space.domains[name])
        return self._space.nested(flat)

    def tell(self, ordinal: int, value: float | None) -> None:
        state = optuna.trial.TrialState.FAIL if value is None else None
        self._study.tell(self._running.pop(ordinal), value, state=state)


def suggest(trial: optuna.Trial, name: str, domain: Domain) -> Any:
    """The parameter as a user of Optuna writes it."""
    match domain:
        case Choice():
            return trial.suggest_categorical(name, domain.choices)
        case Integer(q=1):
            return trial.suggest_int(name, domain.lower, domain.upper - 1, log=domain.log)
        case Float(q=None, scale="linear" | "log"):
            return trial.suggest_float(name, domain.lower, domain.upper, log=domain.scale == "log")
    raise SpecError(f"{name!r}: the Optuna adapter has no {domain}; give it one, or use another domain")


def gp(space: SearchSpace, seed: int, trials: int, **options: Any) -> _Study:
    """GPSampler as it comes."""
    return _Study(space, optuna.samplers.GPSampler(seed=seed, **options))


def tpe(space: SearchSpace, seed: int, trials: int, **options: Any) -> _Study:
    """TPESampler as it comes: multivariate since Optuna 5."""
    return _Study(space, optuna.samplers.TPESampler(seed=seed, **options))


def tpe_univariate(space: SearchSpace, seed: int, trials: int, **options: Any) -> _Study:
    """TPESampler with a density for each parameter, the default until Optuna 4 and still in wide use."""
    return tpe(space, seed, trials, multivariate=False, **options)
