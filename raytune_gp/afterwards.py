"""What is made of a run once it is left: its results or its error, and how to go on with it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from raytune_gp.errors import RunFailedError, TrialFailedError
from raytune_gp.results import ResultGrid
from raytune_gp.space.plain import fresh
from raytune_gp.spec import ExperimentSpec
from raytune_gp.state import RunState
from raytune_gp.status import RunStatus
from raytune_gp.storage.artifacts import Checkpoint, Storage
from raytune_gp.storage.urls import default_journal_url, url_for_commands
from raytune_gp.trial import CheckpointRecord

__all__ = ["command_for", "how_to_resume", "results_of"]


def results_of(
    state: RunState,
    restore_config: Callable[[Any], Any] = fresh,
    raise_on_failed_trial: bool = False,
) -> ResultGrid:
    """The results of a run. `restore_config` makes the user's values of journalled ones.

    Raises RunFailedError where the run could not go on, and TrialFailedError where that is wished for.
    """
    spec = state.spec
    if state.status is RunStatus.FAILED:
        raise RunFailedError(
            f"run {spec.name!r} could not go on: {state.reason}\nTrials finished and in the journal: "
            f"{len(state.observations)}; resume=True goes on"
        )
    storage = Storage(spec.storage_path, spec.name, create=False)
    results = ResultGrid(
        state,
        restore_config=restore_config,
        checkpoint_factory=partial(_checkpoint, storage),
        storage_path=storage.root,
    )
    if raise_on_failed_trial and results.num_errors:
        failed = [t.id for t in state.trials.values() if t.status == "FAILED"]
        raise TrialFailedError(
            f"{len(failed)} of {len(state.trials)} trials failed ({', '.join(failed[:10])}); the first: "
            f"{results.errors[0]}"
        )
    return results


def _checkpoint(storage: Storage, record: CheckpointRecord) -> Checkpoint:
    return storage.checkpoint(record.path)


def how_to_resume(spec: ExperimentSpec, journal_url: str) -> str:
    """What goes on with the run: a command where it has a run file, else a call."""
    if spec.run_file:
        return command_for("resume", spec.name, journal_url)
    return f"tune.run(..., name={spec.name!r}, resume=True)"


def command_for(command: str, run: str, journal_url: str) -> str:
    """The command line for a run, with what it must be told of the journal, but for a password."""
    where = "" if journal_url == default_journal_url() else f" --journal {url_for_commands(journal_url)}"
    return f"raytune-gp {command} {run}{where}"
