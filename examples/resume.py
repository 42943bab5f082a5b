"""Go on with a run: everything a run knows is in its journal, and the same call takes it up again.

    python examples/resume.py

First eight trials, then twelve more of the same run. The finished ones are not run again, and the searcher
learns from all of them. After a crash or a stop the call with `resume=True` is the same.
"""

from __future__ import annotations

import time
from typing import Any

from raytune_gp import tune

NAME = time.strftime("resume_%Y%m%d_%H%M%S")


def train(config: dict[str, Any]) -> None:
    """Stands for a training: the loss is least at x = 0.3, y = -0.2."""
    tune.report({"loss": (config["x"] - 0.3) ** 2 + (config["y"] + 0.2) ** 2})


def go(trials: int, *, resume: bool) -> tune.ResultGrid:
    """Run until there are `trials` trials in all."""
    return tune.run(
        train,
        config={"x": tune.uniform(-1, 1), "y": tune.uniform(-1, 1)},
        metric="loss",
        mode="min",
        num_samples=trials,
        name=NAME,
        resume=resume,
        executor="inline",
        verbose=0,
    )


if __name__ == "__main__":
    first = go(8, resume=False)
    print(f"{len(first)} trials, best loss {first.best_result.metrics['loss']:.5f}")

    second = go(20, resume=True)
    kept = all(a.config == b.config and a.metrics == b.metrics for a, b in zip(first, second, strict=False))
    print(f"{len(second)} trials, best loss {second.best_result.metrics['loss']:.5f}")
    print(f"the first {len(first)} are what they were: {kept}")
