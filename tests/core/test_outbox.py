"""The outbox: read as often as you like, trimmed only by an acknowledgement."""

from __future__ import annotations

import threading

from raytune_gp.execution.outbox import BATCH, Outbox
from raytune_gp.messages import Item


def filled(count: int) -> Outbox:
    outbox = Outbox("w0/1")
    for step in range(1, count + 1):
        outbox.append("00000", 1, "report", float(step), {"step": step})
    return outbox


def seqs(items: list[Item]) -> list[int]:
    return [i.seq for i in items]


def test_items_are_numbered_from_one() -> None:
    outbox = Outbox("w0/1")
    assert outbox.read(0) == []
    assert outbox.append("00000", 2, "started", 1.5) == Item("w0/1", 1, "00000", 2, "started", 1.5, {})


def test_reading_removes_nothing() -> None:
    outbox = filled(5)
    assert seqs(outbox.read(0)) == seqs(outbox.read(0)) == [1, 2, 3, 4, 5]
    assert seqs(outbox.read(3)) == [4, 5]
    assert outbox.read(5) == outbox.read(99) == []


def test_only_an_acknowledgement_trims() -> None:
    outbox = filled(5)
    outbox.acknowledge(3)
    assert seqs(outbox.read(0)) == [4, 5]
    outbox.acknowledge(2)
    assert seqs(outbox.read(0)) == [4, 5], "an older one that comes late takes nothing back"
    outbox.acknowledge(5)
    assert outbox.read(0) == []
    assert outbox.append("00000", 1, "ended", 9.0).seq == 6, "the count goes on"
    assert seqs(outbox.read(5)) == [6]


def test_batches_are_bounded() -> None:
    outbox = filled(BATCH + 5)
    assert seqs(outbox.read(0)) == list(range(1, BATCH + 1))
    assert seqs(outbox.read(BATCH)) == list(range(BATCH + 1, BATCH + 6))
    assert seqs(outbox.read(0, count=2)) == [1, 2]


def test_threads_append_while_another_reads_and_acknowledges() -> None:
    outbox = Outbox("w0/1")
    writers = [
        threading.Thread(target=lambda: [outbox.append("00000", 1, "report", 0.0) for _ in range(500)])
        for _ in range(4)
    ]
    for writer in writers:
        writer.start()
    seen: list[int] = []
    while len(seen) < 2000:
        items = outbox.read(seen[-1] if seen else 0)
        seen += seqs(items)
        if items:
            outbox.acknowledge(items[-1].seq)
    for writer in writers:
        writer.join()
    assert seen == list(range(1, 2001))
