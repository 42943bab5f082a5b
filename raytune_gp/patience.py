"""How long an attempt may go without a report before it counts as hung. Pure.

The time between reports is learned: from the attempt itself, and from the other trials of the run.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["AUTO", "Patience"]

AUTO = "auto"

FACTOR = 10.0
"""An attempt hangs after so many times the longest time between two reports so far."""

FLOOR_S = 600.0
"""But never before so many seconds: an evaluation, or a data set that is loaded again, is no hang."""


@dataclass(frozen=True, slots=True)
class Patience:
    """What an attempt may take to its next report.

    `setting` is the user's: a number of seconds, `AUTO`, or None for ever. `known_s` is the longest time
    between two reports of this run so far, in seconds, None before there was one. `hangs` counts the attempts
    of the trial that were ended for their silence: each doubles what is learned, as the config may be slow.
    """

    setting: float | str | None = AUTO
    known_s: float | None = None
    hangs: int = 0

    def limit_s(self, longest_s: float | None) -> float | None:
        """So many seconds, where `longest_s` is the longest that the attempt itself took to a report.

        None for ever: by the setting, or as long as nothing is known.
        """
        if self.setting != AUTO:
            return self.setting  # type: ignore[return-value]
        known = max((s for s in (longest_s, self.known_s) if s is not None), default=None)
        return None if known is None else max(FLOOR_S, FACTOR * known) * 2.0**self.hangs
