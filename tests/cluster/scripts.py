"""Scripts of tests that start a cluster of their own: several raylets on one machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.patience import HANGS_S

__all__ = ["said"]

ROOT = Path(__file__).parent.parent.parent


def said(script: str, *arguments: str, limit_s: float = HANGS_S) -> dict[str, Any]:
    """The JSON that a script with a cluster of its own prints, among what Ray may print.

    Cluster writes down its address where later ray.init() calls would find it: it gets a place of its own.
    """
    with tempfile.TemporaryDirectory(prefix="rt") as ray_directory:
        (Path(ray_directory) / "ray").mkdir()
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_TMPDIR": ray_directory}
        command = [sys.executable, "-c", script, *arguments]
        done = subprocess.run(
            command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=limit_s
        )
    assert done.returncode == 0, done.stderr[-3000:]
    answer: dict[str, Any] = json.loads([s for s in done.stdout.splitlines() if s.startswith("{")][-1])
    return answer
