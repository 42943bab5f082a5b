"""Snapshots of a run's state, so that a restart need not apply the whole journal. Pure.

A snapshot is a chain of parts. Each has the small things as they are, every unfinished trial, and those
finished ones that the parts before it do not have as they are: to take the next one costs what has changed,
not what has come together. A snapshot is a cache: one that cannot be used is thrown away.

A part is JSON (its length in 8 bytes before it), then the histories: 8 bytes a number, of each trial its
steps, its times and its columns.
"""

from __future__ import annotations

import hashlib
import json
import sys
from array import array
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from raytune_gp import __version__
from raytune_gp import events as ev
from raytune_gp.codec import SCHEMA_VERSION
from raytune_gp.crew import Crew, Worker, WorkerStatus
from raytune_gp.due import call_again
from raytune_gp.packing import Packing
from raytune_gp.retention import needed_checkpoints
from raytune_gp.spec import ExperimentSpec
from raytune_gp.state import RunState
from raytune_gp.status import RunStatus
from raytune_gp.suggestions import ReadySuggestion, Suggestions
from raytune_gp.trial import CheckpointRecord, History, Observation, Trial, TrialStatus
from raytune_gp.unheard import Unheard

__all__ = ["VERSION", "Part", "Thawing", "digest_of", "freeze"]

_TRIAL = tuple(field.name for field in fields(Trial) if field.name != "history")
_FORMAT = 1
"""Raised where a part is read otherwise than it was; new and renamed fields raise `VERSION` by themselves."""


def _version() -> str:
    kinds = (RunState, Trial, Crew, Worker, Suggestions, ReadySuggestion, Unheard, CheckpointRecord, Packing)
    names = [[kind.__name__, *(field.name for field in fields(kind))] for kind in kinds]
    shape = hashlib.sha256(json.dumps([names, History.__slots__, sys.byteorder]).encode()).hexdigest()
    return f"{__version__} {SCHEMA_VERSION}.{_FORMAT} {shape[:16]}"


VERSION = _version()
"""What reader and writer of a snapshot must have in common: the software, and the shape of its records."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part as it is stored: the state after event `position`, behind the part of position `follows`.

    `follows` is -1 for the first part of a chain. `digest` is that of the whole, and of event `position` as
    it stands in the journal, so that a part cannot be taken for one of another history.
    """

    position: int
    follows: int
    version: str
    digest: str
    body: bytes


def digest_of(run: str, position: int, follows: int, version: str, anchor: str, body: bytes) -> str:
    """The digest of a part of `run`; `anchor` is the JSON of event `position`."""
    about = json.dumps([run, position, follows, version, anchor])
    digest = hashlib.sha256(about.encode())
    digest.update(body)
    return digest.hexdigest()


# --- writing ---


def freeze(state: RunState, observed: int, scheduler: Mapping[str, Any] | None) -> bytes:
    """The body of the part that comes next, where the parts before it have the first `observed` observations.

    `state.changed` names the finished trials that it must have. `scheduler` is JSON: what the scheduler asks
    to be given back, None where it cannot be.
    """
    failures = {o.trial_id: o.failure for o in state.observations if o.trial_id in state.changed}
    trials = [state.trials[t] for t in (*state.queue, *state.running, *state.paused, *state.changed)]
    trials.sort(key=lambda trial: trial.number)
    shapes: dict[tuple[str, ...], int] = {}
    forms: list[Any] = []
    blocks: list[array[Any]] = []
    for trial in trials:
        history = trial.history
        shape = shapes.setdefault(tuple(history.columns), len(shapes))
        form = [_plain(getattr(trial, name)) for name in _TRIAL]
        about = [len(history), shape, history.nans, history.last]
        forms.append([form, about, failures.get(trial.id)])
        blocks += [history.steps, history.times, *history.columns.values()]
    crew, suggestions, unheard = state.crew, state.suggestions, state.unheard
    asked = suggestions.request
    head = {
        "spec": state.spec.to_json(),
        "status": state.status,
        "facts": {name: getattr(state, name) for name in _FACTS},
        "queue": list(state.queue),
        "running": list(state.running),
        "paused": list(state.paused),
        "crew": {
            "workers": [asdict(worker) for worker in crew.workers.values()],
            "idle": list(crew.idle),
            "slots": list(crew.slots.items()),
            "incarnations": list(crew.incarnations.items()),
            "draining": sorted(crew.draining),
            "losses_in_a_row": crew.losses_in_a_row,
        },
        "suggestions": {
            **_shallow(suggestions),
            "ready": [_shallow(ready) for ready in suggestions.ready],
            "request": _shallow(asked) if asked is not None else None,
        },
        "packing": _shallow(state.packing),
        "unheard": {name: sorted(names) for name, names in _shallow(unheard).items()},
        "observed": [observation.trial_id for observation in state.observations[observed:]],
        "scheduler": scheduler,
        "shapes": list(shapes),
        "trials": forms,
    }
    text = json.dumps(head, separators=(",", ":")).encode()
    return b"".join([len(text).to_bytes(8, "little"), text, *(block.tobytes() for block in blocks)])


