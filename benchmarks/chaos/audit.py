"""Does a run's account hold against its workers' ledger, its trials' lessons, and an undisturbed run?"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

from benchmarks.chaos.rounds import Run
from raytune_gp import events as ev
from raytune_gp.state import RunState
from raytune_gp.status import RunStatus
from raytune_gp.trial import Trial, TrialStatus

__all__ = ["violations"]


def violations(run: Run, calm: Run) -> list[str]:
    """What is wrong with `run`, in words; `calm` is the same scenario without faults."""
    return [*run.broken, *_ending(run), *_ledger(run), *_trials(run), *_replay(run), *_compared(run, calm)]


def _ending(run: Run) -> Iterator[str]:
    """It came to its end, with its budget, and nothing is left."""
    state = run.state
    if state.status is not RunStatus.COMPLETED:
        yield f"the run ended as {state.status}: {state.reason}"
    if (configs := [t.config["x"] for t in state.trials.values()]) != list(range(run.scenario.trials)):
        yield f"trials of the suggestions {configs}, not of the first {run.scenario.trials} once each"
    if run.cluster.workers:
        yield f"workers are left: {sorted(run.cluster.workers)}"


def _ledger(run: Run) -> Iterator[str]:
    """All that a worker said was heard once and as it was said, but for the last words of one that died."""
    said = {(item.worker, item.seq): item for item in run.cluster.ledger}
    heard: list[Any] = [event for event in run.events if hasattr(event, "seq")]
    by_worker = defaultdict(list)
    for event in heard:
        by_worker[event.worker].append(event.seq)
        item = said.get((event.worker, event.seq))
        if item is None:
            yield f"nobody said {event}"
        elif (item.trial, item.attempt) != (event.trial, event.attempt):
            yield f"{event} was said of {item.trial}, attempt {item.attempt}"
        elif isinstance(event, ev.Reported) and repr((event.step, dict(event.metrics))) != repr(
            (item.body["step"], item.body["metrics"])
        ):
            yield f"{event} was said as {item.body}"
    for worker in {item.worker for item in run.cluster.ledger}:
        seqs, last = by_worker[worker], max(seq for w, seq in said if w == worker)
        if seqs != list(range(1, len(seqs) + 1)):
            yield f"of {worker} were heard the items {seqs}"
        if len(seqs) < last and worker not in run.killed:
            yield f"of {worker} were heard {len(seqs)} items of {last}, and it did not die"
    starts = Counter((i.trial, i.attempt) for i in run.cluster.ledger if i.kind == "started")
    yield from (f"{key} was started {count} times" for key, count in starts.items() if count > 1)
    if not run.killed and any(isinstance(event, ev.ItemDiscarded) for event in run.events):
        yield "items were discarded, and no worker died"


def _trials(run: Run) -> Iterator[str]:
    """Each trial ended once, with each step of its lesson up to its end once."""
    ended = Counter(event.trial for event in run.events if isinstance(event, ev.TrialEnded))
    stored = {i.body["path"] for i in run.cluster.ledger if i.kind == "checkpoint"}
    for event in run.events:
        if isinstance(event, ev.AttemptAssigned) and event.resume_from:
            path = event.resume_from["path"]
            if path not in stored or not path.startswith(f"{event.trial}/"):
                yield f"goes on from a checkpoint that it never made: {event}"
    for trial in run.state.trials.values():
        if ended[trial.id] != 1 or not trial.status.is_finished:
            yield f"trial {trial.id} is {trial.status} and ended {ended[trial.id]} times"
        lesson = run.scenario.lessons[trial.config["x"]]
        steps, scores = list(trial.history.steps), list(trial.history.values("score"))
        if steps != list(range(1, len(steps) + 1)) or repr(scores) != repr([*lesson.scores[: len(steps)]]):
            yield f"trial {trial.id} has the steps {steps} and scores {scores}; its lesson is {lesson}"
        through = len(lesson.scores) if lesson.fails_at is None or lesson.once else lesson.fails_at
        if trial.decided_step is None and len(steps) != through:
            yield f"trial {trial.id} ended by itself after {len(steps)} steps of {through}"
        if trial.decided_step is None and (trial.status is TrialStatus.FAILED) != (
            through < len(lesson.scores)
        ):
            yield f"trial {trial.id} is {trial.status}; its lesson is {lesson}"


def _replay(run: Run) -> Iterator[str]:
    """The journal alone gives the same state, to a coordinator and to a reader."""
    replayed = run.scenario.experiment()
    replayed.replay(run.events)
    if replayed.state != run.state or RunState.of(run.events) != run.state:
        yield "the journal's replay gives another state"


def _compared(run: Run, calm: Run) -> Iterator[str]:
    """Without the median rule all trials end as they do undisturbed; without deaths in as many attempts."""
    if run.scenario.median:
        return
    for disturbed, undisturbed in zip(run.state.trials.values(), calm.state.trials.values(), strict=False):
        found, expected = _account(disturbed), _account(undisturbed)
        if not run.killed:
            found, expected = (*found, disturbed.attempt), (*expected, undisturbed.attempt)
        if repr(found) != repr(expected):
            yield f"trial {disturbed.id} came to {found}, undisturbed to {expected}"


def _account(trial: Trial) -> tuple[Any, ...]:
    upto = trial.decided_step
    values = list(trial.history.values("score", upto)) if len(trial.history) else []
    return (trial.status.value, trial.config, trial.objective, upto, values)
