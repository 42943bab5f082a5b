"""A copy of a run's journal beside its checkpoints, so that the journal's disk may be lost.

    <storage path>/<run>/journal_backup.db        the run's rows, a journal like any other
    <storage path>/<run>/journal_backup.json      where they are from, and how old they are

It is for journals in SQLite files: a database server has backups of its own. What the copy still names is
not deleted from the storage, so that whoever goes on from it finds its checkpoints.
"""

from __future__ import annotations

import datetime
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow.fs as pafs

from raytune_gp.errors import JournalError, JournalLostError, RunNotFoundError
from raytune_gp.storage.artifacts import Storage
from raytune_gp.storage.journal import SQLJournal
from raytune_gp.storage.staging import StagingDirectory
from raytune_gp.storage.urls import sqlite_file

__all__ = ["TERMS_AHEAD", "About", "Backup", "has_backup", "restore"]

DATABASE, ABOUT = "journal_backup.db", "journal_backup.json"

EVERY_S = 30.0
"""How often a copy is made while there is something new, in seconds."""

SHARE = 0.1
"""The part of the time that copying may take: where one takes long, the next one waits longer."""

LAST_S = 60.0
"""The longest that the end of a run waits for its last copy, in seconds."""

TERMS_AHEAD = 1000
"""What a restored run adds to its term: the copy is older than the original, whose terms may have gone on."""


@dataclass(frozen=True)
class About:
    """Where a backup is from. `run_id` is that of the run's first event; `at` in seconds since the epoch."""

    run_id: str
    journal: str
    host: str
    term: int
    events: int
    at: float

    def explain(self, run: str, journal: str) -> str:
        """What a user is told of `run` when it was restored into `journal`."""
        when = datetime.datetime.fromtimestamp(self.at).astimezone().isoformat(" ", "seconds")
        return (
            f"run {run!r} was not in the journal {journal} and is restored from the backup beside its "
            f"checkpoints: its first {self.events} events, up to {when}. What came after is trained again. "
            f"The backup was made of {self.journal} on {self.host}: if that is still there, or the run goes "
            f"on there, end this one and go on with that"
        )


