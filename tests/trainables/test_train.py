"""Settings, learning, divergence, resuming, the test set's seal, the tuner's side and the command line."""

from __future__ import annotations

import contextlib
import math
import re
import shutil
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import raytune_gp
from trainables import data
from trainables.cifar10 import Settings, fit, test_accuracy, train
from trainables.cifar10.__main__ import main
from trainables.cifar10.resnet import ResNetV2
from trainables.cifar10.train import CHECKPOINT, _augment, _batches, _evaluate, _learning_rate

accuracy_on_test = test_accuracy
del test_accuracy  # or pytest takes it for a test

QUICK: dict[str, Any] = {"data": "digits", "model": "resnet8_v2", "width": 4, "batch_size": 64, "epochs": 3}
SMALL: dict[str, Any] = {**QUICK, "train_size": 200, "device": "cpu"}


def history(config: dict[str, Any], **options: Any) -> list[dict[str, float]]:
    reports: list[dict[str, float]] = []
    fit(Settings.from_config(config), lambda metrics, _: reports.append(metrics), **options)
    return reports


# ---- settings


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"learning_rate": 0}, r"learning_rate=0\.0: must be float, above 0"),
        ({"learning_rate": math.nan}, "learning_rate=nan: must be float"),
        ({"momentum": 1.0}, r"momentum=1\.0: must be float, in \[0, 1\)"),
        ({"weight_decay": math.inf}, "weight_decay=inf"),
        ({"batch_size": 64.5}, r"batch_size=64\.5: must be int, at least 2"),
        ({"batch_size": math.inf}, "batch_size=inf"),
        ({"epochs": "many"}, "epochs='many': must be int"),
        ({"epochs": True}, "epochs=True: must be int"),
        ({"nesterov": 1}, "nesterov=1: must be bool"),
        ({"model": "vgg"}, "model='vgg': must be str, one of resnet8_v2, .*resnet50_v2"),
        ({"train_size": 9}, "train_size=9"),
        ({"epochs": None}, "epochs=None"),
        ({"lr": 0.1}, "unknown settings lr; known are learning_rate, momentum"),
    ],
)
def test_settings_out_of_range_say_what_is_wrong(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Settings.from_config(config)


def test_settings_take_what_search_spaces_give() -> None:
    settings = Settings.from_config(
        {"batch_size": 64.0, "learning_rate": np.float64(1), "nesterov": np.True_, "data_dir": Path("packs")}
    )
    assert (settings.batch_size, settings.nesterov, settings.data_dir) == (64, True, "packs")
    assert [type(v) for v in (settings.batch_size, settings.learning_rate)] == [int, float]


def test_cosine_falls_from_the_top_to_zero() -> None:
    cosine, none = Settings(learning_rate=0.4), Settings(learning_rate=0.4, schedule="none")
    assert [_learning_rate(cosine, t) for t in (0, 0.5, 1)] == pytest.approx([0.4, 0.2, 0])
    assert _learning_rate(none, 0.9) == 0.4


# ---- learning


def test_three_epochs_of_digits_really_learn() -> None:
    reports = history({**QUICK, "width": 8, "batch_size": 32, "learning_rate": 0.2})
    assert [r["epoch"] for r in reports] == [1, 2, 3]
    assert reports[-1]["accuracy"] > 0.85
    assert reports[-1]["train_loss"] < reports[0]["train_loss"] / 2


def test_the_learning_rate_matters() -> None:
    timid, good = (history({**QUICK, "learning_rate": rate})[-1]["accuracy"] for rate in (1e-4, 0.2))
    assert good > timid + 0.4


def test_a_seed_reproduces_and_another_differs() -> None:
    before = torch.get_rng_state()
    first, again, other = (history({**SMALL, "seed": seed}) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    "change",
    [
        {"momentum": 0.5},
        {"nesterov": True},
        {"weight_decay": 0.05},
        {"batch_size": 32},
        {"augment": False},
        {"schedule": "none"},
        {"stem_stride": 2},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_setting_reaches_the_training(change: dict[str, Any]) -> None:
    assert history({**SMALL, **change}) != history(SMALL)


def test_nesterov_without_momentum_is_plain_descent() -> None:
    plain = {**SMALL, "momentum": 0}
    assert history({**plain, "nesterov": True}) == history(plain)


def test_fewer_images_than_a_batch_still_make_one() -> None:
    assert len(history({**SMALL, "train_size": 20, "batch_size": 1000, "epochs": 2})) == 2


def test_divergence_ends_the_run_with_nan_loss_and_a_measured_accuracy() -> None:
    reports = history({**SMALL, "learning_rate": 1e30, "epochs": 20, "checkpoint_every": 1})
    assert len(reports) < 20
    assert not math.isfinite(reports[-1]["loss"])
    assert 0 <= reports[-1]["accuracy"] < 0.3


def test_each_epoch_has_its_own_order_of_the_same_images() -> None:
    images = torch.arange(100, dtype=torch.uint8)[:, None, None, None].expand(100, 3, 8, 8)
    settings = Settings(batch_size=30, augment=False)
    first, again, second = (
        [
            int(label)
            for _, labels in _batches(images, torch.arange(100), settings, epoch, False)
            for label in labels
        ]
        for epoch in (1, 1, 2)
    )
    assert first == again != second
    assert len(set(first)) == len(first) == 90  # three full batches; ten images wait


def test_evaluation_leaves_the_network_as_it_was_and_judges_each_image_alone() -> None:
    images = torch.randint(256, (40, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(40) % 10
    model = ResNetV2("resnet8_v2", 4)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    whole = _evaluate(model, images, labels)
    halves = [_evaluate(model, images[half], labels[half]) for half in (slice(0, 20), slice(20, 40))]
    assert np.mean(halves, axis=0) == pytest.approx(whole)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_augmentation_shifts_and_mirrors_whole_images() -> None:
    images = torch.randint(1, 255, (200, 3, 8, 8), dtype=torch.uint8)
    shifted = _augment(images, torch.Generator().manual_seed(0), flips=False)
    kept = [torch.equal(a, b) for a, b in zip(images, shifted, strict=True)]
    assert 5 < sum(kept) < 45  # one shift of nine is none
    inner = images[:, :, 1:-1, 1:-1]
    for before, after in zip(inner, shifted, strict=True):
        windows = after.unfold(1, 6, 1).unfold(2, 6, 1).permute(1, 2, 0, 3, 4).reshape(9, 3, 6, 6)
        assert any(torch.equal(before, window) for window in windows)
    mirrored = _augment(images, torch.Generator().manual_seed(0), flips=True)
    changed = [not torch.equal(a, b) for a, b in zip(shifted, mirrored, strict=True)]
    assert 70 < sum(changed) < 130
    assert all(torch.equal(a, b) or torch.equal(a.flip(2), b) for a, b in zip(shifted, mirrored, strict=True))


# ---- checkpoints


def checkpoints(config: dict[str, Any], folder: Path, **options: Any) -> list[dict[str, float]]:
    """Trains, and keeps the checkpoint of each epoch in `folder/<epoch>`."""
    reports: list[dict[str, float]] = []

    def report(metrics: dict[str, float], saved: str | None) -> None:
        reports.append(metrics)
        if saved is not None:
            shutil.copytree(saved, folder / str(metrics["epoch"]))

    fit(Settings.from_config(config), report, **options)
    return reports


def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(tmp_path: Path) -> None:
    config = {**SMALL, "epochs": 4, "checkpoint_every": 1, "nesterov": True}
    whole = checkpoints(config, tmp_path / "whole")
    resumed = checkpoints(config, tmp_path / "resumed", resume_from=tmp_path / "whole" / "2")
    assert resumed == whole[2:]
    final, same = (
        torch.load(tmp_path / run / "4" / CHECKPOINT, weights_only=True)["model"]
        for run in ("whole", "resumed")
    )
    assert all(torch.equal(final[name], same[name]) for name in final)


def test_checkpoints_come_every_so_often_and_after_the_last(tmp_path: Path) -> None:
    checkpoints({**SMALL, "epochs": 5, "checkpoint_every": 2}, tmp_path)
    assert sorted(folder.name for folder in tmp_path.iterdir() if folder.name.isdigit()) == ["2", "4", "5"]


def test_a_resumed_run_obeys_its_new_hyperparameters(tmp_path: Path) -> None:
    config = {**SMALL, "epochs": 2, "checkpoint_every": 1}
    same = checkpoints(config, tmp_path)[1]
    for change in ({"learning_rate": 0.01}, {"momentum": 0.0}, {"weight_decay": 0.1}):
        [changed] = history({**config, **change}, resume_from=tmp_path / "1")
        assert changed["train_loss"] != same["train_loss"]


# ---- the test set


def test_training_never_opens_the_test_set(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = data.open_dataset("digits")
    for path in dataset.folder.glob("test_*"):
        path.unlink()
    model = fit(Settings.from_config(SMALL), lambda metrics, saved: None)
    with pytest.raises(FileNotFoundError):
        accuracy_on_test(model, Settings.from_config(SMALL))


def test_the_final_evaluation_is_of_the_test_set() -> None:
    settings = Settings.from_config({**QUICK, "width": 8, "learning_rate": 0.2})
    accuracy = accuracy_on_test(fit(settings, lambda metrics, saved: None), settings)
    assert accuracy > 0.6
    assert (accuracy * len(data.open_dataset("digits").test()[1])) % 1 == pytest.approx(0, abs=1e-9)


# ---- the tuner's side, with a stand-in for it


class Saved:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextlib.contextmanager
    def as_directory(self) -> Iterator[str]:
        yield str(self.folder)


def test_the_trainable_reports_to_the_tuner_and_goes_on_from_its_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reports: list[dict[str, float]] = []
    kept: list[Path] = []

    def report(metrics: dict[str, float], checkpoint: str | None = None) -> None:
        reports.append(metrics)
        if checkpoint is not None:
            kept.append(Path(shutil.copytree(checkpoint, tmp_path / f"kept{len(kept)}")))

    tune = types.SimpleNamespace(report=report, get_checkpoint=lambda: Saved(kept[0]) if kept else None)
    monkeypatch.setitem(sys.modules, "raytune_gp.tune", tune)
    monkeypatch.setattr(raytune_gp, "tune", tune, raising=False)
    config = {**SMALL, "checkpoint_every": 1}
    train(config)
    alone = history(config)
    assert reports == alone
    train(config)
    assert reports == [*alone, *alone[1:]]


# ---- the command line

OPTIONS = [
    *("--data", "digits", "--model", "resnet8_v2", "--width", "4", "--batch-size", "64", "--epochs", "3"),
    *("--train-size", "200", "--device", "cpu", "--threads", "1"),
]


def test_the_command_line_prints_what_the_function_reports(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(OPTIONS) == 0
    output = capsys.readouterr().out
    printed = [float(value) for value in re.findall(r"validation: accuracy=([0-9.]+)", output)]
    assert printed == pytest.approx([report["accuracy"] for report in history(SMALL)], abs=1e-6)
    assert "test:" not in output


def test_the_command_line_resumes_and_tests(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    constant = [*OPTIONS, "--schedule", "none"]  # so that two epochs of two are the first two of three
    kept = ["--checkpoint-dir", str(tmp_path / "kept"), "--resume"]
    main([*constant, "--test"])
    whole = capsys.readouterr().out
    main([*constant, *kept, "--epochs", "2"])
    main([*constant, *kept, "--test"])
    assert capsys.readouterr().out.splitlines() == whole.splitlines()
    assert re.search(r"^test: accuracy=0\.\d+$", whole, re.MULTILINE)


def test_the_command_line_explains_bad_settings(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*OPTIONS, "--momentum", "2"]) == 2
    assert "error: momentum=2.0: must be float, in [0, 1)" in capsys.readouterr().err


# ---- a GPU


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no GPU")
def test_a_gpu_learns_the_same_task() -> None:
    reports = history({**QUICK, "width": 8, "batch_size": 32, "learning_rate": 0.2, "device": "cuda"})
    assert reports[-1]["accuracy"] > 0.8


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_missing_is_an_error() -> None:
    with pytest.raises(ValueError, match="PyTorch sees no GPU here"):
        history({**SMALL, "device": "cuda"})
