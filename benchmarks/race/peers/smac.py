"""SMAC3's facade for hyperparameters by ask and tell, over a ConfigSpace with its conditions."""

from __future__ import annotations

import logging
import shutil
import tempfile
import weakref
from collections.abc import Mapping
from typing import Any

import ConfigSpace as cs
from smac import HyperparameterOptimizationFacade, Scenario
from smac.runhistory import StatusType, TrialInfo, TrialValue

from benchmarks.race.peers.shared import plain_config
from raytune_gp.errors import SpecError
from raytune_gp.space import Choice, Domain, Float, Integer, SearchSpace

__all__ = ["smac"]


class _Facade:
    """The facade with files of its own, gone when it goes; SMAC keeps account of what is pending itself."""

    def __init__(self, space: SearchSpace, seed: int, trials: int, options: Mapping[str, Any]):
        self._space = space
        directory = tempfile.mkdtemp(prefix="smac-")
        weakref.finalize(self, shutil.rmtree, directory, ignore_errors=True)
        scenario = Scenario(
            _config_space(space, seed), n_trials=trials, seed=seed, output_directory=directory, **options
        )
        self._worst: float | None = None
        self._failed: list[TrialInfo] = []
        self._facade = HyperparameterOptimizationFacade(
            scenario, _never_called, overwrite=True, logging_level=logging.ERROR
        )
        self._running: dict[int, TrialInfo] = {}

    def ask(self, ordinal: int) -> Mapping[str, Any]:
        trial = self._running[ordinal] = self._facade.ask()
        return plain_config(self._space, dict(trial.config))

    def tell(self, ordinal: int, value: float | None) -> None:
        trial = self._running.pop(ordinal)
        if value is None:
            self._failed.append(trial)
        else:
            self._worst = value if self._worst is None else max(value, self._worst)
            self._facade.tell(trial, TrialValue(value))
        if self._worst is not None:
            for failed in self._failed:
                self._facade.tell(failed, TrialValue(self._worst, status=StatusType.CRASHED))
            self._failed.clear()


def _never_called(config: cs.Configuration, seed: int = 0) -> float:
    raise NotImplementedError("the race runs the trials, not SMAC")


def _config_space(space: SearchSpace, seed: int) -> cs.ConfigurationSpace:
    parameters = {name: _parameter(name, domain) for name, domain in space.domains.items()}
    converted = cs.ConfigurationSpace(seed=seed)
    converted.add(*parameters.values())
    for name, conditions in space.conditions.items():
        held = [cs.InCondition(parameters[name], parameters[c.parent], list(c.values)) for c in conditions]
        converted.add(held[0] if len(held) == 1 else cs.AndConjunction(*held))
    return converted


def _parameter(name: str, domain: Domain) -> Any:
    """The parameter as a user of ConfigSpace writes it."""
    match domain:
        case Choice():
            return cs.Categorical(name, list(domain.choices))
        case Integer(q=1):
            return cs.Integer(name, (domain.lower, domain.upper - 1), log=domain.log)
        case Float(q=None, scale="linear" | "log"):
            return cs.Float(name, (domain.lower, domain.upper), log=domain.scale == "log")
    raise SpecError(f"{name!r}: the SMAC adapter has no {domain}; give it one, or use another domain")


def smac(
    space: SearchSpace, seed: int, trials: int, *, deterministic: bool = True, **options: Any
) -> _Facade:
    """HyperparameterOptimizationFacade as it comes, with a budget of `trials`; options as of `Scenario`.

    Failed trials are told as CRASHED at the worst value so far, for its default, infinity, breaks its forest;
    until there is a value they stay pending. `deterministic` as in SMAC's own examples: its default spends
    trials on repeating configs with other seeds, which trials here do not take.
    """
    return _Facade(space, seed, trials, {"deterministic": deterministic, **options})
