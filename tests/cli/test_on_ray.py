"""`raytune-gp run` in a process of its own, on a Ray cluster that it starts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.patience import HANGS_S

pytestmark = pytest.mark.ray

SCRIPT = """
    command: [python, program.py]
    metrics: {loss: 'loss=([0-9.e-]+)'}
    metric: loss
    mode: min
    num_samples: 2
    search_alg: random
    storage_path: results
    space: {x: {uniform: [0, 1]}}
"""


def shell(directory: Path, *arguments: Any) -> subprocess.CompletedProcess[str]:
    """Call `raytune-gp` from a directory that is not the run file's."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "RAYTUNE_JOURNAL": str(directory / "journal.db"),
        "RAY_ADDRESS": "local",
    }
    command = [sys.executable, "-m", "raytune_gp.cli", *map(str, arguments)]
    return subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True, timeout=HANGS_S)


def trials(directory: Path, run: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(shell(directory, "show", run, "--json").stdout)
    return found


def test_a_function_next_to_the_run_file(tmp_path: Path, write: Callable[..., Path]) -> None:
    path = write()
    one_by_one = (
        "{name: gp, initial: 1}\nmax_concurrent_trials: 1"  # the last one is asked for after three values
    )
    path.write_text(path.read_text().replace("random", one_by_one))
    done = shell(tmp_path, "run", path, "--name", "function", "--num-samples", 5)
    assert done.returncode == 0, done.stderr
    found = trials(tmp_path, "function")
    assert [t["status"] for t in found] == ["COMPLETED"] * 5
    assert found[-1]["provenance"]["method"] == "gp"
    again = shell(tmp_path, "replay", "function")
    assert again.returncode == 0, again.stdout + again.stderr
    assert " 0 not" in again.stdout
    assert {(t["metrics"]["where"], t["metrics"]["mark"]) for t in found} == {(str(path.parent), "7")}


def test_a_program_next_to_the_run_file(tmp_path: Path, write: Callable[..., Path]) -> None:
    path = write(SCRIPT)
    (path.parent / "program.py").write_text("import sys\nprint(f'loss={float(sys.argv[2]) ** 2}')\n")
    done = shell(tmp_path, "run", path, "--name", "program")
    assert done.returncode == 0, done.stderr
    for trial in trials(tmp_path, "program"):
        assert trial["objective"]["loss"] == trial["config"]["x"] ** 2
        assert f"loss={trial['objective']['loss']}" in shell(tmp_path, "logs", "program", trial["id"]).stdout
