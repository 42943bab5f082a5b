"""The shape of a search space: a nested dictionary as flat leaves, and which leaf depends on which."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any

from raytune_gp.errors import SpaceError
from raytune_gp.naming import suggestion
from raytune_gp.space import domains
from raytune_gp.space.base import Domain
from raytune_gp.space.choices import Choice, GridAxis
from raytune_gp.space.conditions import Condition, When
from raytune_gp.space.functions import SampleFrom
from raytune_gp.space.plain import is_same
from raytune_gp.space.ray_domains import from_ray

__all__ = ["Leaf", "flat_name", "leaves_of", "link"]


@dataclass(frozen=True)
class Leaf:
    """One entry of the flattened dictionary: a domain, a `SampleFrom`, or else a constant."""

    path: tuple[Any, ...]
    value: Any
    whens: tuple[When, ...] = ()

    @property
    def name(self) -> str:
        return flat_name(self.path)

    @property
    def is_constant(self) -> bool:
        return not isinstance(self.value, Domain | SampleFrom)


def flat_name(path: Sequence[Any]) -> str:
    """The flat name of the parameter at `path`."""
    return "/".join(map(str, path))


def leaves_of(config: Mapping[Any, Any]) -> dict[str, Leaf]:
    """The entries of a nested dictionary by flat name, in its order; an empty dictionary is a constant.

    Raises:
        SpaceError: two entries have the same flat name, a list holds a domain, or a domain's function stands
            there that was not called.
    """
    leaves: dict[str, Leaf] = {}
    for leaf in _walk(config, (), ()):
        if leaf.name in leaves:
            raise SpaceError(f"two parameters have the flat name {leaf.name!r}: rename one of them")
        leaves[leaf.name] = leaf
    return leaves


def _walk(node: Any, path: tuple[Any, ...], whens: tuple[When, ...]) -> Iterator[Leaf]:
    node = from_ray(node)
    if isinstance(node, When):
        yield from _walk(node.then, path, (*whens, node))
    elif isinstance(node, Mapping) and set(node) == {"grid_search"} and path:
        yield from _walk(GridAxis(node["grid_search"]), path, whens)
    elif isinstance(node, Mapping) and (node or not path):
        for key, child in node.items():
            yield from _walk(child, (*path, key), whens)
    else:
        leaf = Leaf(path, node, whens)
        if _is_uncalled(node):
            raise SpaceError(
                f"{leaf.name!r} is the function {node.__name__} itself, not a domain: call it, as in "
                f"tune.{_call_of(node)}"
            )
        if isinstance(node, list | tuple) and _holds_domain(node):
            raise SpaceError(
                f"{leaf.name!r} is a list with a domain inside: use a dictionary instead of the list"
            )
        if isinstance(node, Choice) and _holds_domain(node.choices):
            raise SpaceError(
                f"{leaf.name!r} is a {node.name} with a domain inside of one of its values, which nothing "
                f"would draw from: make it a hyperparameter of its own, tune.when({leaf.name!r}, …, {{…}})"
            )
        yield leaf


def _is_uncalled(value: Any) -> bool:
    """Whether `value` is a function that makes domains, of ours or of Ray's."""
    name, module = getattr(value, "__name__", None), str(getattr(value, "__module__", None))
    return name in domains.__all__ and module.startswith((domains.__name__, "ray.tune."))


def _call_of(function: Callable[..., Any]) -> str:
    """How a function is called, with the arguments that it needs by name."""
    parameters = inspect.signature(function).parameters.values()
    return f"{function.__name__}({', '.join(p.name for p in parameters if p.default is p.empty)})"


def _holds_domain(items: Iterable[Any]) -> bool:
    return any(
        isinstance(from_ray(item), Domain | SampleFrom | When)
        or _is_uncalled(item)
        or (isinstance(item, list | tuple) and _holds_domain(item))
        or (isinstance(item, Mapping) and _holds_domain(item.values()))
        for item in items
    )


