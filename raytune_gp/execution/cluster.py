"""The Ray cluster that this process speaks to: found or started, and whether it outlives this process."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from typing import Any

import ray
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayError

from raytune_gp.errors import RunExistsError, SpecError
from raytune_gp.execution.local_cluster import SETTINGS, connect_or_start
from raytune_gp.execution.worker import NAMESPACE

__all__ = [
    "ANSWER_S",
    "actor_names",
    "connect",
    "find_coordinator",
    "identify",
    "init_ray",
    "kill_actor",
    "refuse_running",
    "require_lasting",
    "wait_until_gone",
]

CLIENT = "ray://"

IDENTIFY_S = 60.0
"""So long one that is starting may take: its process, its imports, a database that is away."""

ANSWER_S = 5.0
"""So long a coordinator may take to say who it is."""

GONE_S = 30.0
"""So long the name of an actor that was ended may take to be free."""

LOOK_S = 0.05


def init_ray() -> None:
    """Connect to the cluster that is there (`RAY_ADDRESS`, or a started one), else start one here.

    Raises SpecError under Ray Client (`ray://`), whose drivers are in another place than their actors.
    """
    _refuse_client()
    if not ray.is_initialized():
        connect_or_start()


def connect() -> bool:
    """Connect to the cluster that is there, and start none; False where there is none.

    Raises SpecError as `init_ray` does.
    """
    _refuse_client()
    if ray.is_initialized():
        return True
    address = os.environ.get("RAY_ADDRESS", "")
    if address == "local":  # where Ray would start one
        return False
    if not _answers(address):  # where Ray would wait for one
        return False
    try:
        ray.init(address="auto", **SETTINGS)
    except ConnectionError:
        return False
    return True


def _answers(address: str) -> bool:
    """Whether anybody listens at an address such as `head:6379`; others are Ray's affair."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        return True
    try:
        socket.create_connection((host, int(port)), ANSWER_S).close()
    except OSError:
        return False
    return True


def _refuse_client() -> None:
    address = os.environ.get("RAY_ADDRESS", "")
    client = ray.util.client.ray.is_connected()
    if client or (address.startswith(CLIENT) and not ray.is_initialized()):
        where = "this script is connected by Ray Client" if client else f"RAY_ADDRESS is {address!r}"
        raise SpecError(
            f"{where} ({CLIENT}…), and a run must be started on a machine of the cluster, where its journal "
            f"is: run this script on the head node, by `ray job submit` or a shell there, with "
            f"ray.init(address='auto') or RAY_ADDRESS=auto"
        )


def require_lasting() -> None:
    """Connect to a cluster that outlives this process. Raises SpecError where there is none.

    None is started for it: whoever starts a cluster that stays must know of it, to end it one day.
    """
    init_ray()
    if _started_here():
        raise SpecError(
            "a detached run needs a Ray cluster that stays when this process ends, and this process has "
            "started its own, which ends with it. Start one by `ray start --head` before: it is then found "
            "without an address; one on another machine is named by RAY_ADDRESS, or ray.init(address=…)"
        )


def _started_here() -> bool:
    """Whether the cluster is this process's own, as `ray.init` starts one. Ray has no public word for it."""
    node = ray._private.worker._global_node
    return node is not None and bool(node.is_head())


def actor_names() -> list[str]:
    """The names of our actors in the cluster: of coordinators a run's name, of workers `run_id/worker`."""
    found = ray.util.list_named_actors(all_namespaces=True)
    return [actor["name"] for actor in found if actor["namespace"] == NAMESPACE]


def kill_actor(name: str) -> None:
    """End our actor of this name, if there is one."""
    with contextlib.suppress(ValueError, RayError):
        ray.kill(ray.get_actor(name, NAMESPACE))


def wait_until_gone(name: str) -> None:
    """Until no actor of ours has this name, for GONE_S at most: Ray frees it a little after the end."""
    deadline = time.monotonic() + GONE_S
    with contextlib.suppress(ValueError):
        while time.monotonic() < deadline:
            ray.get_actor(name, NAMESPACE)
            time.sleep(LOOK_S)


def find_coordinator(run: str) -> Any:
    """The coordinator of `run` in the cluster, or None."""
    try:
        return ray.get_actor(run, NAMESPACE)
    except ValueError:
        return None


def refuse_running(run: str) -> None:
    """Connect to Ray, and raise RunExistsError where `run` is going on in the cluster.

    A coordinator that is only about to end, since its run is over, is ended.
    """
    init_ray()
    coordinator = find_coordinator(run)
    if coordinator is None:
        return
    if not _is_over(coordinator):
        raise RunExistsError(
            f"the run {run!r} is going on in this cluster already: follow it by `raytune-gp attach {run}`, "
            f"stop it by `raytune-gp stop {run}`, or take another name"
        )
    with contextlib.suppress(RayError):
        ray.kill(coordinator)
    wait_until_gone(run)


def _is_over(coordinator: Any) -> bool:
    """Whether its run is over; one that does not say so goes on."""
    try:
        return bool(identify(coordinator, ANSWER_S)["over"])
    except ActorDiedError:
        return True
    except RayError:
        return False


def identify(coordinator: Any, timeout_s: float = IDENTIFY_S) -> dict[str, Any]:
    """Which run a coordinator is of, and whether that is over; one that Ray is restarting is asked again.

    Raises ActorDiedError where it is gone for good, RayError where it cannot be reached in time.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            answer: dict[str, Any] = ray.get(
                coordinator.hello.remote(), timeout=max(0.0, deadline - time.monotonic())
            )
            return answer
        except ActorUnavailableError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
