"""Tune your own PyTorch training function: learning rate, momentum, weight decay and width of a network.

    python examples/pytorch_function.py        (TRIALS=5 for a quick look)

Every epoch is reported with a checkpoint: a trial that loses its worker goes on from there, and the best
network can be loaded in the end. The median rule stops trials that lag behind.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch.nn import Linear, Module, ReLU, Sequential
from torch.nn.functional import cross_entropy

from raytune_gp import tune

EPOCHS = 10


def make_network(width: int) -> Module:
    """A network for handwritten digits of 8 x 8 pixels."""
    return Sequential(Linear(64, width), ReLU(), Linear(width, 10))


def train(config: dict[str, Any]) -> None:
    """Train for EPOCHS epochs, and report the accuracy on the last third of the digits after each."""
    images, labels = (torch.as_tensor(a) for a in load_digits(return_X_y=True))
    images = images.float() / 16
    train_x, train_y, test_x, test_y = images[:1200], labels[:1200], images[1200:], labels[1200:]

    torch.manual_seed(0)
    network = make_network(config["width"])
    optimizer = torch.optim.SGD(
        network.parameters(),
        lr=config["learning_rate"],
        momentum=config["momentum"],
        weight_decay=config["weight_decay"],
    )
    first = 0
    if checkpoint := tune.get_checkpoint():
        with checkpoint.as_directory() as directory:
            saved = torch.load(Path(directory) / "state.pt")
        network.load_state_dict(saved["network"])
        optimizer.load_state_dict(saved["optimizer"])
        first = saved["epoch"] + 1

    for epoch in range(first, EPOCHS):
        for batch in torch.randperm(len(train_x)).split(64):
            optimizer.zero_grad()
            cross_entropy(network(train_x[batch]), train_y[batch]).backward()
            optimizer.step()
        accuracy = (network(test_x).argmax(1) == test_y).float().mean()
        with tempfile.TemporaryDirectory() as directory:
            state = {"network": network.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch}
            torch.save(state, Path(directory) / "state.pt")
            tune.report({"accuracy": accuracy}, checkpoint=tune.Checkpoint.from_directory(directory))


if __name__ == "__main__":
    results = tune.run(
        train,
        config={
            "learning_rate": tune.loguniform(1e-3, 1.0),
            "momentum": tune.uniform(0.0, 0.99),
            "weight_decay": tune.loguniform(1e-6, 1e-1),
            "width": tune.lograndint(8, 129),
        },
        metric="accuracy",
        mode="max",
        num_samples=int(os.environ.get("TRIALS", "20")),
        max_concurrent_trials=2,
        scheduler="median",
        checkpoint_config=tune.CheckpointConfig(num_to_keep=1),
    )
    best = results.get_best_result()
    print(f"best accuracy {best.metrics['accuracy']:.3f} with {best.config}")

    network = make_network(best.config["width"])
    with best.checkpoint.as_directory() as directory:
        network.load_state_dict(torch.load(Path(directory) / "state.pt")["network"])
    print(f"loaded its network of {sum(p.numel() for p in network.parameters())} weights")
