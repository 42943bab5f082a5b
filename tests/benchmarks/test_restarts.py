"""The benchmark of restarts, at a small size."""

from __future__ import annotations

from pathlib import Path

from tests.programs import figures_of


def test_a_restart_is_the_same_by_the_snapshot(tmp_path: Path) -> None:
    found = figures_of(tmp_path, "benchmarks.replay", "--trials", "1100")
    assert (found["trials"], found["reports"], found["parts"]) == (1100, 55_000, 1)
    assert found["with_snapshot"]["cpu_s"] < found["without_snapshot"]["cpu_s"]
