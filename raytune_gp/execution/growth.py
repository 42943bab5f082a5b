"""Whether a cluster may get more nodes: from an autoscaler, or since it is only just starting.

Ray has no public function that tells. Read here is what Ray's autoscalers write into the cluster's key-value
store, and when its nodes were started; a cluster of which nothing can be read counts as fixed.
"""

from __future__ import annotations

import importlib
import json
import re
import time
from typing import Any

__all__ = ["has_autoscaler", "is_settling"]

SETTLING_S = 20.0
"""So long after a node has joined others may be on their way: nodes that are started together come so far
apart."""

_STATUS = "__autoscaling_status"
_NAMESPACE = "__autoscaler"
_CONFIG = "__autoscaler_cluster_config"
_SECOND_VERSION = "__autoscaler_v2_enabled"
_NO_TYPE = re.compile(r"node_[0-9a-f]{32,}")
"""What the monitor of a fixed cluster calls a node: after its id, as it has no type."""


def has_autoscaler() -> bool:
    """Whether an autoscaler manages the cluster: one of the cluster launcher, of KubeRay or of Anyscale.

    Ray's first one reports the types of its nodes (of a fixed cluster there are such reports too, without
    types); the second one is on where KubeRay scales; a platform's own leaves the configuration it scales by.
    """
    if _kept(_SECOND_VERSION, _NAMESPACE) == b"1" or _kept(_CONFIG, _NAMESPACE):
        return True
    return _names_types(_kept(_STATUS))


def is_settling() -> bool:
    """Whether nodes may be joining still: the newest one came in the last SETTLING_S.

    Not so of a cluster that `ray.init` has started in this process, which is this machine alone.
    """
    worker: Any = importlib.import_module("ray._private.worker")
    try:
        if worker._global_node.is_head():
            return False
        nodes = worker.global_worker.gcs_client.get_all_node_info().values()
        return time.time() - max(node.start_time_ms for node in nodes) / 1000 < SETTLING_S
    except Exception:
        return False


def _kept(key: str, namespace: str | None = None) -> Any:
    """What the cluster's key-value store has; None for nothing, and where it cannot be asked."""
    from ray.experimental.internal_kv import _internal_kv_get

    try:
        return _internal_kv_get(key, namespace=namespace)
    except Exception:
        return None


def _names_types(status: bytes | None) -> bool:
    """Whether a report of the autoscaler's first version has a node that is of a type."""
    try:
        nodes = json.loads(status or b"{}").get("autoscaler_report", {}).get("active_nodes", {})
        return any(not _NO_TYPE.fullmatch(name) for name in nodes)
    except (ValueError, AttributeError, TypeError):
        return False
