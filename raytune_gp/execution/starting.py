"""How long Ray may take to start an actor of a job, and what to say of one that never came up.

Ray fails an actor whose runtime_env cannot be set up, and says why. An interpreter that ends or hangs before
it has joined Ray, such as one without Ray, it starts again and again, and says nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import ray

__all__ = ["HURRIED_S", "job_environment", "start_limit_s", "why_not_started"]

START_S = 300.0
"""So long a process may take from its start to its first answer, on a machine that is very busy too."""

HURRIED_S = 10.0
"""So long it is still waited for after Ctrl-C: one that comes up ends its run in order."""

SETUP_S = 600.0
"""So long Ray lets the set-up of a runtime_env take, where that does not say otherwise."""

_NO_SETUP = {"env_vars", "py_executable", "worker_process_setup_hook", "config", "_ray_commit"}
"""Entries of a runtime_env for which nothing is downloaded or installed."""


def job_environment() -> Mapping[str, Any]:
    """The runtime_env that `ray.init` was given, which actors inherit."""
    return dict(ray.get_runtime_context().runtime_env)


def start_limit_s(environment: Mapping[str, Any]) -> float:
    """How many seconds to wait for an actor that needs no resources; inf where its set-up has no limit."""
    if not environment.keys() - _NO_SETUP:
        return START_S
    config = environment.get("config") or {}
    setup_s = config.get("setup_timeout_seconds", SETUP_S)
    return START_S + (setup_s if setup_s >= 0 else math.inf)


def why_not_started(environment: Mapping[str, Any], waited_s: float) -> str:
    """What to say of a coordinator that has not come up; of `environment` no value that may be a secret."""
    names = sorted(name for name in environment if not name.startswith("_"))
    interpreter = environment.get("py_executable")
    sets = f"the runtime_env of ray.init sets {', '.join(names)}" if names else "there is no runtime_env"
    which = f"; py_executable is {interpreter!r}, which must have Ray and raytune-gp" if interpreter else ""
    return (
        f"the coordinator has not come up in {waited_s:.0f} s: its process cannot start, or hangs "
        f"({sets}{which}). What Ray noted is in the logs of its session on this node "
        f"(/tmp/ray/session_latest/logs: raylet.out, worker-*.err, runtime_env_setup-*.log). Put it right, "
        f"and resume=True goes on"
    )
