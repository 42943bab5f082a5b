"""Ask and tell: a searcher in the hands of the user's own loop, without Ray, trials or a journal."""

from __future__ import annotations

import numbers
import threading
from collections.abc import Hashable, Iterable, Mapping
from typing import Any, SupportsFloat

from raytune_gp.errors import SpaceError, SpecError
from raytune_gp.messages import Suggest, Suggested
from raytune_gp.protocols import Searcher
from raytune_gp.searchers import resolve_searcher
from raytune_gp.searchers.asking import Asker, make_guesses
from raytune_gp.space import SearchSpace
from raytune_gp.space.checks import is_finite_number
from raytune_gp.space.plain import scalar, unboxed
from raytune_gp.trial import Config, Metric, Observation, Suggestion

__all__ = ["Optimizer"]


class Optimizer:
    """Proposes configs and learns from what came of them.

    Asked and untold configs are pending: another `ask` steers clear of them. Safe to use from several
    threads. The same seed and calls give the same configs.

    Args:
        space: hyperparameter name to domain, as `tune.run` takes it.
        mode: `"max"` or `"min"`.
        search_alg: as `tune.run` takes it: a name, `{"name": …, options}`, or a searcher for the same space.
        seed: of the searcher and of `sample_from`.
        points_to_evaluate: the user's own guesses, proposed first.
    """

    def __init__(
        self,
        space: Mapping[str, Any] | SearchSpace,
        *,
        mode: str = "max",
        search_alg: str | Mapping[str, Any] | Searcher | None = "gp",
        seed: int = 0,
        points_to_evaluate: Iterable[Config] | None = None,
    ):
        if mode not in ("max", "min"):
            raise SpecError(f'mode is {mode!r}; it must be "max" or "min"')
        self.space = space if isinstance(space, SearchSpace) else SearchSpace(space)
        self._metric = Metric("value", mode)
        seed = unboxed(seed)
        searcher, _ = resolve_searcher(search_alg, self.space, self._metric, seed)
        guesses = make_guesses(points_to_evaluate, self.space)
        self._asker = Asker(searcher, self.space, seed=seed, guesses=guesses)
        self._completed: list[Observation] = []
        self._pending: list[tuple[Hashable, Config]] = []
        self._asks = self._asked = 0
        self._memory: Mapping[str, Any] | None = None
        self._lock = threading.Lock()

    def ask(self, count: int = 1) -> list[Suggestion]:
        """`count` suggestions; fewer only where a finite searcher (grid) has no more.

        Each has a `config`, and a `provenance` that says how it was found.
        """
        count = unboxed(count)
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise SpecError(f"count is {count!r}; it must be a whole number of at least 1")
        with self._lock:
            pending = tuple(form for _, form in self._pending)
            command = Suggest(self._asks, count, self._asked, tuple(self._completed), pending, self._memory)
            answer = self._asker.ask(command)
            if not isinstance(answer, Suggested):
                raise SpecError(f"the searcher raised: {getattr(answer, 'error', answer)}")
            self._asks += 1
            self._asked += len(answer.suggestions)
            self._memory = answer.memory
            made = []
            for answered in answer.suggestions:
                form = answered["config"]
                made.append(Suggestion(self.space.from_json(form), answered["provenance"]))
                self._pending.append((self.space.key(made[-1].config), form))
            return made

    def tell(self, config: Config | Suggestion, value: SupportsFloat | None) -> None:
        """What came of `config`: its value (PyTorch's scalars serve too), or None (or NaN) where it failed.

        The config need not have been asked for. Raises SpaceError where it is no config of the space.
        """
        if isinstance(config, Suggestion):
            config = config.config
        self.space.validate(config, complete=True)
        value = scalar(value)
        if value is not None and (isinstance(value, bool) or not isinstance(value, numbers.Real)):
            raise SpaceError(f"value is {value!r}; it must be a number, or None for a failed config")
        finite = is_finite_number(value)
        form = self.space.to_json(config)
        key = self.space.key(self.space.from_json(form))
        with self._lock:
            position = next((i for i, (known, _) in enumerate(self._pending) if known == key), None)
            if position is not None:
                del self._pending[position]
            values = (float(value),) if value is not None and finite else None
            trial = str(len(self._completed))
            self._completed.append(Observation(form, values, trial, None if finite else "failed"))

    @property
    def pending(self) -> list[Config]:
        """The configs that were asked for and not told of."""
        with self._lock:
            return [self.space.from_json(form) for _, form in self._pending]

    @property
    def best(self) -> tuple[Config, float] | None:
        """The best config told of and its value, or None."""
        best: tuple[Config, float] | None = None
        with self._lock:
            completed = list(self._completed)
        for observation in completed:
            if observation.values is None:
                continue
            value = observation.values[0]
            if best is None or self._metric.better(value, best[1]):
                best = (observation.config, value)
        return None if best is None else (self.space.from_json(best[0]), best[1])
