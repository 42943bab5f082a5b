"""What the state of a run calls for by itself: assignments, questions to the searcher, workers, the end.

`next_step` gives one event at a time, until nothing more follows. A pure function of state and scheduler;
experiment.py calls it after each input.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from itertools import chain

from raytune_gp import events as ev
from raytune_gp.endings import end_of
from raytune_gp.packing import AUTO
from raytune_gp.protocols import Scheduler
from raytune_gp.state import RunState
from raytune_gp.status import RunStatus
from raytune_gp.trial import TrialStatus
from raytune_gp.unreported import never_reported

__all__ = ["next_step"]

MAX_MISSED = 1
"""A suggestion that was made ahead of time may have missed so many completions, else it is withdrawn."""

MANY_AHEAD = 20
"""So many suggestions are asked for ahead where results do not matter: each question costs two commits."""

MAX_STARTS = 5
"""So many coordinators that start without a report or a suggestion between them end the run."""


def next_step(state: RunState, scheduler: Scheduler, uses_results: bool, now: float) -> ev.Event | None:
    """The next event that `state` calls for at time `now`, or None when all is settled.

    `uses_results` is the searcher's: whether suggestions made ahead of time go stale.
    """
    if state.index < 0:
        return None
    if state.status.is_ended:
        return _release_any(state, now)
    if state.starts > MAX_STARTS:
        reason = f"{MAX_STARTS} coordinators started one after another, and none made progress"
        return ev.RunEnded(now, RunStatus.FAILED.value, reason)
    if state.status is RunStatus.STOPPING:
        return None if state.running else ev.RunEnded(now, RunStatus.STOPPED.value, state.reason)
    return (
        _despair(state, now)
        or _evacuate(state, now)
        or _repack(state, now)
        or _assign(state, scheduler, uses_results, now)
        or _withdraw(state, uses_results, now)
        or _ask(state, uses_results, now)
        or _staff(state, now)
        or _finish(state, scheduler, now)
    )


def _despair(state: RunState, now: float) -> ev.Event | None:
    """End the run where no trial will have a value."""
    reason = never_reported(state, _slots_wanted(state))
    return ev.RunEnded(now, RunStatus.FAILED.value, reason) if reason is not None else None


def _evacuate(state: RunState, now: float) -> ev.Event | None:
    """Let go of idle workers on nodes that are to go."""
    if not state.crew.draining:
        return None
    idle = (state.workers[w] for w in state.crew.idle)
    leaving = next((w for w in idle if w.node in state.crew.draining), None)
    return ev.WorkerReleased(now, leaving.id, "its node is to go") if leaving is not None else None


def _repack(state: RunState, now: float) -> ev.Event | None:
    """Have more or fewer trials share a GPU, and let go of workers with another share that have no trial."""
    if state.spec.resources.get("gpu") != AUTO:
        return None
    to_come = state.budget or state.ready or state.queue or state.paused
    change = state.packing.change() if to_come else None
    if change is not None:
        return ev.PackingChanged(now, *change)
    free = (state.workers[w] for w in chain(state.crew.coming, state.crew.idle))
    other = next((w for w in free if w.trials_per_gpu != state.trials_per_gpu), None)
    if other is None:
        return None
    return ev.WorkerReleased(now, other.id, f"{state.trials_per_gpu} trials share a GPU from now on")


def _release_any(state: RunState, now: float) -> ev.Event | None:
    worker = next(iter(state.crew.slots.values()), None)
    return ev.WorkerReleased(now, worker, "the run is over") if worker is not None else None


def _assign(state: RunState, scheduler: Scheduler, uses_results: bool, now: float) -> ev.Event | None:
    """Give a trial to an idle worker: one that waits, else one to resume, else a new one."""
    worker_id = next(iter(state.crew.idle), None)
    if worker_id is None or len(state.running) >= _slots_wanted(state):
        return None
    waiting = next(_ready_to_go(state, now), None)
    if waiting is not None:
        trial = state.trials[waiting]
        record = asdict(trial.resume_from) if trial.resume_from is not None else None
        return ev.AttemptAssigned(now, trial.id, trial.attempt + 1, worker_id, record)
    resumed = scheduler.next_to_resume() if state.paused else None
    if resumed is not None:
        trial = state.trials[resumed]
        return ev.Decided(now, trial.id, trial.attempt, trial.step, "resume", "its turn", scheduler.rule)
    if not state.ready or _is_stale(state, uses_results):
        return None
    missed = len(state.observations) - state.ready[0].completed
    return ev.TrialCreated(now, f"{len(state.trials):05d}", missed)


def _ready_to_go(state: RunState, now: float) -> Iterator[str]:
    """The trials that wait for nothing but a worker, in their order."""
    for trial_id in state.queue:
        due_at = state.trials[trial_id].due_at
        if due_at is None or due_at <= now:
            yield trial_id


def _is_stale(state: RunState, uses_results: bool) -> bool:
    """Whether the suggestions that wait missed more completions than they may.

    An answer serves the workers that are idle when it comes, whatever it missed while it was worked out:
    else a searcher slower than the trials would never be heard.
    """
    if not uses_results or not state.ready:
        return False
    count, first = len(state.observations), state.ready[0]
    return count > first.arrived and count - first.completed > MAX_MISSED


def _withdraw(state: RunState, uses_results: bool, now: float) -> ev.Event | None:
    if not _is_stale(state, uses_results):
        return None
    missed = len(state.observations) - state.ready[0].completed
    return ev.SuggestionsWithdrawn(now, len(state.ready), f"{missed} completions came since")


def _slots_wanted(state: RunState) -> int:
    """How many workers the run has use for."""
    most = state.capacity or 0
    if state.spec.max_concurrent_trials is not None:
        most = min(most, state.spec.max_concurrent_trials)
    return int(min(most, state.unfinished + len(state.ready) + state.budget))


def _ask(state: RunState, uses_results: bool, now: float) -> ev.Event | None:
    """Ask for as many suggestions as there are workers without a trial, and for the next one ahead.

    Workers that wait for a node an autoscaler may bring count once they have come: minutes may pass, and what
    was suggested for them would be withdrawn after a few results.
    Where results do not matter, many are asked for ahead, and only when few are left.
    """
    if state.request is not None or not state.budget:
        return None
    slots = _slots_wanted(state)
    if slots == 0 or (not uses_results and len(state.ready) > slots):
        return None
    free = slots - len(state.running) - sum(1 for _ in _ready_to_go(state, now))
    free -= state.crew.overdue(now)
    ahead = 1 if uses_results else max(2 * slots + 1, MANY_AHEAD)
    count = int(min(free + ahead - len(state.ready), state.budget))
    if count <= 0:
        return None
    asked = state.suggestions
    return ev.SuggestionsRequested(now, asked.requests, count, asked.suggested, len(state.observations))


def _staff(state: RunState, now: float) -> ev.Event | None:
    """Request workers for slots that want one; release idle ones that no trial is left for."""
    wanted = _slots_wanted(state)
    if len(state.crew.slots) < wanted:
        slot = state.crew.free_slot
        incarnation = state.crew.incarnations.get(slot, 0) + 1
        return ev.WorkerRequested(now, f"w{slot}/{incarnation}", slot, incarnation, state.trials_per_gpu)
    surplus = _surplus(state) if len(state.crew.slots) > wanted else None
    return ev.WorkerReleased(now, surplus, "no trial is left for it") if surplus is not None else None


def _surplus(state: RunState) -> str | None:
    return next(iter(state.crew.coming), None) or next(iter(state.crew.idle), None)


def _finish(state: RunState, scheduler: Scheduler, now: float) -> ev.Event | None:
    """End the run when its budget is used, and before it the paused trials that nothing will resume."""
    if state.budget or state.ready or state.running or state.queue:
        return None
    if not state.paused:
        return ev.RunEnded(now, RunStatus.COMPLETED.value, "every trial is finished")
    if scheduler.next_to_resume() is not None:
        return None
    trial = state.trials[next(iter(state.paused))]
    return end_of(trial, state.spec, TrialStatus.STOPPED, now, reason="paused, and never resumed")
