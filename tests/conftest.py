"""Fixtures for all tests: one thread in every process, and a local Ray cluster that tests share."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.postgres import Server, serve

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = "1"
os.environ.pop("RAY_ADDRESS", None)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in a background job of a shell, and its children
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """A local cluster of 4 logical CPUs and 4 logical GPUs."""
    import ray

    ray.init(
        address="local",
        num_cpus=4,
        num_gpus=4,
        include_dashboard=False,
        log_to_driver=False,
        configure_logging=False,
        runtime_env={"env_vars": {"PYTHONPATH": str(Path(__file__).parent.parent)}},
    )
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A PostgreSQL server, for all tests of this process."""
    yield from serve()


@pytest.fixture
def postgres_url(postgres: Server) -> str:
    """The URL of a database without a journal; one for all tests, since to make one takes half a second."""
    return postgres.emptied()


@pytest.fixture
def run_settings(tmp_path: Path) -> dict[str, Any]:
    """Where a test's run keeps its things."""
    return {
        "storage_path": str(tmp_path / "results"),
        "journal": f"sqlite:///{tmp_path / 'journal.db'}",
        "verbose": 0,
    }


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary directory of the test's own, where copies are staged."""
    path = tmp_path / "tmp"
    path.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(path))
    return path
