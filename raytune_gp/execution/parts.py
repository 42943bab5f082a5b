"""What a run is made of besides its trainable: the same for every executor, and without Ray."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from raytune_gp.experiment import Experiment
from raytune_gp.searchers.asking import Asker

__all__ = ["Parts"]


@dataclass(frozen=True)
class Parts:
    """Space, searcher, scheduler and what else decides. `scheduler` makes a fresh one for each replay."""

    space: Any
    searcher: Any
    scheduler: Any
    guesses: Sequence[Any] = ()
    stopper: Any = None

    def make_experiment(self) -> Experiment:
        """An experiment that has seen no event."""
        return Experiment(self.scheduler(), uses_results=self.searcher.uses_results, stopper=self.stopper)

    def make_asker(self, seed: int) -> Asker:
        """The way to ask the searcher."""
        return Asker(self.searcher, self.space, seed=seed, guesses=self.guesses)
