"""Checkpoints on their way to the storage: copied before `report` returns, uploaded behind, two at most."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from raytune_gp.errors import CheckpointError, TrainableError
from raytune_gp.storage.artifacts import Checkpoint, Storage
from raytune_gp.storage.staging import StagingDirectory

__all__ = ["MAX_STAGED", "UPLOAD_S", "Uploads"]

MAX_STAGED = 2
"""So many checkpoints may be on their way: one is uploaded while the next one waits. More would cost disk and
make nothing faster, as uploads come one after another."""

UPLOAD_S = 1800.0
"""So long an upload is waited for where nothing else goes on: at the end of an attempt, and where there is no
room for the next checkpoint. Half an hour is 180 GB at 100 MB/s; a storage that hangs ends the trial then."""


class Uploads:
    """The checkpoints of one attempt. Safe to use from several threads.

    `stored(step, path)` is called, in the uploading thread, when a checkpoint is complete at `path` below the
    run's directory.
    """

    def __init__(self, storage: Storage | None, stored: Callable[[int, str], None]):
        self._storage = storage
        self._stored = stored
        self._staging: StagingDirectory | None = None
        self._thread: threading.Thread | None = None
        self._waiting: deque[tuple[int, str, str]] = deque()
        self._news = threading.Condition()
        self._staged = 0
        self._quiet_since = time.monotonic()
        self._finished = False
        self._error: BaseException | str | None = None

    @property
    def quiet_since(self) -> float | None:
        """When the last checkpoint was done with, by `time.monotonic`; None while one is on its way."""
        with self._news:
            return None if self._staged else self._quiet_since

    def check(self) -> None:
        """Raise CheckpointError if a checkpoint could not be stored."""
        if self._error is not None:
            message = f"a checkpoint could not be stored: {self._error}"
            cause = self._error if isinstance(self._error, BaseException) else None
            raise CheckpointError(message) from cause

    def stage(self, checkpoint: Any) -> str:
        """Copy the checkpoint, whose owner may delete it after the report; returns the copy's directory.

        Waits while MAX_STAGED checkpoints are on their way. Raises CheckpointError where it cannot be copied,
        or room does not come within UPLOAD_S.
        """
        source = self._source(checkpoint)
        with self._news:
            if not self._news.wait_for(lambda: self._staged < MAX_STAGED, UPLOAD_S):
                self._error = _too_slow()
            self.check()
            self._staged += 1
        try:
            return self._copy(source)
        except BaseException:
            self._done()
            raise

    def add(self, step: int, staged: str, relative: str) -> None:
        """Upload what `stage` has copied to `relative`, a path below the run's directory."""
        with self._news:
            self._waiting.append((step, staged, relative))
            if self._thread is None:
                self._thread = threading.Thread(target=self._upload_all, name="raytune-upload", daemon=True)
                self._thread.start()

    def finish(self) -> None:
        """Wait for what is on its way, UPLOAD_S at most. Raises CheckpointError where not all was stored."""
        with self._news:
            if not self._news.wait_for(lambda: not self._staged, UPLOAD_S):
                self._error = self._error or _too_slow()
            self._finished = True
            ending = None if self._staged else self._thread
        if ending is not None:
            ending.join()
        if self._staging is not None and not self._staged:
            self._staging.close()
        self.check()

    def _source(self, checkpoint: Any) -> Checkpoint:
        if self._storage is None:
            raise TrainableError("this run has no storage for checkpoints: give it a storage_path")
        if isinstance(checkpoint, Checkpoint):
            source = checkpoint
        elif hasattr(checkpoint, "path") and hasattr(checkpoint, "filesystem"):  # Ray's
            source = Checkpoint(checkpoint.path, checkpoint.filesystem)
        elif isinstance(checkpoint, str | os.PathLike) and str(checkpoint):
            source = Checkpoint(os.fspath(checkpoint))
        else:
            raise TrainableError(
                f"checkpoint is {checkpoint!r:.100}, which is no directory: save what it is to hold in one, "
                f"and give report that"
            )
        if source.is_local and not Path(source.path).is_dir():
            raise TrainableError(
                f"checkpoint is {source.path!r}, which is no directory: give report a directory, or "
                f"tune.Checkpoint.from_directory(directory)"
            )
        return source

    def _copy(self, source: Checkpoint) -> str:
        with self._news:
            if self._staging is None:
                self._staging = StagingDirectory()
        staged = tempfile.mkdtemp(dir=self._staging.path)
        try:
            return source.to_directory(staged)
        except OSError as error:
            shutil.rmtree(staged, ignore_errors=True)
            raise CheckpointError(f"checkpoint {source} cannot be copied: {error}") from error

    def _next(self) -> tuple[int, str, str] | None:
        """What to upload next; where there is nothing the thread ends, and the next checkpoint starts one."""
        with self._news:
            if self._waiting:
                return self._waiting.popleft()
            self._thread = None
            return None

    def _upload_all(self) -> None:
        assert self._storage is not None
        while (entry := self._next()) is not None:
            step, staged, relative = entry
            try:
                self._storage.upload(staged, relative)
                with self._news:
                    if not self._finished:  # else it came too late: the attempt has failed of it
                        self._stored(step, relative)
            except Exception as error:
                self._error = error
            finally:
                shutil.rmtree(staged, ignore_errors=True)
                self._done()

    def _done(self) -> None:
        with self._news:
            self._staged -= 1
            self._quiet_since = time.monotonic()
            self._news.notify_all()


def _too_slow() -> str:
    return (
        f"the storage did not take it within {UPLOAD_S:g} s; see whether it can be reached, or write smaller "
        f"checkpoints"
    )
