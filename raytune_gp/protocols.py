"""The seams of raytune-gp: what a searcher, scheduler, executor and journal are.

Each is a Protocol: an implementation needs no base class, and one contract suite in the tests holds for
all implementations of a seam.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from raytune_gp.events import Event
from raytune_gp.messages import Command, Input, Suggest
from raytune_gp.snapshots import Part
from raytune_gp.trial import Config, Observation, Suggestion, Trial

__all__ = [
    "Advisor",
    "Continue",
    "Decision",
    "Executor",
    "Exploit",
    "Journal",
    "Pause",
    "Restorable",
    "Scheduler",
    "Searcher",
    "Stop",
    "SuggestionBatch",
    "SuggestionRequest",
]


@dataclass(frozen=True, slots=True)
class SuggestionRequest:
    """What a searcher is asked for.

    `id` numbers the requests of a run, and seeds this one together with the run's seed. `start` is the
    ordinal of the first suggestion wanted: a run's suggestions are numbered from 0, so that a searcher
    that follows a sequence (Sobol, grid) needs no memory. `memory` is what the last answer returned as
    its memory (fitted hyperparameters), None at first. `fixed` holds, for each suggestion, the values of
    grid axes that it must take (flat names), or is None.
    """

    id: int
    count: int
    start: int = 0
    memory: Mapping[str, Any] | None = None
    fixed: Sequence[Mapping[str, Any]] | None = None


@dataclass(frozen=True, slots=True)
class SuggestionBatch:
    """A searcher's answer. Fewer suggestions than asked for mean: there are no more, ever."""

    suggestions: Sequence[Suggestion]
    memory: Mapping[str, Any] | None = None


@runtime_checkable
class Searcher(Protocol):
    """Proposes configs.

    `suggest` is a function of the last `update`, of the request, and of what the constructor was given;
    caches never change an answer, and what was suggested is not recorded (the caller says what is
    pending). `uses_results` is False where the answer does not depend on `update`: such suggestions can
    be asked for ahead of time. In runs on Ray, one with a `device` that is `"cuda"` gets a share of a GPU;
    the process of any other sees none.
    """

    uses_results: bool

    def update(self, completed: Sequence[Observation], pending: Sequence[Config]) -> None:
        """Take a full, immutable snapshot: every finished observation, every config without a value."""

    def suggest(self, request: SuggestionRequest) -> SuggestionBatch:
        """Propose `request.count` configs.

        A searcher that uses results proposes none that is finished or pending, where there are others.
        """


class Advisor(Protocol):
    """Asks the searcher on behalf of an executor (`searchers.asking.Asker`)."""

    def ask(self, command: Suggest) -> Input:
        """The answer to `command`, Suggested or SuggestFailed; never raises."""


@dataclass(frozen=True, slots=True)
class Continue:
    """Let the trial run on."""


@dataclass(frozen=True, slots=True)
class Stop:
    """End the trial; its objective stays that of the step it was decided on."""

    reason: str


@dataclass(frozen=True, slots=True)
class Pause:
    """Free the worker; the trial waits with its checkpoint until `next_to_resume` names it.

    A trial that has no checkpoint goes on instead.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class Exploit:
    """Go on from the checkpoint of trial `source`, with another config (population-based training)."""

    source: str
    config: Config
    reason: str


Decision = Continue | Stop | Pause | Exploit


class Scheduler(Protocol):
    """Decides which running trials go on, and touches nothing.

    `apply` sees every event, live and in replay, and updates what the scheduler knows; `on_result` and
    `next_to_resume` are pure. `rule` names the rule and its version, kept with each decision.
    """

    rule: str

    def apply(self, event: Event, trials: Mapping[str, Trial]) -> None:
        """Learn from `event`, which `trials` reflects already."""

    def on_result(self, trial: Trial) -> Decision:
        """What becomes of `trial` after its newest report, which may be its last: no trial says so before."""

    def next_to_resume(self) -> str | None:
        """The id of the paused trial to give the next free worker, or None."""


@runtime_checkable
class Restorable(Protocol):
    """A scheduler that can begin in the midst of a run: others see the whole journal at each restart."""

    def snapshot(self) -> Mapping[str, Any]:
        """What it knows and cannot read off the trials, as JSON."""

    def restore(self, snapshot: Mapping[str, Any], trials: Mapping[str, Trial]) -> None:
        """Know what it knew at `snapshot`, when the trials were as they are now."""


class Executor(Protocol):
    """Carries out commands and brings back inputs: Ray, virtual time, or this very process."""

    def now(self) -> float:
        """Seconds since the epoch, real or virtual."""

    def next(self, deadline: float | None) -> Sequence[Input]:
        """Wait for inputs, until `deadline` at the latest; at most 500 at a time, possibly none."""

    def send(self, command: Command) -> None:
        """Take a command to carry out. Never blocks, never raises; a repeated command has no effect."""

    def close(self) -> None:
        """Release what the executor holds, once the loop is over."""


class Journal(Protocol):
    """An append-only log of events for each run, with a term that fences off stale writers."""

    def raise_term(self, run: str) -> int:
        """Take the run over: later appends under a lower term are refused. Returns the new term."""

    def append(
        self,
        run: str,
        term: int,
        first_index: int,
        events: Sequence[Event],
        requests: Sequence[UserRequest] = (),
    ) -> None:
        """Commit `events` at indices from `first_index` and close `requests`, durably and all or none.

        Raises StaleTermError where another coordinator has raised the term.
        """

    def read(self, run: str, after_index: int = -1) -> Iterator[tuple[int, Event]]:
        """The committed events behind `after_index`, in order."""

    def open_requests(self, run: str) -> Sequence[UserRequest]:
        """What other shells have asked of the run and no commit has closed yet, the oldest first."""

    def keep_part(self, run: str, term: int, part: Part) -> None:
        """Store a part of the run's snapshot, in place of all that are behind the one that it follows.

        Raises StaleTermError as `append` does.
        """

    def parts(self, run: str) -> Iterator[tuple[Part, str | None]]:
        """The parts of the run's snapshot in order, each with the JSON of the event at its position.

        None where there is no such event.
        """


@dataclass(frozen=True, slots=True)
class UserRequest:
    """A row of the requests table, closed by the commit of what it led to.

    `kind` is stop (with a `reason`), stop_trial (`trial` and `reason`) or resume (changes of the spec).
    """

    id: int
    kind: str
    body: Mapping[str, Any] = field(default_factory=dict)
