"""How many whole trials nodes hold, where a trial is a process and further workers that it starts. Pure.

A trial of Ray Train is a driver of few resources and a group of workers, perhaps on several nodes. Drivers
that are started without room for their groups can keep each other waiting for ever; so only trials that fit
in whole count.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from raytune_gp.execution.labels import meets
from raytune_gp.packing import AUTO, share_of
from raytune_gp.spec import ExperimentSpec

__all__ = ["Demand", "Node", "amounts", "fits", "whole_trials"]

MOST = 1000
"""No more trials are counted than so many."""

_NAMES = {"cpu": "CPU", "gpu": "GPU", "memory": "memory"}
_NOT_AMOUNTS = ("accelerator_type", "label_selector", "placement")
_EPSILON = 1e-9

Amounts = dict[str, float]


@dataclass(frozen=True)
class Demand:
    """What a trial reserves: `resources` for its own process, and `bundles` for workers that it starts.

    Spelled as `check_resources` does. `strategy` is Ray's, of the bundles: PACK, SPREAD, STRICT_PACK or
    STRICT_SPREAD.
    """

    resources: Mapping[str, Any]
    bundles: Sequence[Mapping[str, Any]] = ()
    strategy: str = "PACK"

    @classmethod
    def of(cls, spec: ExperimentSpec) -> Demand:
        """That of the trials of `spec`."""
        return cls(spec.resources, spec.bundles, spec.placement_strategy)

    def sharing(self, trials_per_gpu: int) -> Demand:
        """The demand where so many trials share a GPU, if that is left to the run: 1 of them as it begins."""
        if self.resources.get("gpu") != AUTO:
            return self
        return replace(self, resources={**self.resources, "gpu": share_of(trials_per_gpu)})


@dataclass(frozen=True)
class Node:
    """What a node has to give, by Ray's names, and its labels."""

    amounts: Amounts
    labels: Mapping[str, str] = field(default_factory=dict)


def amounts(resources: Mapping[str, Any]) -> Amounts:
    """Amounts by Ray's own names, those that are not zero; not what says only where a process is put."""
    wanted = {
        _NAMES.get(name, name): float(amount)
        for name, amount in resources.items()
        if name not in _NOT_AMOUNTS and amount
    }
    if resources.get("accelerator_type"):
        wanted[f"accelerator_type:{resources['accelerator_type']}"] = 0.001
    return wanted


def fits(resources: Mapping[str, Any], node: Node) -> int:
    """How many processes of `resources` the node can hold at a time; 0 where its labels are not as asked."""
    part = _Part.of(resources)
    if not meets(node.labels, part.labels):
        return 0
    counts = [math.floor(node.amounts.get(name, 0.0) / n + _EPSILON) for name, n in part.amounts.items()]
    return min(counts) if counts else MOST


def whole_trials(demand: Demand, nodes: Sequence[Node], groups: int = 0) -> int:
    """How many trials `nodes` can hold in whole, once `groups` of bundles alone are placed.

    Those are of trials that run already, and have not started their workers yet. 0 where they have no room.
    """
    if not demand.bundles:
        return sum(fits(demand.resources, node) for node in nodes)
    left = [Node(dict(node.amounts), node.labels) for node in nodes]
    bundles = [_Part.of(bundle) for bundle in demand.bundles]
    for _ in range(groups):
        if not _place(bundles, demand.strategy, left):
            return 0
    process = _Part.of(demand.resources)
    count = 0
    while count < MOST and _place([process], "SPREAD", left) and _place(bundles, demand.strategy, left):
        count += 1
    return count


@dataclass(frozen=True)
class _Part:
    """What one process asks for: amounts, and conditions on its node's labels."""

    amounts: Amounts
    labels: Mapping[str, str]

    @classmethod
    def of(cls, resources: Mapping[str, Any]) -> _Part:
        return cls(amounts(resources), resources.get("label_selector", {}))


def _place(bundles: Sequence[_Part], strategy: str, nodes: Sequence[Node]) -> bool:
    """Take the bundles from `nodes`, each bundle where most is left of what it asks for; False for no room.

    Ray puts a process where it likes: that it takes from the roomiest node is the careful guess.
    """
    if strategy == "STRICT_PACK":
        whole: Amounts = {}
        for bundle in bundles:
            for name, amount in bundle.amounts.items():
                whole[name] = whole.get(name, 0.0) + amount
        able = [node for node in nodes if all(meets(node.labels, bundle.labels) for bundle in bundles)]
        return _place([_Part(whole, {})], "SPREAD", able)
    used: set[int] = set()
    for bundle in sorted(bundles, key=lambda b: sum(b.amounts.values()), reverse=True):
        roomy = {
            i: _room(bundle, node)
            for i, node in enumerate(nodes)
            if not (strategy == "STRICT_SPREAD" and i in used)
        }
        best = max(roomy, key=lambda i: roomy[i], default=None)
        if best is None or roomy[best] < 1 - _EPSILON:
            return False
        for name, amount in bundle.amounts.items():
            nodes[best].amounts[name] -= amount
        used.add(best)
    return True


def _room(bundle: _Part, node: Node) -> float:
    """How often the bundle would fit, fractions included."""
    if not meets(node.labels, bundle.labels):
        return 0.0
    return min((node.amounts.get(name, 0.0) / n for name, n in bundle.amounts.items()), default=math.inf)
