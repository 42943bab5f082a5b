"""The directories that a program gets, and what it leaves in them: kept as checkpoints of its trial.

    checkpoints/    what it goes on from; as it was, where the trial is tried again
    model/          what it has made
    output/data/    whatever else is worth keeping

SageMaker copies its own directories of these names to S3 as they change. Here a copy is made once nothing in
`checkpoints/` and `model/` has changed for a while, so that no half of a file is kept, and it belongs to the
last report before. A program that saves and then prints a line, or prints and then saves, is served alike.
"""

from __future__ import annotations

import os
import shutil
import stat
import time
from pathlib import Path
from typing import Any

from raytune_gp.storage.artifacts import Checkpoint
from raytune_gp.storage.staging import StagingDirectory
from raytune_gp.trainable.session import Session

__all__ = ["Folders"]

LOOK_S = 1.0
"""So often the directories are looked at; what is the same at two looks is at rest."""

HALF_S = 5.0
"""What changed so shortly before a program was killed, or has crashed, may be half of a file."""

Signature = dict[str, tuple[int, int, int]]
"""Path to inode, size and time of the last change in nanoseconds."""


class Folders:
    """The directories of one attempt. A context manager: at its end they are removed.

    They are filled from the checkpoint that the attempt goes on from, if there is one.
    """

    def __init__(self, session: Session):
        self._session = session
        self._staging = StagingDirectory()
        self.root = Path(self._staging.path)
        self.checkpoints = self.root / "checkpoints"
        self.model = self.root / "model"
        self.output = self.root / "output"
        self.output_data = self.output / "data"

    def __enter__(self) -> Folders:
        try:
            checkpoint = self._session.get_checkpoint()
            if checkpoint is not None:
                _restore(checkpoint, self.root)
            for directory in (self.checkpoints, self.model, self.output_data):
                directory.mkdir(parents=True, exist_ok=True)
        except BaseException:
            self._staging.close()
            raise
        self._kept = _signature(self.root)
        self._seen = self._watched()
        self._looked = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        self._staging.close()

    def look(self) -> bool:
        """Keep what is new and at rest, if it is time to look; whether it was kept.

        Raises CheckpointError as `Session.keep` does.
        """
        now = time.monotonic()
        if now - self._looked < LOOK_S:
            return False
        self._looked = now
        before, self._seen = self._seen, self._watched()
        rests = before == self._seen
        return rests and not self._session.is_storing and self._is_new(self._seen) and self._keep()

    def finish(self, ended_well: bool) -> None:
        """Keep what is new, now that the program has ended. Raises CheckpointError as `Session.keep` does.

        Of one that was killed or has crashed the last file may be a half: then only what was at rest counts.
        """
        signature = _signature(self.root)
        newest = max((changed for _, _, changed in signature.values()), default=0)
        if self._is_new(signature) and (ended_well or time.time_ns() - newest > HALF_S * 1e9):
            self._keep()

    def _is_new(self, signature: Signature) -> bool:
        return any(self._kept.get(path) != made for path, made in signature.items())

    def _keep(self) -> bool:
        """Store all of it, if there is a report that it belongs to; whether it was stored."""
        if not (self._session.can_store and self._session.has_reported):
            return False
        signature = _signature(self.root)
        try:
            self._session.keep(_AtRest(self.root, self._watched))
        except _ChangedError:
            return False
        self._kept = signature
        return True

    def _watched(self) -> Signature:
        return _signature(self.root, "checkpoints", "model")


def _restore(checkpoint: Checkpoint, root: Path) -> None:
    """Copy a checkpoint to `root`; from a local one, files keep their times, by which programs may choose."""
    if checkpoint.is_local:
        shutil.copytree(checkpoint.path, root, dirs_exist_ok=True)
    else:
        checkpoint.to_directory(root)


class _ChangedError(Exception):
    """A directory changed while it was copied."""


class _AtRest(Checkpoint):
    """A directory whose copy is one state of it, or fails: `watched` tells what is in it."""

    def __init__(self, path: Path, watched: Any):
        super().__init__(path)
        self._watched = watched
        self._before = watched()

    def to_directory(self, path: str | Path | None = None) -> str:
        """Copy it to `path`; links become what they lead to. Raises _ChangedError where it has changed."""
        assert path is not None
        try:
            shutil.copytree(self.path, path, ignore=_odd, dirs_exist_ok=True)
        except OSError:
            if self._watched() == self._before:
                raise
        if self._watched() != self._before:
            raise _ChangedError
        return str(path)


def _odd(directory: str, names: list[str]) -> list[str]:
    """Of the entries of a directory those that cannot be copied: sockets, links to nowhere or to above."""
    odd = []
    for name in names:
        path = os.path.join(directory, name)
        try:
            mode = os.stat(path).st_mode
        except OSError:
            odd.append(name)
            continue
        target = os.path.join(os.path.realpath(path), "")
        loops = os.path.islink(path) and os.path.join(os.path.realpath(directory), "").startswith(target)
        if loops or not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            odd.append(name)
    return odd


def _signature(root: Path, *below: str) -> Signature:
    """The files in the directories `below` of `root`, or in all of it but those that vanish meanwhile."""
    found: Signature = {}
    for start in below or ("",):
        for directory, _, names in os.walk(root / start):
            for name in names:
                path = os.path.join(directory, name)
                try:
                    made = os.stat(path)
                except OSError:
                    continue
                found[path] = (made.st_ino, made.st_size, made.st_mtime_ns)
    return found
