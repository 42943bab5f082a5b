"""Hugging Face's `transformers.Trainer` in a trial; Ray has such a callback in Ray Train."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from transformers import TrainerCallback
from transformers.trainer_utils import get_last_checkpoint

from raytune_gp import tune
from raytune_gp.integrations.selection import Metrics, selected

__all__ = ["TuneReportCheckpointCallback"]

CHECKPOINT = "checkpoint"


class TuneReportCheckpointCallback(TrainerCallback):
    """Reports what the trainer has logged, at each evaluation; where it is saved then, with a checkpoint.

    The checkpoint's directory `checkpoint` is for `trainer.train(resume_from_checkpoint=…)`. With
    `eval_strategy` and `save_strategy` alike, as "epoch", each report has its checkpoint.

    Args:
        metrics: which of the trainer's, such as `"eval_loss"`; a dictionary renames them, None is all.
        save_checkpoints: False for metrics alone.
    """

    def __init__(self, metrics: Metrics = None, save_checkpoints: bool = True):
        self._metrics = metrics
        self._save_checkpoints = save_checkpoints

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Report, unless the trainer is about to be saved: then with that."""
        if not (self._save_checkpoints and control.should_save):
            tune.report(self._found(state))

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Report with a copy of what was saved."""
        saved = get_last_checkpoint(args.output_dir) if self._save_checkpoints else None
        if saved is None:
            return
        with tempfile.TemporaryDirectory() as directory:
            shutil.copytree(saved, Path(directory) / CHECKPOINT)
            tune.report(self._found(state), checkpoint=directory)

    def _found(self, state: Any) -> dict[str, Any]:
        latest: dict[str, Any] = {}
        for logged in state.log_history:
            latest.update(logged)
        return selected(self._metrics, latest)