class Backup:
    """Copies `run` from `journal`, which is at `url`, to `storage`, in a thread of its own.

    A context manager, which makes copies until its end. `say` is called with what keeps it from doing so
    whenever that changes, None when it is over.
    """

    def __init__(
        self,
        journal: SQLJournal,
        url: str,
        run: str,
        storage: Storage,
        say: Callable[[str | None], None] = lambda trouble: None,
    ):
        self._journal, self._url, self._run, self._storage = journal, url, run, storage
        self._say = say
        self._trouble: str | None = None
        self._stored = 0
        self._is_superseded = False
        self._to_retain: dict[str, tuple[Sequence[str], bool]] = {}
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._main, name="raytune-backup", daemon=True)

    @classmethod
    def of(
        cls, journal: SQLJournal, url: str, run: str, storage: Storage, say: Callable[[str | None], None]
    ) -> Backup | None:
        """The backup of `run`; None where its journal needs none: a server's, or the very copy in `storage`.

        Whoever deletes checkpoints must do it by its `retain`, from the first one on.
        """
        file = sqlite_file(url)
        if file is None or (storage.is_local and Path(storage.path(DATABASE)) == file):
            return None
        return cls(journal, url, run, storage, say)

    def __enter__(self) -> Backup:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Make copies from now on."""
        self._thread.start()

    def close(self) -> None:
        """Make the last copy; where the storage hangs, it is not waited for longer than LAST_S."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(LAST_S)

    def retain(self, trial: str, keep: Sequence[str], is_finished: bool = False) -> None:
        """`Storage.retain`, after the next copy: until then an older one may name what would be deleted."""
        with self._lock:
            self._to_retain[trial] = keep, is_finished

    def _main(self) -> None:
        with StagingDirectory() as directory:
            pause = EVERY_S
            is_last = False
            while not is_last:
                is_last = self._closing.wait(pause)
                began = time.monotonic()
                self._try(Path(directory))
                pause = max(EVERY_S, (time.monotonic() - began) * (1 / SHARE - 1))

    def _try(self, directory: Path) -> None:
        if self._is_superseded:
            return
        with self._lock:
            waiting, self._to_retain = self._to_retain, {}
        try:
            self._copy(directory)
            for trial, (keep, is_finished) in waiting.items():
                self._storage.retain(trial, keep, is_finished)
        except JournalLostError:
            return  # the loop says so
        except Exception as error:
            with self._lock:
                self._to_retain = {**waiting, **self._to_retain}
            self._tell(f"{type(error).__name__}: {error}")
        else:
            self._tell(None)

    def _copy(self, directory: Path) -> None:
        file = directory / DATABASE
        copy = SQLJournal(f"sqlite:///{file}")
        try:
            before = copy.runs()  # none at first; what it holds counts, whatever went wrong the last time
            self._journal.copy(self._run, copy, before[0].events - 1 if before else -1)
            [row] = copy.runs()
            first = next(copy.read(self._run))[1]
        finally:
            copy.close()  # the last connection moves what is in the write-ahead log into the file
        if row.events == self._stored:
            return
        run_id = getattr(first, "spec", {}).get("run_id", "")
        about = About(run_id, self._url, socket.gethostname(), row.term, row.events, time.time())
        there = _about(self._storage)
        if there is not None and there.run_id == run_id and there.term > row.term + TERMS_AHEAD // 2:
            self._is_superseded = True
            raise JournalError(
                f"run {self._run!r} was restored from its backup and goes on in the journal "
                f"{there.journal} of {there.host}: end it here, and resume it there"
            )
        if there is not None and there.run_id != run_id:
            self._set_aside(there)
        self._storage.upload_file(str(file), DATABASE)
        self._storage.write_bytes(ABOUT, json.dumps(asdict(about), indent=1).encode())
        self._stored = row.events

    def _set_aside(self, older: About) -> None:
        """Keep the backup of an earlier run of this name, which a copy that failed later may have done."""
        files, aside = self._storage.filesystem, self._storage.path(f"journal_backup_{older.run_id}.db")
        if files.get_file_info(aside).type == pafs.FileType.NotFound:
            files.move(self._storage.path(DATABASE), aside)

    def _tell(self, trouble: str | None) -> None:
        if trouble != self._trouble:
            self._trouble = trouble
            self._say(trouble)


def has_backup(storage_path: str, run: str) -> bool:
    """Whether a backup of `run` lies below `storage_path`. Raises JournalError where that cannot be told."""
    return _about(Storage(storage_path, run, create=False)) is not None


def restore(journal: SQLJournal, url: str, run: str, storage_path: str) -> About | None:
    """Bring `run`, which `journal` at `url` lacks, back from its backup below `storage_path`.

    Returns where that was from, or None where there is no backup. Raises RunNotFoundError where the journal
    that the backup was made of is still there on this machine, and JournalError for a damaged backup.
    """
    storage = Storage(storage_path, run, create=False)
    about = _about(storage)
    if about is None:
        return None
    if about.journal != url and _holds(about.journal, run):
        raise RunNotFoundError(
            f"no run named {run!r} in the journal {journal.shown}: it is in {about.journal}, so give "
            f"journal={about.journal!r}"
        )
    with StagingDirectory() as directory:
        file = Path(directory) / DATABASE
        try:
            file.write_bytes(storage.read_bytes(DATABASE))
        except FileNotFoundError:
            return None
        backup = SQLJournal(f"sqlite:///{file}", create=False)
        try:
            backup.copy(run, journal, terms_ahead=TERMS_AHEAD)
        finally:
            backup.close()
    return about


def _about(storage: Storage) -> About | None:
    """Where the backup in `storage` is from; None where there is none."""
    try:
        return About(**json.loads(storage.read_bytes(ABOUT)))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, TypeError) as error:
        raise JournalError(
            f"the journal's backup {storage.path(ABOUT)} cannot be read: {error}. To begin without it, move "
            f"it away"
        ) from error


def _holds(url: str, run: str) -> bool:
    """Whether the journal at `url` is there, on this machine, and holds `run`."""
    file = sqlite_file(url)
    if file is None or not os.path.isfile(file):
        return False
    journal = SQLJournal(url, create=False)
    try:
        return journal.exists(run)
    except JournalError:
        return False
    finally:
        journal.close()
