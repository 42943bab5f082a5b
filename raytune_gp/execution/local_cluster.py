"""A Ray cluster on this machine alone: every port of it is bound to the loopback interface."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray

__all__ = ["SETTINGS", "connect_or_start", "start_here"]

SETTINGS: dict[str, Any] = {"log_to_driver": False, "configure_logging": False, "include_dashboard": False}
"""Of `ray.init`, whichever cluster it is for."""


def connect_or_start() -> None:
    """Connect to the cluster that `ray.init()` finds: at RAY_ADDRESS, or begun by `ray start` here.

    Where there is none, start one. Local clusters of other processes are left alone.
    """
    address = os.environ.get("RAY_ADDRESS") or _begun_by_ray_start()
    if address in (None, "local"):
        start_here()
    else:
        ray.init(**SETTINGS)


def _begun_by_ray_start() -> str | None:
    """The address of the cluster that `ray start` began on this machine. Ray has no public word for it."""
    from ray._private import services

    return services.find_bootstrap_address(None)


def start_here(**settings: Any) -> None:
    """Start a cluster that no other machine can reach, with further `settings` of `ray.init`.

    Ray's token authentication stays as Ray sets it.
    """
    with _loopback():
        ray.init(address="local", **SETTINGS, **settings)


@contextmanager
def _loopback() -> Iterator[None]:
    """Let Ray take 127.0.0.1 for this machine's address, as it does on macOS and Windows.

    Its servers listen there alone then. `ray.init` has no public argument for it: on Linux it makes a local
    address into the machine's own. A version of Ray without this switch binds what it binds.
    """
    from ray._private import ray_constants

    name = "ENABLE_RAY_CLUSTER"
    before = getattr(ray_constants, name, None)
    if before is not None:
        setattr(ray_constants, name, False)
    try:
        yield
    finally:
        if before is not None:
            setattr(ray_constants, name, before)
