"""A training program that knows nothing of raytune-gp: arguments in, lines of text out.

python examples/train_digits.py --learning_rate 0.01 --penalty l2
"""

from __future__ import annotations

import argparse

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier

parser = argparse.ArgumentParser()
parser.add_argument("--learning_rate", type=float, default=0.01)
parser.add_argument("--alpha", type=float, default=1e-4)
parser.add_argument("--penalty", choices=["l1", "l2"], default="l2")
parser.add_argument("--epochs", type=int, default=5)
arguments = parser.parse_args()

images, labels = load_digits(return_X_y=True)
images = images / 16
classifier = SGDClassifier(
    loss="log_loss",
    learning_rate="constant",
    eta0=arguments.learning_rate,
    alpha=arguments.alpha,
    penalty=arguments.penalty,
    random_state=0,
)
for epoch in range(1, arguments.epochs + 1):
    classifier.partial_fit(images[:1200], labels[:1200], classes=np.arange(10))
    print(f"epoch {epoch}: validation accuracy={classifier.score(images[1200:], labels[1200:]):.4f}")
