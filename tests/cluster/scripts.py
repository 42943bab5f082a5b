"""Scripts of tests that have a cluster of their own: several raylets on one machine."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from tests.patience import HANGS_S
from tests.programs import printed

__all__ = ["finish", "said", "start"]


def said(script: str, *arguments: str, limit_s: float = HANGS_S) -> dict[str, Any]:
    """The JSON that a script prints, among what Ray may print.

    Cluster writes down its address where later ray.init() calls would find it: it gets a place of its own.
    """
    with tempfile.TemporaryDirectory(prefix="rt") as ray_directory:
        (Path(ray_directory) / "ray").mkdir()
        lines = printed("-c", script, *arguments, limit_s=limit_s, RAY_TMPDIR=ray_directory).splitlines()
    answer: dict[str, Any] = json.loads([line for line in lines if line.startswith("{")][-1])
    return answer


def start(num_cpus: int, **head: Any) -> Any:
    """In a script: a cluster whose head has so many CPUs, and Ray joined to it."""
    import ray
    from ray.cluster_utils import Cluster

    options = {"num_cpus": num_cpus, "include_dashboard": False, **head}
    cluster = Cluster(initialize_head=True, head_node_args=options)
    ray.init(address=cluster.address, log_to_driver=False)
    return cluster


def finish(cluster: Any, answer: dict[str, Any]) -> None:
    """In a script: what `said` returns, and the end of the cluster."""
    import ray

    print(json.dumps(answer))
    ray.shutdown()
    cluster.shutdown()
