"""Trainables for the tests of execution. They write ledgers, to be held against the journal."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Any

from raytune_gp import tune


def note(path: str, line: str) -> None:
    """Append one line to a ledger, in one write."""
    with open(path, "a") as ledger:
        ledger.write(line + "\n")


def counting(config: dict[str, Any]) -> None:
    """Report `steps` times, write each step into the ledger first, and checkpoint each step."""
    context = tune.get_context()
    first = 0
    checkpoint = tune.get_checkpoint()
    if checkpoint is not None:
        with checkpoint.as_directory() as directory:
            first = int((Path(directory) / "step").read_text())
    note(config["ledger"], f"start {context.get_trial_id()} {first} {os.getpid()}")
    for step in range(first + 1, config["steps"] + 1):
        time.sleep(config["seconds"])
        note(config["ledger"], f"step {context.get_trial_id()} {step}")
        with tempfile.TemporaryDirectory() as directory:
            (Path(directory) / "step").write_text(str(step))
            tune.report({"score": config["x"] * step, "step": step}, checkpoint=directory)
    note(config["ledger"], f"end {context.get_trial_id()}")


def quick(config: dict[str, Any]) -> None:
    """One report at once."""
    tune.report({"score": config["x"]})


def raising(config: dict[str, Any]) -> None:
    """Report, then raise where x is above a half."""
    tune.report({"score": config["x"]})
    if config["x"] > 0.5:
        raise ValueError(f"x is {config['x']}")
