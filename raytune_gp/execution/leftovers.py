"""What an attempt leaves behind in its worker's process, and whether the next one may run there."""

from __future__ import annotations

import concurrent.futures.thread
import os
import threading

from raytune_gp.execution.family import Family

__all__ = ["Surroundings"]


class Surroundings:
    """The working directory and environment of this process as they are now, before the first attempt.

    `family` is what ends the processes that an attempt has left.
    """

    def __init__(self, family: Family) -> None:
        self._family = family
        self._directory = os.getcwd()
        self._environment = dict(os.environ)

    def restore(self, threads: set[threading.Thread]) -> str | None:
        """Put directory and environment back; what was left that cannot be put right, or None.

        `threads` were there before the attempt. Daemon threads and those of thread pools are left alone:
        libraries keep such (torch, Ray itself).
        """
        try:
            os.chdir(self._directory)
        except OSError as error:
            return f"no directory to go back to ({error})"
        if dict(os.environ) != self._environment:
            os.environ.clear()
            os.environ.update(self._environment)
        children = self._family.end_children()
        if children is not None:
            return children
        stray = [t for t in threading.enumerate() if t not in threads and not t.daemon and not _pooled(t)]
        if stray:
            return f"{len(stray)} threads ({', '.join(t.name for t in stray[:5])})"
        return None


def _pooled(thread: threading.Thread) -> bool:
    """Whether the thread is one of a `concurrent.futures` pool."""
    return getattr(thread, "_target", None) is concurrent.futures.thread._worker
