"""A worker's outbox: what it has to say, numbered, kept until the journal has it. Pure.

Reading removes nothing, so a stream can be opened again by another coordinator; only an acknowledgement,
which comes after the commit, trims it. The simulated workers use this very class.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from typing import Any

from raytune_gp.messages import Item

__all__ = ["BATCH", "Outbox"]

BATCH = 200
"""The most items that are read at a time."""


class Outbox:
    """Items of one worker, with sequence numbers from 1. Safe to use from several threads."""

    def __init__(self, worker: str):
        self.worker = worker
        self._items: deque[Item] = deque()
        self._seq = 0
        self._lock = threading.Lock()

    def append(
        self, trial: str, attempt: int, kind: str, at: float, body: Mapping[str, Any] | None = None
    ) -> Item:
        """Add an item; `at` is the worker's clock in seconds."""
        with self._lock:
            self._seq += 1
            item = Item(self.worker, self._seq, trial, attempt, kind, at, body or {})
            self._items.append(item)
            return item

    def read(self, after_seq: int, count: int = BATCH) -> list[Item]:
        """Up to `count` items behind `after_seq`, in order."""
        with self._lock:
            if not self._items:
                return []
            skip = max(0, after_seq - self._items[0].seq + 1)
            return [self._items[i] for i in range(skip, min(len(self._items), skip + count))]

    @property
    def is_empty(self) -> bool:
        """Whether all that was said is acknowledged."""
        with self._lock:
            return not self._items

    def acknowledge(self, seq: int) -> None:
        """Forget everything up to `seq`."""
        with self._lock:
            while self._items and self._items[0].seq <= seq:
                self._items.popleft()
