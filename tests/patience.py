"""How long tests wait: the machine may be several times slower than it was, or have other work.

Limits are there for what hangs, and never for what is slow. A test that holds something to be fast compares
it with what it would take otherwise, such as the minutes that a program sleeps unless it is ended.
"""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["HANGS_S", "wait_until"]

HANGS_S = 300.0
"""What is not over after so many seconds hangs."""


def wait_until(condition: Callable[[], object], seconds: float = HANGS_S) -> bool:
    """Whether `condition` came to hold within so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
