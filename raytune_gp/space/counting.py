"""How many configs a space with conditions has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from raytune_gp.space.base import Domain
from raytune_gp.space.conditions import Condition

__all__ = ["count_configs"]

Conditions = Mapping[str, Sequence[Condition]]
Held = frozenset[Condition]


def count_configs(
    domains: Mapping[str, Domain], conditions: Conditions, held: Held = frozenset()
) -> int | None:
    """The number of distinct configs over `domains`; None where a continuum can be among them.

    It goes through the domains, children right after their parents, and branches on groups of values that
    meet the same conditions. What follows depends only on the conditions met that still matter to it, so the
    ways to get to each such case are added up.

    Args:
        conditions: of each conditional domain, those that must all hold.
        held: conditions on parameters outside `domains` that hold, such as those on the grid's axes.
    """
    names = _depth_first(domains, conditions)
    matter = [frozenset(c for name in names[i:] for c in conditions.get(name, ())) for i in range(len(names))]
    ways: Counter[Held] = Counter({held: 1})
    for position, name in enumerate(names):
        below: Counter[Held] = Counter()
        for held_before, count_before in ways.items():
            met = held_before & matter[position]
            if not met.issuperset(conditions.get(name, ())):
                below[met] += count_before
                continue
            for count, gained in _branches(name, domains[name].size, matter[position]):
                if count is None:
                    return None
                below[met | gained] += count_before * count
        ways = below
    return ways.total()


def _depth_first(domains: Mapping[str, Domain], conditions: Conditions) -> list[str]:
    """Parents before children, each subtree in one piece: from each root, in reverse order of finishing."""
    children: dict[str, list[str]] = {}
    for name in domains:
        for condition in conditions.get(name, ()):
            children.setdefault(condition.parent, []).append(name)
    finished: dict[str, None] = {}

    for root in domains:
        if any(condition.parent in domains for condition in conditions.get(root, ())):
            continue
        path = [(root, iter(children.get(root, ())))]
        while path:
            name, left = path[-1]
            child = next((child for child in left if child not in finished), None)
            if child is None:
                finished[name] = None
                path.pop()
            else:
                path.append((child, iter(children.get(child, ()))))
    return list(finished)[::-1]


def _branches(name: str, size: int | None, conditions: Held) -> Iterator[tuple[int | None, Held]]:
    """Groups of the values of `name` that meet the same conditions: how many, and which conditions."""
    on_it = [condition for condition in conditions if condition.parent == name]
    groups: dict[Held, int] = {}
    for unit in {unit for condition in on_it for unit in condition.units}:
        met = frozenset(condition for condition in on_it if unit in condition.units)
        groups[met] = groups.get(met, 0) + 1
    yield from ((count, met) for met, count in groups.items())
    rest = None if size is None else size - sum(groups.values())
    if rest != 0:
        yield rest, frozenset()
