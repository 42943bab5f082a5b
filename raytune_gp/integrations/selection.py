"""Which of a library's metrics are reported, and by which names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from raytune_gp.errors import TrainableError

__all__ = ["Metrics", "selected"]

Metrics = str | Sequence[str] | Mapping[str, str] | None
"""Names as the library has them; a dictionary of names to report and the library's; None for all."""


def selected(metrics: Metrics, found: Mapping[str, Any]) -> dict[str, Any]:
    """Those of `found` that `metrics` asks for, by the names to report.

    Some may come later than others; where there is none, that is a TrainableError which says what there is.
    """
    if metrics is None:
        return dict(found)
    if isinstance(metrics, str):
        metrics = [metrics]
    names = metrics if isinstance(metrics, Mapping) else {name: name for name in metrics}
    chosen = {name: found[theirs] for name, theirs in names.items() if theirs in found}
    if not chosen:
        asked, there = ", ".join(map(repr, names.values())), ", ".join(map(repr, found)) or "nothing"
        raise TrainableError(f"to report are {asked}, and there is {there}: see what the model logs")
    return chosen
