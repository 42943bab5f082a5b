"""Schedulers decide which running trials go on. `make_scheduler` knows them by name."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping
from typing import Any

from raytune_gp.errors import SpecError
from raytune_gp.options import as_told, make_part, name_and_options
from raytune_gp.protocols import Scheduler
from raytune_gp.schedulers.fifo import FIFOScheduler
from raytune_gp.schedulers.median import MedianStoppingRule
from raytune_gp.trial import Metric

__all__ = ["FIFOScheduler", "MedianStoppingRule", "make_scheduler", "resolve_scheduler"]

_CLASSES: Mapping[str, type[Any]] = {
    "fifo": FIFOScheduler,
    "median": MedianStoppingRule,
    "median_stopping_rule": MedianStoppingRule,
    "medianstopping": MedianStoppingRule,
}
"""Short names, with Ray Tune's beside them."""


def make_scheduler(name: str, metric: Metric, options: Mapping[str, Any] | None = None) -> Scheduler:
    """The scheduler called `name`, for the run's first metric. Raises SpecError for what it cannot be."""
    known, options = name_and_options("scheduler", {**(options or {}), "name": name}, _CLASSES)
    scheduler: Scheduler = make_part("scheduler", known, _CLASSES[known], {"metric": metric}, options)
    return scheduler


def resolve_scheduler(
    scheduler: str | Mapping[str, Any] | Scheduler | None, metric: Metric
) -> tuple[Callable[[], Scheduler], dict[str, Any]]:
    """A maker of the scheduler that a user asks for, and how it is described in the journal.

    By name, as `{"name": "median", …options}`, or the object itself; `fifo` without one. Each replay needs
    a fresh one, hence the maker.

    Raises:
        SpecError: none of these, or an unknown name or option.
    """
    if scheduler is None:
        scheduler = "fifo"
    if isinstance(scheduler, str):
        scheduler = {"name": scheduler}
    if isinstance(scheduler, Mapping):
        name, options = name_and_options("scheduler", scheduler, _CLASSES)
        make = functools.partial(make_scheduler, name, metric, options)
        make()
        return make, as_told(scheduler)
    needed = ("on_result", "apply", "next_to_resume", "rule")
    lacks = [name for name in needed if not hasattr(scheduler, name)]
    if lacks or isinstance(scheduler, type):
        fault = f"which has no {lacks[0]}" if lacks else "a class"
        raise SpecError(
            f"scheduler is {scheduler!r}, {fault}; it must be a name such as 'median', or an object that "
            f"follows raytune_gp.protocols.Scheduler"
        )
    return functools.partial(copy.deepcopy, scheduler), {"name": type(scheduler).__name__}
