"""A training script as SageMaker runs it, which runs here too: raytune-gp run examples/sagemaker.yaml

It knows SageMaker's variables alone: directories for its model and its checkpoints, and goes on from what it
finds there. By hand: python examples/train_sagemaker.py --learning-rate 0.5
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

parser = argparse.ArgumentParser()
parser.add_argument("--learning-rate", type=float, default=0.1)
parser.add_argument("--momentum", type=float, default=0.9)
parser.add_argument("--epochs", type=int, default=5)
parser.add_argument("--model-dir", type=Path, default=os.environ.get("SM_MODEL_DIR", "model"))
parser.add_argument("--checkpoint-dir", type=Path, default=os.environ.get("SM_CHECKPOINT_DIR", "checkpoints"))
arguments = parser.parse_args()
for directory in (arguments.model_dir, arguments.checkpoint_dir):
    directory.mkdir(parents=True, exist_ok=True)

images, labels = load_digits(return_X_y=True)
images = np.hstack([images / 16, np.ones((len(images), 1))])
wanted = np.eye(10)[labels]
train, test = slice(0, 1200), slice(1200, None)

saved = arguments.checkpoint_dir / "state.npz"
weights = velocity = np.zeros((images.shape[1], 10))
first = 1
if saved.exists():
    state = np.load(saved)
    weights, velocity, first = state["weights"], state["velocity"], int(state["epoch"]) + 1
    print(f"going on with epoch {first}")


def probabilities(part: slice) -> np.ndarray:
    """n x 10: of each class for each image."""
    scores = images[part] @ weights
    scores = np.exp(scores - scores.max(axis=1, keepdims=True))
    return scores / scores.sum(axis=1, keepdims=True)


for epoch in range(first, arguments.epochs + 1):
    for start in range(0, 1200, 100):
        batch = slice(start, start + 100)
        gradient = images[batch].T @ (probabilities(batch) - wanted[batch]) / 100
        velocity = arguments.momentum * velocity - arguments.learning_rate * gradient
        weights = weights + velocity
    found = probabilities(test)
    loss = -np.log(found[np.arange(len(found)), labels[test]] + 1e-12).mean()
    accuracy = (found.argmax(axis=1) == labels[test]).mean()

    partial = saved.with_suffix(".tmp.npz")
    np.savez(partial, weights=weights, velocity=velocity, epoch=epoch)
    partial.replace(saved)  # a checkpoint is there whole, or not at all
    print(f"[epoch {epoch}] validation-accuracy={accuracy:.4f}; validation-loss={loss:.3g};")

np.save(arguments.model_dir / "weights.npy", weights)
(arguments.model_dir / "about.json").write_text(json.dumps({"epochs": arguments.epochs, "loss": float(loss)}))
