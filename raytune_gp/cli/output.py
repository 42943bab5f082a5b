"""What commands print: strict JSON for programs, tables and text for people."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from typing import Any

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from raytune_gp.analysis.labels import duration, number
from raytune_gp.state import RunState
from raytune_gp.trial import Trial
from raytune_gp.usage import shown

__all__ = ["ago", "console", "pairs", "plain", "print_json", "trial_json"]

PIPE_WIDTH = 200
"""Columns of a table that goes to a file or a program, which has no width of its own."""


def console() -> Console:
    """The standard output."""
    found = Console()
    return found if found.is_terminal else Console(width=PIPE_WIDTH)


def print_json(value: Any) -> None:
    """Print `value` as strict JSON: what is not finite becomes null."""
    print(json.dumps(_strict(value), allow_nan=False, indent=2))


def _strict(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): _strict(v) for k, v in value.items()}
    return [_strict(v) for v in value] if isinstance(value, list | tuple) else value


def trial_json(state: RunState, trial: Trial, *, reports: bool = False) -> dict[str, Any]:
    """A trial as JSON values, with all its reports if wanted. Times ending in `_at` are since the epoch."""
    metrics = [m.name for m in state.spec.metrics]
    values = dict(zip(metrics, trial.objective, strict=True)) if trial.objective else None
    facts: dict[str, Any] = {
        "id": trial.id,
        "number": trial.number,
        "status": trial.status.value,
        "config": trial.config,
        "objective": values,
        "step": trial.step,
        "metrics": trial.last_report(state.spec.metrics),
        "attempt": trial.attempt,
        "failures": trial.failures,
        "losses": trial.losses,
        "reason": trial.reason,
        "error": trial.error,
        "created_at": trial.created_at,
        "started_at": trial.started_at,
        "ended_at": trial.ended_at,
        "time_total_s": trial.time_total_s,
        "usage": shown(trial.usage),
        "provenance": trial.provenance,
        "checkpoints": [{"path": c.path, "step": c.step} for c in trial.checkpoints],
    }
    if reports:
        history = trial.history
        facts["reports"] = [
            {"step": history.steps[i], "time": history.times[i], "metrics": history.row(i)}
            for i in range(len(history))
        ]
    return facts


def pairs(facts: Mapping[str, Any]) -> RenderableType:
    """Names and values, one pair a line; a value of None is left out."""
    table = Table.grid(padding=(0, 2))
    for name, value in facts.items():
        if value is not None:
            table.add_row(Text(name, style="dim"), value if isinstance(value, Text) else plain(number(value)))
    return table


def plain(text: str) -> Text:
    """The text as it is, but for what a terminal would obey, such as escape sequences in an error."""
    return Text("".join(c if c.isprintable() or c in "\n\t" else "�" for c in text))


def ago(at: float) -> str:
    """How long ago the time `at` (seconds since the epoch) was."""
    return f"{duration(max(0.0, time.time() - at))} ago"
