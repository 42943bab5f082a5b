"""A run that its journal lacks is brought back from its backup, unless it is going on."""

from __future__ import annotations

from raytune_gp.storage.backup import About, has_backup, restore
from raytune_gp.storage.journal import SQLJournal

__all__ = ["bring_back"]


def bring_back(journal: SQLJournal, url: str, run: str, storage_path: str, executor: str) -> About | None:
    """Take `run` into `journal`, which is at `url` and lacks it, from its backup below `storage_path`.

    Returns where that was from, or None where there is no backup. Raises RunExistsError where the run is
    going on in this Ray cluster, RunNotFoundError where its journal is still there on this machine, and
    JournalError for a damaged backup.
    """
    if not has_backup(storage_path, run):
        return None
    if executor == "ray":
        from raytune_gp.execution.cluster import refuse_running

        refuse_running(run)
    return restore(journal, url, run, storage_path)
