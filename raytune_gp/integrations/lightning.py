"""PyTorch Lightning in a trial: the counterpart of `ray.tune.integration.pytorch_lightning`."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback

from raytune_gp import tune
from raytune_gp.errors import SpecError
from raytune_gp.integrations.selection import Metrics, selected

__all__ = ["TuneReportCheckpointCallback"]


class TuneReportCheckpointCallback(Callback):
    """Reports what the model has logged, with a checkpoint, each time that validation ends.

    Args:
        metrics: which of the trainer's `callback_metrics`; a dictionary renames them (name to report: name in
            Lightning), None is all.
        filename: of the checkpoint in the directory that `tune.get_checkpoint()` gives; it is for
            `trainer.fit(model, ckpt_path=…)`.
        save_checkpoints: False for metrics alone.
        on: the hook or hooks to report at, without `on_`.
    """

    def __init__(
        self,
        metrics: Metrics = None,
        filename: str = "checkpoint",
        save_checkpoints: bool = True,
        on: str | Sequence[str] = "validation_end",
    ):
        self._metrics = metrics
        self._filename = filename
        self._save_checkpoints = save_checkpoints
        for hook in [on] if isinstance(on, str) else on:
            if not hasattr(Callback, f"on_{hook}"):
                raise SpecError(f"on is {hook!r}, and Lightning has no hook on_{hook}")
            setattr(self, f"on_{hook}", self._report)

    def _report(self, trainer: Any, *_: Any, **__: Any) -> None:
        if trainer.sanity_checking:
            return
        metrics = selected(self._metrics, {k: v.item() for k, v in trainer.callback_metrics.items()})
        if not self._save_checkpoints:
            tune.report(metrics)
            return
        with tempfile.TemporaryDirectory() as directory:
            trainer.save_checkpoint(Path(directory) / self._filename)
            tune.report(metrics, checkpoint=directory)
