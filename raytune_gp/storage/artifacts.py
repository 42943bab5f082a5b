"""Checkpoints and logs of trials: directories below a storage path, on a local disk, NFS, S3 or GCS.

    <storage path>/<run>/trial_00003/log.txt
    <storage path>/<run>/trial_00003/checkpoint_002_000005/…      attempt 2, step 5

File systems are pyarrow's, as in Ray. A checkpoint is complete before anybody is told its path.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow.fs as pafs

from raytune_gp.errors import SpecError
from raytune_gp.storage.staging import StagingDirectory

__all__ = ["Checkpoint", "Storage", "checkpoint_name"]

_CHECKPOINT = re.compile(r"checkpoint_(\d+)_(\d+)(?:_(\d+))?(\.partial)?")


def checkpoint_name(attempt: int, step: int, again: int = 0) -> str:
    """The directory name of a checkpoint; names sort as the checkpoints were made.

    `again` numbers the checkpoints of one step: one that is stored is never written over.
    """
    return f"checkpoint_{attempt:03d}_{step:06d}" + (f"_{again:03d}" if again else "")


class Checkpoint:
    """A directory that holds a trial's state, wherever it lies. Ray Train's class of the same name.

    `path` is below the root of `filesystem`, which is the local disk where it is not given.
    """

    def __init__(self, path: str | Path, filesystem: pafs.FileSystem | None = None):
        self.path = str(path)
        self.filesystem = filesystem or pafs.LocalFileSystem()

    def __repr__(self) -> str:
        return f"Checkpoint({self.path!r}, {self.filesystem.type_name})"

    @classmethod
    def from_directory(cls, path: str | Path) -> Checkpoint:
        """The checkpoint that a local directory holds."""
        return cls(path)

    @property
    def is_local(self) -> bool:
        """Whether the directory is on this machine's file system."""
        return isinstance(self.filesystem, pafs.LocalFileSystem)

    def to_directory(self, path: str | Path | None = None) -> str:
        """Copy the checkpoint into a local directory, by default a new one that is the caller's to remove.

        Returns its path.
        """
        target = str(path) if path is not None else tempfile.mkdtemp(prefix="raytune_checkpoint_")
        Path(target).mkdir(parents=True, exist_ok=True)
        pafs.copy_files(
            self.path,
            target,
            source_filesystem=self.filesystem,
            destination_filesystem=pafs.LocalFileSystem(),
        )
        return target

    @contextlib.contextmanager
    def as_directory(self) -> Iterator[str]:
        """A local directory with the checkpoint's files, to read: the very one if it is local."""
        if self.is_local:
            yield self.path
            return
        with StagingDirectory() as directory:
            yield self.to_directory(directory)


class Storage:
    """The directory of one run below a storage path (a local path, or a URI such as `s3://bucket/runs`).

    It is made unless `create` is false. Raises SpecError where the URI is of no known kind, or the directory
    cannot be made.
    """

    def __init__(self, storage_path: str, run: str, *, create: bool = True):
        self.storage_path = storage_path
        self.run = run
        try:
            if "://" in storage_path:
                self.filesystem, root = pafs.FileSystem.from_uri(storage_path)
            else:
                self.filesystem = pafs.LocalFileSystem()
                root = str(Path(storage_path).expanduser().absolute())
            self.root = str(PurePosixPath(root) / run)
            if create:
                self.filesystem.create_dir(self.root, recursive=True)
        except (OSError, ValueError) as error:
            raise SpecError(
                f"storage_path {storage_path!r} cannot be used: {error}. It must be a directory that every "
                f"node can write, or a URI such as s3://bucket/folder"
            ) from error

    @property
    def is_local(self) -> bool:
        """Whether the storage is a directory of this machine's file system (NFS included)."""
        return isinstance(self.filesystem, pafs.LocalFileSystem)

    def path(self, *parts: str) -> str:
        """A path below the run's directory, in the storage's file system."""
        return str(PurePosixPath(self.root, *parts))

    def checkpoint(self, relative: str) -> Checkpoint:
        """The checkpoint at `relative`, a path below the run's directory as the journal keeps it."""
        return Checkpoint(self.path(relative), self.filesystem)

    def upload(self, directory: str, relative: str) -> None:
        """Copy a local directory to `relative`. On a local disk it appears all at once, by a rename."""
        target = self.path(relative)
        if not self.is_local:
            self.filesystem.create_dir(target, recursive=True)
            pafs.copy_files(
                directory,
                target,
                source_filesystem=pafs.LocalFileSystem(),
                destination_filesystem=self.filesystem,
            )
            return
        partial = f"{target}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(directory, partial)
        shutil.rmtree(target, ignore_errors=True)
        Path(partial).rename(target)

    @contextlib.contextmanager
    def log_file(self, relative: str) -> Iterator[str]:
        """A local file to append to: the very one at `relative`, else one that is copied there at the end.

        That a log cannot be copied is no error: what it tells of has happened nevertheless.
        """
        if self.is_local:
            yield self.path(relative)
            return
        with StagingDirectory() as directory:
            path = str(Path(directory) / "log.txt")
            try:
                yield path
            finally:
                with contextlib.suppress(Exception):
                    self.upload_file(path, relative)

    def upload_file(self, path: str, relative: str) -> None:
        """Copy a local file to `relative`. On a local disk it is replaced all at once, by a rename."""
        self.filesystem.create_dir(str(PurePosixPath(self.path(relative)).parent), recursive=True)
        if self.is_local:
            partial = f"{self.path(relative)}.partial"
            shutil.copyfile(path, partial)
            Path(partial).replace(self.path(relative))
            return
        pafs.copy_files(
            path,
            self.path(relative),
            source_filesystem=pafs.LocalFileSystem(),
            destination_filesystem=self.filesystem,
        )

    def write_bytes(self, relative: str, data: bytes) -> None:
        """Write a file whole: it is complete before it has its name, where the file system can rename."""
        partial = f"{self.path(relative)}.partial" if self.is_local else self.path(relative)
        with self.filesystem.open_output_stream(partial) as stream:
            stream.write(data)
        if self.is_local:
            Path(partial).rename(self.path(relative))

    def read_bytes(self, relative: str) -> bytes:
        """What a file holds. Raises FileNotFoundError."""
        with self.filesystem.open_input_stream(self.path(relative)) as stream:
            return stream.read()

    def read_text(self, relative: str) -> str:
        """The text of a file, what is not UTF-8 replaced. Raises FileNotFoundError."""
        return self.read_bytes(relative).decode("utf-8", "replace")

    def retain(self, trial: str, keep: Sequence[str], is_finished: bool = False) -> None:
        """Of the checkpoints in the directory `trial` delete those that are older than the newest in `keep`.

        Those in `keep` stay, and so do newer ones until the trial is finished: their message has not been
        heard yet. Half of an upload that was cut short goes when it is older.
        """
        kept = {PurePosixPath(path).name for path in keep}
        newest = max((_made(name) for name in kept), default=None)
        if newest is None:
            return
        for entry in self._entries(trial):
            name = PurePosixPath(entry.path).name
            is_made = _CHECKPOINT.fullmatch(name) and name not in kept
            if is_made and (is_finished or _made(name) < newest):
                self.filesystem.delete_dir(entry.path)

    def _entries(self, relative: str) -> Any:
        selector = pafs.FileSelector(self.path(relative), allow_not_found=True)
        return self.filesystem.get_file_info(selector)


def _made(name: str) -> tuple[int, int, int]:
    match = _CHECKPOINT.fullmatch(name)
    return (int(match[1]), int(match[2]), int(match[3] or 0)) if match else (-1, -1, -1)
