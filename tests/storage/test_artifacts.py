"""Checkpoints and logs in storage: the same on a local disk and on file systems that are none."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.fs as pafs
import pytest

from raytune_gp.errors import SpecError
from raytune_gp.storage.artifacts import Checkpoint, Storage, checkpoint_name

KINDS = ["a path", "a file URI", "a mock", "fsspec's memory"]


@pytest.fixture(params=KINDS)
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    """An empty storage of each kind. Whatever fsspec knows, pyarrow does, with S3, GCS and Azure its own."""
    uris = {
        "a path": str(tmp_path / "results"),
        "a file URI": (tmp_path / "results").as_uri(),
        "a mock": "mock:///results",
        "fsspec's memory": f"fsspec+memory://{tmp_path.name}",
    }
    yield Storage(uris[request.param], "run")
    if request.param == "fsspec's memory":
        from fsspec.implementations.memory import MemoryFileSystem

        MemoryFileSystem.store.clear()
        MemoryFileSystem.pseudo_dirs[:] = [""]


@pytest.fixture
def local(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path / "results"), "run")


def tree(root: Path, files: dict[str, str]) -> str:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    root.mkdir(parents=True, exist_ok=True)
    return str(root)


def listed(storage: Storage, relative: str) -> list[str]:
    """The names in a directory of the run."""
    selector = pafs.FileSelector(storage.path(relative), allow_not_found=True)
    return sorted(Path(i.path).name for i in storage.filesystem.get_file_info(selector))


FILES = {"weights": "w" * 1000, "deep/er/state": "s", "deep/empty": ""}


def test_a_checkpoint_comes_back_as_it_was_stored(storage: Storage, tmp_path: Path) -> None:
    storage.upload(tree(tmp_path / "source", FILES), "trial_00000/checkpoint_001_000001")
    checkpoint = storage.checkpoint("trial_00000/checkpoint_001_000001")
    with checkpoint.as_directory() as directory:
        found = {
            str(p.relative_to(directory)): p.read_text() for p in Path(directory).rglob("*") if p.is_file()
        }
    assert found == FILES
    assert Path(directory).exists() == storage.is_local, "a download is temporary"
    copied = checkpoint.to_directory(tmp_path / "copy")
    assert (Path(copied) / "deep/er/state").read_text() == "s"
    again = checkpoint.to_directory()
    assert sorted(p.name for p in Path(again).iterdir()) == ["deep", "weights"]
    shutil.rmtree(again)


def test_a_file_is_stored_and_read(storage: Storage, tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"caf\xc3\xa9 \xff\n")
    storage.upload_file(str(tmp_path / "log"), "trial_00000/log.txt")
    assert storage.read_text("trial_00000/log.txt") == "café \ufffd\n"
    with pytest.raises(FileNotFoundError):
        storage.read_text("trial_00000/none.txt")


def test_each_trial_has_a_log_of_its_own(storage: Storage) -> None:
    for trial in ("trial_00000", "trial_00001"):
        with storage.log_file(f"{trial}/log.txt") as path:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            with open(path, "a") as log:
                log.write(trial)
        assert storage.read_text(f"{trial}/log.txt") == trial
        assert Path(path).exists() == storage.is_local


def test_a_log_that_cannot_be_copied_spoils_nothing(tmp_path: Path) -> None:
    storage = Storage("mock:///results", "run")
    with storage.log_file("trial_00000/log.txt") as path:
        assert not Path(path).exists(), "nothing was written, so nothing can be copied"


def test_retaining_deletes_older_checkpoints_and_nothing_else(storage: Storage, tmp_path: Path) -> None:
    names = [checkpoint_name(attempt, step) for attempt, step in ((1, 1), (1, 2), (1, 9), (2, 3), (2, 4))]
    for name in (*names, "mine", "checkpoint_best"):
        storage.upload(tree(tmp_path / "c", {"x": name}), f"trial_00000/{name}")
        storage.upload(tree(tmp_path / "c", {"x": name}), f"trial_00001/{name}")
    storage.upload_file(tree(tmp_path / "d", {"log": ""}) + "/log", "trial_00000/log.txt")
    storage.retain("trial_00000", [f"trial_00000/{names[1]}", f"trial_00000/{names[3]}"])
    assert listed(storage, "trial_00000") == sorted(
        [names[1], names[3], names[4], "mine", "checkpoint_best", "log.txt"]
    ), "the last one is newer than what is known: its message is still on its way"
    assert len(listed(storage, "trial_00001")) == 7
    storage.retain("trial_00000", [f"trial_00000/{names[1]}"], True)
    assert listed(storage, "trial_00000") == sorted([names[1], "mine", "checkpoint_best", "log.txt"])


def test_retaining_nothing_or_in_an_unknown_trial_deletes_nothing(storage: Storage, tmp_path: Path) -> None:
    storage.upload(tree(tmp_path / "c", {"x": ""}), "trial_00000/checkpoint_001_000001")
    storage.retain("trial_00000", [])
    storage.retain("trial_00007", ["trial_00007/checkpoint_001_000009"])
    assert listed(storage, "trial_00000") == ["checkpoint_001_000001"]


def test_checkpoints_sort_as_they_were_made() -> None:
    made = [(attempt, step) for attempt in (1, 2, 10) for step in (1, 9, 10, 99_999, 100_000)]
    names = [checkpoint_name(*m) for m in made]
    assert sorted(names) == names


# --- the local disk ---


def test_a_local_checkpoint_is_never_seen_by_halves(
    local: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader that looks all the time finds nothing or everything; a crash leaves nothing of that name."""
    source = tree(tmp_path / "source", {f"file{i}": "x" for i in range(50)})
    path, done, seen = Path(local.path("trial_00000/checkpoint_001_000001")), threading.Event(), set()

    def look() -> None:
        while not done.is_set():
            seen.add(len(list(path.iterdir())) if path.is_dir() else 0)

    reader = threading.Thread(target=look)
    reader.start()
    local.upload(source, "trial_00000/checkpoint_001_000001")
    done.set()
    reader.join()
    assert seen <= {0, 50}

    def crash(source: Any, target: Any) -> None:
        Path(target).mkdir(parents=True)
        (Path(target) / "file0").write_text("half")
        raise OSError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copytree", crash)
        with pytest.raises(OSError, match="the disk is full"):
            local.upload(source, "trial_00000/checkpoint_001_000002")
    assert listed(local, "trial_00000") == ["checkpoint_001_000001", "checkpoint_001_000002.partial"]
    local.upload(source, "trial_00000/checkpoint_001_000002")
    assert len(listed(local, "trial_00000/checkpoint_001_000002")) == 50


