"""What an attempt leaves behind in its worker's process, and whether the next one may run there."""

from __future__ import annotations

import concurrent.futures.thread
import contextlib
import os
import threading
from pathlib import Path

import psutil

__all__ = ["Surroundings"]


class Surroundings:
    """The working directory and environment of this process as they are now, before the first attempt."""

    def __init__(self) -> None:
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
        if _has_children():
            children = psutil.Process().children(recursive=True)
            return f"{len(children)} processes ({_names(children)})"
        stray = [t for t in threading.enumerate() if t not in threads and not t.daemon and not _pooled(t)]
        if stray:
            return f"{len(stray)} threads ({', '.join(t.name for t in stray[:5])})"
        return None


def _pooled(thread: threading.Thread) -> bool:
    """Whether the thread is one of a `concurrent.futures` pool."""
    return getattr(thread, "_target", None) is concurrent.futures.thread._worker


def _has_children() -> bool:
    """Whether this process has child processes: read from the kernel where it says so, which is fast."""
    try:
        tasks = os.listdir("/proc/self/task")
        return any(Path(f"/proc/self/task/{task}/children").read_bytes() for task in tasks)
    except OSError:
        return bool(psutil.Process().children())


def _names(processes: list[psutil.Process]) -> str:
    names = []
    for process in processes[:5]:
        with contextlib.suppress(psutil.Error):
            names.append(process.name())
    return ", ".join(names)
