"""First in, first out: every trial runs to its end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from raytune_gp.events import Event
from raytune_gp.protocols import Continue, Decision
from raytune_gp.trial import Trial

__all__ = ["FIFOScheduler"]


class FIFOScheduler:
    """Decides nothing."""

    rule = "fifo/1"

    def apply(self, event: Event, trials: Mapping[str, Trial]) -> None:
        """Nothing to learn."""

    def on_result(self, trial: Trial) -> Decision:
        """Every trial goes on."""
        return Continue()

    def next_to_resume(self) -> str | None:
        """No trial is ever paused."""
        return None

    def snapshot(self) -> Mapping[str, Any]:
        """Nothing is known."""
        return {}

    def restore(self, snapshot: Mapping[str, Any], trials: Mapping[str, Trial]) -> None:
        """Nothing to know."""
