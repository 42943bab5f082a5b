"""What follows the end of an attempt: the trial's end, a pause, or another attempt. Pure.

Each function gives the events behind the one that told of the end, and expects them to be applied as they
come. What a failure leads to is read off the table in failures.py.
"""

from __future__ import annotations

from collections.abc import Iterator

from raytune_gp import events as ev
from raytune_gp.failures import FailureKind, policy_of
from raytune_gp.spec import ExperimentSpec
from raytune_gp.state import RunState
from raytune_gp.status import RunStatus
from raytune_gp.trial import Trial, TrialStatus
from raytune_gp.unheard import WITHOUT_VALUE
from raytune_gp.unreported import reported_instead

__all__ = ["TIMEOUT_RULE", "after_attempt", "after_loss", "end_of", "run_failed"]

TIMEOUT_RULE = "timeout/1"
"""The rule of a decision that a trial's time is up."""


def after_attempt(
    state: RunState, trial: Trial, outcome: str, failure: str | None, error: str | None, now: float
) -> Iterator[ev.Event]:
    """An attempt told of its end: `outcome` is completed, interrupted or failed, of the kind `failure`."""
    if trial.stopping in ("stop", "complete"):
        yield end_of(trial, state.spec, _status_of(trial.stopping), now)
    elif outcome == "completed":
        yield end_of(trial, state.spec, TrialStatus.COMPLETED, now)
    elif outcome == "interrupted":
        if trial.stopping == "pause" and trial.resume_point is not None:
            yield ev.TrialPaused(now, trial.id)
        else:
            yield ev.TrialRequeued(now, trial.id, trial.reason or state.reason or "interrupted")
    else:
        yield from _after_failure(state, trial, failure or FailureKind.ERROR, _last_line(error), now)


def after_loss(state: RunState, trial: Trial, failure: str, reason: str, now: float) -> Iterator[ev.Event]:
    """The trial's worker is gone, of the kind `failure`."""
    if trial.stopping in ("stop", "complete"):
        yield end_of(trial, state.spec, _status_of(trial.stopping), now)
    elif trial.stopping == "pause" and _is_saved(trial):
        yield ev.TrialPaused(now, trial.id)
    elif trial.stopping is not None:
        yield ev.TrialRequeued(now, trial.id, f"{failure}: {reason}")
    else:
        yield from _after_failure(state, trial, failure, reason, now)


def _after_failure(state: RunState, trial: Trial, failure: str, error: str, now: float) -> Iterator[ev.Event]:
    """Try again as the kind's policy says, else end the trial."""
    policy, retries = policy_of(failure), state.spec.retries(failure)
    count = trial.failures if policy.blamed else trial.tally[failure]
    if retries is None or count <= retries:
        wait = policy.delay_s(count)
        reason = f"retry after failure {count}" if policy.blamed else f"{failure}: {error}"
        yield ev.TrialRequeued(now, trial.id, reason, now + wait if wait else None)
        return
    once = policy.blamed or policy.retries == 0
    reason = error if once else f"{count} attempts ended by: {failure}; the last one: {error}"
    yield end_of(trial, state.spec, TrialStatus.FAILED, now, failure=failure, reason=reason)
    if state.spec.fail_fast:
        yield from run_failed(state, f"trial {trial.id} failed and fail_fast is set: {reason}", now)


def run_failed(state: RunState, reason: str, now: float) -> Iterator[ev.Event]:
    """The run cannot go on."""
    if not state.status.is_ended:
        yield ev.RunEnded(now, RunStatus.FAILED.value, reason)


def end_of(
    trial: Trial,
    spec: ExperimentSpec,
    status: TrialStatus,
    now: float,
    *,
    failure: str | None = None,
    reason: str | None = None,
) -> ev.TrialEnded:
    """The end of `trial` with its objective; one without a finite objective says why it has none."""
    objective = None
    if failure is None:
        objective, failure = spec.objective_of(trial)
        if failure == FailureKind.METRIC_MISSING:
            if status is TrialStatus.COMPLETED:
                status, reason = TrialStatus.FAILED, _missing(trial, spec)
            elif trial.decided_by == TIMEOUT_RULE:
                status, failure = TrialStatus.FAILED, FailureKind.TIMEOUT
                reason = f"{trial.reason}{WITHOUT_VALUE}{spec.metric.name}"
            elif trial.decided_by in (None, "user"):
                failure = FailureKind.STOPPED_EARLY
    values = list(objective) if objective is not None else None
    return ev.TrialEnded(now, trial.id, status.value, values, failure, reason)


def _missing(trial: Trial, spec: ExperimentSpec) -> str:
    missing = [m.name for m in spec.metrics if trial.value(m, spec.scope) is None]
    return (
        f"ended without reporting {', '.join(missing)}; it reported {reported_instead(missing[0], [trial])}"
    )


def _is_saved(trial: Trial) -> bool:
    """Whether its checkpoint is as new as its last report, so that an attempt more would gain nothing."""
    return trial.resume_point is not None and trial.resume_point.step >= trial.step


def _status_of(stopping: str) -> TrialStatus:
    return TrialStatus.COMPLETED if stopping == "complete" else TrialStatus.STOPPED


def _last_line(error: str | None) -> str:
    return (error or "").strip().rpartition("\n")[2]
