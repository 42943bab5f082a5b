"""Calls of a worker that come through: sent again where one may be lost, and a stream opened again.

Ray raises ActorUnavailableError where a call, or the answer to it, was lost: it may have been carried out or
not. A worker knows what it has begun, so that the same message again has no effect.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

from ray.exceptions import ActorDiedError, ActorUnavailableError, OutOfMemoryError, RayError

from raytune_gp.messages import Interrupt, Item, Start

__all__ = ["GapError", "deliver", "grace_left", "hello", "items"]

RETRY_S = 0.5
BACKPRESSURE = 4
"""Batches that a stream may be ahead of its reader."""

ANSWER_S = 5.0
"""So long a worker may take to say what its attempt has left; a trainable that holds the interpreter for
longer does not stop."""


class GapError(Exception):
    """A worker's items do not follow on those before."""


async def hello(handle: Any, term: int) -> dict[str, Any]:
    """The worker's answer, once it can be reached. Raises RayError where it is dead."""
    while True:
        try:
            answer: dict[str, Any] = await handle.hello.remote(term)
            return answer
        except ActorUnavailableError:
            await asyncio.sleep(RETRY_S)


async def deliver(handle: Any, command: Start | Interrupt, term: int, goes_on: Callable[[], bool]) -> None:
    """Send `command` until an answer says that it has come, or its attempt does not go on."""
    method = handle.start if isinstance(command, Start) else handle.interrupt
    with contextlib.suppress(ActorDiedError):  # of which the stream tells
        while True:
            try:
                await method.remote(command, term)
                return
            except ActorUnavailableError:
                await asyncio.sleep(RETRY_S)
            if not goes_on():
                return


async def grace_left(handle: Any, command: Interrupt, term: int) -> float:
    """What the worker says its attempt has left, in seconds: nothing, where it does not answer."""
    with contextlib.suppress(TimeoutError, RayError):
        async with asyncio.timeout(ANSWER_S):
            while True:
                with contextlib.suppress(ActorUnavailableError):
                    left: float = await handle.grace_left.remote(command, term)
                    return left
                await asyncio.sleep(RETRY_S)
    return 0.0


async def items(handle: Any, after_seq: int, term: int) -> AsyncIterator[Item]:
    """The worker's items behind `after_seq`, without gaps; its stream is opened again where it breaks.

    Ends where a coordinator of a higher term reads. Raises ActorDiedError or OutOfMemoryError where the
    worker is dead, and GapError where items are not to be had: an older copy has taken the journal's place,
    and the worker has forgotten what it was told is safe there.
    """
    cursor, gap_behind = after_seq, -1
    while True:
        try:
            stream = handle.stream.options(
                num_returns="streaming", _generator_backpressure_num_objects=BACKPRESSURE
            ).remote(cursor, term)
            async for reference in stream:
                for item in await reference:
                    if item.seq > cursor + 1:
                        raise GapError(f"its items {cursor + 1} to {item.seq - 1} are not to be had")
                    yield item
                    cursor = item.seq
            return
        except (ActorDiedError, OutOfMemoryError):
            raise
        except RayError:
            await asyncio.sleep(RETRY_S)
        except GapError:
            if gap_behind == cursor:
                raise
            gap_behind = cursor
            await asyncio.sleep(RETRY_S)
