"""Trains ResNet-34 v2 of the Gluon model zoo on CIFAR-10, as the tuning demo of SageMaker does.

Read top to bottom: the options, the loop, its steps, the checkpoint. The line that a tuner scrapes is
`[Epoch 3] validation: accuracy=0.412000`.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mxnet as mx
import numpy as np
from mxnet import autograd, gluon

from trainables.cifar10_mxnet.images import Images, batches, open_images

__all__ = ["main"]

STATE = "checkpoint.json"


def main(arguments: Sequence[str] | None = None) -> int:
    """Parses, trains and prints; returns the exit status, 2 for options or data that cannot be."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout, force=True)
    try:
        _check(options)
        images = open_images(options.data, options.training_dir, options.validate_on, options.train_size)
    except (ValueError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    train(options, images)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m trainables.cifar10_mxnet", formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    gpus = os.environ.get("SM_NUM_GPUS")

    def add(name: str, kind: Any, default: Any, help: str, **more: Any) -> None:
        flags = dict.fromkeys((f"--{name}", f"--{name.replace('_', '-')}"))
        parser.add_argument(*flags, type=kind, default=default, help=help, **more)

    add("learning_rate", float, 0.1, "of SGD, the same to the end")
    add("momentum", float, 0.9, "of SGD")
    add("wd", float, 1e-4, "weight decay")
    add("batch_size", int, 128, "images a step on each GPU")
    add("epochs", int, 100, "passes over the training images")
    add("model", str, "resnet34_v2", "small: two convolutions, for CPUs", choices=("resnet34_v2", "small"))
    add("num_gpus", int, int(gpus) if gpus else mx.context.num_gpus(), "0: the CPU")
    add("log_interval", int, 1, "steps between two lines of training accuracy; 0: none")
    add(
        "data", str, "auto", "auto: digits without a copy or a network", choices=("auto", "cifar10", "digits")
    )
    add("training_dir", str, os.environ.get("SM_CHANNEL_TRAINING"), "archive of CIFAR-10, or its folder")
    add("validate_on", str, "test", "the demo: test", choices=("test", "held_out"))
    add("train_size", int, None, "train on so many, each class alike")
    add("seed", int, 0, "of weights and mirroring")
    add("model_dir", str, os.environ.get("SM_MODEL_DIR"), "keeps the best network, model.params")
    add(
        "checkpoint_dir",
        str,
        os.environ.get("SM_CHECKPOINT_DIR"),
        "keeps the last epoch, and goes on from it",
    )
    return parser


def _check(options: argparse.Namespace) -> None:
    """Raise ValueError, which names the option, its value and its limits."""
    limits = (
        ("learning_rate", 0 < options.learning_rate < float("inf"), "above 0"),
        ("momentum", 0 <= options.momentum < 1, "in [0, 1)"),
        ("wd", 0 <= options.wd < float("inf"), "at least 0"),
        ("batch_size", options.batch_size >= 1, "at least 1"),
        ("epochs", options.epochs >= 1, "at least 1"),
        ("log_interval", options.log_interval >= 0, "at least 0"),
        ("num_gpus", 0 <= options.num_gpus <= mx.context.num_gpus(), f"0 to {mx.context.num_gpus()} here"),
    )
    for name, holds, limit in limits:
        if not holds:
            raise ValueError(f"{name}={getattr(options, name)}: must be {limit}")


def train(options: argparse.Namespace, images: Images) -> None:
    """Trains for the epochs that remain, and says the accuracy after each, as the demo's `train` does."""
    mx.random.seed(options.seed)
    devices = [mx.gpu(i) for i in range(options.num_gpus)] or [mx.cpu()]
    network = _network(options.model)
    network.initialize(mx.init.Xavier(magnitude=2), ctx=devices)
    trainer = gluon.Trainer(
        network.collect_params(),
        "sgd",
        {"learning_rate": options.learning_rate, "momentum": options.momentum, "wd": options.wd},
        kvstore="device" if options.num_gpus else "local",
    )
    first, best = 0, 0.0
    folder = None if options.checkpoint_dir is None else Path(options.checkpoint_dir)
    if folder is not None and (folder / STATE).exists():
        first, best = _load(folder, network, trainer, devices)
    for epoch in range(first, options.epochs):
        began = time.time()
        accuracy = _train_epoch(network, trainer, images, devices, options, epoch)
        logging.info("[Epoch %d] training: accuracy=%f", epoch, accuracy)
        logging.info("[Epoch %d] time cost: %f", epoch, time.time() - began)
        accuracy = _evaluate(network, images.validation, devices, options)
        if accuracy > best:
            best = accuracy
            if options.model_dir is not None:
                _replace(Path(options.model_dir) / "model.params", network.save_parameters)
        if folder is not None:
            _save(folder, network, trainer, epoch, best)
        logging.info("[Epoch %d] validation: accuracy=%f", epoch, accuracy)


def _network(name: str) -> gluon.Block:
    if name == "resnet34_v2":
        return gluon.model_zoo.vision.get_model(name, classes=10, pretrained=False)
    network = gluon.nn.HybridSequential()
    # As the ResNet v2 of the model zoo begins, which gets pixels from 0 to 255.
    network.add(gluon.nn.BatchNorm(scale=False, center=False))
    for channels in (16, 32):
        network.add(
            gluon.nn.Conv2D(channels, 3, padding=1), gluon.nn.BatchNorm(), gluon.nn.Activation("relu")
        )
        network.add(gluon.nn.MaxPool2D(4, 4))
    network.add(gluon.nn.Dense(10))
    return network


def _train_epoch(
    network: gluon.Block,
    trainer: gluon.Trainer,
    images: Images,
    devices: list[mx.Context],
    options: argparse.Namespace,
    epoch: int,
) -> float:
    """One pass over the training images; returns the accuracy on them, as the network was at each step."""
    loss, accuracy = gluon.loss.SoftmaxCrossEntropyLoss(), mx.metric.Accuracy()
    size = options.batch_size * len(devices)
    mirror = np.random.default_rng([options.seed, epoch]) if images.mirrors else None
    for step, (data, labels) in enumerate(batches(*images.train, size, mirror, fill=True)):
        began = time.time()
        parts = gluon.utils.split_and_load(mx.nd.array(data), devices)
        truths = gluon.utils.split_and_load(mx.nd.array(labels), devices)
        with autograd.record():
            outputs = [network(part) for part in parts]
            losses = [loss(output, truth) for output, truth in zip(outputs, truths, strict=True)]
        for part in losses:  # after all have gone forward: then several GPUs work at a time
            part.backward()
        trainer.step(size)
        accuracy.update(truths, outputs)
        if options.log_interval and step and step % options.log_interval == 0:
            speed = size / (time.time() - began)
            line = "Epoch [%d] Batch [%d]\tSpeed: %f samples/sec\taccuracy=%f"
            logging.info(line, epoch, step, speed, accuracy.get()[1])
    return float(accuracy.get()[1])


def _evaluate(
    network: gluon.Block,
    part: tuple[np.ndarray, np.ndarray],
    devices: list[mx.Context],
    options: argparse.Namespace,
) -> float:
    """The fraction of images that the network gets right, each counted once."""
    accuracy = mx.metric.Accuracy()
    for data, labels in batches(*part, options.batch_size * len(devices), fill=False):
        split = {"ctx_list": devices[: len(labels)], "even_split": False}
        outputs = [network(part) for part in gluon.utils.split_and_load(mx.nd.array(data), **split)]
        accuracy.update(gluon.utils.split_and_load(mx.nd.array(labels), **split), outputs)
    return float(accuracy.get()[1])


def _save(folder: Path, network: gluon.Block, trainer: gluon.Trainer, epoch: int, best: float) -> None:
    """Weights and momentum under the epoch's own names; then, in one step, what tells of them."""
    folder.mkdir(parents=True, exist_ok=True)
    network.save_parameters(str(folder / f"{epoch:04d}.params"))
    trainer.save_states(str(folder / f"{epoch:04d}.states"))
    state = json.dumps({"epoch": epoch, "best": best})
    _replace(folder / STATE, lambda path: Path(path).write_text(state))
    for old in folder.glob("[0-9]*.*"):
        if old.stem != f"{epoch:04d}":
            old.unlink()


def _load(
    folder: Path, network: gluon.Block, trainer: gluon.Trainer, devices: list[mx.Context]
) -> tuple[int, float]:
    """Fills in weights and momentum; returns the epoch to go on with, and the best accuracy so far."""
    state = json.loads((folder / STATE).read_text())
    network.load_parameters(str(folder / f"{state['epoch']:04d}.params"), ctx=devices)
    trainer.load_states(str(folder / f"{state['epoch']:04d}.states"))
    logging.info("[Epoch %d] goes on after it, from %s", state["epoch"], folder)
    return state["epoch"] + 1, state["best"]


def _replace(path: Path, write: Any) -> None:
    """`write` to a file beside it, which then takes its place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    write(str(partial))
    partial.replace(path)


if __name__ == "__main__":
    sys.exit(main())
