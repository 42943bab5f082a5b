"""Ask and tell: the searcher in your own loop, without Ray, trials or a journal.

    python examples/ask_tell.py

For whatever cannot be a function call: a laboratory, a wind tunnel, another scheduler. Here four batches of
four "experiments" brew coffee. What is asked and not yet told is pending, and the next suggestions keep
clear of it; an experiment that failed is told as None.
"""

from __future__ import annotations

import math
from typing import Any

from raytune_gp import tune


def brew(recipe: dict[str, Any]) -> float | None:
    """The bitterness off the ideal, from 0; None where the filter clogs."""
    if recipe["grind"] == "fine" and recipe["celsius"] > 97:
        return None
    ideal = {"fine": 88.0, "medium": 92.0, "coarse": 95.0}[recipe["grind"]]
    extra = {"fine": 0.3, "medium": 0.0, "coarse": 0.2}[recipe["grind"]]
    return extra + ((recipe["celsius"] - ideal) / 5) ** 2 + math.log(recipe["seconds"] / 210) ** 2


if __name__ == "__main__":
    optimizer = tune.Optimizer(
        {
            "celsius": tune.uniform(80, 100),
            "seconds": tune.lograndint(30, 601),
            "grind": tune.choice(["fine", "medium", "coarse"]),
        },
        mode="min",
        seed=0,
        points_to_evaluate=[{"celsius": 94.0, "seconds": 240, "grind": "medium"}],
    )
    for batch in range(4):
        for suggestion in optimizer.ask(4):
            optimizer.tell(suggestion.config, brew(suggestion.config))
        if optimizer.best is not None:
            recipe, off = optimizer.best
            print(f"after batch {batch + 1}: {off:.3f} off the ideal with {recipe}")
