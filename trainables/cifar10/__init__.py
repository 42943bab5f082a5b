"""CIFAR-10 classified by residual networks: `train(config)` to tune, `python -m trainables.cifar10` alone."""

from __future__ import annotations

from trainables.cifar10.train import Settings, fit, test_accuracy, train

__all__ = ["Settings", "fit", "test_accuracy", "train"]
