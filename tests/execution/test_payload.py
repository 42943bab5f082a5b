"""Pickled objects that travel by value or by file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from raytune_gp.errors import JournalError
from raytune_gp.execution.payload import BY_VALUE, Payload
from raytune_gp.storage.artifacts import Storage


def test_what_is_large_waits_in_a_file(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path), "run")
    small, large = Payload.of([1], storage), Payload.of(b"x" * BY_VALUE, storage)
    assert (small.path, small.load(storage)) == (None, [1])
    assert (large.data, large.load(storage)) == (None, b"x" * BY_VALUE)
    Path(storage.path(str(large.path))).write_bytes(b"other")
    with pytest.raises(JournalError, match="was changed since this run began"):
        large.load(storage)


def test_a_storage_path_that_a_node_does_not_share_is_named_as_the_cause(tmp_path: Path) -> None:
    payload = Payload.of(b"x" * BY_VALUE, Storage(str(tmp_path / "head"), "run"))
    with pytest.raises(JournalError, match="storage_path must be a directory that every node sees"):
        payload.load(Storage(str(tmp_path / "other"), "run"))


def test_a_function_of_the_users_script_keeps_its_file_name_for_tracebacks(tmp_path: Path) -> None:
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(compile("def train(config): ...", "my_script.py", "exec"), names)
    storage = Storage(str(tmp_path), "run")
    assert Payload.of(names["train"], storage).load(storage).__code__.co_filename == "my_script.py"
