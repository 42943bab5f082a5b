"""Vizier's Gaussian process bandit: its service's default algorithm, told what the service tells it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import jax
from vizier import algorithms as vza
from vizier import pyvizier as vz

# The public module of designers imports all of them, and with them packages that this one does not need.
from vizier._src.algorithms.designers.gp_ucb_pe import VizierGPUCBPEBandit

from benchmarks.race.peers.shared import plain_config
from raytune_gp.errors import SpecError
from raytune_gp.space import Choice, Config, Float, Integer, SearchSpace

__all__ = ["vizier"]

logging.getLogger("absl").setLevel(logging.ERROR)
jax.config.update("jax_enable_x64", True)  # as the service does; in single precision it proposes NaN


class _Designer:
    """A designer, told before each suggestion what has ended since the last, and all that is running."""

    def __init__(self, space: SearchSpace, seed: int, options: Mapping[str, Any]):
        self._space = space
        problem = vz.ProblemStatement()
        for name in space.domains:
            _add(problem.search_space.root, name, space)
        problem.metric_information.append(vz.MetricInformation("value", goal=vz.ObjectiveMetricGoal.MINIMIZE))
        self._designer = VizierGPUCBPEBandit(problem, rng=jax.random.PRNGKey(seed), **options)
        self._running: dict[int, vz.Trial] = {}
        self._ended: list[vz.Trial] = []

    def ask(self, ordinal: int) -> Mapping[str, Any]:
        running = vza.ActiveTrials(list(self._running.values()))
        self._designer.update(vza.CompletedTrials(self._ended), running)
        self._ended = []
        trial = self._running[ordinal] = self._designer.suggest(1)[0].to_trial(ordinal + 1)
        return plain_config(self._space, self._values(trial))

    def _values(self, trial: vz.Trial) -> Config:
        chosen = trial.parameters.as_dict()
        return {
            name: domain.choices[int(chosen[name])] if isinstance(domain, Choice) else chosen[name]
            for name, domain in self._space.domains.items()
        }

    def tell(self, ordinal: int, value: float | None) -> None:
        measured = vz.Measurement() if value is None else vz.Measurement({"value": value})
        reason = "failed" if value is None else None
        self._ended.append(self._running.pop(ordinal).complete(measured, infeasibility_reason=reason))


def _add(root: vz.SearchSpaceSelector, name: str, space: SearchSpace) -> None:
    """Add the parameter as a user of Vizier does; a category by its number, for categories are strings."""
    scales = {False: vz.ScaleType.LINEAR, True: vz.ScaleType.LOG}
    match domain := space.domains[name]:
        case Choice():
            root.add_categorical_param(name, [str(i) for i in range(domain.size)])
        case Integer(q=1):
            root.add_int_param(name, domain.lower, domain.upper - 1, scale_type=scales[domain.log])
        case Float(q=None, scale="linear" | "log"):
            scale = scales[domain.scale == "log"]
            root.add_float_param(name, domain.lower, domain.upper, scale_type=scale)
        case _:
            raise SpecError(
                f"{name!r}: the Vizier adapter has no {domain}; give it one, or use another domain"
            )


def vizier(space: SearchSpace, seed: int, trials: int, **options: Any) -> _Designer:
    """VizierGPUCBPEBandit as it comes; options as it takes them.

    It takes no conditions: every parameter is always there for it, and has no effect where it does not exist.
    Running trials are told as active, failed ones as infeasible.
    """
    return _Designer(space, seed, options)
