"""Trains a ResNet v2 on CIFAR-10 by SGD: the one loop behind `train(config)` and the command line.

Read top to bottom: the settings, `train` for the tuner, `fit` and its steps, the test set at the very end.

Tensors lie channels-last, and a GPU that has bfloat16 computes in mixed precision. All of an epoch's
randomness comes from (seed, epoch), so that a resumed run equals an uninterrupted one: bit for bit on a CPU
with as many threads.

To tune on one CPU core, in seconds: `model="resnet8_v2", batch_size=64`, and for the 5,000 images of the mini
pack `width=16, stem_stride=2, epochs=6, validation_fraction=0.2` (8 s a run), for digits `width=8, epochs=8`
(1 s). Validation accuracy after the last epoch, mean of seeds 0 and 1, on an Intel Xeon with PyTorch 2.13:

    learning rate    0.001   0.01   0.03   0.1    0.3    1.0    3.0
    CIFAR-10 mini    0.20    0.35   0.40   0.45   0.44   0.42   0.21
    digits           0.18    0.68   0.89   0.98   0.99   0.99   0.79
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainables.cifar10.resnet import MODELS, ResNetV2
from trainables.data import open_dataset, split

__all__ = ["Metrics", "Report", "Settings", "fit", "test_accuracy", "train"]

Metrics = dict[str, float]
Report = Callable[[Metrics, str | None], None]  # an epoch's metrics, and a folder with its checkpoint or None
CHECKPOINT = "checkpoint.pt"
EVALUATION_BATCH = 500


def _setting(default: Any, limits: str, within: Callable[[Any], bool], help: str) -> Any:
    return field(default=default, metadata={"limits": limits, "within": within, "help": help})


def _at_least(low: float, default: Any, help: str) -> Any:
    return _setting(default, f"at least {low}", lambda v: low <= v < math.inf, help)


def _one_of(names: tuple[Any, ...], default: Any, help: str) -> Any:
    return _setting(default, f"one of {', '.join(map(str, names))}", names.__contains__, help)


@dataclass(frozen=True)
class Settings:
    """All that decides a training run. Raises ValueError, naming the setting, its value and its limits."""

    learning_rate: float = _setting(0.1, "above 0", lambda v: 0 < v < math.inf, "the highest of the schedule")
    momentum: float = _setting(0.9, "in [0, 1)", lambda v: 0 <= v < 1, "of SGD")
    nesterov: bool = _one_of((True, False), False, "Nesterov's momentum")
    weight_decay: float = _at_least(0, 5e-4, "on every parameter")
    schedule: str = _one_of(("cosine", "none"), "cosine", "how the learning rate falls")
    batch_size: int = _at_least(2, 128, "images a step")
    epochs: int = _at_least(1, 50, "passes over the training images")
    model: str = _one_of(tuple(MODELS), "resnet18_v2", "the network")
    width: int | None = _at_least(1, None, "channels of the stem; None: the model's own")
    stem_stride: int = _one_of((1, 2), 1, "2 halves the image's sides at once, for a quarter of the work")
    augment: bool = _one_of((True, False), True, "random crops after padding, random flips")
    data: str = _one_of(("auto", "cifar10", "digits"), "auto", "auto: digits without a copy or a network")
    data_dir: str | None = _setting(
        None, "a path", bool, "archive or its folder; None: CIFAR10_DIR, download"
    )
    train_size: int | None = _at_least(10, None, "train on so many, each class alike; None: on all")
    validation_fraction: float = _setting(
        0.1, "in (0, 1)", lambda v: 0 < v < 1, "held out of the training part"
    )
    seed: int = _at_least(0, 0, "of weights, order and augmentation, not of the split")
    checkpoint_every: int = _at_least(0, 0, "epochs, and after the last one; 0: never")
    device: str = _one_of(("auto", "cpu", "cuda"), "auto", "auto: a GPU if there is one")

    def __post_init__(self) -> None:
        for setting in fields(self):
            value = getattr(self, setting.name)
            if value is None and setting.default is None:
                continue
            try:
                value = _as_type(value, str(setting.type))
                if not setting.metadata["within"](value):
                    raise ValueError
            except (TypeError, ValueError, OverflowError):
                limits = setting.metadata["limits"]
                raise ValueError(f"{setting.name}={value!r}: must be {setting.type}, {limits}") from None
            object.__setattr__(self, setting.name, value)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Settings:
        """What a config names, and the defaults for the rest. Raises ValueError at an unknown key."""
        known = [setting.name for setting in fields(cls)]
        unknown = sorted(set(config) - set(known))
        if unknown:
            raise ValueError(f"unknown settings {', '.join(unknown)}; known are {', '.join(known)}")
        return cls(**config)


def _as_type(value: Any, type_name: str) -> Any:
    """`value` as int, float, bool or str: a search space may give 64.0 or a NumPy scalar for an int."""
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    wanted = {"int": int, "float": float, "bool": bool, "str": str}[type_name.split(" ")[0]]
    converted = wanted(value)
    if converted != value or isinstance(value, bool | np.bool_) != (wanted is bool):
        raise ValueError
    return converted


def train(config: Mapping[str, Any]) -> None:
    """The trainable: reports `accuracy`, `loss`, `train_loss` and `epoch` to the tuner after every epoch.

    `accuracy` (a fraction) and `loss` (cross-entropy, nats) are of the validation images. Goes on from the
    trial's checkpoint if there is one. A run that diverges ends at once, with `loss` NaN, which a tuner of
    `loss` takes as a failed trial, and `accuracy` as measured, at chance: one of `accuracy` learns from it.
    """
    from raytune_gp import tune

    settings = Settings.from_config(config)
    checkpoint = tune.get_checkpoint()
    with nullcontext() if checkpoint is None else checkpoint.as_directory() as folder:
        fit(settings, lambda metrics, saved: tune.report(metrics, checkpoint=saved), resume_from=folder)


def fit(settings: Settings, report: Report, resume_from: str | Path | None = None) -> nn.Module:
    """Trains for the epochs that remain, and calls `report` after each.

    Args:
        settings: of the run. A checkpoint brings weights and momentum only, so that a run may go on with
            another learning rate, momentum or weight decay, as population based training does.
        report: called with the metrics, see `train`, and a temporary folder with the checkpoint, or None.
        resume_from: a folder that `report` was given; None starts afresh.

    Returns:
        The trained network, on the device it trained on.
    """
    device = _device(settings)
    dataset = open_dataset(settings.data, settings.data_dir)
    images, labels = dataset.train()
    train_part, validation_part = (
        _on_device(images, labels, part, device)
        for part in split(labels, settings.validation_fraction, settings.train_size)
    )
    model = _model(settings, device)
    optimizer = torch.optim.SGD(model.parameters(), **_sgd(settings))
    first = 1 if resume_from is None else 1 + _load(Path(resume_from), model, optimizer)
    for epoch in range(first, settings.epochs + 1):
        train_loss = _train_epoch(model, optimizer, *train_part, settings, epoch, dataset.flips)
        accuracy, loss = _evaluate(model, *validation_part)
        metrics = {"accuracy": accuracy, "loss": loss, "train_loss": train_loss, "epoch": epoch}
        diverged = not math.isfinite(train_loss + loss)
        if diverged or not _is_due(settings, epoch):
            report(metrics, None)
        else:
            with tempfile.TemporaryDirectory() as folder:
                _save(Path(folder), model, optimizer, epoch)
                report(metrics, folder)
        if diverged:
            break
    return model


def _device(settings: Settings) -> torch.device:
    if settings.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device='cuda': PyTorch sees no GPU here; use 'auto' or 'cpu'")
    return torch.device(settings.device)


def _on_device(
    images: np.ndarray, labels: np.ndarray, part: np.ndarray, device: torch.device
) -> tuple[Tensor, Tensor]:
    """All of a part at once (CIFAR-10 is 150 MB as bytes), n x 3 x height x width in channels-last order."""
    return (
        torch.from_numpy(images[part]).to(device).permute(0, 3, 1, 2),
        torch.from_numpy(labels[part]).to(device),
    )


def _model(settings: Settings, device: torch.device) -> nn.Module:
    with torch.random.fork_rng(devices=[]):  # the caller's random numbers stay as they were
        torch.manual_seed(settings.seed)
        model = ResNetV2(settings.model, settings.width, settings.stem_stride)
    return nn.utils.convert_conv2d_weight_memory_format(model.to(device), torch.channels_last)


def _sgd(settings: Settings) -> dict[str, Any]:
    return {
        "lr": settings.learning_rate,
        "momentum": settings.momentum,
        "nesterov": settings.nesterov
        and settings.momentum > 0,  # torch refuses it at 0, where both are plain SGD
        "weight_decay": settings.weight_decay,
    }


def _batches(
    images: Tensor, labels: Tensor, settings: Settings, epoch: int, flips: bool
) -> Iterator[tuple[Tensor, Tensor]]:
    """The images once in random order, augmented; the last few that fill no batch are left out this time."""
    seed = np.random.SeedSequence([settings.seed, epoch]).generate_state(1, np.uint64)
    generator = torch.Generator().manual_seed(int(seed[0]))
    order = torch.randperm(len(labels), generator=generator)
    size = min(settings.batch_size, len(labels))
    for start in range(0, len(labels) - size + 1, size):
        chosen = order[start : start + size].to(images.device)
        batch = images[chosen]
        if settings.augment:
            batch = _augment(batch, generator, flips)
        yield _normalise(batch), labels[chosen]


def _augment(images: Tensor, generator: torch.Generator, flips: bool) -> Tensor:
    """Shifts each image by up to an eighth of its side (4 of 32 pixels), filling with black; mirrors half.

    Takes and returns n x 3 x side x side bytes.
    """
    count, _, side, _ = images.shape
    pad = side // 8
    windows = F.pad(images, (pad, pad, pad, pad)).unfold(2, side, 1).unfold(3, side, 1)
    down, right = torch.randint(2 * pad + 1, (2, count), generator=generator).to(images.device)
    images = windows[torch.arange(count, device=images.device), :, down, right]
    if flips:
        mirrored = (torch.rand(count, generator=generator) < 0.5).to(images.device)
        images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
    return images


def _normalise(images: Tensor) -> Tensor:
    """Bytes to about [-2, 2]; the network's first BatchNorm finds each channel's mean and deviation."""
    return ((images.float() - 127.5) / 64).contiguous(memory_format=torch.channels_last)


def _autocast(device: torch.device) -> torch.autocast:
    """Mixed precision on GPUs with bfloat16 (Ampere on), which unlike float16 needs no loss scaling."""
    able = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=able)


def _train_epoch(
    model: nn.Module,
    optimizer: torch.optim.SGD,
    images: Tensor,
    labels: Tensor,
    settings: Settings,
    epoch: int,
    flips: bool,
) -> float:
    """One pass over n x 3 x height x width bytes and n labels; returns the mean loss (nats) of its steps."""
    model.train()
    total = torch.zeros((), device=images.device)  # read once an epoch: each reading would make a GPU wait
    steps = max(1, len(labels) // settings.batch_size)
    for step, (batch, truth) in enumerate(_batches(images, labels, settings, epoch, flips)):
        optimizer.param_groups[0]["lr"] = _learning_rate(
            settings, (epoch - 1 + step / steps) / settings.epochs
        )
        with _autocast(images.device):
            loss = F.cross_entropy(model(batch), truth)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.detach()
    return float(total) / steps


def _learning_rate(settings: Settings, progress: float) -> float:
    """After this fraction of the run; https://arxiv.org/abs/1608.03983 without restarts."""
    if settings.schedule == "none":
        return settings.learning_rate
    return settings.learning_rate * (1 + math.cos(math.pi * progress)) / 2


