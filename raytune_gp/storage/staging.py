"""Where files wait on the way to or from the storage: directories that are locked while their process lives.

The lock tells a directory in use from one that a killed process has left. It is the kernel's, on the
directory itself, and goes with the process however that ends; a process id is another process's one day.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path

__all__ = ["StagingDirectory", "remove_abandoned"]

_PREFIX = "raytune_staging_"


class StagingDirectory:
    """A directory at `path` for this process alone; no other removes it while this one lives.

    A context manager, which gives the path and removes the directory at its end.
    """

    def __init__(self) -> None:
        self.path, self._lock = _locked_directory()

    def close(self) -> None:
        """Remove the directory and what is in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)

    def __enter__(self) -> str:
        return self.path

    def __exit__(self, *_: object) -> None:
        self.close()


def remove_abandoned() -> None:
    """Remove the directories of processes that are gone, of this user and on this machine."""
    for path in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):  # it is locked, another user's, or gone
            lock = os.open(path, os.O_RDONLY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(lock)


def _locked_directory() -> tuple[str, int]:
    """A new directory and the descriptor that locks it.

    Another process may take it for abandoned before it is locked: then it is gone, and a next one is made.
    On a file system without locks it stays unlocked, and is never removed by others.
    """
    while True:
        path = tempfile.mkdtemp(prefix=_PREFIX)
        with contextlib.suppress(FileNotFoundError):
            lock = os.open(path, os.O_RDONLY)
            with contextlib.suppress(OSError):
                fcntl.flock(lock, fcntl.LOCK_EX)
            if os.path.isdir(path):
                return path, lock
            os.close(lock)