def link(leaves: Mapping[str, Leaf]) -> tuple[tuple[str, ...], dict[str, tuple[Condition, ...]]]:
    """An order in which parents come before children, and the conditions of each conditional leaf.

    A condition on a constant holds or never does, so what remains of it are the constant's own conditions.

    Raises:
        SpaceError: an unknown parent, one that cannot have the values asked for, or a cycle.
    """
    for leaf in leaves.values():
        for when in leaf.whens:
            if when.parent not in leaves:
                hint = suggestion(when.parent, leaves)
                raise SpaceError(f"{leaf.name!r} depends on {when.parent!r}, which is not in the space{hint}")
    order = _parents_first(leaves)
    conditions: dict[str, tuple[Condition, ...]] = {}
    needs: dict[str, dict[str, frozenset[float]]] = {}
    for name in order:
        found: list[Condition] = []
        for when in leaves[name].whens:
            parent = leaves[when.parent]
            _check_parent(name, when, parent)
            found.extend(
                conditions.get(when.parent, ()) if parent.is_constant else [_condition(when, parent.value)]
            )
        if isinstance(leaves[name].value, GridAxis):
            _check_grid(name, found, leaves)
        needs[name] = _joint_needs(name, found, needs)
        if found:
            conditions[name] = tuple(dict.fromkeys(found))
    return order, conditions


def _parents_first(leaves: Mapping[str, Leaf]) -> tuple[str, ...]:
    parents = {name: list(dict.fromkeys(w.parent for w in leaf.whens)) for name, leaf in leaves.items()}
    try:
        return tuple(TopologicalSorter(parents).static_order())
    except CycleError as error:
        chain = " -> ".join(repr(name) for name in error.args[1])
        raise SpaceError(f"the conditions go round in a circle, {chain}: drop one of them") from None


def _check_parent(name: str, when: When, parent: Leaf) -> None:
    """Raise unless the parent is of a kind that can be compared, and can have each of the values."""
    domain = parent.value
    if parent.is_constant:
        if not any(is_same(domain, value) for value in when.values):
            raise SpaceError(
                f"{name!r} could never exist: {when.parent!r} is the constant {domain!r}, "
                f"and none of {list(when.values)!r}"
            )
        return
    if isinstance(domain, SampleFrom):
        raise SpaceError(
            f"{name!r} depends on {when.parent!r}, a sample_from, which is resolved too late for conditions: "
            "use a choice, or a sample_from for the child too"
        )
    if domain.size is None:
        raise SpaceError(
            f"{name!r} depends on {when.parent!r}, {domain}, which hardly ever has one exact value: "
            "use a choice, an integer or a quantised domain"
        )
    for value in when.values:
        if not domain.contains(value):
            raise SpaceError(f"{name!r} depends on {when.parent!r} being {value!r}, which {domain} cannot be")


def _condition(when: When, domain: Domain) -> Condition:
    values = tuple(domain.snap(value) for value in when.values)
    return Condition(when.parent, values, frozenset(domain.encode(values).tolist()))


def _joint_needs(
    name: str, conditions: Iterable[Condition], needs: Mapping[str, Mapping[str, frozenset[float]]]
) -> dict[str, frozenset[float]]:
    """For each ancestor of `name`, the places in which it lets `name` exist; raise where there are none."""
    joint: dict[str, frozenset[float]] = {}
    for condition in conditions:
        for parent, units in ((condition.parent, condition.units), *needs[condition.parent].items()):
            joint[parent] = joint.get(parent, units) & units
            if not joint[parent]:
                raise SpaceError(
                    f"{name!r} could never exist: its conditions want different values of {parent!r}"
                )
    return joint


def _check_grid(name: str, conditions: Iterable[Condition], leaves: Mapping[str, Leaf]) -> None:
    for condition in conditions:
        if not isinstance(leaves[condition.parent].value, GridAxis):
            raise SpaceError(
                f"the grid axis {name!r} depends on {condition.parent!r}, chosen by a searcher: "
                "the grid would have no fixed size: make the parent a grid_search too, or the child a choice"
            )
