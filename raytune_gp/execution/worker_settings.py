"""What every worker of a run is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from raytune_gp.execution.foreign import Foreign
from raytune_gp.execution.payload import Payload
from raytune_gp.execution.placement import Demand
from raytune_gp.execution.shipping import NO_FREIGHT, Freight
from raytune_gp.trainable.classes import WhenToSave

__all__ = ["WorkerSettings"]


@dataclass(frozen=True)
class WorkerSettings:
    """What every worker of a run is given.

    `trainable` holds the pickled (trainable, space), `parameters` references to the objects in Ray's object
    store that the trainable is called with beside its config. `stops_trials` says that trials may be told to
    end by what they report, so that it is worth their while to wait for it.
    """

    run: str
    coordinator: str
    storage_path: str
    demand: Demand
    trainable: Payload
    parameters: Mapping[str, Any]
    when_to_save: WhenToSave = field(default_factory=WhenToSave)
    freight: Freight = NO_FREIGHT
    foreign: Foreign = field(default_factory=Foreign)
    stops_trials: bool = True
