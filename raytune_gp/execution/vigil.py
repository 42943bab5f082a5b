"""Whether a trial hangs: how long it has been silent while it was watched, and where its threads are.

The worker watches its own trial. So neither a coordinator that is away nor a journal that cannot be written
makes a trial look silent: a report counts when it is made, and not when it is heard.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
from collections.abc import Iterator

from raytune_gp.execution import reaper
from raytune_gp.trainable.session import Session

__all__ = ["Silence", "answering", "say_where_threads_are"]

MOST_BETWEEN_S = 5.0
"""Time between two looks beyond this was not watched: the process was stopped, or its machine asleep."""

LOG = 2
"""Standard error, which is the trial's log while it runs."""


class Silence:
    """How long the trial has reported nothing, in seconds of time that was watched."""

    def __init__(self) -> None:
        self._session: Session | None = None
        self._sign = 0.0
        self._looked = 0.0
        self._seconds = 0.0

    def look(self, session: Session | None, now: float) -> float:
        """The silence so far at time `now`, by `time.monotonic`: of a trial that may go on, else 0.

        A trial that waits for its storage is not silent.
        """
        passed, self._looked = now - self._looked, now
        if session is not self._session:
            self._session, self._sign, self._seconds = session, 0.0, 0.0
        if session is None or session.mode is not None or session.last_sign is None:
            self._seconds = 0.0
            return 0.0
        if session.last_sign != self._sign:
            self._sign, self._seconds = session.last_sign, 0.0
            passed = now - self._sign
        self._seconds += min(passed, MOST_BETWEEN_S)
        return self._seconds


@contextlib.contextmanager
def answering() -> Iterator[None]:
    """Meanwhile the reaper is told, in the log, where the threads are, even if one holds the interpreter."""
    if not reaper.STACKS:
        yield
        return
    faulthandler.register(reaper.STACKS, file=LOG, all_threads=True, chain=False)
    try:
        yield
    finally:
        faulthandler.unregister(reaper.STACKS)


def say_where_threads_are(why: str) -> None:
    """Write `why` and the stacks of this process's threads into the log of the trial that runs."""
    with contextlib.suppress(OSError):
        os.write(LOG, f"\n{why}. The stacks of its threads:\n".encode())
        faulthandler.dump_traceback(LOG, all_threads=True)
