"""Configs, errors, numbers and times as people read them; no third parties, so that the terminal is quick."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from itertools import chain
from typing import Any

from raytune_gp.space.plain import label
from raytune_gp.state import RunState
from raytune_gp.trial import Trial, TrialStatus

__all__ = [
    "amount",
    "as_cell",
    "duration",
    "error_line",
    "flat_config",
    "last_line",
    "leaf_names",
    "number",
    "short",
    "varied_config",
]

_MARKS = ({"$choice", "repr"}, {"$constant", "repr"})
"""The keys of a config's value that JSON could not hold."""


def flat_config(config: Mapping[str, Any], leaves: Collection[str] = ()) -> dict[str, Any]:
    """A journalled config as flat names and values: numbers, text, booleans and None stay as they are.

    Any other value becomes its label. A dictionary is nested parameters, unless its name is in `leaves`.
    """
    return {name: as_cell(value) for name, value in _leaves(config, "", leaves)}


def _leaves(config: Mapping[str, Any], prefix: str, leaves: Collection[str]) -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        name = f"{prefix}{key}"
        nested = isinstance(value, Mapping) and value and set(value) not in _MARKS and name not in leaves
        if nested:
            yield from _leaves(value, f"{name}/", leaves)
        else:
            yield name, value


def as_cell(value: Any) -> Any:
    """A value that a table can hold."""
    return value if value is None or isinstance(value, str | bool | int | float) else label(value)


def leaf_names(state: RunState) -> frozenset[str]:
    """The names of the run's parameters, as far as its search space was described."""
    space = state.spec.space
    return frozenset(
        chain.from_iterable(space.get(k) or () for k in ("dimensions", "constants", "sample_from"))
    )


def error_line(trial: Trial) -> str | None:
    """What went wrong with a failed trial, in one line; None for any other."""
    if trial.status is not TrialStatus.FAILED:
        return None
    return last_line(trial.error) or last_line(trial.reason) or "it failed without a message"


def last_line(text: str | None) -> str:
    """The last line that is not blank: of a traceback, the error itself."""
    lines = (text or "").strip().splitlines()
    return lines[-1].strip() if lines else ""


def varied_config(state: RunState, trial: Trial) -> dict[str, Any]:
    """A trial's flat config without the constants of the run's search space."""
    constants = state.spec.space.get("constants") or {}
    flat = flat_config(trial.config, leaf_names(state))
    return {name: value for name, value in flat.items() if name not in constants}


def number(value: Any) -> str:
    """A value as a table shows it: floats to 6 digits, NaN and None as a dash."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def duration(seconds: float | None) -> str:
    """A number of seconds as people say it, such as `1 h 04 min`."""
    if seconds is None or not math.isfinite(seconds):
        return "–"
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes:02d} min"
    return f"{hours // 24} d {hours % 24} h"


def amount(size_b: float | None) -> str:
    """A number of bytes as people say it, such as `1.5 GiB`."""
    if size_b is None:
        return "–"
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size_b < 1024:
            return f"{size_b:.3g} {unit}"
        size_b /= 1024
    return f"{size_b:.3g} TiB"


def short(text: str, limit: int = 40) -> str:
    """The text itself, or its start and end around an ellipsis where it is longer than `limit`."""
    if len(text) <= limit:
        return text
    head = (limit - 1) // 2
    return f"{text[:head]}…{text[len(text) - (limit - 1 - head) :]}"
