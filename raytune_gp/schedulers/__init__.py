"""Schedulers decide which running trials go on. `make_scheduler` knows them by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from raytune_gp.errors import SpecError
from raytune_gp.protocols import Scheduler
from raytune_gp.schedulers.fifo import FIFOScheduler
from raytune_gp.schedulers.median import MedianStoppingRule
from raytune_gp.trial import Metric

__all__ = ["FIFOScheduler", "MedianStoppingRule", "make_scheduler"]

_NAMES = {
    "fifo": "fifo",
    "median": "median",
    "median_stopping_rule": "median",
    "medianstopping": "median",
}
"""Short names, with Ray Tune's beside them."""


def make_scheduler(name: str, metric: Metric, options: Mapping[str, Any] | None = None) -> Scheduler:
    """The scheduler called `name`, for the run's first metric. Raises SpecError for what it cannot be."""
    kind = _NAMES.get(name.lower())
    if kind is None:
        raise SpecError(f"scheduler is {name!r}; it must be one of {', '.join(sorted(_NAMES))}")
    try:
        if kind == "median":
            return MedianStoppingRule(metric, **(options or {}))
        return FIFOScheduler(**(options or {}))
    except TypeError as error:
        raise SpecError(f"scheduler {name!r} cannot be made: {error}") from None
