"""The driver's part of a run on Ray: start the coordinator, follow its events, pass on Ctrl-C.

The driver keeps a replica of the run's state by applying the events that it is sent; tables, callbacks
and results all read that replica. It holds nothing that the run needs.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import ray
from ray.exceptions import ActorDiedError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raytune_gp.errors import RunExistsError, RunFailedError, SpecError
from raytune_gp.events import Event, RunEnded
from raytune_gp.execution.coordinator import Coordinator, News, RunPlan
from raytune_gp.execution.keyboard import Keyboard
from raytune_gp.execution.resources import slots_free, slots_in_all, why_it_never_fits
from raytune_gp.execution.searcher_gpu import check_share
from raytune_gp.execution.worker import NAMESPACE, make_worker
from raytune_gp.spec import ExperimentSpec
from raytune_gp.state import RunState, RunStatus

__all__ = ["admit", "end_workers", "follow", "init_ray", "refuse_running", "start_coordinator"]

INTERRUPTED = "interrupted from the keyboard"
CLIENT = "ray://"
POLL_S = 1.0
KEYBOARD_S = 0.05
"""How long Ray is left to wait at a stretch: to Python, two Ctrl-C during one are one."""

UNREACHABLE_S = 60.0
"""So long the driver waits for a coordinator that Ray is restarting."""

FEW = 4
"""So many workers are made ahead even where less is free: what Ray says is free is a second old, and a few
workers that wait for their resources cost nothing."""

Listener = Callable[[RunState, Sequence[Event]], None]


def admit(spec: ExperimentSpec, gpus: float = 0.0) -> None:
    """Connect to Ray, and refuse a run that it cannot take, before anything is written.

    Raises RunExistsError where the run is going on already, and SpecError where no node could hold a trial,
    beside the coordinator with its share `gpus` of a GPU on this one.
    """
    refuse_running(spec.name)
    if gpus:
        check_share(gpus)
    never = why_it_never_fits(spec.resources, gpus)
    if never is not None:
        raise SpecError(f"resources_per_trial can never be met: {never}. Ask for less, or add such a node")


def refuse_running(run: str) -> None:
    """Connect to Ray, and raise RunExistsError where `run` has a coordinator in the cluster."""
    init_ray()
    with contextlib.suppress(ValueError):
        ray.get_actor(run, NAMESPACE)
        raise RunExistsError(f"the run {run!r} is going on in this cluster already")


def start_coordinator(plan: RunPlan, ahead: float = 0) -> Any:
    """Create the coordinator on this driver's node, where the journal is.

    Of a new run, up to `ahead` workers are made beside it, as many as fit: they start while it does, and it
    finds them under the names that it gives its first workers. One that it never asks for leaves by itself
    when the run is over. None are made beside a coordinator that reserves a share of a GPU, which they could
    take first.
    """
    if ahead and not plan.gpus:
        free, total = slots_free(plan.worker.resources), slots_in_all(plan.worker.resources)
        plan = replace(plan, started=int(min(ahead, max(free, min(total, FEW)))))
    here = ray.get_runtime_context().get_node_id()
    options = {
        "name": plan.worker.coordinator,
        "namespace": NAMESPACE,
        "num_cpus": 0,
        "num_gpus": plan.gpus,
        "max_restarts": -1,
        "max_task_retries": 0,
        "scheduling_strategy": NodeAffinitySchedulingStrategy(here, soft=False),
    }
    coordinator = ray.remote(Coordinator).options(**options).remote(plan)
    for slot in range(plan.started):
        make_worker(plan.run_id, f"w{slot}/1", plan.worker)
    return coordinator


def follow(
    coordinator: Any,
    state: RunState,
    listener: Listener,
    on_trouble: Callable[[str | None], None] = lambda trouble: None,
    on_warning: Callable[[str | None], None] = lambda warning: None,
) -> None:
    """Apply the run's events to `state` as they come, until the run is over; then end the coordinator.

    `listener` is told of them, `on_trouble` of what pauses the run, None when it goes on, and `on_warning` of
    what keeps its journal from being backed up; what they raise ends the run. Ctrl-C once asks for a gentle
    stop; a second one ends the workers at once and raises KeyboardInterrupt. Raises RunFailedError where the
    coordinator fails.
    """
    trouble: str | None = None
    warning: str | None = None
    with Keyboard() as keyboard:
        try:
            while True:
                if keyboard.pressed and state.status is RunStatus.RUNNING:
                    coordinator.stop.remote(INTERRUPTED)  # each time: one that is starting does not hear it
                try:
                    news = _poll(coordinator, state.index)
                except KeyboardInterrupt:
                    keyboard.press()
                    continue
                for event in news.events:
                    state.apply(event)
                if news.given_up is not None and not state.status.is_ended:
                    state.apply(_end_unwritten(state, news.given_up))
                state.due.clear()
                listener(state, news.events)
                if news.error is not None:
                    raise RunFailedError(f"the coordinator failed: {news.error}")
                if news.trouble != trouble:
                    trouble = news.trouble
                    on_trouble(trouble)
                if news.warning != warning:
                    warning = news.warning
                    on_warning(warning)
                if news.over:
                    return
        except KeyboardInterrupt:
            _kill_workers(state)
            name = state.spec.name
            raise KeyboardInterrupt(f"run {name!r} was cut short; resume=True goes on") from None
        finally:
            with contextlib.suppress(RayError):
                ray.kill(coordinator)


def _end_unwritten(state: RunState, why: str) -> RunEnded:
    """The end of a run that its journal could not be told of."""
    return RunEnded(max(time.time(), state.now), RunStatus.STOPPED.value, f"{INTERRUPTED}; {why}")


def _poll(coordinator: Any, after_index: int) -> News:
    """One poll; while Ray restarts the coordinator, ask again."""
    deadline = time.monotonic() + UNREACHABLE_S
    while True:
        try:
            answer = coordinator.poll.remote(after_index, POLL_S)
            while not ray.wait([answer], timeout=KEYBOARD_S)[0]:
                pass
            return ray.get(answer)
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


def end_workers(run_id: str) -> None:
    """End whatever workers of `run_id` there are still: those of a run whose journal has forgotten them."""
    for actor in ray.util.list_named_actors(all_namespaces=True):
        if actor["namespace"] == NAMESPACE and actor["name"].startswith(f"{run_id}/"):
            with contextlib.suppress(ValueError, RayError):
                ray.kill(ray.get_actor(actor["name"], NAMESPACE))


def init_ray() -> None:
    """Connect to the cluster that is there (`RAY_ADDRESS`, or a started one), else start one here.

    Raises SpecError under Ray Client (`ray://`), whose drivers are in another place than their actors.
    """
    address = os.environ.get("RAY_ADDRESS", "")
    client = ray.util.client.ray.is_connected()
    if client or (address.startswith(CLIENT) and not ray.is_initialized()):
        where = "this script is connected by Ray Client" if client else f"RAY_ADDRESS is {address!r}"
        raise SpecError(
            f"{where} ({CLIENT}…), and a run must be started on a machine of the cluster, where its journal "
            f"is: run this script on the head node, by `ray job submit` or a shell there, with "
            f"ray.init(address='auto') or RAY_ADDRESS=auto"
        )
    if not ray.is_initialized():
        ray.init(log_to_driver=False, configure_logging=False, include_dashboard=False)
