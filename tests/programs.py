"""Python processes of a test's own, in the root of the repository."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.patience import HANGS_S

__all__ = ["ROOT", "figures_of", "printed"]

ROOT = Path(__file__).parent.parent


def printed(*arguments: str, limit_s: float = HANGS_S, **environ: str) -> str:
    """What Python prints with these `arguments`, and these variables beside ours. It has to end well."""
    done = subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environ},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=limit_s,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def figures_of(directory: Path, module: str, *options: str) -> dict[str, Any]:
    """What a benchmark writes, run as its docstring says."""
    out = directory / "figures.json"
    printed("-m", module, *options, "--out", str(out))
    figures: dict[str, Any] = json.loads(out.read_text())
    return figures
