"""What a trial reserves on Ray, and how many trials a cluster can hold."""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

from raytune_gp.errors import SpecError
from raytune_gp.execution.growth import has_autoscaler, is_settling
from raytune_gp.execution.labels import check_selector
from raytune_gp.execution.placement import Demand, Node, amounts, whole_trials
from raytune_gp.packing import AUTO
from raytune_gp.space.plain import unboxed
from raytune_gp.trainable.parameters import PlacementGroupFactory

__all__ = [
    "actor_options",
    "check_demand",
    "check_resources",
    "check_sharing",
    "groups_held",
    "slots_free",
    "slots_in_all",
    "why_it_never_fits",
]

_NAMES = ("cpu", "gpu", "memory")
_NESTED = ("custom_resources", "resources")
_ACCELERATOR = "accelerator_type"
_PLACEMENT = "placement"
_LABELS = "label_selector"
_STRATEGIES = {"pack": "DEFAULT", "spread": "SPREAD"}
"""Ray's scheduling strategies: its default fills a node to half of its resources before it takes another."""

_LOOK_S = 0.5


def check_resources(resources: Mapping[str, Any]) -> dict[str, Any]:
    """`resources_per_trial` in one spelling.

    That is `cpu`, `gpu` (or "auto", for as many trials on each as its memory holds), `memory` (bytes),
    `accelerator_type`, custom resources by name, `label_selector` (as `check_selector` says), and
    `placement`: `"pack"` (Ray's default, on few nodes) or `"spread"` (over the nodes in turn). Takes Ray's
    `CPU` and `GPU` too, and custom resources either flat or under `custom_resources`. Raises SpecError for
    what Ray would refuse.
    """
    plain: dict[str, Any] = {"cpu": 1}
    for name, amount in resources.items():
        if name in _NESTED:
            _require(isinstance(amount, Mapping), name, amount, "a dictionary of names and amounts")
            plain.update(amount)
        else:
            plain[name.lower() if name.lower() in _NAMES else name] = amount
    plain = {name: unboxed(amount) for name, amount in plain.items()}
    for name, amount in plain.items():
        if name == _ACCELERATOR:
            _require(isinstance(amount, str), name, amount, 'a name such as "A100"')
        elif name == _LABELS:
            plain[name] = check_selector(amount)
        elif name == "gpu" and amount == AUTO:
            continue
        elif name == _PLACEMENT:
            known = isinstance(amount, str) and amount in _STRATEGIES
            _require(known, name, amount, " or ".join(f'"{strategy}"' for strategy in _STRATEGIES))
        else:
            _check_amount(name, amount)
    return plain


def check_demand(reserved: PlacementGroupFactory) -> Demand:
    """What a trial reserves in one spelling: that of its process, and those of workers that it starts.

    Raises SpecError as `check_resources` does.
    """
    workers = tuple(check_resources(_frugal(bundle)) for bundle in reserved.workers)
    process = check_resources(_frugal(reserved.process) if workers else reserved.process)
    if workers and any(part.get("gpu") == AUTO for part in (process, *workers)):
        raise SpecError(
            f'resources_per_trial asks for gpu = "{AUTO}" and for workers that a trial starts itself: these '
            f'cannot share GPUs so. Say how many they need, such as "gpu": 1'
        )
    return Demand(process, workers, reserved.strategy)


def check_sharing(resources: Mapping[str, Any], executor: str) -> None:
    """Raise SpecError where `executor` cannot have trials share GPUs as `resources` leave to the run."""
    if resources.get("gpu") == AUTO and executor != "ray":
        raise SpecError(
            f'resources_per_trial asks for gpu = "{AUTO}" and executor is {executor!r}, which runs one '
            f'trial at a time: leave gpu out, or use executor="ray"'
        )


def _frugal(bundle: Mapping[str, Any]) -> dict[str, Any]:
    """The bundle, with no CPU where it names none: it is Ray's, who gives what is said and nothing else."""
    plain = {name.lower() if name.lower() in _NAMES else name: amount for name, amount in bundle.items()}
    return {"cpu": 0, **plain}


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
    """The options of a Ray actor that reserves `resources`, as `check_resources` spells them.

    A share of a GPU that is left to the run is settled before, by `Demand.sharing`; so it is below.
    """
    options: dict[str, Any] = {"num_cpus": resources.get("cpu", 1)}
    if resources.get("gpu"):
        options["num_gpus"] = resources["gpu"]
    if resources.get("memory"):
        options["memory"] = resources["memory"]
    if resources.get(_ACCELERATOR):
        options["accelerator_type"] = resources[_ACCELERATOR]
    if resources.get(_PLACEMENT):
        options["scheduling_strategy"] = _STRATEGIES[resources[_PLACEMENT]]
    if resources.get(_LABELS):
        options[_LABELS] = dict(resources[_LABELS])
    apart = (*_NAMES, _ACCELERATOR, _PLACEMENT, _LABELS)
    custom = {k: v for k, v in resources.items() if k not in apart and v}
    if custom:
        options["resources"] = custom
    return options


