"""The Trainer of transformers reports to a trial, which goes on from its checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from raytune_gp.trainable.run import run_attempt
from tests.trainable.support import Bench

transformers = pytest.importorskip(
    "transformers", reason="transformers is not installed: pip install transformers accelerate"
)
pytest.importorskip("accelerate", reason="accelerate is not installed: pip install transformers accelerate")

from raytune_gp.integrations.huggingface import TuneReportCheckpointCallback  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")


def train(
    config: Any, callback: Any, directory: Path, epochs: int = 2, save: str = "epoch", **more: Any
) -> None:
    import torch

    class Pairs(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return 16

        def __getitem__(self, i: int) -> dict[str, Any]:
            return {"input_ids": torch.tensor([i % 4, 1, 2]), "labels": torch.tensor(i % 2)}

    shape = transformers.BertConfig(
        vocab_size=8,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=8,
        num_labels=2,
    )
    arguments = transformers.TrainingArguments(
        output_dir=str(directory / "hf"),
        num_train_epochs=epochs,
        learning_rate=config["lr"],
        eval_strategy="epoch",
        save_strategy=save,
        logging_strategy="epoch",
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
    )
    trainer = transformers.Trainer(
        model=transformers.BertForSequenceClassification(shape),
        args=arguments,
        train_dataset=Pairs(),
        eval_dataset=Pairs(),
        callbacks=[callback],
    )
    trainer.train(**more)


def test_each_evaluation_is_a_report_with_a_checkpoint(tmp_path: Path) -> None:
    bench = Bench(tmp_path)

    def first(config: Any) -> None:
        train(config, TuneReportCheckpointCallback({"loss": "eval_loss"}), tmp_path)

    assert run_attempt(first, {"lr": 1e-3}, bench.session).error is None
    assert len(bench.reports) == 2
    assert all(isinstance(r["loss"], float) for r in bench.reports)
    paths = [body["path"] for kind, body in bench.said if kind == "checkpoint"]
    assert len(paths) == 2

    again = Bench(tmp_path, attempt=2, start_step=2, resume_from=paths[-1])

    def second(config: Any) -> None:
        checkpoint = again.session.get_checkpoint()
        assert checkpoint is not None
        with checkpoint.as_directory() as directory:
            resume = str(Path(directory) / "checkpoint")
            callback = TuneReportCheckpointCallback(["eval_loss", "epoch"], save_checkpoints=False)
            train(config, callback, tmp_path / "second", epochs=3, resume_from_checkpoint=resume)

    assert run_attempt(second, {"lr": 1e-3}, again.session).error is None
    assert [(r["training_iteration"], r["epoch"]) for r in again.reports] == [(3, 3.0)]
    assert "checkpoint" not in again.kinds


def test_without_saving_the_metrics_come_all_the_same(tmp_path: Path) -> None:
    bench = Bench(tmp_path)

    def unsaved(config: Any) -> None:
        train(config, TuneReportCheckpointCallback(), tmp_path, save="no")

    assert run_attempt(unsaved, {"lr": 1e-3}, bench.session).error is None
    assert len(bench.reports) == 2
    assert {"eval_loss", "epoch"} <= bench.reports[0].keys()


def test_a_trial_that_is_stopped_ends_the_training(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.session.interrupt("stop")

    def stopped(config: Any) -> None:
        train(config, TuneReportCheckpointCallback(), tmp_path)

    assert run_attempt(stopped, {"lr": 1e-3}, bench.session).kind == "interrupted"
    assert len(bench.reports) == 1
