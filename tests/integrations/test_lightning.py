"""Lightning reports to a trial, which goes on from its checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from raytune_gp.errors import SpecError
from raytune_gp.trainable.run import run_attempt
from tests.trainable.support import Bench

pl = pytest.importorskip("lightning.pytorch", reason="lightning is not installed: pip install lightning")

from raytune_gp.integrations.lightning import TuneReportCheckpointCallback  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")


def train(
    config: Any, callback: Any, directory: Path, epochs: int = 3, checkpoint: str | None = None
) -> None:
    import torch

    Module: Any = pl.LightningModule

    class Line(Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(1, 1)

        def training_step(self, batch: Any, _: int) -> Any:
            return ((self.layer(batch[0]) - 3 * batch[0]) ** 2).mean()

        def validation_step(self, batch: Any, _: int) -> None:
            self.log("val_loss", ((self.layer(batch[0]) - 3 * batch[0]) ** 2).mean())

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=config["lr"])

    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.linspace(-1, 1, 16)[:, None]), 8)
    trainer = pl.Trainer(
        max_epochs=epochs,
        callbacks=[callback],
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=directory,
    )
    trainer.fit(Line(), data, data, ckpt_path=checkpoint)


def test_each_validation_is_a_report_with_a_checkpoint(tmp_path: Path) -> None:
    bench = Bench(tmp_path)

    def first(config: Any) -> None:
        train(config, TuneReportCheckpointCallback({"loss": "val_loss"}, filename="it.ckpt"), tmp_path)

    assert run_attempt(first, {"lr": 0.1}, bench.session).error is None
    losses = [r["loss"] for r in bench.reports]
    assert len(losses) == 3
    assert losses[2] < losses[0]
    path = [body["path"] for kind, body in bench.said if kind == "checkpoint"][-1]

    again = Bench(tmp_path, attempt=2, start_step=3, resume_from=path)

    def second(config: Any) -> None:
        checkpoint = again.session.get_checkpoint()
        assert checkpoint is not None
        with checkpoint.as_directory() as directory:
            callback = TuneReportCheckpointCallback("val_loss", save_checkpoints=False)
            train(config, callback, tmp_path, epochs=4, checkpoint=f"{directory}/it.ckpt")

    assert run_attempt(second, {"lr": 0.1}, again.session).error is None
    assert [r["training_iteration"] for r in again.reports] == [4]
    assert again.reports[0]["val_loss"] < losses[2]
    assert "checkpoint" not in again.kinds


def test_a_trial_that_is_stopped_ends_the_training(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.session.interrupt("stop")

    def stopped(config: Any) -> None:
        train(config, TuneReportCheckpointCallback(save_checkpoints=False), tmp_path)

    assert run_attempt(stopped, {"lr": 0.1}, bench.session).kind == "interrupted"
    assert len(bench.reports) == 1


def test_a_metric_that_is_not_there_is_told_with_those_that_are(tmp_path: Path) -> None:
    def wrong(config: Any) -> None:
        train(config, TuneReportCheckpointCallback("accuracy"), tmp_path)

    outcome = run_attempt(wrong, {"lr": 0.1}, Bench(tmp_path).session)
    assert "to report are 'accuracy', and there is 'val_loss'" in str(outcome.error)


def test_hooks_are_lightnings() -> None:
    with pytest.raises(SpecError, match="on is 'lunch', and Lightning has no hook on_lunch"):
        TuneReportCheckpointCallback(on="lunch")
