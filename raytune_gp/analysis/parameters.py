"""The hyperparameters of a run as axes to draw on: numbers, logarithms or choices, whichever they are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from raytune_gp.space.plain import label
from raytune_gp.state import RunState

__all__ = ["Parameter", "parameters"]

LOG_RATIO = 1000.0
"""Positive numbers of an undescribed space that span this factor are drawn on a logarithmic axis."""


@dataclass(frozen=True)
class Parameter:
    """A hyperparameter and how to place its values on an axis.

    Choices sit at 0, 1, 2, … in the order of `choices`, numbers at themselves. `domain` is what the user
    wrote, such as `loguniform(0.0001, 1)`, or empty where that is not known.
    """

    name: str
    scale: Literal["linear", "log", "choice"]
    choices: tuple[str, ...] = ()
    domain: str = ""

    def places(self, values: Sequence[Any]) -> np.ndarray:
        """The place of each value, n, float64; NaN where a trial lacks this parameter.

        Values that are none of the choices, or not positive on a logarithmic axis, have no place either.
        """
        if self.scale != "choice":
            places = np.array([v if _is_number(v) else math.nan for v in values], dtype=float)
            return np.where(places > 0, places, math.nan) if self.scale == "log" else places
        index = {name: float(position) for position, name in enumerate(self.choices)}
        return np.array([math.nan if _is_absent(v) else index.get(label(v), math.nan) for v in values])


def parameters(state: RunState, trials: pd.DataFrame) -> list[Parameter]:
    """What the run varies, in the user's order: as its search space says, else as its `trials` show.

    Values computed by functions (`sample_from`) are among them where they differ between trials; constants
    are not.
    """
    described: Mapping[str, Any] = state.spec.space.get("dimensions") or {}
    constants = state.spec.space.get("constants") or {}
    found = [_from_domain(name, domain) for name, domain in described.items() if f"config/{name}" in trials]
    for column in trials.columns:
        name = column.removeprefix("config/")
        if column.startswith("config/") and name not in described and name not in constants:
            found.extend(_from_values(name, trials[column].tolist()))
    return found


def _from_domain(name: str, domain: Mapping[str, Any]) -> Parameter:
    text = str(domain.get("domain", ""))
    choices = domain.get("choices")
    if choices is not None:
        return Parameter(name, "choice", tuple(str(c) for c in choices), text)
    return Parameter(name, "log" if domain.get("log") else "linear", (), text)


def _from_values(name: str, values: Sequence[Any]) -> list[Parameter]:
    """The parameter that `values` are of; none where they are all alike."""
    present = [v for v in values if not _is_absent(v)]
    names = tuple(sorted({label(v) for v in present}))
    if len(names) < 2:
        return []
    if not all(_is_number(v) for v in present):
        return [Parameter(name, "choice", names)]
    low, high = min(present), max(present)
    return [Parameter(name, "log" if low > 0 and high / low >= LOG_RATIO else "linear")]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_absent(value: Any) -> bool:
    """Whether a cell of a table is empty: a trial without this parameter, or with None."""
    return value is None or (isinstance(value, float) and math.isnan(value))
