"""What trials report."""

from __future__ import annotations

from random import Random
from typing import Any

from benchmarks.fuzz.attempts import CrashError
from benchmarks.fuzz.odd import altered
from raytune_gp import events as ev
from raytune_gp.codec import event_from_json, event_to_json
from raytune_gp.messages import Item
from raytune_gp.trainable.session import Context, Session
from raytune_gp.trial import History

__all__ = ["reports"]


def reports(rng: Random) -> None:
    """What is handed to `tune.report`, to the journal and back."""
    sent: list[Any] = []

    def send(kind: str, body: Any) -> int:
        sent.append((kind, body))
        return len(sent)

    session = Session(send, Context("run", "00000", "/tmp", {}))
    metrics: Any = {"score": 0.5, "nested": {"a": 1, "b": [1, 2]}}
    for _ in range(rng.choice([1, 2, 4])):
        metrics = altered(rng, metrics)
    if rng.random() < 0.1:
        metrics = _trap(rng)
    session.report(metrics)
    for kind, body in sent:
        item = Item("w0/1", 1, "00000", 1, kind, 1.0, body)
        _through_a_journal(item)


def _trap(rng: Random) -> Any:
    """What is not nested as trees are, or not small."""
    loop: Any = {"a": 1}
    loop["b"] = loop
    ring: list[Any] = []
    ring.append(ring)
    deep: Any = 1.0
    for _ in range(5000):
        deep = {"d": deep} if rng.random() < 0.9 else [deep]
    return rng.choice([loop, {"a": ring}, deep, {"a": "x" * 10**6}, {"a": [0.5] * 10**5}, {"a": [deep]}])


def _through_a_journal(item: Item) -> None:
    step, metrics = item.body["step"], item.body["metrics"]
    event = ev.Reported(1.0, item.worker, item.seq, item.trial, item.attempt, step, metrics, item.time)
    text = event_to_json(event)
    text.encode()
    back = event_from_json("Reported", text)
    if repr(back) != repr(event):
        raise CrashError(f"not what was reported: {event!r} came back as {back!r}")
    history = History()
    history.append(step, metrics, item.time)
