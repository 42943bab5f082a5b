"""Temporary directories: those of a process that was killed are removed, and no others."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from raytune_gp.storage.staging import StagingDirectory, remove_abandoned

pytestmark = pytest.mark.usefixtures("temporary")

HOLDER = """
import sys, tempfile
tempfile.tempdir = sys.argv[1]
from raytune_gp.storage.staging import StagingDirectory
directory = StagingDirectory()
open(f"{directory.path}/copy", "w").close()
print(directory.path, flush=True)
sys.stdin.read()
"""


def started(program: str, temporary: Path) -> tuple[subprocess.Popen[str], Path]:
    """A process of `program`, and the directory that it names."""
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(temporary)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_the_copies_of_a_killed_process_are_removed_and_no_living_ones(temporary: Path) -> None:
    (dead, abandoned), (living, kept) = started(HOLDER, temporary), started(HOLDER, temporary)
    mine = StagingDirectory()
    (temporary / "raytune_other").mkdir()
    remove_abandoned()
    assert abandoned.is_dir()
    dead.send_signal(signal.SIGKILL)
    dead.communicate()
    remove_abandoned()
    assert not abandoned.exists()
    assert (kept / "copy").exists()
    assert Path(mine.path).is_dir()
    living.communicate()
    remove_abandoned()
    assert not kept.exists()
    mine.close()
    assert [p.name for p in temporary.iterdir()] == ["raytune_other"]


@pytest.mark.parametrize(("module", "step"), [(os, "open"), (fcntl, "flock")])
def test_a_directory_that_is_removed_before_it_is_locked_is_made_again(
    temporary: Path, monkeypatch: pytest.MonkeyPatch, module: Any, step: str
) -> None:
    """Another process may look for abandoned ones just then."""
    real = getattr(module, step)

    def meddled(*arguments: Any) -> Any:
        monkeypatch.setattr(module, step, real)
        assert len(list(temporary.iterdir())) == 1
        remove_abandoned()
        assert list(temporary.iterdir()) == []
        return real(*arguments)

    monkeypatch.setattr(module, step, meddled)
    directory = StagingDirectory()
    assert [str(p) for p in temporary.iterdir()] == [directory.path]
    directory.close()


def test_a_link_to_another_directory_is_left_alone(temporary: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (temporary / "raytune_staging_link").symlink_to(tmp_path / "mine")
    remove_abandoned()
    assert (tmp_path / "mine").is_dir()


READER = """
import sys, tempfile
tempfile.tempdir = sys.argv[1]
from fsspec.implementations.memory import MemoryFileSystem
from raytune_gp.storage.artifacts import Checkpoint, Storage
storage = Storage("fsspec+memory://reader", "run")
storage.write_bytes("checkpoint/state", b"weights")
with storage.checkpoint("checkpoint").as_directory() as one, storage.log_file("log.txt") as two:
    open(f"{one}/more", "w").close()
    open(two, "w").close()
    print(storage.checkpoint("checkpoint").to_directory(), flush=True)
    sys.stdin.read()
"""


def test_logs_and_checkpoints_of_another_storage_go_with_a_killed_process(temporary: Path) -> None:
    """But not a copy that the user asked for: that may be meant to stay."""
    process, copy = started(READER, temporary)
    remove_abandoned()
    assert sorted(p.name for p in temporary.glob("raytune_staging_*/*")) == ["log.txt", "more", "state"]
    process.send_signal(signal.SIGKILL)
    process.communicate()
    remove_abandoned()
    assert list(temporary.iterdir()) == [copy]
    assert (copy / "state").read_text() == "weights"


def test_logs_and_checkpoints_of_another_storage_go_when_they_are_done_with(temporary: Path) -> None:
    process, copy = started(READER, temporary)
    process.communicate()
    assert process.returncode == 0
    assert list(temporary.iterdir()) == [copy]
