"""SIGTERM to a worker: the notice that its machine is taken away, or that somebody wants it gone.

Ray's own answer, to exit, never comes about while an actor's stream is read: the process would neither go
on nor end. Python runs signal handlers in the main thread alone, which is Ray's; so it is Ray's handler that
has to hand the signal on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import ray._private.worker as ray_worker

__all__ = ["on_sigterm"]

_RAYS_ANSWER = "raise_sys_exit_with_custom_error_message"


def on_sigterm(action: Callable[[], object]) -> None:
    """On the first SIGTERM call `action` in a thread of its own, instead of what Ray does.

    Where a version of Ray has no such place, nothing is changed.
    """
    if not hasattr(ray_worker, _RAYS_ANSWER):
        return
    called = threading.Event()

    def answer(*_: Any, **__: Any) -> None:
        if not called.is_set():
            called.set()
            threading.Thread(target=action, name="raytune-sigterm", daemon=True).start()

    setattr(ray_worker, _RAYS_ANSWER, answer)
