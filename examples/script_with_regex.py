"""Tune a program as it is: hyperparameters become its arguments, metrics are read from what it prints.

    python examples/script_with_regex.py       (TRIALS=5 for a quick look)

`train_digits.py` beside this file could be any program; `python` is the interpreter of the worker, and the
path of another one would do as well.
"""

from __future__ import annotations

import os
from pathlib import Path

from raytune_gp import tune

PROGRAM = Path(__file__).resolve().with_name("train_digits.py")

if __name__ == "__main__":
    results = tune.run(
        tune.Script(["python", str(PROGRAM)], metrics={"accuracy": "accuracy={float}"}),
        config={
            "learning_rate": tune.loguniform(1e-4, 1.0),
            "alpha": tune.loguniform(1e-6, 1e-1),
            "penalty": tune.choice(["l1", "l2"]),
            "epochs": 5,
        },
        metric="accuracy",
        mode="max",
        num_samples=int(os.environ.get("TRIALS", "15")),
        max_concurrent_trials=2,
    )
    best = results.get_best_result()
    print(f"best accuracy {best.metrics['accuracy']:.3f} with {best.config}")
    print(f"what it printed is in {best.log_path}")
