"""The processes that a worker's trials start: marked as its own, ended with the trial or with the worker."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import sys
import uuid

import psutil

from raytune_gp.execution import reaper
from raytune_gp.trainable.program import end_processes

__all__ = ["MARK", "Family", "has_children"]

MARK = "RAYTUNE_WORKER_"
"""So the environment variable begins that what a worker starts has, and nothing else."""

TERMINATE_S = 0.5
"""So long the children that a trial has left may take to end after SIGTERM, before SIGKILL."""

_PR_SET_CHILD_SUBREAPER = 36


class Family:
    """This process and what it starts. `silence_s` is how long its reaper bears to hear nothing at first.

    To be made before anything else is started: what loses its parent becomes this process's own child from
    then on, instead of getting out of sight.
    """

    def __init__(self, silence_s: float):
        self._mark = MARK + uuid.uuid4().hex
        os.environ[self._mark] = "1"
        self._pipe = reaper.start(self._mark, silence_s)
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    def tell_reaper(self, silence_s: float) -> None:
        """This process lives; from now on so many seconds of silence are to be borne."""
        if self._pipe is not None:
            with contextlib.suppress(OSError):
                os.write(self._pipe, f"{silence_s};\n".encode())

    def leave_none(self) -> None:
        """Before this process ends itself: kill what it has started, unless there is a reaper to do so."""
        if self._pipe is None:
            for child in _descendants():
                with contextlib.suppress(psutil.Error):
                    child.kill()

    def end_children(self) -> str | None:
        """End what a trial has left running, by force at last; what it was, or None for nothing."""
        if not has_children():
            return None
        gc.collect()  # data loaders end their workers when they are collected
        children = _descendants()
        if not children:
            return None
        names = _names(children)
        end_processes(_descendants, TERMINATE_S)
        _bury()
        return f"{names[0]} processes ({names[1]})"


def has_children() -> bool:
    """Whether this process has child processes, those that have ended and are not waited for among them."""
    if not hasattr(os, "waitid"):
        return bool(psutil.Process().children())
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)  # one call, and it takes note of none
    except ChildProcessError:
        return False
    return True


def _descendants() -> list[psutil.Process]:
    _bury()
    return psutil.Process().children(recursive=True)


def _bury() -> None:
    """Take note of the children that have ended: nobody else does, of those that were adopted."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass


def _names(processes: list[psutil.Process]) -> tuple[int, str]:
    names = []
    for process in processes[:5]:
        with contextlib.suppress(psutil.Error):
            names.append(process.name())
    return len(processes), ", ".join(names)
