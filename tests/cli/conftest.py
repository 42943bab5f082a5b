"""A directory with a run file and the module that it names, and a way to call the command line."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from raytune_gp.cli import app

MODULE = """
    import os
    from raytune_gp import tune

    def train(config):
        for step in range(config.get("steps", 2)):
            score = -((config["x"] - 0.3) ** 2)
            tune.report({"score": score, "where": os.getcwd(), "mark": os.environ["MARK"]})

    def failing(config):
        raise ValueError("on purpose")
"""

RUN_FILE = """
    trainable: MODULE:train
    metric: score
    mode: max
    num_samples: 3
    search_alg: random
    storage_path: results
    env: {MARK: 7}
    space:
      x: {uniform: [0, 1]}
      steps: 2
"""

Command = Callable[..., Any]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Call `raytune-gp` with some arguments, in an empty directory with a journal of its own."""
    monkeypatch.setenv("RAYTUNE_JOURNAL", f"sqlite:///{tmp_path / 'journal.db'}")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    runner = CliRunner()

    def call(*arguments: Any) -> Any:
        result = runner.invoke(app, [str(a) for a in arguments])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
        return result

    return call


@pytest.fixture
def write(tmp_path: Path, request: pytest.FixtureRequest) -> Callable[..., Path]:
    """Write a run file in a directory of its own, beside a module that only this test has."""
    module = f"cli_{abs(hash(request.node.nodeid))}"

    def write(text: str = RUN_FILE, name: str = "mine.yaml") -> Path:
        directory = tmp_path / "project"
        directory.mkdir(exist_ok=True)
        (directory / f"{module}.py").write_text(textwrap.dedent(MODULE))
        path = directory / name
        path.write_text(textwrap.dedent(text).replace("MODULE", module))
        return path

    return write
