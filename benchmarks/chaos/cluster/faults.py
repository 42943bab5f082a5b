"""The faults of docs/faults.md that can be made on one machine: a class each, with its row in the matrix.

`prepare` is called before the run starts, and may order trouble from a trial; `strike`, in a thread of its
own, once so many reports have been made.
"""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, ClassVar

import psutil

from benchmarks.chaos.cluster.nodes import Nodes
from benchmarks.chaos.cluster.scene import STEPS, Scene

__all__ = ["FAULTS", "Fault"]


class Fault:
    """One fault of one round; `trial` is the one it is for, if it is for one."""

    row: ClassVar[int]
    name: ClassVar[str]
    ends_driver: ClassVar[bool] = False
    changes_nodes: ClassVar[bool] = False
    needs_server: ClassVar[bool] = False
    settings: ClassVar[dict[str, Any]] = {}

    def __init__(self, rng: random.Random, trial: int):
        self.rng = rng
        self.trial = trial
        self.after_reports = rng.randint(2, 16)

    def prepare(self, scene: Scene) -> None:
        """Before the run starts."""

    def strike(self, scene: Scene) -> None:
        """Once `after_reports` reports have been made."""

    def has_struck(self, scene: Scene) -> bool:
        """Whether it came to it: a run may be over before."""
        return self.name in scene.struck


class Ordered(Fault):
    """Trouble that a trainable makes by itself, of one of `kinds`."""

    kinds: ClassVar[Sequence[str]]

    def prepare(self, scene: Scene) -> None:
        scene.order(self.trial, self.rng.randint(1, STEPS - 1), self.rng.choice(self.kinds))

    def has_struck(self, scene: Scene) -> bool:
        return not any(scene.orders.glob(f"{self.trial:05d}-*"))


class Raises(Ordered):
    row, name, kinds = 1, "the trainable raises", ("raise",)


class NotFinite(Ordered):
    """The last value is NaN: a trial without an objective."""

    row, name = 2, "NaN is reported"

    def prepare(self, scene: Scene) -> None:
        scene.order(self.trial, STEPS, "nan")


class Odd(Ordered):
    row, name, kinds = 3, "an unserialisable report or exception", ("raise odd", "report odd")


class Killed(Ordered):
    row, name, kinds = 4, "a worker kills itself by SIGKILL", ("kill",)


class Crashes(Ordered):
    row, name, kinds = 4, "a worker crashes in native code", ("segfault",)


class Exits(Ordered):
    row, name, kinds = 4, "a worker exits", ("exit",)


class KilledFromOutside(Fault):
    row, name = 4, "a worker is killed from outside"

    def strike(self, scene: Scene) -> None:
        for pid in scene.running()[-1:]:
            scene.strike(self.name, [pid])
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


class HostMemory(Ordered):
    row, name, kinds = 5, "the host is out of memory", ("host memory",)


class GPUMemory(Ordered):
    row, name, kinds = 6, "the GPU is out of memory", ("gpu memory",)


class Hangs(Ordered):
    row, name, kinds = 7, "a trial hangs", ("hang",)
    settings: ClassVar[dict[str, Any]] = {"report_timeout_s": 3.0}


class DoesNotStop(Ordered):
    """It holds the interpreter after the report that completes it."""

    row, name = 8, "a stopped trial does not stop"
    settings: ClassVar[dict[str, Any]] = {"stop": {"training_iteration": STEPS}, "grace_period_s": 1.0}

    def prepare(self, scene: Scene) -> None:
        scene.order(self.trial, STEPS, self.rng.choice(["hang", "hold"]))


class NodeLost(Fault):
    """A node is killed, and another one joins."""

    row, name, changes_nodes = 9, "a node is lost", True

    def strike(self, scene: Scene) -> None:
        node = self.rng.choice(scene.nodes.workers)
        scene.strike(self.name, scene.nodes.of_node(node))
        scene.nodes.remove(node)
        scene.nodes.add()


class NodeDrained(Fault):
    """Another node joins, a node is drained, and is killed two seconds later."""

    row, name, changes_nodes = 10, "a node is drained, then lost", True

    def strike(self, scene: Scene) -> None:
        node = self.rng.choice(scene.nodes.workers)
        scene.strike(self.name)
        scene.nodes.drain(node, 20.0)
        scene.nodes.add()
        time.sleep(2.0)
        scene.strike(f"{self.name} (killed)", scene.nodes.of_node(node))
        scene.nodes.remove(node)


class WorkerTerminated(Fault):
    row, name = 10, "a worker gets SIGTERM"

    def strike(self, scene: Scene) -> None:
        for pid in scene.running()[-1:]:
            scene.strike(self.name)
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)


class CoordinatorKilled(Fault):
    row, name = 13, "the coordinator is killed"

    def strike(self, scene: Scene) -> None:
        for process in scene.nodes.coordinators()[:1]:
            scene.strike(self.name)
            with suppress(psutil.Error):
                process.kill()


class DriverKilled(Fault):
    row, name, ends_driver = 15, "the driver is killed, and the run resumed", True

    def strike(self, scene: Scene) -> None:
        with scene.ending_driver(self.name, signal.SIGKILL):
            pass


class Interrupted(Fault):
    row, name, ends_driver = 15, "Ctrl-C once, and the run resumed", True

    def strike(self, scene: Scene) -> None:
        with scene.ending_driver(self.name, signal.SIGINT):
            pass


class HeadLost(Fault):
    """The processes of the head, driver and coordinator too, are killed; the run goes on in a new cluster."""

    row, name, ends_driver = 16, "the cluster's head is lost, and the run resumed on a new one", True
    changes_nodes = True

    def strike(self, scene: Scene) -> None:
        workers = [pid for node in scene.nodes.workers for pid in scene.nodes.of_node(node)]
        with scene.ending_driver(self.name, signal.SIGKILL):
            scene.strike(f"{self.name} (killed)", workers)
            scene.nodes.lose_head()
            scene.lost.append(scene.nodes)
            scene.nodes = Nodes()


class JournalLocked(Fault):
    """Another process holds the journal's file for three seconds."""

    row, name = 17, "the journal is locked"

    def strike(self, scene: Scene) -> None:
        if not scene.journal.startswith("sqlite"):
            return
        holder = sqlite3.connect(scene.journal.removeprefix("sqlite:///"), timeout=30, isolation_level=None)
        holder.execute("BEGIN EXCLUSIVE")
        scene.strike(self.name)
        time.sleep(3.0)
        holder.execute("ROLLBACK")
        holder.close()


class ServerRestarted(Fault):
    """PostgreSQL, which holds the journal, is killed and comes back a second later."""

    row, name, needs_server = 17, "PostgreSQL is killed and started again", True

    def strike(self, scene: Scene) -> None:
        scene.strike(self.name)
        scene.server.kill()
        time.sleep(1.0)
        scene.server.start()


class ChildrenLeft(Ordered):
    row, name, kinds = 21, "children are left", ("leave children", "leave orphans")


FAULTS: dict[str, type[Fault]] = {
    fault.name: fault
    for fault in (
        Raises,
        NotFinite,
        Odd,
        Killed,
        Crashes,
        Exits,
        KilledFromOutside,
        HostMemory,
        GPUMemory,
        Hangs,
        DoesNotStop,
        NodeLost,
        NodeDrained,
        WorkerTerminated,
        CoordinatorKilled,
        DriverKilled,
        Interrupted,
        HeadLost,
        JournalLocked,
        ServerRestarted,
        ChildrenLeft,
    )
}
"""By name, in the order of the matrix."""
