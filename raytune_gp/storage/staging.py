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
from collections.abc import Callable
from pathlib import Path

__all__ = ["StagingDirectory", "find_abandoned", "remove", "remove_abandoned"]

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


def find_abandoned() -> list[Path]:
    """The directories of processes that are gone, of this user and on this machine."""
    return [path for path in _staged() if _if_abandoned(path, lambda: None)]


def remove(path: Path) -> None:
    """Remove a directory that is abandoned."""
    _if_abandoned(path, lambda: shutil.rmtree(path, ignore_errors=True))


def remove_abandoned() -> None:
    """Remove whatever `find_abandoned` finds."""
    for path in _staged():
        remove(path)


def _staged() -> list[Path]:
    return sorted(Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"))


def _if_abandoned(path: Path, do: Callable[[], None]) -> bool:
    """Call `do` with the directory locked, unless it is another's: locked, another user's, or gone."""
    with contextlib.suppress(OSError):
        lock = os.open(path, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            do()
            return True
        finally:
            os.close(lock)
    return False


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
