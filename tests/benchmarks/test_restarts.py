"""The benchmark of restarts, at a small size."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.patience import HANGS_S

ROOT = Path(__file__).parents[2]


def result_of(tmp_path: Path, *command: str) -> dict[str, Any]:
    """What a benchmark writes, run as its docstring says."""
    out = tmp_path / "out.json"
    done = subprocess.run(
        [sys.executable, "-m", *command, "--out", str(out)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=HANGS_S,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(out.read_text())
    return found


def test_a_restart_is_the_same_by_the_snapshot(tmp_path: Path) -> None:
    found = result_of(tmp_path, "benchmarks.replay", "--trials", "1100")
    assert (found["trials"], found["reports"], found["parts"]) == (1100, 55_000, 1)
    assert found["with_snapshot"]["cpu_s"] < found["without_snapshot"]["cpu_s"]
