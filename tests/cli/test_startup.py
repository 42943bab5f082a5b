"""The command line is quick: what only looks at a journal loads neither torch, Ray nor pandas."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.patience import HANGS_S

HEAVY = {"torch", "ray", "gpytorch", "pandas", "scipy", "plotly", "sklearn"}


@pytest.mark.parametrize(
    ("arguments", "kept_out"),
    [
        (["--help"], HEAVY | {"sqlalchemy", "pyarrow", "yaml"}),
        (["list"], HEAVY | {"pyarrow", "yaml"}),
        (["status", "absent"], HEAVY | {"yaml"}),
        (["attach", "absent"], (HEAVY | {"yaml"}) - {"scipy"}),
        (["check", "absent.yaml"], HEAVY),
    ],
)
def test_a_command_loads_what_it_needs(arguments: list[str], kept_out: set[str], tmp_path: Path) -> None:
    code = (
        "import sys\nfrom raytune_gp.cli import app\n"
        f"try:\n    app({arguments!r})\nexcept SystemExit:\n    pass\n"
        "print('loaded', *{m.partition('.')[0] for m in sys.modules})"
    )
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "RAYTUNE_JOURNAL": str(tmp_path / "journal.db"),
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
        timeout=HANGS_S,
    )
    loaded = done.stdout.splitlines()[-1].split()
    assert loaded[0] == "loaded", done.stderr
    assert kept_out & set(loaded) == set()
