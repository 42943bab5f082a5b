"""A worker's outbox as it fills, for one reader at a time: batches that come when there is something to say.

A reader that has read all sleeps until the next item wakes it. One that has just got some gathers those that
follow closely, so that a stream of reports costs a message for many of them.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable

from raytune_gp.execution.outbox import Outbox
from raytune_gp.messages import Item

__all__ = ["GATHER_S", "Feed"]

GATHER_S = 0.03
"""A report that comes sooner than this after others were sent waits, and is sent with those that follow; any
other is sent at once, and so is the end of a trial."""


class Feed:
    """Reads `outbox` in an event loop, to which threads that fill it call `said`."""

    def __init__(self, outbox: Outbox):
        self._outbox = outbox
        self._loop: asyncio.AbstractEventLoop | None = None
        self._news = asyncio.Event()
        self._all_read = False
        self._readers = 0

    async def read(self, after_seq: int, is_wanted: Callable[[], bool]) -> AsyncGenerator[list[Item], None]:
        """Batches of items behind `after_seq`, as they come, while it `is_wanted` and no later one reads.

        Whether it is wanted is looked at whenever there is news, and after `look_up`.
        """
        if not is_wanted():
            return
        self._loop = asyncio.get_running_loop()
        self._readers += 1
        cursor, own = after_seq, self._readers
        self._news.set()  # the reader before ends: one alone says whether all is read
        while is_wanted() and own == self._readers:
            self._news.clear()
            self._all_read = True  # said before it is read, so that what comes in between is news
            items = self._outbox.read(cursor)
            if not items:
                await self._news.wait()
                continue
            self._all_read = False
            cursor = items[-1].seq
            yield items
            if items[-1].kind != "ended":
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._news.wait(), GATHER_S)

    def look_up(self) -> None:
        """Have the reader see whether it is still wanted; in the event loop."""
        self._news.set()

    def said(self, kind: str) -> None:
        """An item of `kind` is in the outbox: wake a reader that has read all. From any thread.

        A reader that gathers looks by itself, unless it is the end of a trial.
        """
        if self._loop is not None and (self._all_read or kind == "ended"):
            self._all_read = False
            self._loop.call_soon_threadsafe(self._news.set)