_FACTS = (
    *("reason", "index", "now", "created_at", "term", "starts", "versions", "machine", "capacity"),
    *("interval_s", "worker_s", "busy_s", "leader"),
)
"""Fields of a state that are JSON as they are."""


def _shallow(record: Any) -> dict[str, Any]:
    return {field.name: getattr(record, field.name) for field in fields(record)}


def _plain(value: Any) -> Any:
    if isinstance(value, CheckpointRecord):
        return [value.path, value.step, value.attempt, value.value]
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value


# --- reading ---


class Thawing:
    """Takes the parts of a chain in order; each makes it a state of its own.

    Raises one of `codec.DAMAGE` for what `freeze` never wrote.
    """

    def __init__(self) -> None:
        self._trials: dict[str, Trial] = {}
        self._observed: list[str] = []
        self._failures: dict[str, str | None] = {}
        self._head: dict[str, Any] = {}

    @property
    def observed(self) -> int:
        """How many observations the parts have so far."""
        return len(self._observed)

    @property
    def scheduler(self) -> Mapping[str, Any] | None:
        """What the scheduler asked for in the last part, None where it cannot go on from there."""
        form: Mapping[str, Any] | None = self._head["scheduler"]
        return form

    def take(self, body: bytes) -> None:
        """Add the next part."""
        length = int.from_bytes(body[:8], "little")
        head = json.loads(body[8 : 8 + length])
        numbers = memoryview(body)[8 + length :]
        at = 0

        def block(kind: str, count: int) -> array[Any]:
            nonlocal at
            found: array[Any] = array(kind)
            found.frombytes(numbers[at : (at := at + 8 * count)])
            assert len(found) == count
            return found

        for form, (count, shape, nans, last), failure in head["trials"]:
            trial = _trial_of(form)
            history = trial.history
            history.steps, history.times = block("q", count), block("d", count)
            history.columns = {name: block("d", count) for name in head["shapes"][shape]}
            history.nans, history.last = nans, last
            self._trials[trial.id] = trial
            if trial.status.is_finished:
                self._failures[trial.id] = failure
        self._observed += head["observed"]
        self._head = head

    def state(self) -> RunState:
        """The state of the last part, with everything due that was called for and is not known done."""
        head, trials = self._head, self._trials
        state = RunState(**head["facts"])
        state.spec = ExperimentSpec.from_json(head["spec"])
        state.status = RunStatus(head["status"])
        state.trials = trials
        state.queue = deque(head["queue"])
        state.running, state.paused = dict.fromkeys(head["running"]), dict.fromkeys(head["paused"])
        state.crew = _crew_of(head["crew"])
        state.suggestions = _suggestions_of(head["suggestions"])
        state.unheard = _unheard_of(head["unheard"])
        state.packing = Packing(**head["packing"])
        state.observations = [
            Observation(trials[t].config, trials[t].objective, t, self._failures[t]) for t in self._observed
        ]
        for trial in trials.values():
            if trial.resume_from is not None or trial.next_checkpoint is not None:
                state.loans.settle(trial.id, needed_checkpoints(trial))
        call_again(state)
        return state


def _trial_of(form: list[Any]) -> Trial:
    trial = Trial(**dict(zip(_TRIAL, form, strict=True)))
    trial.status, trial.tally = TrialStatus(trial.status), Counter(trial.tally)
    trial.resume_from = _record_of(trial.resume_from)
    trial.next_checkpoint = _record_of(trial.next_checkpoint)
    if trial.checkpoints:
        trial.checkpoints = [CheckpointRecord(*record) for record in trial.checkpoints]  # type: ignore[misc]
    if trial.objective is not None:
        trial.objective = tuple(trial.objective)
    return trial


def _record_of(form: Any) -> CheckpointRecord | None:
    return CheckpointRecord(*form) if form is not None else None


def _crew_of(form: Mapping[str, Any]) -> Crew:
    workers = [Worker(**{**w, "status": WorkerStatus(w["status"])}) for w in form["workers"]]
    return Crew(
        {worker.id: worker for worker in workers},
        dict.fromkeys(form["idle"]),
        dict(form["slots"]),
        dict(form["incarnations"]),
        set(form["draining"]),
        form["losses_in_a_row"],
    )


def _unheard_of(form: Mapping[str, Any]) -> Unheard:
    return Unheard(set(form["metrics"]), form["silent"], set(form["criteria"]))


def _suggestions_of(form: Mapping[str, Any]) -> Suggestions:
    suggestions = Suggestions(**form)
    suggestions.ready = deque(ReadySuggestion(**ready) for ready in form["ready"])
    suggestions.pending = tuple(form["pending"])
    if form["request"] is not None:
        suggestions.request = ev.SuggestionsRequested(**form["request"])
    return suggestions
