"""Where a run is in its life."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["RunStatus"]


class RunStatus(StrEnum):
    """Where a run is in its life: RUNNING ─► STOPPING ─► STOPPED, or COMPLETED, or FAILED.

    An ended run goes back to RUNNING when it is resumed.
    """

    RUNNING = "RUNNING"
    STOPPING = "STOPPING"
    STOPPED = "STOPPED"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"

    @property
    def is_ended(self) -> bool:
        """Whether nothing more happens unless the run is resumed."""
        return self in (RunStatus.STOPPED, RunStatus.COMPLETED, RunStatus.FAILED)
