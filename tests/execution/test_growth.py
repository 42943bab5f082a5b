"""Whether a cluster may get more nodes, as it can be told from what autoscalers leave in it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from raytune_gp.execution.growth import _names_types, has_autoscaler, is_settling

ID = "f94a06905422e1138e08c8834905cabe6b62e103b4e8b68a26805789"


def status(nodes: dict[str, int]) -> bytes:
    """A report in the form of the autoscaler's first version."""
    return json.dumps({"autoscaler_report": {"active_nodes": nodes, "pending_nodes": []}}).encode()


@pytest.mark.parametrize(
    ("kept", "typed"),
    [
        (status({f"node_{ID}": 1}), False),
        (status({}), False),
        (status({"ray.head.default": 1}), True),
        (status({"head-group": 1, "node_gpu": 2}), True),
        (json.dumps({"load_metrics_report": {}}).encode(), False),
        (b'{"autoscaler_report": null}', False),
        (b"[]", False),
        (b"no JSON", False),
        (b"", False),
        (None, False),
    ],
)
def test_nodes_have_types_where_an_autoscaler_starts_them(kept: Any, typed: bool) -> None:
    assert _names_types(kept) is typed


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_a_cluster_that_this_process_has_started_does_not_grow() -> None:
    assert not has_autoscaler()
    assert not is_settling()
