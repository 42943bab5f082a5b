"""Every suggestion of a run derived once more from the run's events, and compared with what was suggested.

A searcher's answer is a function of what the journal holds: the space, the seed, what was finished and
pending when it was asked, and what it remembered. With the same versions, threads and CPU it comes out to
the last bit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from raytune_gp import events as ev
from raytune_gp import messages as msg
from raytune_gp.codec import DAMAGE
from raytune_gp.errors import RunError, SpaceError, SpecError
from raytune_gp.searchers import SEARCHERS, make_searcher
from raytune_gp.searchers.asking import Asker
from raytune_gp.space.checks import is_finite_number
from raytune_gp.space.definition import space_of
from raytune_gp.spec import ExperimentSpec
from raytune_gp.state import RunState

__all__ = ["Derived", "Difference", "derive", "make_asker"]

_UNTOLD = ("milliseconds",)
"""Entries of a provenance that no seed decides."""


@dataclass(frozen=True)
class Difference:
    """`field` was `was` and comes out as `now`; None where it is not there."""

    field: str
    was: Any
    now: Any

    @property
    def distance(self) -> float | None:
        """How far the two are apart, where both are finite numbers."""
        if not (is_finite_number(self.was) and is_finite_number(self.now)):
            return None
        return abs(float(self.was) - float(self.now))


@dataclass(frozen=True)
class Derived:
    """The answer to `request`, derived again: suggestions `start` to `start + count - 1` of the run.

    `versions` and `machine` are those that it was given on. `untold` are the parameters that a function of
    the user's gives, which is not in the journal.
    """

    request: int
    start: int
    count: int
    differences: tuple[Difference, ...]
    versions: Mapping[str, str]
    machine: Mapping[str, str]
    untold: tuple[str, ...] = ()


def derive(events: Iterable[ev.Event]) -> Iterator[Derived]:
    """Ask for each suggestion again, as the run goes by; those that were asked for and never came are not.

    Raises:
        RunError: what is needed to ask again is not in the journal.
    """
    state = RunState()
    asked: msg.Suggest | None = None
    spec: ExperimentSpec | None = None
    asker: Asker | None = None
    for event in events:
        if isinstance(event, ev.SuggestionsReady) and asked is not None and asked.request == event.request:
            if asker is None or not _is_alike(spec, state.spec):
                spec, asker = state.spec, make_asker(state.spec)
            untold = tuple(asker.space.sample_from)
            found = tuple(_differences(event, asker.ask(asked), asker))
            count = len(event.suggestions)
            yield Derived(event.request, asked.start, count, found, state.versions, state.machine, untold)
        state.apply(event)
        if isinstance(event, ev.SuggestionsRequested):
            command = state.due["suggest"]
            assert isinstance(command, msg.Suggest)
            asked = command
        state.due.clear()


def make_asker(spec: ExperimentSpec) -> Asker:
    """The searcher of the run, ready to be asked. Raises RunError where the journal does not say enough."""
    about = dict(spec.searcher)
    name = str(about.pop("name", ""))
    if "class" in about or name.lower() not in SEARCHERS:
        raise RunError(
            f"run {spec.name!r} was searched by an object of {about.get('class', name)!r}, which is not in "
            f"the journal: suggestions are derived again of {', '.join(SEARCHERS)} alone"
        )
    form = spec.space.get("definition")
    if form is None:
        raise RunError(
            f"run {spec.name!r} was written by a version that kept no definition of its search space: its "
            f"suggestions cannot be derived again"
        )
    try:
        space = space_of(form)
        guesses = [space.from_json(guess) for guess in spec.points_to_evaluate]
        searcher = make_searcher(name, space, spec.metric, seed=spec.seed, options=about)
    except (SpaceError, SpecError, *DAMAGE) as error:
        raise RunError(f"the suggestions of run {spec.name!r} cannot be derived again: {error}") from None
    return Asker(searcher, space, seed=spec.seed, guesses=guesses)


def _is_alike(one: ExperimentSpec | None, other: ExperimentSpec) -> bool:
    """Whether the suggestions of both come from the same searcher, space, seed and guesses."""
    parts = ("searcher", "space", "seed", "metrics", "points_to_evaluate")
    return one is other or all(getattr(one, part, None) == getattr(other, part) for part in parts)


def _differences(was: ev.SuggestionsReady, now: msg.Input, asker: Asker) -> Iterator[Difference]:
    if not isinstance(now, msg.Suggested):
        yield Difference("answer", "suggestions", getattr(now, "error", str(now)))
        return
    if len(was.suggestions) != len(now.suggestions):
        yield Difference("count", len(was.suggestions), len(now.suggestions))
    for position, (one, other) in enumerate(zip(was.suggestions, now.suggestions, strict=False)):
        place = f"suggestions.{position}"
        configs = (_told(one["config"], asker), _told(other["config"], asker))
        yield from _compared(f"{place}.config", *configs)
        yield from _compared(f"{place}.provenance", _timeless(one), _timeless(other))
    yield from _compared("memory", was.memory, now.memory)
    yield from _compared("exhausted", was.exhausted, now.exhausted)


def _told(config: Mapping[str, Any], asker: Asker) -> dict[str, Any]:
    """The flat config without what functions of the user's gave."""
    flat = asker.space.flat(config, strict=False)
    return {name: value for name, value in flat.items() if name not in asker.space.sample_from}


def _timeless(suggestion: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in suggestion["provenance"].items() if name not in _UNTOLD}


def _compared(field: str, was: Any, now: Any) -> Iterator[Difference]:
    """What differs, down to the single number."""
    if isinstance(was, Mapping) and isinstance(now, Mapping):
        for name in dict.fromkeys([*was, *now]):
            yield from _compared(f"{field}.{name}", was.get(name), now.get(name))
    elif _is_list(was) and _is_list(now) and len(was) == len(now):
        for position, (one, other) in enumerate(zip(was, now, strict=True)):
            yield from _compared(f"{field}.{position}", one, other)
    elif not (was == now or (was != was and now != now)):
        yield Difference(field, was, now)


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)
