"""The driver's part of a run on Ray: start the coordinator, follow its events, pass on Ctrl-C.

The driver keeps a replica of the run's state by applying the events that it is sent; tables, callbacks
and results all read that replica. It holds nothing that the run needs.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Any

import ray
from ray.exceptions import ActorDiedError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raytune_gp.errors import RunExistsError, RunFailedError, SpecError
from raytune_gp.events import Event
from raytune_gp.execution.coordinator import Coordinator, Progress, RunPlan
from raytune_gp.execution.resources import why_it_never_fits
from raytune_gp.execution.worker import NAMESPACE
from raytune_gp.state import RunState

__all__ = ["follow", "start_coordinator"]

POLL_S = 1.0
UNREACHABLE_S = 60.0
"""So long the driver waits for a coordinator that Ray is restarting."""

Listener = Callable[[RunState, Sequence[Event]], None]


def start_coordinator(plan: RunPlan) -> Any:
    """Create the coordinator on this driver's node, where the journal is.

    Raises RunExistsError where the run is going on already, and SpecError where no node could hold a trial.
    """
    never = why_it_never_fits(plan.worker.resources)
    if never is not None:
        raise SpecError(f"resources_per_trial can never be met: {never}. Ask for less, or add such a node")
    with contextlib.suppress(ValueError):
        ray.get_actor(plan.worker.coordinator, NAMESPACE)
        raise RunExistsError(f"the run {plan.run!r} is going on in this cluster already")
    here = ray.get_runtime_context().get_node_id()
    options = {
        "name": plan.worker.coordinator,
        "namespace": NAMESPACE,
        "num_cpus": 0,
        "max_restarts": -1,
        "max_task_retries": 0,
        "scheduling_strategy": NodeAffinitySchedulingStrategy(here, soft=False),
    }
    return ray.remote(Coordinator).options(**options).remote(plan)


def follow(coordinator: Any, state: RunState, listener: Listener) -> None:
    """Apply the run's events to `state` as they come, until the run is over; then end the coordinator.

    Ctrl-C once asks for a gentle stop; a second one ends the workers at once and raises KeyboardInterrupt.
    Raises RunFailedError where the coordinator fails.
    """
    interrupted = False
    try:
        while True:
            try:
                progress = _poll(coordinator, state.index)
                for event in progress.events:
                    state.apply(event)
                state.due.clear()
                listener(state, progress.events)
                if progress.error is not None:
                    raise RunFailedError(f"the coordinator failed: {progress.error}")
                if progress.over:
                    return
            except KeyboardInterrupt:
                if interrupted:
                    _kill_workers(state)
                    raise
                interrupted = True
                coordinator.stop.remote("interrupted from the keyboard")
    finally:
        with contextlib.suppress(RayError):
            ray.kill(coordinator)


def _poll(coordinator: Any, after_index: int) -> Progress:
    """One poll; while Ray restarts the coordinator, ask again."""
    deadline = time.monotonic() + UNREACHABLE_S
    while True:
        try:
            return ray.get(coordinator.poll.remote(after_index, POLL_S))
        except ActorDiedError as error:
            raise RunFailedError(f"the coordinator died and was not restarted: {error}") from error
        except RayError as error:
            if time.monotonic() > deadline:
                raise RunFailedError(f"the coordinator cannot be reached: {error}") from error
            time.sleep(0.2)


def _kill_workers(state: RunState) -> None:
    for worker in state.workers:
        with contextlib.suppress(ValueError, RayError):
            ray.kill(ray.get_actor(f"{state.spec.run_id}/{worker}", NAMESPACE))


def init_ray() -> None:
    """Connect to the cluster that is there (`RAY_ADDRESS`, or a started one), else start one here."""
    if ray.is_initialized():
        return
    ray.init(log_to_driver=False, configure_logging=False, include_dashboard=False)
