"""Carry out a `Suggest` command: the one place where a searcher is asked, whichever executor runs it.

It stands between the journal's JSON configs and the searcher's real ones, puts the user's own guesses
first, fixes grid axes, and resolves constants and `sample_from` after the searcher.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from raytune_gp.errors import SpaceError
from raytune_gp.messages import Input, Suggest, Suggested, SuggestFailed
from raytune_gp.protocols import Searcher, SuggestionRequest
from raytune_gp.space import SearchSpace
from raytune_gp.trial import Config, Observation, Suggestion

__all__ = ["Asker", "make_guesses"]

_RESOLVE = 1
"""Keeps the random stream of `sample_from` apart from that of the searcher."""


def make_guesses(points: Iterable[Config] | None, space: SearchSpace) -> list[Config]:
    """The user's own guesses (`points_to_evaluate`), checked. Raises SpaceError for one not of the space."""
    if points is None:
        return []
    if isinstance(points, str | Mapping) or not isinstance(points, Iterable):
        raise SpaceError(f"points_to_evaluate is {points!r}; it must be a list of configs, such as [{{…}}]")
    guesses = list(points)
    for position, guess in enumerate(guesses):
        try:
            space.validate(guess)
        except SpaceError as error:
            raise SpaceError(f"points_to_evaluate[{position}]: {error}") from None
    return [_exact(guess, space) for guess in guesses]


def _exact(guess: Config, space: SearchSpace) -> Config:
    values = space.flat(guess).items()
    return space.nested({n: space.dimensions[n].exact(v) if n in space.dimensions else v for n, v in values})


class Asker:
    """Asks `searcher` for suggestions in `space`, the user's `guesses` (`points_to_evaluate`) first.

    The guesses are suggestions of the run like others: each takes its turn of the grid, unless it says
    itself which cell it is of. A searcher of a known length begins behind them, so that none of its configs
    is left out.
    """

    def __init__(self, searcher: Searcher, space: SearchSpace, *, seed: int, guesses: Sequence[Config] = ()):
        self.searcher = searcher
        self.space = space
        self._seed = seed
        self._guesses = guesses
        self._cells = space.grid_cells()
        self._behind = len(guesses) if hasattr(searcher, "__len__") else 0
        self._converted: dict[str, tuple[Observation, Observation]] = {}

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
            Suggestion(self._completed(guess, command.start + i), {"method": "guess"})
            for i, guess in enumerate(guesses)
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

    def _completed(self, guess: Config, ordinal: int) -> Config:
        """The guess with what it lacks: grid axes of the next cell that agrees, the rest by chance."""
        flat = self.space.flat(guess)
        turn = ordinal % len(self._cells)
        cells = (cell for cell in (*self._cells[turn:], *self._cells[:turn]) if self._agree(cell, flat))
        return self.space.complete(self.space.nested({**next(cells, {}), **flat}), self._rng(ordinal))

    def _agree(self, cell: Config, flat: Config) -> bool:
        return all(
            name in cell and axis.to_unit(cell[name]) == axis.to_unit(flat[name])
            for name, axis in self.space.grid_axes.items()
            if name in flat
        )

    def _batch(self, command: Suggest, start: int, count: int, before: Sequence[Suggestion]) -> Any:
        if self.searcher.uses_results:
            pending = [self.space.from_json(c) for c in command.pending] + [s.config for s in before]
            self.searcher.update([self._restored(o) for o in command.completed], pending)
        fixed = None
        if len(self._cells) > 1 or self._cells[0]:
            fixed = [self._cells[(start + i) % len(self._cells)] for i in range(count)]
        request = SuggestionRequest(command.request, count, start - self._behind, command.memory, fixed)
        return self.searcher.suggest(request)

    def _restored(self, observation: Observation) -> Observation:
        """The observation with its config as the searcher knows it; each trial's is converted once."""
        known = self._converted.get(observation.trial_id)
        if known is None or known[0] is not observation:
            known = observation, replace(observation, config=self.space.from_json(observation.config))
            self._converted[observation.trial_id] = known
        return known[1]

    def _rng(self, ordinal: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, _RESOLVE, ordinal])
