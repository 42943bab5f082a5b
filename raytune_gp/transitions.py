"""What each event changes in the state of a run: `RunState.apply` comes here with each.

Nothing is decided: experiment.py does that.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import chain
from typing import TYPE_CHECKING, Any

from raytune_gp import events as ev
from raytune_gp.crew import STARTING_S, WorkerStatus
from raytune_gp.due import delete_others, start_attempt, tell_share, tell_to_end
from raytune_gp.failures import FailureKind
from raytune_gp.retention import checkpoint_value, kept_checkpoints, needed_checkpoints
from raytune_gp.spec import ExperimentSpec
from raytune_gp.status import RunStatus
from raytune_gp.trial import CheckpointRecord, Observation, Trial, TrialStatus
from raytune_gp.unheard import value_again
from raytune_gp.usage import merged

if TYPE_CHECKING:
    from raytune_gp.state import RunState

__all__ = ["TRANSITIONS"]


# --- the run ---


def _run_created(state: RunState, event: ev.RunCreated) -> None:
    state.spec = ExperimentSpec.from_json(event.spec)
    state.created_at = event.at
    state.unheard.expect(state.spec, ())


def _run_resumed(state: RunState, event: ev.RunResumed) -> None:
    state.spec = state.spec.changed(event.changes)
    state.status, state.reason = RunStatus.RUNNING, ""
    state.crew.losses_in_a_row = state.starts = 0
    for trial in state.trials.values():
        if trial.forgive() and trial.status.is_finished:
            state.changed.add(trial.id)
    state.unheard.expect(state.spec, state.trials.values())
    if "metrics" in event.changes:
        state.changed |= value_again(state.spec, state.trials, state.observations)
        state.leader = None
        for observation in state.observations:
            _rank(state, state.trials[observation.trial_id])


def _term_started(state: RunState, event: ev.TermStarted) -> None:
    state.term, state.versions, state.machine = event.term, event.versions, event.machine
    state.starts += 1


def _capacity_known(state: RunState, event: ev.CapacityKnown) -> None:
    state.capacity = event.slots


def _stop_requested(state: RunState, event: ev.StopRequested) -> None:
    state.status, state.reason = RunStatus.STOPPING, event.reason
    state.suggestions.forget(state.due)
    for trial_id in state.running:
        if state.trials[trial_id].stopping is None:
            _interrupt(state, state.trials[trial_id], "halt")


def _run_ended(state: RunState, event: ev.RunEnded) -> None:
    state.status, state.reason = RunStatus(event.status), event.reason
    state.suggestions.forget(state.due)


# --- workers ---


def _worker_requested(state: RunState, event: ev.WorkerRequested) -> None:
    state.crew.requested(event, state.due)


def _worker_up(state: RunState, event: ev.WorkerUp) -> None:
    state.crew.up(event, state.due)
    waited = event.at - state.crew.workers[event.worker].requested_at
    state.worker_s += min(waited, STARTING_S)  # beyond that it has waited for its resources


def _worker_released(state: RunState, event: ev.WorkerReleased) -> None:
    state.crew.released(event, state.due)


def _worker_lost(state: RunState, event: ev.WorkerLost) -> None:
    worker = state.crew.lost(event, state.due)
    if worker.trial is None:
        return
    trial = state.trials[worker.trial]
    trial.worker, trial.started = None, False
    if worker.status is not WorkerStatus.RELEASED and trial.stopping is None:
        trial.tally[event.failure] += 1
        trial.error = event.reason


def _packing_changed(state: RunState, event: ev.PackingChanged) -> None:
    before = state.trials_per_gpu
    state.packing.changed(event.trials_per_gpu)
    if state.capacity is not None and event.trials_per_gpu < before:  # until it is counted anew
        state.capacity = max(1, state.capacity * event.trials_per_gpu // before)
    tell_share(state)


def _node_draining(state: RunState, event: ev.NodeDraining) -> None:
    state.crew.draining.add(event.node)
    for worker in state.crew.workers.values():
        if worker.node == event.node and worker.trial is not None:
            left_s = 0.0 if event.deadline is None else event.deadline - event.at
            _evict(state, state.trials[worker.trial], max(left_s, state.spec.grace_s))


def _worker_leaving(state: RunState, event: ev.WorkerLeaving) -> None:
    _heard(state, event.worker, event.seq)
    _evict(state, state.trials[event.trial], event.grace_s)


def _evict(state: RunState, trial: Trial, grace_s: float) -> None:
    """Have it end here, to go on elsewhere, unless it is to end anyway."""
    if trial.stopping is None:
        _interrupt(state, trial, "evict", grace_s)


def _heard(state: RunState, worker_id: str, seq: int) -> None:
    state.crew.heard(worker_id, seq, state.due)
    state.starts = 0


def _item_discarded(state: RunState, event: ev.ItemDiscarded) -> None:
    _heard(state, event.worker, event.seq)


# --- suggestions ---


def _suggestions_requested(state: RunState, event: ev.SuggestionsRequested) -> None:
    unfinished = (state.trials[t].config for t in (*state.running, *state.queue, *state.paused))
    state.suggestions.requested(event, state.observations, unfinished, state.due)


def _suggestions_ready(state: RunState, event: ev.SuggestionsReady) -> None:
    state.suggestions.answered(event, len(state.observations), state.due)
    state.starts = 0


def _suggestions_withdrawn(state: RunState, event: ev.SuggestionsWithdrawn) -> None:
    state.suggestions.forget(state.due)


# --- trials ---


def _trial_created(state: RunState, event: ev.TrialCreated) -> None:
    suggestion = state.suggestions.ready.popleft()
    provenance = {**suggestion.provenance, "missed": event.missed}
    state.trials[event.trial] = Trial(event.trial, len(state.trials), suggestion.config, provenance, event.at)
    state.queue.append(event.trial)


def _attempt_assigned(state: RunState, event: ev.AttemptAssigned) -> None:
    trial = state.trials[event.trial]
    if state.queue and state.queue[0] == trial.id:
        state.queue.popleft()
    else:
        state.queue.remove(trial.id)
    resume_from = CheckpointRecord(**event.resume_from) if event.resume_from else None
    trial.status, trial.attempt, trial.worker = TrialStatus.RUNNING, event.attempt, event.worker
    trial.started, trial.stopping, trial.resume_from = False, None, resume_from
    trial.next_config = trial.next_checkpoint = None
    trial.history.truncate(resume_from.step if resume_from else 0)
    trial.decided_step = trial.decided_by = trial.reason = None
    trial.due_at = trial.deadline = None
    state.running[trial.id] = None
    state.crew.assign(event.worker, trial.id, event.attempt)
    _settle(state, trial)
    start_attempt(state, trial)


def _attempt_started(state: RunState, event: ev.AttemptStarted) -> None:
    _heard(state, event.worker, event.seq)
    state.crew.losses_in_a_row = 0
    trial = state.trials[event.trial]
    trial.started = True
    if trial.started_at is None:
        trial.started_at = event.at
    if state.spec.trial_timeout_s is not None:
        trial.deadline = event.at + max(0.0, state.spec.trial_timeout_s - trial.time_total_s)
    state.due.pop(("start", event.worker), None)


def _reported(state: RunState, event: ev.Reported) -> None:
    _heard(state, event.worker, event.seq)
    trial = state.trials[event.trial]
    trial.history.append(event.step, event.metrics, event.time, counts=trial.counts(event.step))
    seconds = event.metrics.get("time_total_s")
    if isinstance(seconds, int | float):
        trial.time_total_s = float(seconds)
    interval = event.metrics.get("time_this_iter_s")
    if isinstance(interval, int | float) and 0 <= interval < math.inf:
        state.interval_s = max(state.interval_s or 0.0, float(interval))
    state.unheard.heard(trial)


def _checkpointed(state: RunState, event: ev.Checkpointed) -> None:
    _heard(state, event.worker, event.seq)
    trial = state.trials[event.trial]
    value = checkpoint_value(trial, state.spec, event.step)
    trial.checkpoints.append(CheckpointRecord(event.path, event.step, event.attempt, value))
    _retain(state, trial)


def _attempt_ended(state: RunState, event: ev.AttemptEnded) -> None:
    _heard(state, event.worker, event.seq)
    state.crew.free(event.worker, state.due)
    if event.failure == FailureKind.GPU_SHARED:
        state.packing.ran_out(state.crew.workers[event.worker].trials_per_gpu)
    trial = state.trials[event.trial]
    trial.worker, trial.started = None, False
    if event.usage:
        trial.usage = merged(trial.usage, event.usage)
        state.packing.learn(trial.id, trial.usage)
    if event.outcome == "failed":
        trial.tally[event.failure or FailureKind.ERROR] += 1
        trial.error = event.error


def _decided(state: RunState, event: ev.Decided) -> None:
    trial = state.trials[event.trial]
    if event.action == "resume":
        del state.paused[trial.id]
        trial.status = TrialStatus.PENDING
        state.queue.append(trial.id)
        return
    trial.reason, trial.decided_by = event.reason, event.rule
    if event.action in ("stop", "complete"):
        trial.decided_step = event.step
    if event.action == "exploit" and event.source is not None:
        trial.next_config = event.config
        trial.next_checkpoint = state.trials[event.source].resume_point
        _settle(state, trial)
    _interrupt(state, trial, event.action)


def _interrupt(state: RunState, trial: Trial, action: str, grace_s: float | None = None) -> None:
    if trial.stopping in ("stop", "complete") or trial.worker is None:
        return
    trial.stopping, trial.grace_s = action, grace_s or state.spec.grace_s
    tell_to_end(state, trial)


def _trial_requeued(state: RunState, event: ev.TrialRequeued) -> None:
    trial = state.trials[event.trial]
    state.running.pop(trial.id, None)
    if trial.stopping == "exploit" and trial.next_config is not None:
        trial.config, trial.resume_from = trial.next_config, trial.next_checkpoint
    else:
        trial.resume_from = trial.resume_point
    trial.status, trial.due_at = TrialStatus.PENDING, event.due_at
    state.queue.appendleft(trial.id)
    _settle(state, trial)


def _trial_paused(state: RunState, event: ev.TrialPaused) -> None:
    trial = state.trials[event.trial]
    del state.running[trial.id]
    trial.resume_from = trial.resume_point
    trial.status = TrialStatus.PAUSED
    state.paused[trial.id] = None
    state.unheard.through(trial)
    _settle(state, trial)


def _trial_ended(state: RunState, event: ev.TrialEnded) -> None:
    trial = state.trials[event.trial]
    state.running.pop(trial.id, None)
    state.paused.pop(trial.id, None)
    if trial.status is TrialStatus.PENDING and trial.id in state.queue:
        state.queue.remove(trial.id)
    trial.status = TrialStatus(event.status)
    trial.objective = tuple(event.objective) if event.objective is not None else None
    trial.reason = event.reason or trial.reason
    trial.ended_at = event.at
    state.observations.append(Observation(trial.config, trial.objective, trial.id, event.failure))
    state.changed.add(trial.id)
    _rank(state, trial)
    if event.failure == FailureKind.METRIC_MISSING:
        state.unheard.through(trial)
    _settle(state, trial)
    _retain(state, trial)


def _rank(state: RunState, trial: Trial) -> None:
    """Compare a finished trial with the best of those that finished before it."""
    if trial.objective is None:
        return
    best = None if state.leader is None else state.trials[state.leader].objective
    if best is None or state.spec.metric.better(trial.objective[0], best[0]):
        state.leader = trial.id


# --- checkpoints ---


def _settle(state: RunState, trial: Trial) -> None:
    """Hold what `trial` goes on from, and let go of what it went on from before."""
    for path in state.loans.settle(trial.id, needed_checkpoints(trial)):
        for owner in chain((trial,), state.trials.values()):
            if any(checkpoint.path == path for checkpoint in owner.checkpoints):
                _retain(state, owner)
                break


def _retain(state: RunState, trial: Trial) -> None:
    if trial.checkpoints:
        trial.checkpoints = kept_checkpoints(trial, state.spec, state.loans)
        if trial.status.is_finished:
            state.changed.add(trial.id)
        delete_others(state, trial)


TRANSITIONS: Mapping[type[ev.Event], Callable[[RunState, Any], None]] = {
    ev.RunCreated: _run_created,
    ev.RunResumed: _run_resumed,
    ev.TermStarted: _term_started,
    ev.CapacityKnown: _capacity_known,
    ev.StopRequested: _stop_requested,
    ev.RunEnded: _run_ended,
    ev.WorkerRequested: _worker_requested,
    ev.WorkerUp: _worker_up,
    ev.WorkerReleased: _worker_released,
    ev.WorkerLost: _worker_lost,
    ev.WorkerLeaving: _worker_leaving,
    ev.NodeDraining: _node_draining,
    ev.PackingChanged: _packing_changed,
    ev.ItemDiscarded: _item_discarded,
    ev.SuggestionsRequested: _suggestions_requested,
    ev.SuggestionsReady: _suggestions_ready,
    ev.SuggestionsWithdrawn: _suggestions_withdrawn,
    ev.TrialCreated: _trial_created,
    ev.AttemptAssigned: _attempt_assigned,
    ev.AttemptStarted: _attempt_started,
    ev.Reported: _reported,
    ev.Checkpointed: _checkpointed,
    ev.AttemptEnded: _attempt_ended,
    ev.Decided: _decided,
    ev.TrialRequeued: _trial_requeued,
    ev.TrialPaused: _trial_paused,
    ev.TrialEnded: _trial_ended,
}
