"""Carry out a `Suggest` command: the one place where a searcher is asked, whichever executor runs it.

It stands between the journal's JSON configs and the searcher's real ones, puts the user's own guesses
first, fixes grid axes, and resolves constants and `sample_from` after the searcher.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from raytune_gp.messages import Input, Suggest, Suggested, SuggestFailed
from raytune_gp.protocols import Searcher, SuggestionRequest
from raytune_gp.space import SearchSpace
from raytune_gp.trial import Config, Observation, Suggestion

__all__ = ["Asker"]

_RESOLVE = 1
"""Keeps the random stream of `sample_from` apart from that of the searcher."""


class Asker:
    """Asks `searcher` for suggestions in `space`, the user's `guesses` (`points_to_evaluate`) first."""

    def __init__(self, searcher: Searcher, space: SearchSpace, *, seed: int, guesses: Sequence[Config] = ()):
        self.searcher = searcher
        self.space = space
        self._seed = seed
        self._guesses = guesses
        self._cells = space.grid_cells()
        self._converted: dict[str, Observation] = {}

    def ask(self, command: Suggest) -> Input:
        """The answer to `command`; never raises."""
        try:
            return self._answer(command)
        except Exception:
            return SuggestFailed(command.request, traceback.format_exc())

    def _answer(self, command: Suggest) -> Suggested:
        began = time.perf_counter()
        guesses = self._guesses[command.start : command.start + command.count]
        suggestions = [
            Suggestion(self.space.complete(g, self._rng(command.start + i)), {"method": "guess"})
            for i, g in enumerate(guesses)
        ]
        wanted = command.count - len(suggestions)
        memory = command.memory
        if wanted:
            batch = self._batch(command, command.start + len(guesses), wanted, suggestions)
            suggestions += batch.suggestions
            memory = batch.memory
        milliseconds = round(1000 * (time.perf_counter() - began) / max(1, len(suggestions)), 2)
        answers = []
        for position, suggestion in enumerate(suggestions):
            config = self.space.resolve(suggestion.config, self._rng(command.start + position))
            provenance = {**suggestion.provenance, "milliseconds": milliseconds}
            answers.append({"config": self.space.to_json(config), "provenance": provenance})
        return Suggested(command.request, answers, memory, exhausted=len(suggestions) < command.count)

    def _batch(self, command: Suggest, start: int, count: int, before: Sequence[Suggestion]) -> Any:
        if self.searcher.uses_results:
            pending = [self.space.from_json(c) for c in command.pending] + [s.config for s in before]
            self.searcher.update([self._restored(o) for o in command.completed], pending)
        fixed = None
        if len(self._cells) > 1 or self._cells[0]:
            fixed = [self._cells[(start + i) % len(self._cells)] for i in range(count)]
        return self.searcher.suggest(SuggestionRequest(command.request, count, start, command.memory, fixed))

    def _restored(self, observation: Observation) -> Observation:
        """The observation with its config as the searcher knows it; each trial's is converted once."""
        restored = self._converted.get(observation.trial_id)
        if restored is None:
            config = self.space.from_json(observation.config)
            restored = replace(observation, config=config)
            self._converted[observation.trial_id] = restored
        return restored

    def _rng(self, ordinal: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, _RESOLVE, ordinal])
