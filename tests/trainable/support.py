"""A session on the bench: what it emits, in order."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from raytune_gp.storage.artifacts import Storage
from raytune_gp.trainable.run import Outcome
from raytune_gp.trainable.session import Context, Session


class Bench:
    """A session, its storage, and what it has said."""

    def __init__(self, tmp_path: Path, **options: Any):
        self.said: list[tuple[str, dict[str, Any]]] = []
        self.news = threading.Condition()
        self.storage = Storage(str(tmp_path / "results"), "run")
        context = Context("run", "00000", self.storage.path("trial_00000"), {"cpu": 1})
        self.session = Session(self.hear, context, self.storage, **options)

    def hear(self, kind: str, body: Mapping[str, Any]) -> int:
        with self.news:
            self.said.append((kind, dict(body)))
            self.news.notify_all()
            return len(self.said)

    def wait(self, count: int, seconds: float = 10.0) -> None:
        """Until so many reports were said."""
        with self.news:
            assert self.news.wait_for(lambda: len(self.reports) >= count, seconds), self.said

    @property
    def reports(self) -> list[dict[str, Any]]:
        return [body["metrics"] for kind, body in self.said if kind == "report"]

    @property
    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.said]


@contextlib.contextmanager
def in_background(call: Callable[[], Outcome]) -> Iterator[list[Outcome]]:
    """`call` runs beside the block and has ended after it; its outcome is in the list."""
    outcomes: list[Outcome] = []
    thread = threading.Thread(target=lambda: outcomes.append(call()))
    thread.start()
    try:
        yield outcomes
    finally:
        thread.join(20)
        assert not thread.is_alive()
