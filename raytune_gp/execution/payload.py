"""How pickled objects reach the coordinator and the workers, whenever and wherever they start."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from ray import cloudpickle  # unlike the package of this name it keeps file names, for tracebacks

from raytune_gp.errors import JournalError
from raytune_gp.storage.artifacts import Storage

__all__ = ["Payload"]

BY_VALUE = 20_000
"""Up to so many bytes travel as an actor's arguments. Larger arguments (Ray's limit is about 100 kB) live in
the memory of the process that made them, and an actor that restarts without that process is lost."""


@dataclass(frozen=True)
class Payload:
    """A pickled object: by value, or in a file of the run's storage, read only if its digest agrees."""

    sha256: str
    data: bytes | None = None
    path: str | None = None

    @classmethod
    def of(cls, content: Any, storage: Storage) -> Payload:
        """Pickle `content`; what is large goes to a file below the run's directory."""
        data = cloudpickle.dumps(content)
        digest = hashlib.sha256(data).hexdigest()
        if len(data) <= BY_VALUE:
            return cls(digest, data)
        path = f"payload_{digest[:16]}.pkl"
        storage.write_bytes(path, data)
        return cls(digest, None, path)

    def load(self, storage: Storage) -> Any:
        """The object. Raises JournalError where the file is absent, or not the one that was written."""
        data = self.data if self.data is not None else self._read(storage)
        if hashlib.sha256(data).hexdigest() != self.sha256:
            raise JournalError(
                f"{self.path} in {storage.root} was changed since this run began, and is not loaded: resume "
                f"the run, which writes it anew"
            )
        return cloudpickle.loads(data)

    def _read(self, storage: Storage) -> bytes:
        try:
            return storage.read_bytes(str(self.path))
        except FileNotFoundError as error:
            raise JournalError(
                f"{self.path}, which the driver wrote, is not in {storage.root} on this node: storage_path "
                f"must be a directory that every node sees, or a URI such as s3://bucket/folder"
            ) from error