def _evaluate(model: nn.Module, images: Tensor, labels: Tensor) -> tuple[float, float]:
    """Accuracy and mean cross-entropy (nats) of n x 3 x height x width bytes and n labels."""
    model.eval()
    correct, loss = 0, 0.0
    with torch.inference_mode(), _autocast(images.device):
        for batch, truth in zip(images.split(EVALUATION_BATCH), labels.split(EVALUATION_BATCH), strict=True):
            logits = model(_normalise(batch)).float()
            correct += int((logits.argmax(dim=1) == truth).sum())
            loss += float(F.cross_entropy(logits, truth, reduction="sum"))
    return correct / len(labels), loss / len(labels)


def _is_due(settings: Settings, epoch: int) -> bool:
    every = settings.checkpoint_every
    return every > 0 and (epoch % every == 0 or epoch == settings.epochs)


def _save(folder: Path, model: nn.Module, optimizer: torch.optim.SGD, epoch: int) -> None:
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()["state"], "epoch": epoch}
    torch.save(state, folder / CHECKPOINT)


def _load(folder: Path, model: nn.Module, optimizer: torch.optim.SGD) -> int:
    """Fills in weights and momentum, not the hyperparameters; returns the epoch they were saved after."""
    state = torch.load(folder / CHECKPOINT, map_location="cpu", weights_only=True)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state["optimizer"]})
    return int(state["epoch"])


def test_accuracy(model: nn.Module, settings: Settings) -> float:
    """The fraction of the test images that `model` gets right: for once, after every choice has been made."""
    images, labels = open_dataset(settings.data, settings.data_dir).test()
    device = next(model.parameters()).device
    accuracy, _ = _evaluate(model, *_on_device(images, labels, np.arange(len(labels)), device))
    return accuracy
