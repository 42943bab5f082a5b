"""The state of a run: what its events add up to.

`RunState.apply` is the only thing that changes it, live, in replay and in every reader of a journal;
transitions.py says what each event changes. Nothing is decided here: experiment.py does that. What the state
calls for in the world is gathered in `due`, a command for each key, replaced or withdrawn as events come.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from raytune_gp import events as ev
from raytune_gp.codec import DAMAGE
from raytune_gp.crew import Crew, Worker
from raytune_gp.due import Due
from raytune_gp.errors import JournalLostError
from raytune_gp.packing import AUTO, Packing
from raytune_gp.retention import Loans
from raytune_gp.spec import UNLIMITED, ExperimentSpec
from raytune_gp.status import RunStatus
from raytune_gp.suggestions import ReadySuggestion, Suggestions
from raytune_gp.transitions import TRANSITIONS
from raytune_gp.trial import Observation, Trial
from raytune_gp.unheard import Unheard

__all__ = ["RunState"]


@dataclass
class RunState:
    """Everything that is known about a run after `index + 1` of its events.

    `queue`, `running` and `paused` hold the ids of the trials that are not finished.
    `interval_s` is the longest that a trial ever took to its next report, in seconds. `changed` are the
    finished trials that the last snapshot does not have as they are; whoever takes one empties it.
    `worker_s` is for how long there were workers, in seconds and all together, and `busy_s` for how long they
    had attempts. `leader` is the id of the best trial, as `best` says.
    """

    spec: ExperimentSpec = field(init=False)
    status: RunStatus = RunStatus.RUNNING
    reason: str = ""
    index: int = -1
    now: float = 0.0
    created_at: float = 0.0
    term: int = 0
    starts: int = 0
    versions: Mapping[str, str] = field(default_factory=dict)
    machine: Mapping[str, str] = field(default_factory=dict)
    capacity: int | None = None
    trials: dict[str, Trial] = field(default_factory=dict)
    queue: deque[str] = field(default_factory=deque)
    running: dict[str, None] = field(default_factory=dict)
    paused: dict[str, None] = field(default_factory=dict)
    crew: Crew = field(default_factory=Crew)
    observations: list[Observation] = field(default_factory=list)
    suggestions: Suggestions = field(default_factory=Suggestions)
    loans: Loans = field(default_factory=Loans)
    unheard: Unheard = field(default_factory=Unheard)
    packing: Packing = field(default_factory=Packing)
    interval_s: float | None = None
    worker_s: float = 0.0
    busy_s: float = 0.0
    leader: str | None = None
    due: Due = field(default_factory=dict, compare=False, repr=False)
    changed: set[str] = field(default_factory=set, compare=False, repr=False)

    @classmethod
    def of(cls, events: Iterable[ev.Event]) -> RunState:
        """The state that `events` add up to, for a reader: what is due in the world is not its affair.

        Raises JournalLostError, as `follow`.
        """
        state = cls()
        state.follow(events)
        state.due.clear()
        return state

    def follow(self, events: Iterable[ev.Event], apply: Callable[[ev.Event], object] | None = None) -> None:
        """Apply events from a journal, by `apply` where it is given: that of an experiment around this state.

        Raises JournalLostError for an event that cannot follow from those before it.
        """
        for event in events:
            before = self.index
            try:
                (apply or self.apply)(event)
            except DAMAGE as error:
                if self.index > before:  # the state took it: what raises is a scheduler
                    raise
                raise JournalLostError(
                    f"the journal is damaged: event {before + 1} ({type(event).__name__}) cannot follow from "
                    f"those before it ({type(error).__name__}: {error}). Put a copy in its place"
                ) from error
        if self.index < 0:
            raise JournalLostError("the journal is damaged: it knows the run and has no event of it")

    def apply(self, event: ev.Event) -> None:
        """Make `event` part of the state."""
        seconds = event.at - self.now
        if seconds > 0 and type(event) is not ev.RunResumed:  # before which nobody knows how long it ran
            self.busy_s += seconds * len(self.running)
            self.worker_s += seconds * (len(self.running) + len(self.crew.idle))
        TRANSITIONS[type(event)](self, event)
        self.index += 1
        self.now = event.at

    def reconnect(self) -> None:
        """Call for a connection to every live worker, behind what is journalled: a coordinator came back."""
        self.crew.reconnect(self.due)

    # --- what readers ask ---

    @property
    def workers(self) -> Mapping[str, Worker]:
        """The workers that live, by id."""
        return self.crew.workers

    @property
    def ready(self) -> Sequence[ReadySuggestion]:
        """The suggestions that wait for a worker, the oldest first."""
        return self.suggestions.ready

    @property
    def request(self) -> ev.SuggestionsRequested | None:
        """The question to the searcher that has no answer yet."""
        return self.suggestions.request

    @property
    def budget(self) -> float:
        """How many trials the run may still create, beyond those created and the suggestions that wait."""
        if self.suggestions.exhausted or self.status is not RunStatus.RUNNING:
            return 0
        if self.spec.num_samples == UNLIMITED:
            return float("inf")
        return max(0, self.spec.num_samples - len(self.trials) - len(self.ready))

    @property
    def unfinished(self) -> int:
        """The number of trials that are waiting, running or paused."""
        return len(self.trials) - len(self.observations)

    @property
    def trials_per_gpu(self) -> int:
        """How many trials share a GPU as the run decides; 1 where it is not left to the run."""
        return self.packing.trials_per_gpu if self.spec.resources.get("gpu") == AUTO else 1

    def best(self) -> Trial | None:
        """The finished trial with the best objective in the first metric, the earliest among equals."""
        return self.trials[self.leader] if self.leader is not None else None
