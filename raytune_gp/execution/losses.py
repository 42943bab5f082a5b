"""Why a worker is gone, as far as Ray can tell: its memory, its node, a notice, or itself."""

from __future__ import annotations

import time
from typing import Any

import ray
from ray.exceptions import ActorDiedError, OutOfMemoryError, RayError

from raytune_gp.failures import FailureKind

__all__ = ["draining_nodes", "kind_of_absence", "kind_of_loss"]

_SIGTERM = "receives a SIGTERM"
_OUT_OF_MEMORY = ("running low on memory", "due to memory pressure", "OutOfMemory", "out of memory (OOM)")


def kind_of_loss(error: BaseException, node: str | None, draining: frozenset[str]) -> FailureKind:
    """The kind of loss that `error` tells of, of a worker on `node`, where `draining` nodes are to go.

    `node` is None, or empty as in Ray's tables, where it never was on one.
    May ask Ray which nodes live, and so wait for it.
    """
    text = str(error)
    if isinstance(error, OutOfMemoryError) or any(words in text for words in _OUT_OF_MEMORY):
        return FailureKind.HOST_MEMORY
    if (isinstance(error, ActorDiedError) and error.preempted) or node in draining or _SIGTERM in text:
        return FailureKind.PREEMPTED
    return FailureKind.WORKER_LOST if not node or _lives(node) else FailureKind.NODE_LOST


def kind_of_absence(name: str, draining: frozenset[str]) -> tuple[str, FailureKind]:
    """Why the actor called `name` is not there, in words and by its kind: it died while nobody looked.

    A new coordinator asks so. May wait for Ray, whose private table of actors tells what it knows.
    """
    absent = "no such actor is alive"
    try:
        from ray._private.state import state

        dead = next(a for a in state.actor_table(None).values() if a["Name"] == name)
        cause = dead["DeathCause"]
        if cause.WhichOneof("context") == "oom_context":
            text = cause.oom_context.error_message
            error: RayError = OutOfMemoryError(text)
        else:
            text = cause.actor_died_error_context.error_message
            error = ActorDiedError(cause.actor_died_error_context)
        return f"{absent}: {text}", kind_of_loss(error, dead["Address"]["NodeID"], draining)
    except Exception:
        # Ray forgets the dead in time, and the table is private: whatever it became, the loss must be told.
        return absent, FailureKind.WORKER_LOST


def _lives(node: str) -> bool:
    """Whether the node is up; where nobody can say, it is."""
    try:
        return any(n["NodeID"] == node and n["Alive"] for n in ray.nodes())
    except (RayError, OSError, RuntimeError):
        return True


def draining_nodes() -> dict[str, float | None]:
    """The nodes that are to go, and when (seconds since the epoch) if that is known.

    Ray's libraries ask its private state, as there is no public way.
    """
    from ray._private.state import state

    found: dict[str, Any] = state.get_draining_nodes()
    now = time.time()
    return {node: max(now, ms / 1000) if ms else None for node, ms in found.items()}
