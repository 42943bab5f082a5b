"""Three raylets on this machine, and the processes of a run in them, as the kernel lists them.

MARK is an environment variable that every process of the cluster has inherited: other clusters of the
machine are nobody's business here.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

__all__ = ["CPUS", "Nodes"]

CPUS = 3
"""Of each node but the head, which holds no trial."""

MARK = "RAYTUNE_CHAOS"

QUICK = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 300,
    "health_check_timeout_ms": 300,
    "health_check_failure_threshold": 3,
    "gcs_rpc_server_reconnect_timeout_s": 1,
}
"""Dead nodes are known after a second, and nodes without a head end as soon."""

OURS = ("ray::Worker", "ray::Coordinator", "execution/reaper.py", "benchmarks.chaos.cluster.driver")
"""How the processes of a run call themselves."""

PREEMPTION = 2
"""Ray's number for the reason of a drain."""


class Nodes:
    """A cluster of a head and two nodes. Close it; nothing of it is left then."""

    def __init__(self) -> None:
        self._place = tempfile.mkdtemp(prefix="rt")  # short: Ray's sockets lie below
        self._mark = uuid.uuid4().hex
        (Path(self._place) / "ray").mkdir()
        os.environ.update({"RAY_TMPDIR": self._place, MARK: self._mark})
        from ray.cluster_utils import Cluster

        head = {"num_cpus": 0, "include_dashboard": False, "_system_config": QUICK}
        self._cluster = Cluster(initialize_head=True, head_node_args=head, shutdown_at_exit=False)
        self.address: str = self._cluster.address
        for _ in range(2):
            self.add()
        self._cluster.wait_for_nodes()

    def add(self) -> None:
        """Let a node join; returns once it is there."""
        self._cluster.add_node(num_cpus=CPUS)

    @property
    def workers(self) -> list[Any]:
        """The nodes that hold trials."""
        return list(self._cluster.worker_nodes)

    def of_node(self, node: Any) -> list[int]:
        """The process ids of the workers on a node: its raylet's children."""
        raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
        return [child.pid for child in raylet.children(recursive=True)]

    def remove(self, node: Any) -> None:
        """Kill a node at once."""
        self._cluster.remove_node(node, allow_graceful=False)

    def drain(self, node: Any, seconds: float) -> None:
        """Tell the cluster that a spot instance goes in so many seconds."""
        from ray import _raylet

        deadline_ms = int((time.time() + seconds) * 1000)
        client: Any = _raylet.GcsClient(address=self.address)  # type: ignore[attr-defined]
        client.drain_node(node.node_id, PREEMPTION, "spot", deadline_ms)

    def lose_head(self) -> None:
        """Kill the processes of the head, coordinators too; the other nodes then end by themselves."""
        for process in self.coordinators():
            with contextlib.suppress(psutil.Error):
                process.kill()
        head: Any = self._cluster.head_node
        head.kill_all_processes(check_alive=False, allow_graceful=False, wait=True)

    def processes(self) -> Iterator[psutil.Process]:
        """All processes that have the cluster's mark."""
        wanted = f"{MARK}={self._mark}".encode()
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if wanted in Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0"):
                    yield process

    def of_runs(self) -> list[psutil.Process]:
        """Those that belong to a run and not to Ray: workers, coordinators, reapers, drivers."""
        found = []
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                if any(name in " ".join(process.cmdline()) for name in OURS):
                    found.append(process)
        return found

    def coordinators(self) -> list[psutil.Process]:
        """The coordinators' processes."""
        found = []
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                if process.cmdline()[0].startswith("ray::Coordinator"):
                    found.append(process)
        return found

    @property
    def is_whole(self) -> bool:
        """Whether head and nodes are there, two that hold trials."""
        nodes = [self._cluster.head_node, *self.workers]
        return len(nodes) == 3 and all(
            node is not None and node.remaining_processes_alive() for node in nodes
        )

    def close(self) -> None:
        """End the cluster and whatever is left in it: not a database's server, which has the mark too."""
        with contextlib.suppress(Exception):
            self._cluster.shutdown()
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                if process.name() != "postgres":
                    process.kill()
        shutil.rmtree(self._place, ignore_errors=True)
