"""A trainable for a worker that has neither pytest nor the cluster's NumPy."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

from raytune_gp import tune


def train(config: dict[str, Any]) -> None:
    """Reports twice, with a checkpoint, from a NumPy that the cluster has not; goes on where it was."""
    import numpy

    checkpoint = tune.get_checkpoint()
    if checkpoint is None:
        folder = Path(tune.get_context().get_trial_dir()) / "made"
        folder.mkdir(parents=True)
        (folder / "state").write_text(numpy.__version__)
        tune.report({"loss": 2.0, "numpy": numpy.__version__}, checkpoint=folder)
        while not list(folder.parent.glob("checkpoint_001_000001")):
            time.sleep(0.05)
        time.sleep(1)  # for the message of it
        os._exit(1)
    with checkpoint.as_directory() as saved:
        before = (Path(saved) / "state").read_text()
        tune.report({"loss": config["x"], "numpy": before, "python": sys.executable})
