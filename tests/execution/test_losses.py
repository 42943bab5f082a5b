"""The kind of a loss is told alike from an error of Ray's, and from its table of actors."""

from __future__ import annotations

import importlib
import os
import signal
import uuid
from typing import Any

import pytest
import ray
from ray._private.state import state
from ray.exceptions import ActorDiedError

from raytune_gp.execution.losses import kind_of_absence, kind_of_loss
from raytune_gp.failures import FailureKind
from tests.patience import wait_until

pb2: Any = importlib.import_module("ray.core.generated.common_pb2")  # its classes are made as it is imported

GOING = frozenset({"drained"})


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    there = [{"NodeID": "here", "Alive": True}, {"NodeID": "gone", "Alive": False}]
    monkeypatch.setattr(ray, "nodes", lambda: there)


def ways(
    monkeypatch: pytest.MonkeyPatch, text: str, node: str, preempted: bool = False
) -> tuple[FailureKind, FailureKind]:
    """The kind by the error, and by the table."""
    cause = pb2.ActorDeathCause()
    died = cause.actor_died_error_context
    died.actor_id, died.error_message = bytes(16), text
    if preempted:
        died.node_death_info.reason = pb2.NodeDeathInfo.AUTOSCALER_DRAIN_PREEMPTED
    row: dict[str, Any] = {"Name": "run/w0/1", "DeathCause": cause, "Address": {"NodeID": node}}
    monkeypatch.setattr(state, "actor_table", lambda _: {"id": row})
    what, kind = kind_of_absence("run/w0/1", GOING)
    assert what == f"no such actor is alive: {text}"
    return kind_of_loss(ActorDiedError(died), node, GOING), kind


@pytest.mark.usefixtures("nodes")
@pytest.mark.parametrize(
    ("text", "node", "kind"),
    [
        ("a worker was killed due to memory pressure", "here", FailureKind.HOST_MEMORY),
        ("node running low on memory", "gone", FailureKind.HOST_MEMORY),
        ("the worker receives a SIGTERM", "here", FailureKind.PREEMPTED),
        ("the connection ended", "drained", FailureKind.PREEMPTED),
        ("the connection ended", "gone", FailureKind.NODE_LOST),
        ("the connection ended", "here", FailureKind.WORKER_LOST),
        ("it never was on a node", "", FailureKind.WORKER_LOST),
    ],
)
def test_what_ray_says_and_where_it_was(
    monkeypatch: pytest.MonkeyPatch, text: str, node: str, kind: FailureKind
) -> None:
    assert ways(monkeypatch, text, node) == (kind, kind)


@pytest.mark.usefixtures("nodes")
def test_what_ray_knows_to_be_preempted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(ways(monkeypatch, "the connection ended", "here", preempted=True)) == {FailureKind.PREEMPTED}


def test_memory_as_a_context_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    cause = pb2.ActorDeathCause()
    cause.oom_context.error_message = "too much"
    row = {"Name": "run/w0/1", "DeathCause": cause, "Address": {"NodeID": "here"}}
    monkeypatch.setattr(state, "actor_table", lambda _: {"id": row})
    said = kind_of_absence("run/w0/1", GOING)
    assert said == ("no such actor is alive: too much", FailureKind.HOST_MEMORY)


def test_an_actor_that_ray_has_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "actor_table", lambda _: {})
    assert kind_of_absence("run/w0/1", GOING) == ("no such actor is alive", FailureKind.WORKER_LOST)


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_the_table_tells_of_an_actor_that_was_killed() -> None:
    class Sleeper:
        def pid(self) -> int:
            return os.getpid()

    name = f"sleeper-{uuid.uuid4().hex}"
    sleeper: Any = ray.remote(Sleeper).options(name=name, num_cpus=0).remote()
    os.kill(ray.get(sleeper.pid.remote()), signal.SIGKILL)
    assert wait_until(lambda: kind_of_absence(name, GOING)[0].startswith("no such actor is alive: "))
    assert kind_of_absence(name, GOING)[1] is FailureKind.WORKER_LOST