def test_an_upload_replaces_what_was_there(local: Storage, tmp_path: Path) -> None:
    local.upload(tree(tmp_path / "a", {"old": "1", "both": "1"}), "trial_00000/checkpoint_001_000001")
    local.upload(tree(tmp_path / "b", {"new": "2", "both": "2"}), "trial_00000/checkpoint_001_000001")
    assert listed(local, "trial_00000/checkpoint_001_000001") == ["both", "new"]
    assert local.read_text("trial_00000/checkpoint_001_000001/both") == "2"


def test_the_remains_of_a_crashed_upload_go_with_the_older_checkpoints(
    local: Storage, tmp_path: Path
) -> None:
    for name in ("checkpoint_001_000002.partial", "checkpoint_002_000003", "checkpoint_002_000004.partial"):
        tree(Path(local.path("trial_00000", name)), {"x": ""})
    local.retain("trial_00000", ["trial_00000/checkpoint_002_000003"])
    assert listed(local, "trial_00000") == ["checkpoint_002_000003", "checkpoint_002_000004.partial"]


def test_a_local_checkpoint_is_read_where_it_lies(tmp_path: Path) -> None:
    folder = tree(tmp_path / "c", {"x": "1"})
    checkpoint = Checkpoint.from_directory(folder)
    assert checkpoint.is_local
    with checkpoint.as_directory() as directory:
        assert directory == folder
    assert repr(checkpoint) == f"Checkpoint({folder!r}, local)"


def test_a_checkpoint_on_a_subtree_is_copied_from_there(tmp_path: Path) -> None:
    tree(tmp_path / "bucket" / "c", {"x": "1"})
    elsewhere = pafs.SubTreeFileSystem(str(tmp_path / "bucket"), pafs.LocalFileSystem())
    checkpoint = Checkpoint("c", elsewhere)
    assert not checkpoint.is_local
    with checkpoint.as_directory() as directory:
        assert (Path(directory) / "x").read_text() == "1"
    assert not Path(directory).exists()


def test_an_empty_directory_is_a_checkpoint(local: Storage, tmp_path: Path) -> None:
    local.upload(Checkpoint(tree(tmp_path / "c", {})).to_directory(tmp_path / "copy"), "trial_00000/empty")
    assert listed(local, "trial_00000") == ["empty"]


# --- what cannot be ---


@pytest.mark.parametrize("path", ["gopher://host/x", "s3//bucket://x", "/dev/null/results", "/proc/results"])
def test_a_storage_path_that_cannot_be_used_is_refused(path: str) -> None:
    with pytest.raises(
        SpecError, match=r"storage_path '.*' cannot be used: .* must be a directory that every"
    ):
        Storage(path, "run")


def test_home_and_relative_paths_are_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    assert Storage("~/results", "run").root == str(tmp_path / "home" / "results" / "run")
    assert Storage("here", "run").root == str(tmp_path / "here" / "run")
    assert (tmp_path / "here" / "run").is_dir()
