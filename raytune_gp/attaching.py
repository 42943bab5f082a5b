"""Follow a run that goes on without this process: `tune.attach`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from raytune_gp.afterwards import command_for, how_to_resume, results_of
from raytune_gp.audience import Audience
from raytune_gp.callbacks import CallbackList
from raytune_gp.errors import RunError, RunFailedError
from raytune_gp.recovery import state_of
from raytune_gp.results import ResultGrid
from raytune_gp.space.plain import fresh
from raytune_gp.state import RunState
from raytune_gp.storage.artifacts import Storage
from raytune_gp.storage.journal import SQLJournal

__all__ = ["attach"]


def attach(
    run: str,
    journal_url: str,
    callbacks: Sequence[Any] = (),
    verbose: int = 1,
    raise_on_failed_trial: bool = False,
) -> ResultGrid:
    """Follow `run` to its end, and return its results; see `tune.attach`."""
    journal = SQLJournal(journal_url)
    try:
        state = state_of(journal, run)
        storage = Storage(state.spec.storage_path, run, create=False)
        heard = CallbackList(callbacks, fresh, storage.checkpoint)
        with Audience(run, heard, verbose) as audience:
            audience.begin(state)
            if not state.status.is_ended:
                _follow(state, journal, journal_url, audience)
            audience.end(state)
    finally:
        journal.close()
    return results_of(state, raise_on_failed_trial=raise_on_failed_trial)


def _follow(state: RunState, journal: SQLJournal, journal_url: str, audience: Audience) -> None:
    """Tell of the run as it goes on; what its coordinator does not say in the end is in the journal."""
    from raytune_gp.execution.driver import CoordinatorGoneError, Follower, watch

    name = state.spec.name
    coordinator = _coordinator_of(state)
    follower = Follower(coordinator, state, audience.hear, audience.pause, audience.warn)
    try:
        if coordinator is not None and not watch(follower):
            raise KeyboardInterrupt(
                f"left run {name!r}, which goes on: {command_for('attach', name, journal_url)} follows it "
                f"again, {command_for('stop', name, journal_url)} stops it"
            )
    except CoordinatorGoneError:
        pass
    follower.hear([event for _, event in journal.read(name, state.index)])
    if not state.status.is_ended:
        raise _abandoned(state, journal_url)


def _coordinator_of(state: RunState) -> Any:
    """The coordinator of this very run, or None; another journal may hold a run of the same name."""
    from ray.exceptions import ActorDiedError, RayError

    from raytune_gp.execution.cluster import connect, find_coordinator, identify

    coordinator = find_coordinator(state.spec.name) if connect() else None
    if coordinator is None:
        return None
    try:
        return coordinator if identify(coordinator)["run_id"] == state.spec.run_id else None
    except ActorDiedError:
        return None
    except RayError as error:
        raise RunError(f"the coordinator of run {state.spec.name!r} cannot be reached: {error}") from error


def _abandoned(state: RunState, journal_url: str) -> RunError:
    """What to say of a run that is not over, and has no coordinator."""
    spec = state.spec
    from raytune_gp.execution.coordinator import FAILURE_FILE

    resume = f"Go on with {how_to_resume(spec, journal_url)}"
    with suppress(Exception):  # no such file, above all
        storage = Storage(spec.storage_path, spec.name, create=False)
        failure = json.loads(storage.read_bytes(FAILURE_FILE))
        if failure["at"] >= state.now:
            return RunFailedError(f"run {spec.name!r} could not go on: {failure['error']}\n{resume}")
    return RunError(
        f"run {spec.name!r} is not over ({len(state.observations)} trials are finished), and nobody goes on "
        f"with it in this Ray cluster. {resume}; if it runs in another cluster, attach there (RAY_ADDRESS)"
    )
