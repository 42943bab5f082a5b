"""What a trial reserves on Ray, and how many trials a cluster can hold."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping
from typing import Any

from raytune_gp.errors import SpecError
from raytune_gp.execution.growth import has_autoscaler, is_settling

__all__ = ["actor_options", "check_resources", "fits", "slots_free", "slots_in_all", "why_it_never_fits"]

_NAMES = {"cpu": "CPU", "gpu": "GPU", "memory": "memory"}
_NESTED = ("custom_resources", "resources")
_ACCELERATOR = "accelerator_type"
_PLACEMENT = "placement"
_STRATEGIES = {"pack": "DEFAULT", "spread": "SPREAD"}
"""Ray's scheduling strategies: its default fills a node to half of its resources before it takes another."""

_LOOK_S = 0.5


def check_resources(resources: Mapping[str, Any]) -> dict[str, Any]:
    """`resources_per_trial` in one spelling.

    That is `cpu`, `gpu`, `memory` (bytes), `accelerator_type`, custom resources by name, and `placement`:
    `"pack"` (Ray's default, on few nodes) or `"spread"` (over the nodes in turn). Takes Ray's `CPU` and `GPU`
    too, and custom resources either flat or under `custom_resources`. Raises SpecError for what Ray would
    refuse.
    """
    plain: dict[str, Any] = {"cpu": 1}
    for name, amount in resources.items():
        if name in _NESTED:
            _require(isinstance(amount, Mapping), name, amount, "a dictionary of names and amounts")
            plain.update(amount)
        else:
            plain[name.lower() if name.lower() in _NAMES else name] = amount
    for name, amount in plain.items():
        if name == _ACCELERATOR:
            _require(isinstance(amount, str), name, amount, 'a name such as "A100"')
        elif name == _PLACEMENT:
            known = isinstance(amount, str) and amount in _STRATEGIES
            _require(known, name, amount, " or ".join(f'"{strategy}"' for strategy in _STRATEGIES))
        else:
            _check_amount(name, amount)
    return plain


def _check_amount(name: str, amount: Any) -> None:
    number = isinstance(amount, int | float) and not isinstance(amount, bool)
    _require(number and 0 <= amount <= sys.float_info.max, name, amount, "a number of at least 0")
    if amount > 1 and amount != int(amount):
        raise SpecError(
            f"resources_per_trial asks for {name} = {amount!r}; above 1 it must be a whole number, as a "
            f"trial cannot hold a part of a second one"
        )


def _require(ok: bool, name: str, value: Any, expected: str) -> None:
    if not ok:
        raise SpecError(f"resources_per_trial asks for {name} = {value!r}; it must be {expected}")


def actor_options(resources: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a Ray actor that reserves `resources` (as `check_resources` spells them)."""
    options: dict[str, Any] = {"num_cpus": resources.get("cpu", 1)}
    if resources.get("gpu"):
        options["num_gpus"] = resources["gpu"]
    if resources.get("memory"):
        options["memory"] = resources["memory"]
    if resources.get(_ACCELERATOR):
        options["accelerator_type"] = resources[_ACCELERATOR]
    if resources.get(_PLACEMENT):
        options["scheduling_strategy"] = _STRATEGIES[resources[_PLACEMENT]]
    custom = {k: v for k, v in _amounts(resources).items() if k not in _NAMES}
    if custom:
        options["resources"] = custom
    return options


def _amounts(resources: Mapping[str, Any]) -> dict[str, float]:
    """What is reserved, by our names; without what says only which node it may be."""
    return {k: v for k, v in resources.items() if k not in (_ACCELERATOR, _PLACEMENT) and v}


def _wanted(resources: Mapping[str, Any]) -> dict[str, float]:
    """Amounts by Ray's own names."""
    wanted = {_NAMES.get(name, name): float(amount) for name, amount in _amounts(resources).items()}
    if resources.get(_ACCELERATOR):
        wanted[f"{_ACCELERATOR}:{resources[_ACCELERATOR]}"] = 0.001
    return wanted


def fits(resources: Mapping[str, Any], node: Mapping[str, float]) -> int:
    """How many trials of `resources` the amounts of `node` (by Ray's names) can hold at a time."""
    counts = [math.floor(node.get(name, 0.0) / amount + 1e-9) for name, amount in _wanted(resources).items()]
    return min(counts) if counts else 1000


def slots_free(resources: Mapping[str, Any]) -> int:
    """How many more trials the cluster's free resources hold now, but for nodes that are to go."""
    from ray._private.state import available_resources_per_node

    from raytune_gp.execution.losses import draining_nodes

    leaving = draining_nodes()
    free = available_resources_per_node().items()
    return sum(fits(resources, amounts) for node, amounts in free if node not in leaving)


def slots_in_all(resources: Mapping[str, Any]) -> int:
    """How many trials the cluster's nodes hold when nothing else runs."""
    import ray

    return sum(fits(resources, node["Resources"]) for node in ray.nodes() if node["Alive"])


def why_it_never_fits(resources: Mapping[str, Any], gpus: float = 0.0) -> str | None:
    """What the cluster has, if no node of it can ever hold a trial of `resources`; else None.

    `gpus` is what the coordinator reserves on this node. Waits while nodes are joining; where an autoscaler
    may bring others, there is no never.
    """
    import ray

    while True:
        nodes = [_left(node, gpus) for node in ray.nodes() if node["Alive"]]
        if any(fits(resources, node) for node in nodes) or has_autoscaler():
            return None
        if not is_settling():
            break
        time.sleep(_LOOK_S)
    names = sorted(set(_wanted(resources)) | {"CPU", "GPU"})
    have = "; ".join(
        f"node {i}: " + ", ".join(f"{name} {node.get(name, 0):g}" for name in names)
        for i, node in enumerate(nodes)
    )
    asked = ", ".join(f"{k} {v:g}" for k, v in sorted(_wanted(resources).items()))
    beside = f" beside the searcher, which takes {gpus:g} GPU" if gpus else ""
    return f"a trial asks for {asked}, and no node can hold it{beside} ({have})"


def _left(node: Mapping[str, Any], gpus: float) -> dict[str, float]:
    """What `node` has for trials where the coordinator reserves `gpus` on this one."""
    import ray

    amounts = dict(node["Resources"])
    if gpus and node["NodeID"] == ray.get_runtime_context().get_node_id():
        amounts["GPU"] = amounts.get("GPU", 0.0) - gpus
    return amounts
