"""The driver's part of a run on Ray: start the coordinator, follow its events, pass on Ctrl-C.

The driver keeps a replica of the run's state by applying the events that it is sent; tables, callbacks
and results all read that replica. It holds nothing that the run needs.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import ray
from ray.exceptions import ActorDiedError, RayError, RuntimeEnvSetupError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raytune_gp.errors import RunExistsError, RunFailedError, SpecError
from raytune_gp.events import Event, RunEnded
from raytune_gp.execution.cluster import actor_names, kill_actor, refuse_running, require_lasting
from raytune_gp.execution.coordinator import Coordinator, News, RunPlan
from raytune_gp.execution.keyboard import Keyboard
from raytune_gp.execution.placement import Demand
from raytune_gp.execution.resources import slots_free, slots_in_all, why_it_never_fits
from raytune_gp.execution.searcher_gpu import check_share
from raytune_gp.execution.starting import HURRIED_S, job_environment, start_limit_s, why_not_started
from raytune_gp.execution.worker import NAMESPACE, make_worker
from raytune_gp.spec import ExperimentSpec
from raytune_gp.state import RunState
from raytune_gp.status import RunStatus
from raytune_gp.storage.urls import sqlite_file

__all__ = [
    "CoordinatorGoneError",
    "Follower",
    "NotAwaitedError",
    "admit",
    "end_workers",
    "follow",
    "let_go",
    "start_coordinator",
    "watch",
]

INTERRUPTED = "interrupted from the keyboard"
POLL_S = 1.0
KEYBOARD_S = 0.05
"""How long Ray is left to wait at a stretch: to Python, two Ctrl-C during one are one."""

FEW = 4
"""So many workers are made ahead even where less is free: what Ray says is free is a second old, and a few
workers that wait for their resources cost nothing."""


class CoordinatorGoneError(RunFailedError):
    """The coordinator has died for good."""


class NotAwaitedError(CoordinatorGoneError):
    """The coordinator had not come up when Ctrl-C was pressed, nor a while later."""


Listener = Callable[[RunState, Sequence[Event]], None]


def admit(spec: ExperimentSpec, gpus: float = 0.0, detached: bool = False) -> None:
    """Connect to Ray, and refuse a run that it cannot take, before anything is written.

    Raises RunExistsError where the run is going on already, and SpecError where no node could hold a trial,
    beside the coordinator with its share `gpus` of a GPU on this one, or where a `detached` run would have no
    cluster to go on in.
    """
    if detached:
        require_lasting()
    refuse_running(spec.name)
    if gpus:
        check_share(gpus)
    never = why_it_never_fits(Demand.of(spec), gpus)
    if never is not None:
        raise SpecError(f"resources_per_trial can never be met: {never}. Ask for less, or add such a node")


def start_coordinator(plan: RunPlan, ahead: float = 0) -> Any:
    """Create the coordinator on this driver's node, where the journal is.

    Of a new run, up to `ahead` workers are made beside it, as many as fit: they start while it does, and it
    finds them under the names that it gives its first workers. One that it never asks for leaves by itself
    when the run is over. None are made beside a coordinator that reserves a share of a GPU, which they could
    take first. A detached coordinator whose journal is on a server may be restarted on another node.
    Raises RunExistsError where another driver was faster.
    """
    if ahead and not plan.gpus:
        demand = plan.worker.demand.sharing(1)
        free, total = slots_free(demand), slots_in_all(demand)
        few = 1 if demand.bundles else FEW  # those with workers of their own do not wait, but take room
        plan = replace(plan, started=int(min(ahead, max(free, min(total, few)))))
    options: dict[str, Any] = {
        "name": plan.worker.coordinator,
        "namespace": NAMESPACE,
        "num_cpus": 0,
        "num_gpus": plan.gpus,
        "max_restarts": -1,
        "max_task_retries": 0,
        "scheduling_strategy": NodeAffinitySchedulingStrategy(
            ray.get_runtime_context().get_node_id(), soft=_may_move(plan)
        ),
    }
    if plan.detached:
        options["lifetime"] = "detached"
    try:
        coordinator = ray.remote(Coordinator).options(**options).remote(plan)
    except ValueError as error:  # the name
        raise RunExistsError(
            f"the run {plan.run!r} has just been started by another process: {error}"
        ) from None
    for slot in range(plan.started):
        make_worker(plan.run_id, f"w{slot}/1", plan.worker)
    return coordinator


def _may_move(plan: RunPlan) -> bool:
    """Whether the coordinator may be restarted on another node: nothing that it needs is on this one."""
    return plan.detached and not plan.gpus and sqlite_file(plan.journal) is None


class Follower:
    """Applies a run's events to `state` as they come, and tells of them.

    `listener` is told of events, `on_trouble` of what pauses the run, None when it goes on, and `on_warning`
    of what keeps its journal from being backed up. A coordinator that is `fresh` is waited for as long as it
    may take to start.
    """

    def __init__(
        self,
        coordinator: Any,
        state: RunState,
        listener: Listener = lambda state, events: None,
        on_trouble: Callable[[str | None], None] = lambda trouble: None,
        on_warning: Callable[[str | None], None] = lambda warning: None,
        *,
        fresh: bool = False,
    ):
        self.coordinator = coordinator
        self.state = state
        self._listener = listener
        self._on_trouble = on_trouble
        self._on_warning = on_warning
        self._trouble: str | None = None
        self._warning: str | None = None
        self._fresh = fresh

    def turn(self, pressed: Callable[[], bool] = lambda: False) -> bool:
        """Wait for news, a second at most while the coordinator can be reached; whether the run is over.

        `pressed` tells of Ctrl-C. Raises CoordinatorGoneError where the coordinator has died for good or
        never came up, NotAwaitedError where it was `pressed` meanwhile, RunFailedError where it failed.
        """
        try:
            news = _poll(self.coordinator, self.state.index, self._fresh, pressed)
        except CoordinatorGoneError:
            if self._fresh:  # nobody will claim what was made ahead of it
                end_workers(self.state.spec.run_id)
            raise
        self._fresh = False
        self.hear(news.events, news.given_up)
        if news.error is not None:
            raise RunFailedError(f"the coordinator failed: {news.error}")
        if news.trouble != self._trouble:
            self._trouble = news.trouble
            self._on_trouble(news.trouble)
        if news.warning != self._warning:
            self._warning = news.warning
            self._on_warning(news.warning)
        return news.over

    def hear(self, events: Sequence[Event], given_up: str | None = None) -> None:
        """Apply `events`, which come next, and tell of them; `given_up` is why the journal lacks the end."""
        for event in events:
            self.state.apply(event)
        if given_up is not None and not self.state.status.is_ended:
            self.state.apply(_end_unwritten(self.state, given_up))
        self.state.due.clear()
        self.state.changed.clear()
        self._listener(self.state, events)


def follow(follower: Follower) -> None:
    """Follow a run of this driver's until it is over; then end the coordinator.

    What listeners raise ends the run. Ctrl-C once asks for a gentle stop, and ends a run whose coordinator
    does not come up; a second one ends the workers at once and raises KeyboardInterrupt. Raises
    RunFailedError where the coordinator fails.
    """
    coordinator, state = follower.coordinator, follower.state
    with Keyboard() as keyboard:
        over = False
        try:
            while not over:
                if keyboard.pressed and state.status is RunStatus.RUNNING:
                    coordinator.stop.remote(INTERRUPTED)  # each time: one that is starting does not hear it
                try:
                    over = follower.turn(lambda: keyboard.pressed)
                except KeyboardInterrupt:
                    keyboard.press()
                except NotAwaitedError as error:
                    follower.hear((), str(error))
                    over = True
        except KeyboardInterrupt:
            _kill_workers(state)
            name = state.spec.name
            raise KeyboardInterrupt(f"run {name!r} was cut short; resume=True goes on") from None
        finally:
            with contextlib.suppress(RayError):
                ray.kill(coordinator)


def watch(follower: Follower) -> bool:
    """Follow a run that does not depend on this process; False where Ctrl-C ends the watching before the run.

    Raises CoordinatorGoneError, which may be all that a follower learns of a run's end, and RunFailedError.
    """
    with Keyboard() as keyboard:
        try:
            while not follower.turn():
                if keyboard.pressed:
                    return False
        except KeyboardInterrupt:
            return False
    return True


def let_go(follower: Follower) -> None:
    """Wait until the coordinator of a detached run has taken the run over: from then on it needs no driver.

    Raises RunFailedError where it cannot. What interrupts the waiting, such as Ctrl-C, ends the coordinator.
    """
    before = follower.state.term
    try:
        while not follower.turn() and follower.state.term == before:
            pass
    except BaseException:
        with contextlib.suppress(RayError):
            ray.kill(follower.coordinator)
        raise


def _end_unwritten(state: RunState, why: str) -> RunEnded:
    """The end of a run that its journal could not be told of."""
    return RunEnded(max(time.time(), state.now), RunStatus.STOPPED.value, f"{INTERRUPTED}; {why}")


def _poll(coordinator: Any, after_index: int, fresh: bool, pressed: Callable[[], bool]) -> News:
    """One poll; while Ray restarts the coordinator, which may take as long as to start it, ask again.

    One that is `fresh` may never come up.
    """
    began = time.monotonic()
    lost: float | None = None
    limit_s = start_limit_s(job_environment()) if fresh else math.inf
    while True:
        try:
            answer = coordinator.poll.remote(after_index, POLL_S)
            while not ray.wait([answer], timeout=KEYBOARD_S)[0]:
                waited_s = time.monotonic() - began
                hurried = fresh and pressed()
                if hurried:
                    limit_s = min(limit_s, waited_s + HURRIED_S)
                if waited_s > limit_s:
                    gone = NotAwaitedError if hurried else CoordinatorGoneError
                    raise gone(why_not_started(job_environment(), waited_s))
            return ray.get(answer)
        except RuntimeEnvSetupError as error:
            raise CoordinatorGoneError(f"the coordinator cannot be started: {error}") from error
        except ActorDiedError as error:
            raise CoordinatorGoneError(f"the coordinator died and was not restarted: {error}") from error
        except RayError as error:
            now = time.monotonic()
            lost = lost or now
            away_s = now - lost
            if away_s > (HURRIED_S if pressed() else start_limit_s(job_environment())):
                raise RunFailedError(f"the coordinator has been away for {away_s:.0f} s: {error}") from error
            time.sleep(0.2)


def _kill_workers(state: RunState) -> None:
    for worker in state.workers:
        kill_actor(f"{state.spec.run_id}/{worker}")


def end_workers(run_id: str) -> None:
    """End whatever workers of `run_id` there are still: those of a run whose journal has forgotten them."""
    for name in actor_names():
        if name.startswith(f"{run_id}/"):
            kill_actor(name)
