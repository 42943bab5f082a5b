"""Processes of this machine that trials have started and nobody will end: worker and reaper were killed."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

import psutil

from raytune_gp.execution import reaper
from raytune_gp.execution.family import MARK

__all__ = ["find_strays"]


def find_strays() -> list[psutil.Process]:
    """Those that have a worker's mark, neither that worker above them nor its reaper beside it.

    On Linux alone: only there a worker stays above whatever it has started.
    """
    if sys.platform != "linux":
        return []
    watched = set(_marks_of_reapers())
    return [
        process
        for process in psutil.process_iter()
        if (mark := _mark(process)) is not None and mark not in watched and not _is_in_a_worker(process)
    ]


def _mark(process: psutil.Process) -> str | None:
    """The variable by which a worker marks what it starts; None for a process that has none, or has gone."""
    with contextlib.suppress(psutil.Error):
        return next((name for name in process.environ() if name.startswith(MARK)), None)
    return None


def _marks_of_reapers() -> Iterator[str]:
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            words = process.cmdline()
            if reaper.__file__ in words:
                yield from (word for word in words if word.startswith(MARK))


def _is_in_a_worker(process: psutil.Process) -> bool:
    """Whether a process of Ray's, which bear such titles, is among its ancestors, or they cannot be told."""
    try:
        return any(_title(parent).startswith("ray::") for parent in process.parents())
    except psutil.Error:
        return True


def _title(process: psutil.Process) -> str:
    words = process.cmdline()
    return words[0] if words else ""
