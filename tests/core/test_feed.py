"""The feed of a worker's outbox: nothing is missed, nobody polls, and one reader has it."""

from __future__ import annotations

import asyncio
import functools
import threading
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any

import pytest

from raytune_gp.execution import feed as feeding
from raytune_gp.execution.feed import Feed
from raytune_gp.execution.outbox import Outbox
from raytune_gp.messages import Item

SOON_S = 5.0


class Saying:
    """An outbox with its feed, and a thread's way to fill it."""

    def __init__(self) -> None:
        self.outbox = Outbox("w0/1")
        self.feed = Feed(self.outbox)
        self.reads = 0
        read = self.outbox.read

        def counted(after_seq: int) -> list[Item]:
            self.reads += 1
            return read(after_seq)

        self.outbox.read = counted  # type: ignore[method-assign,assignment]

    def say(self, kind: str = "report") -> None:
        self.outbox.append("00000", 1, kind, 0.0)
        self.feed.said(kind)

    def stream(self, wanted: Callable[[], bool] = lambda: True) -> AsyncGenerator[list[Item], None]:
        return self.feed.read(0, wanted)


def in_a_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    @functools.wraps(test)
    def run(*arguments: Any, **named: Any) -> None:
        asyncio.run(test(*arguments, **named))

    return run


async def batch(stream: AsyncGenerator[list[Item], None]) -> list[int]:
    """The numbers of the next batch's items."""
    return [item.seq for item in await asyncio.wait_for(anext(stream), SOON_S)]


async def is_over(stream: AsyncGenerator[list[Item], None]) -> bool:
    try:
        await asyncio.wait_for(anext(stream), SOON_S)
    except StopAsyncIteration:
        return True
    return False


@in_a_loop
async def test_what_was_said_before_comes_at_once_and_what_follows_wakes_the_reader() -> None:
    worker = Saying()
    worker.say()
    worker.say()
    stream = worker.stream()
    assert await batch(stream) == [1, 2]
    waiting = asyncio.create_task(batch(stream))
    await asyncio.sleep(0.2)
    reads = worker.reads
    await asyncio.sleep(0.3)
    assert worker.reads == reads, "a reader that has read all does not look again by itself"
    threading.Thread(target=worker.say).start()
    assert await waiting == [3]


@in_a_loop
async def test_what_follows_closely_is_gathered_and_the_end_of_a_trial_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(feeding, "GATHER_S", 60.0)
    worker = Saying()
    stream = worker.stream()
    worker.say()
    assert await batch(stream) == [1]
    waiting = asyncio.create_task(batch(stream))
    await asyncio.sleep(0.1)
    worker.say()
    worker.say()
    await asyncio.sleep(0.1)
    assert not waiting.done(), "they wait for those that follow"
    worker.say("ended")
    assert await waiting == [2, 3, 4]
    worker.say()
    assert await batch(stream) == [5], "nothing follows the end of a trial for a while"


@in_a_loop
async def test_a_later_reader_ends_the_one_before_and_has_all_that_is_not_acknowledged() -> None:
    worker = Saying()
    worker.say()
    first = worker.stream()
    assert await batch(first) == [1]
    waiting = asyncio.create_task(is_over(first))
    await asyncio.sleep(0.1)
    second = worker.stream()
    assert await batch(second) == [1]
    assert await waiting
    worker.say()
    assert await batch(second) == [2]


@in_a_loop
async def test_a_reader_that_is_not_wanted_ends_and_disturbs_none() -> None:
    worker, term = Saying(), 1
    worker.say()
    stream = worker.stream(lambda: term == 1)
    assert await batch(stream) == [1]
    assert await is_over(worker.stream(lambda: term == 2))
    worker.say()
    assert await batch(stream) == [2]
    waiting = asyncio.create_task(is_over(stream))
    await asyncio.sleep(0.1)
    term = 2
    worker.feed.look_up()
    assert await waiting


@in_a_loop
async def test_nothing_is_missed_that_a_busy_thread_says() -> None:
    worker, count = Saying(), 3000

    def train() -> None:
        for step in range(count):
            worker.say()
            if step % 50 == 0:
                time.sleep(0.001)
        worker.say("ended")

    threading.Thread(target=train).start()
    seen: list[int] = []
    async for items in worker.stream():
        seen += [item.seq for item in items]
        worker.outbox.acknowledge(seen[-1])
        if items[-1].kind == "ended":
            break
    assert seen == list(range(1, count + 2))
