"""HEBO as it comes: asked for one config whenever a worker is free, as a user with several workers has it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from hebo.design_space.design_space import DesignSpace
from hebo.optimizers.hebo import HEBO

from benchmarks.race.peers.shared import plain_config
from raytune_gp.errors import SpecError
from raytune_gp.space import Choice, Float, Integer, SearchSpace

__all__ = ["hebo"]

warnings.filterwarnings("ignore", module=r"hebo|pymoo|sklearn|pandas")


class _Optimiser:
    def __init__(self, space: SearchSpace, seed: int, options: Mapping[str, Any]):
        self._space = space
        np.random.seed(seed)  # HEBO draws from the global generators
        torch.manual_seed(seed)
        design = DesignSpace().parse([_parameter(name, space) for name in space.domains])
        self._opt = HEBO(design, scramble_seed=seed, **options)
        self._running: dict[int, pd.DataFrame] = {}

    def ask(self, ordinal: int) -> Mapping[str, Any]:
        row = self._running[ordinal] = self._opt.suggest(1)
        chosen = {name: row[name].iloc[0] for name in row}  # a row of the frame would make integers floats
        values = {
            name: domain.choices[int(chosen[name])] if isinstance(domain, Choice) else chosen[name]
            for name, domain in self._space.domains.items()
        }
        return plain_config(self._space, values)

    def tell(self, ordinal: int, value: float | None) -> None:
        row = self._running.pop(ordinal)
        if value is not None:  # HEBO drops what is not finite, too
            self._opt.observe(row, np.array([[value]]))


def _parameter(name: str, space: SearchSpace) -> dict[str, Any]:
    """The parameter as a user of HEBO writes it; a category by its number."""
    match domain := space.domains[name]:
        case Choice():
            return {"name": name, "type": "cat", "categories": list(range(domain.size))}
        case Integer(q=1):
            kind = "pow_int" if domain.log else "int"
            return {"name": name, "type": kind, "lb": domain.lower, "ub": domain.upper - 1}
        case Float(q=None, scale="linear" | "log"):
            kind = "pow" if domain.scale == "log" else "num"
            return {"name": name, "type": kind, "lb": domain.lower, "ub": domain.upper}
        case _:
            raise SpecError(f"{name!r}: the HEBO adapter has no {domain}; give it one, or use another domain")


def hebo(space: SearchSpace, seed: int, trials: int, **options: Any) -> _Optimiser:
    """HEBO with its defaults; options as it takes them.

    It takes no conditions: every parameter is always there for it, and has no effect where it does not exist.
    It does not hear of running trials, and failed ones are not told, as in Ray Tune's HEBOSearch.
    """
    return _Optimiser(space, seed, options)
