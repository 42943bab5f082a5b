"""Was a round played by the rules? Its trainables' ledger against its results, its journal, the processes.

The ledger tells what was said, by whom and when; the results, what counted. A rule that is broken is of one
of five kinds: a trial or report is *lost*; it counts *twice*; the round *hung*; a process is an *orphan*; or
something else is *wrong*.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import psutil

from benchmarks.chaos.cluster.ledger import Life
from benchmarks.chaos.cluster.scene import RUN, STEPS, TRIALS, Scene
from benchmarks.measure import events_of
from raytune_gp import events as ev
from raytune_gp.state import RunState

__all__ = ["Delay", "Violation", "delays", "differences", "journalled", "leftovers", "violations"]

LEFT_S = 5.0
"""So soon after a run's end nothing of it may be running."""

OVERLAP_S = 3.0
"""So long an attempt may run on beside the next one, which counts in its place."""

Violation = tuple[str, str]
"""The kind and the words."""


def journalled(scene: Scene) -> list[ev.Event]:
    """The events of the round's run."""
    return events_of(scene.journal, RUN)


def violations(scene: Scene, events: list[ev.Event], not_finite: set[str]) -> Iterator[Violation]:
    """What is wrong with a round that is over; `not_finite` are the trials that end with NaN.

    Whether the journal gives the same results is for `differences` to tell.
    """
    results = json.loads(scene.results.read_text())
    lives = scene.ledger.lives()
    yield from _budget(results, events, not_finite)
    for trial, found in results["trials"].items():
        yield from _account(trial, found["rows"], lives.get(trial, []))
    yield from _trained_again(events, lives)
    yield from _resumed(events, lives)


def differences(scene: Scene, events: list[ev.Event]) -> Iterator[Violation]:
    """What the journal alone gives otherwise than the results."""
    results = json.loads(scene.results.read_text())
    for trial in RunState.of(events).trials.values():
        columns = [list(trial.history.values(name)) for name in ("step", "score", "life")]
        rows = [list(row) for row in zip(*columns, strict=True)]
        if repr(rows) != repr(results["trials"].get(trial.id, {}).get("rows")):
            yield "wrong", f"the journal gives other reports of trial {trial.id}: {rows}"


def _budget(results: Mapping[str, Any], events: list[ev.Event], not_finite: set[str]) -> Iterator[Violation]:
    """Each trial of the budget is there, ended once, and as it should."""
    wanted = [f"{number:05d}" for number in range(TRIALS)]
    if results["status"] != "COMPLETED":
        yield "wrong", f"the run is {results['status']}"
    if missing := set(wanted) - set(results["trials"]):
        yield "lost", f"of the budget are missing {sorted(missing)}"
    if more := set(results["trials"]) - set(wanted):
        yield "twice", f"beyond the budget are {sorted(more)}"
    ends = Counter(event.trial for event in events if isinstance(event, ev.TrialEnded))
    yield from (("twice", f"trial {t} ended {n} times") for t, n in ends.items() if n > 1)
    for trial, found in results["trials"].items():
        if found["status"] != "COMPLETED":
            yield "lost", f"trial {trial} is {found['status']}: {found['error'][-500:]}"
    for event in events:
        if isinstance(event, ev.TrialEnded):
            expected = "not finite" if event.trial in not_finite else None
            if event.failure != expected:
                yield "wrong", f"trial {event.trial} has the failure {event.failure}, not {expected}"


def _account(trial: str, rows: list[Any], lives: list[Life]) -> Iterator[Violation]:
    """Each step counts once, as it was said, by attempts that go on one from the other."""
    steps = [int(step) for step, _, _ in rows]
    if lost := set(range(1, STEPS + 1)) - set(steps):
        yield "lost", f"of trial {trial} are missing the steps {sorted(lost)}"
    if len(set(steps)) < len(steps):
        yield "twice", f"trial {trial} has the steps {steps}"
    by_id, before = {life.id: life for life in lives}, None
    for step, score, life_id in rows:
        life = by_id.get(int(life_id))
        if life is None or repr(life.said.get(int(step))) != repr(score):
            yield "wrong", f"nobody said {score} at step {step} of trial {trial}"
        elif life is not before:
            if life.after != step - 1:
                yield "twice", f"step {step} of trial {trial} is of an attempt that went on from {life.after}"
            if before is not None and life.began < before.began:
                yield "twice", f"step {step} of trial {trial} is of an attempt that was superseded"
        before = life
    for life, following in pairwise(lives):
        if (over := life.last - following.began) > OVERLAP_S:
            yield "twice", f"two attempts of trial {trial} ran at the same time for {over:.1f} s"


