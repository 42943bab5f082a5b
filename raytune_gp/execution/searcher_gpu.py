"""The GPU of a searcher that computes on one: what the coordinator reserves, and what cannot be."""

from __future__ import annotations

from typing import Any

import ray

from raytune_gp.errors import SpecError

__all__ = ["SHARE", "check_share", "gpu_share"]

SHARE = 0.1
"""So much of a GPU the coordinator reserves; the rest is left to trials that ask for a fraction of one."""


def gpu_share(searcher: Any) -> float:
    """SHARE where `searcher` has a `device` that is CUDA's, else 0.

    Raises SpecError for a GPU by number, since Ray chooses which one the coordinator sees.
    """
    device = str(getattr(searcher, "device", "cpu"))
    if device.split(":")[0] != "cuda":
        return 0.0
    if device not in ("cuda", "cuda:0"):
        raise SpecError(
            f"the searcher's device is {device!r}, and Ray chooses the coordinator's GPU itself: say 'cuda'"
        )
    return SHARE


def check_share(share: float) -> None:
    """Raise SpecError where this node, on which the coordinator will run, has no GPU to take `share` of."""
    here = ray.get_runtime_context().get_node_id()
    node = next(node for node in ray.nodes() if node["NodeID"] == here)
    has = node["Resources"].get("GPU", 0.0)
    if has < share:
        raise SpecError(
            f"the searcher's device is 'cuda', and this node, where the coordinator runs, has {has:g} GPUs "
            f"for Ray: start the script on a node with a GPU, or leave `device` out to fit on the CPU"
        )