def slots_free(demand: Demand, up: int = 0) -> int:
    """How many more trials the cluster's free resources hold now in whole, but for nodes that are to go.

    `up` trials have their process already, and of those with workers of their own, some may not have started
    these yet: room is left for them.
    """
    import ray
    from ray._private.state import available_resources_per_node

    from raytune_gp.execution.losses import draining_nodes

    leaving = draining_nodes()
    labels = {node["NodeID"]: node["Labels"] for node in ray.nodes()}
    free = [
        Node(left, labels.get(name, {}))
        for name, left in available_resources_per_node().items()
        if name not in leaving
    ]
    groups = max(0, up - groups_held(demand)) if demand.bundles else 0
    return whole_trials(demand, free, groups)


def slots_in_all(demand: Demand) -> int:
    """How many trials the cluster's nodes hold when nothing else runs."""
    return whole_trials(demand, _nodes())


def groups_held(demand: Demand) -> int:
    """How many placement groups with the bundles of `demand` this job has: trials whose workers have room.

    Those whose maker is dead, as the driver of a trial was killed, are given back: Ray keeps them as long as
    the job, and what Ray Train has against that needs the dashboard.
    """
    import ray
    from ray.util.placement_group import PlacementGroup, remove_placement_group

    held = 0
    for group in _groups(demand):
        if group.creator_actor_dead:
            remove_placement_group(PlacementGroup(ray.PlacementGroupID(group.placement_group_id)))
        else:
            held += 1
    return held


def _groups(demand: Demand) -> Iterator[Any]:
    """The placement groups, made and not removed, that this job has with the bundles of `demand`.

    Ray has no public word for whose group is whose.
    """
    import ray
    from ray._private.state import state

    table: Any = importlib.import_module("ray.core.generated.gcs_pb2").PlacementGroupTableData
    wanted = sorted(_pairs(amounts(bundle)) for bundle in demand.bundles)
    job = ray.get_runtime_context().get_job_id()
    for row in state._connect_and_get_accessor().get_placement_group_table():
        group = table.FromString(row)
        of_ours = group.state == table.CREATED and group.creator_job_id.hex() == job
        if of_ours and sorted(_pairs(bundle.unit_resources) for bundle in group.bundles) == wanted:
            yield group


def _pairs(bundle: Mapping[str, float]) -> list[tuple[str, float]]:
    return sorted((name, round(amount, 4)) for name, amount in bundle.items())


def why_it_never_fits(demand: Demand, gpus: float = 0.0) -> str | None:
    """What the cluster has, if its nodes can never hold a trial of `demand`; else None.

    `gpus` is what the coordinator reserves on this node. Waits while nodes are joining; where an autoscaler
    may bring others, there is no never.
    """
    left_to_run = demand.resources.get("gpu") == AUTO
    demand = demand.sharing(1)
    while True:
        nodes = _nodes(gpus)
        if whole_trials(demand, nodes) or has_autoscaler():
            return None
        if not is_settling():
            break
        time.sleep(_LOOK_S)
    parts = [demand.resources, *demand.bundles]
    names = sorted({*(name for part in parts for name in amounts(part)), "CPU", "GPU"})
    keys = sorted({key for part in parts for key in part.get(_LABELS, ())})
    have = "; ".join(
        f"node {i}: "
        + ", ".join(
            [f"{name} {node.amounts.get(name, 0):g}" for name in names]
            + [f"{key} {node.labels.get(key, 'not set')}" for key in keys]
        )
        for i, node in enumerate(nodes)
    )
    beside = f" beside the searcher, which takes {gpus:g} GPU" if gpus else ""
    if not demand.bundles:
        whole = f' (gpu is "{AUTO}": a whole one at first)' if left_to_run else ""
        return f"a trial asks for {_shown(demand.resources)}{whole}, and no node can hold it{beside} ({have})"
    workers = " + ".join(f"({_shown(bundle)})" for bundle in demand.bundles)
    return (
        f"a trial asks for {_shown(demand.resources)} and, for workers of its own ({demand.strategy}), "
        f"{workers}, and the nodes cannot hold it in whole{beside} ({have})"
    )


def _shown(resources: Mapping[str, Any]) -> str:
    wanted = [f"{name} {amount:g}" for name, amount in sorted(amounts(resources).items())]
    wanted += [f"{key} {condition}" for key, condition in resources.get(_LABELS, {}).items()]
    return ", ".join(wanted) or "nothing"


def _nodes(gpus: float = 0.0) -> list[Node]:
    """What the nodes have for trials where the coordinator reserves `gpus` on this one."""
    import ray

    here = ray.get_runtime_context().get_node_id() if gpus else None
    nodes = []
    for node in ray.nodes():
        if node["Alive"]:
            amounts = dict(node["Resources"])
            if node["NodeID"] == here:
                amounts["GPU"] = amounts.get("GPU", 0.0) - gpus
            nodes.append(Node(amounts, node["Labels"]))
    return nodes