def _trained_again(events: list[ev.Event], lives: Mapping[str, list[Life]]) -> Iterator[Violation]:
    """No attempt begins once its trial is finished."""
    for event in events:
        if isinstance(event, ev.TrialEnded):
            for life in lives.get(event.trial, []):
                if life.began > event.at:
                    yield (
                        "twice",
                        f"trial {event.trial} began {life.began - event.at:.2f} s after it was over",
                    )


def _resumed(events: list[ev.Event], lives: Mapping[str, list[Life]]) -> Iterator[Violation]:
    """Each attempt goes on from the newest checkpoint that was journalled before it."""
    newest: dict[str, int] = {}
    starts: dict[str, list[int]] = {}
    for event in events:
        if isinstance(event, ev.Checkpointed):
            newest[event.trial] = event.step
        elif isinstance(event, ev.AttemptAssigned):
            at = event.resume_from["step"] if event.resume_from else 0
            starts.setdefault(event.trial, []).append(at)
            if at != newest.get(event.trial, 0):
                yield "lost", f"{event} does not go on from step {newest.get(event.trial, 0)}"
    for trial, found in lives.items():
        for life in found:
            if life.after not in starts.get(trial, []):
                yield "lost", f"an attempt of trial {trial} began at step {life.after}, as nobody told it to"


def leftovers(scene: Scene) -> list[str]:
    """What of a run that is over still runs LEFT_S later, and is killed then."""
    children = scene.ledger.children()
    deadline = time.monotonic() + LEFT_S
    while True:
        left = [process for nodes in (scene.nodes, *scene.lost) for process in nodes.of_runs()]
        left += [psutil.Process(pid) for pid in children if _lives(pid)]
        if not left or time.monotonic() > deadline:
            break
        time.sleep(0.1)
    found = []
    for process in left:
        try:
            found.append(f"{process.pid} {' '.join(process.cmdline())[:100]}")
            process.kill()
        except psutil.Error:
            continue
    return found


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@dataclass(frozen=True)
class Delay:
    """How long a trial was away, in seconds.

    From the death of an attempt to the start line of the next and to its first report; and from the moment
    at which the run knew of it, or at which it was due where it had to wait, to the next one's assignment and
    start.
    """

    to_start: float
    to_report: float | None
    to_knowledge: float
    to_assignment: float | None
    knowledge_to_start: float
    """Of what followed the knowledge."""


def delays(scene: Scene, events: list[ev.Event]) -> list[dict[str, Any]]:
    """Of each attempt that died and was followed by another one."""
    found = []
    for trial, lives in scene.ledger.lives().items():
        for life, following in pairwise(lives):
            if life.died is None or life.returned:
                continue
            known, due, assigned = _known(events, trial, life.died, following.began)
            if known is None:
                continue
            report = following.first_report
            found.append(
                asdict(
                    Delay(
                        to_start=following.began - life.died,
                        to_report=report - life.died if report is not None else None,
                        to_knowledge=known - life.died,
                        to_assignment=assigned - due if assigned is not None else None,
                        knowledge_to_start=following.began - due,
                    )
                )
            )
    return found


def _known(
    events: list[ev.Event], trial: str, died: float, began: float
) -> tuple[float | None, float, float | None]:
    """When the run knew of the end of an attempt, when the next was due, and when that was assigned."""
    known = assigned = None
    due = 0.0
    for event in events:
        if getattr(event, "trial", None) != trial or not died - 1.0 < event.at <= began:
            continue
        if isinstance(event, ev.TrialRequeued):
            known, due, assigned = event.at, max(event.at, event.due_at or 0.0), None
        elif isinstance(event, ev.AttemptAssigned) and known is not None:
            assigned = event.at
    return known, due, assigned
