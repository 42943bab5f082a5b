"""Ax's Client by ask and tell: Gaussian processes of BoTorch behind Ax's own choice of strategy."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from ax.api.client import Client
from ax.api.configs import ChoiceParameterConfig, RangeParameterConfig
from ax.utils.common.logger import set_ax_logger_levels

from benchmarks.race.peers.shared import plain_config
from raytune_gp.errors import SpecError
from raytune_gp.space import Choice, Domain, Float, Integer, SearchSpace

__all__ = ["ax"]

set_ax_logger_levels(logging.ERROR)


class _Client:
    """A client that minimises; it keeps account of what is running itself."""

    def __init__(self, space: SearchSpace, seed: int, options: Mapping[str, Any]):
        self._space = space
        self._client = Client(random_seed=seed)
        self._client.configure_experiment(
            [_parameter(name, domain, _dependents(space, name)) for name, domain in space.domains.items()]
        )
        self._client.configure_optimization("-value")
        if options:
            self._client.configure_generation_strategy(**options)
        self._running: dict[int, int] = {}

    def ask(self, ordinal: int) -> Mapping[str, Any]:
        trials = self._client.get_next_trials(max_trials=1)
        if not trials:
            raise SpecError(
                f"Ax has nothing for trial {ordinal} before more of its first five have ended; race it with "
                "fewer workers, or as ax:allow_exceeding_initialization_budget=True"
            )
        self._running[ordinal], values = trials.popitem()
        return plain_config(self._space, values)

    def tell(self, ordinal: int, value: float | None) -> None:
        trial = self._running.pop(ordinal)
        if value is None:
            self._client.mark_trial_failed(trial)
        else:
            self._client.complete_trial(trial, {"value": value})


def _dependents(space: SearchSpace, parent: str) -> dict[Any, list[str]]:
    """Of each value of `parent`, the parameters that exist with it and with no other."""
    dependents: dict[Any, list[str]] = {}
    for name, (condition, *more) in space.conditions.items():
        if condition.parent == parent and len(condition.values) == 1 and not more:
            dependents.setdefault(condition.values[0], []).append(name)
    return dependents


def _parameter(name: str, domain: Domain, dependents: Mapping[Any, list[str]]) -> Any:
    """The parameter as a user of Ax writes it."""
    match domain:
        case Choice():
            kind: Any = "bool" if all(isinstance(value, bool) for value in domain.choices) else "str"
            return ChoiceParameterConfig(
                name, list(domain.choices), kind, is_ordered=False, dependent_parameters=dependents or None
            )
        case Integer(q=1) if not dependents:
            scale: Any = "log" if domain.log else "linear"
            return RangeParameterConfig(name, (domain.lower, domain.upper - 1), "int", scaling=scale)
        case Float(q=None, scale="linear" | "log"):
            return RangeParameterConfig(name, (domain.lower, domain.upper), "float", scaling=domain.scale)
    raise SpecError(f"{name!r}: the Ax adapter has no {domain}; give it one, or use another domain")


def ax(space: SearchSpace, seed: int, trials: int, **options: Any) -> _Client:
    """The client's default strategy; options as `configure_generation_strategy` takes them.

    Conditions are given as a hierarchical space, whose parameters exist with one value of their parent: those
    that exist with several are given without a condition. Running trials are known to the client, and failed
    ones are marked as failed, which leaves them out of the model.
    """
    return _Client(space, seed, options)
