"""The suggestions of a run: those that wait for a worker, and the question to the searcher that is open.

The searcher's part of `RunState`, which hands on the events about it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from raytune_gp import events as ev
from raytune_gp import messages as msg
from raytune_gp.due import Due
from raytune_gp.trial import Config, Observation

__all__ = ["ReadySuggestion", "Suggestions"]


@dataclass(frozen=True, slots=True)
class ReadySuggestion:
    """A suggestion that waits for a worker.

    It was made from the first `completed` observations, and there were `arrived` of them when it came.
    """

    config: Config
    provenance: Mapping[str, Any]
    completed: int
    arrived: int


@dataclass
class Suggestions:
    """What was asked of the searcher, and what it answered.

    `ready` are those that wait, `request` the question without an answer yet. `requests` counts the
    questions, and `suggested` the suggestions that came and were not forgotten: the ordinal of the next.
    `pending` are the configs without a value that go with the open one. `memory` is what the searcher wants
    back with the next question; `exhausted` that it has no more.
    """

    ready: deque[ReadySuggestion] = field(default_factory=deque)
    request: ev.SuggestionsRequested | None = None
    pending: tuple[Config, ...] = ()
    requests: int = 0
    suggested: int = 0
    memory: Mapping[str, Any] | None = None
    exhausted: bool = False

    def requested(
        self,
        event: ev.SuggestionsRequested,
        observations: Sequence[Observation],
        unfinished: Iterable[Config],
        due: Due,
    ) -> None:
        """The searcher is asked, on the first observations, and with everything pending: see the event."""
        self.requests = event.request + 1
        self.request = event
        self.pending = (*unfinished, *(suggestion.config for suggestion in self.ready))
        self.ask(observations, due)

    def ask(self, observations: Sequence[Observation], due: Due) -> None:
        """Call for the answer to the open question, if there is one."""
        if self.request is None:
            return
        asked = self.request
        completed = tuple(observations[: asked.completed])
        due["suggest"] = msg.Suggest(
            asked.request, asked.count, asked.start, completed, self.pending, self.memory
        )

    def answered(self, event: ev.SuggestionsReady, observed: int, due: Due) -> None:
        """The searcher's answer, when there are `observed` observations."""
        assert self.request is not None
        completed = self.request.completed
        for suggestion in event.suggestions:
            self.ready.append(
                ReadySuggestion(suggestion["config"], suggestion["provenance"], completed, observed)
            )
        self.suggested += len(event.suggestions)
        self.request, self.pending = None, ()
        self.memory = event.memory
        self.exhausted = event.exhausted
        due.pop("suggest", None)

    def forget(self, due: Due) -> None:
        """Drop those that wait, and the open request that counted on them; their ordinals are free again."""
        if self.ready:
            self.suggested -= len(self.ready)
            self.exhausted = False
            self.ready.clear()
        self.request, self.pending = None, ()
        due.pop("suggest", None)
