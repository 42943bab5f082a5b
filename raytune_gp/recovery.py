"""A run's state from its journal: the last snapshot that can be used, and the events behind it.

A snapshot is a cache. One that is damaged, of other software, or of other events than those in the journal
is passed over, with a line in the log, and more of the journal is applied.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from raytune_gp import events as ev
from raytune_gp.codec import DAMAGE, event_to_json
from raytune_gp.errors import JournalLostError
from raytune_gp.experiment import Experiment
from raytune_gp.protocols import Journal, Restorable
from raytune_gp.snapshots import VERSION, Part, Thawing, digest_of, freeze
from raytune_gp.state import RunState

__all__ = ["EVERY", "Snapshots", "state_of"]

EVERY = 50_000
"""A part of the snapshot is taken after so many events."""

MANY = 1_000
"""Or sooner, once so many trials have finished, and no fewer than have not, which are in every part: the loop
stands still while it takes one."""

_log = logging.getLogger(__name__)


def state_of(journal: Journal, run: str) -> RunState:
    """The state that the events of `run` add up to, for a reader: what is due in the world is not its affair.

    Raises RunNotFoundError, and JournalLostError as `RunState.follow`.
    """
    state = RunState()
    found = _thaw(journal, run)
    if found is not None:
        thawing, _ = found
        state = thawing.state()
    state.follow(event for _, event in journal.read(run, state.index))
    state.due.clear()
    state.changed.clear()
    return state


class Snapshots:
    """Brings the experiment of `run` back, and takes the parts of its snapshot as it goes on.

    Each is taken after `every` events, or MANY finished trials.
    """

    def __init__(
        self, journal: Journal, run: str, make_experiment: Callable[[], Experiment], every: int = EVERY
    ):
        self._journal, self._run, self._make, self._every = journal, run, make_experiment, every
        self._position = -1
        self._observed = 0
        self._tried, self._refused = -1, 0

    def recover(self) -> Experiment:
        """The experiment as the journal has it, with connections called for, as `Experiment.replay`."""
        experiment, self._position, self._observed = self._make(), -1, 0
        if isinstance(experiment.scheduler, Restorable):
            found = _thaw(self._journal, self._run)
            if found is not None:
                thawing, position = found
                experiment = self._restored(thawing, position)
        self._tried, self._refused = -1, 0
        experiment.replay(event for _, event in self._journal.read(self._run, experiment.state.index))
        return experiment

    def _restored(self, thawing: Thawing, position: int) -> Experiment:
        """One that goes on from the snapshot; an empty one where its scheduler does not."""
        experiment = self._make()
        scheduler = experiment.scheduler
        try:
            state = thawing.state()
            known = thawing.scheduler
            if known is None or known["rule"] != scheduler.rule:
                raise ValueError(f"it was taken with another scheduler than {scheduler.rule}")
            assert isinstance(scheduler, Restorable)
            scheduler.restore(known["snapshot"], state.trials)
        except Exception as error:
            _pass_over(self._run, f"{type(error).__name__}: {error}", position)
            return self._make()
        experiment.state = state
        self._position, self._observed = position, thawing.observed
        return experiment

    def take(self, experiment: Experiment, term: int, events: Sequence[ev.Event]) -> None:
        """Take the next part where it is time; `events` are committed, and the last ones of the state.

        A journal that refuses it is asked again after as many more: a snapshot is not waited for.
        """
        state = experiment.state
        if not events or not self._is_time(state):
            return
        self._tried, self._refused = state.index, len(state.changed)
        scheduler = experiment.scheduler
        try:
            known = (
                {"rule": scheduler.rule, "snapshot": scheduler.snapshot()}
                if isinstance(scheduler, Restorable)
                else None
            )
            body = freeze(state, self._observed, known)
            anchor = event_to_json(events[-1])
            digest = digest_of(self._run, state.index, self._position, VERSION, anchor, body)
            part = Part(state.index, self._position, VERSION, digest, body)
            self._journal.keep_part(self._run, term, part)
        except Exception as error:  # a scheduler's own among them: no cache ends a run
            _log.warning(
                "the snapshot of run %r was not written: %s: %s", self._run, type(error).__name__, error
            )
            return
        self._position, self._observed = state.index, len(state.observations)
        self._refused = 0
        state.changed.clear()

    def _is_time(self, state: RunState) -> bool:
        if state.index - max(self._position, self._tried) >= self._every:
            return True
        return len(state.changed) - self._refused >= max(MANY, state.unfinished)


def _thaw(journal: Journal, run: str) -> tuple[Thawing, int] | None:
    """The longest chain of parts that can be used, with the position of its last one; None without any."""
    try:
        return _chain(journal, run)
    except (JournalLostError, *DAMAGE) as error:
        _pass_over(run, f"{type(error).__name__}: {error}")
        return None


def _chain(journal: Journal, run: str) -> tuple[Thawing, int] | None:
    thawing, position = Thawing(), -1
    for part, anchor in journal.parts(run):
        fault = _fault_of(run, part, anchor, position)
        if fault is None:
            thawing.take(part.body)
            position = part.position
        else:
            of_other_software = part.version != VERSION
            _pass_over(run, fault, part.position, logging.INFO if of_other_software else logging.WARNING)
            break
    return (thawing, position) if position >= 0 else None


def _fault_of(run: str, part: Part, anchor: str | None, before: int) -> str | None:
    """Why a part behind the one at `before` cannot be used, or None."""
    if part.version != VERSION:
        return f"it is of version {part.version!r}, and this is {VERSION!r}"
    if part.follows != before:
        return f"it follows a part at {part.follows}, which is not there"
    if anchor is None:
        return "the journal ends before it"
    digest = digest_of(run, part.position, part.follows, part.version, anchor, part.body)
    return None if digest == part.digest else "it is damaged, or of other events than the journal's"


def _pass_over(run: str, fault: str, position: int | None = None, level: int = logging.WARNING) -> None:
    """Say why more of the journal is applied than what is behind `position`."""
    where = "" if position is None else f" at event {position}"
    _log.log(level, "the snapshot of run %r%s is passed over: %s", run, where, fault)
