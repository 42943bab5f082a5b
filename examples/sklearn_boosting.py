"""Tune gradient boosting in scikit-learn over a mixed space, parts of which exist only now and then.

    python examples/sklearn_boosting.py        (TRIALS=5 for a quick look)

A tree grows either by leaves or by depth: `tune.when` makes each bound exist only where its way of growing
was chosen, and the Gaussian process compares it only there.
"""

from __future__ import annotations

import os
from typing import Any

from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import cross_val_score

from raytune_gp import tune


def cross_validate(config: dict[str, Any]) -> dict[str, float]:
    """The mean log loss of three folds; a dictionary that a trainable returns is its last report."""
    tree = config["tree"]
    model = HistGradientBoostingClassifier(
        learning_rate=config["learning_rate"],
        max_iter=config["rounds"],
        l2_regularization=config["l2"],
        max_leaf_nodes=tree.get("max_leaf_nodes"),
        max_depth=tree.get("max_depth"),
        early_stopping=False,
        random_state=0,
    )
    measurements, labels = load_breast_cancer(return_X_y=True)
    scores = cross_val_score(model, measurements, labels, cv=3, scoring="neg_log_loss")
    return {"log_loss": -scores.mean()}


if __name__ == "__main__":
    results = tune.run(
        cross_validate,
        config={
            "learning_rate": tune.loguniform(1e-2, 1.0),
            "rounds": tune.qlograndint(10, 100, 5),
            "l2": tune.loguniform(1e-3, 10.0),
            "tree": {
                "growth": tune.choice(["leaves", "depth"]),
                "max_leaf_nodes": tune.when("tree/growth", ["leaves"], tune.lograndint(4, 65)),
                "max_depth": tune.when("tree/growth", ["depth"], tune.randint(2, 9)),
            },
        },
        metric="log_loss",
        mode="min",
        num_samples=int(os.environ.get("TRIALS", "25")),
        max_concurrent_trials=2,
    )
    best = results.get_best_result()
    print(f"best log loss {best.metrics['log_loss']:.4f} with {best.config}")
