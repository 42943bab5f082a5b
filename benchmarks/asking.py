"""A searcher asked and told by hand: what a run does around it, without trials, workers or a journal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from raytune_gp.protocols import Searcher, SuggestionRequest
from raytune_gp.trial import Config, Observation

__all__ = ["Asked"]


class Asked:
    """A searcher with the snapshot that it is given before each suggestion.

    Trials are known by their ordinals, which count from 0: first those of `done` and then those of
    `pending`, which were not asked for here. `running` are the configs that are pending now.
    """

    def __init__(self, searcher: Searcher, done: Sequence[Observation] = (), pending: Sequence[Config] = ()):
        self.running: dict[int, Config] = dict(enumerate(pending, len(done)))
        self._searcher = searcher
        self._done = list(done)
        self._memory: Mapping[str, Any] | None = None

    def ask(self, ordinal: int) -> Config:
        """The config of trial `ordinal`, which is pending from now on."""
        return self.ask_many(ordinal, 1)[0]

    def ask_many(self, ordinal: int, count: int) -> list[Config]:
        """The configs of `count` trials, the first of them `ordinal`, of one question to the searcher."""
        self._searcher.update(tuple(self._done), tuple(self.running.values()))
        batch = self._searcher.suggest(SuggestionRequest(ordinal, count, ordinal, self._memory))
        self._memory = batch.memory
        configs = [suggestion.config for suggestion in batch.suggestions]
        self.running |= enumerate(configs, ordinal)
        return configs

    def tell(self, ordinal: int, value: float | None) -> None:
        """What trial `ordinal` came to: a finite value, or None where it failed."""
        config, values = self.running.pop(ordinal), None if value is None else (value,)
        failure = "failed" if value is None else None
        self._done.append(Observation(config, values, str(ordinal), failure))
