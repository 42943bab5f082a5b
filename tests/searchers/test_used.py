"""Another config where the one that was chosen is used: it is found as long as there is one, and at once."""

from __future__ import annotations

import time
from collections.abc import Hashable
from typing import Any

import numpy as np
import pytest

from raytune_gp import space as s
from raytune_gp.searchers.used import Used
from raytune_gp.space import Encoding, SearchSpace

WIDE = {"n": s.randint(0, 5000)}
BENT = {"n": s.lograndint(1, 3000), "q": s.quniform(0, 1, 0.5)}
TREE = {
    "kind": s.choice(["a", "b", "c"]),
    "of_a": s.when("kind", ["a"], {"depth": s.randint(0, 40), "width": s.choice([1, 2, 4, 8])}),
    "of_b": s.when("kind", ["b"], {f"flag{k}": s.choice([True, False]) for k in range(10)}),
}
GRID = {
    "cell": s.grid_search([1, 2]),
    "of_1": s.when("cell", [1], {"n": s.randint(0, 30)}),
    "m": s.randint(0, 60),
}


def all_keys(space: SearchSpace, fixed: dict[str, Any]) -> list[Hashable]:
    encoding = Encoding(space)
    points = encoding.distinct(10**6, np.random.default_rng(0), fixed)
    return encoding.keys_at(points, fixed)


@pytest.mark.parametrize(
    ("space", "fixed", "size"),
    [
        (WIDE, {}, 5000),
        (BENT, {}, 2999 * 3),
        (TREE, {}, 160 + 1024 + 1),
        (GRID, {"cell": 1}, 30 * 60),
        (GRID, {"cell": 2}, 60),
    ],
)
def test_the_last_config_that_is_free_is_found(space: Any, fixed: dict[str, Any], size: int) -> None:
    made = SearchSpace(space)
    encoding, rng = Encoding(made), np.random.default_rng(1)
    keys = all_keys(made, fixed)
    assert len(set(keys)) == len(keys) == size == made.size_in(fixed)
    for last in (keys[0], keys[-1], keys[size // 2]):
        used = Used(encoding, fixed, set(keys) - {last})
        point = used.another(rng)
        assert point is not None
        assert encoding.keys_at(point[None], fixed) == [last]
        assert made.key(encoding.decode(point[None], fixed)[0]) == last
    began = time.perf_counter()
    assert Used(encoding, fixed, set(keys)).another(rng) is None
    assert time.perf_counter() - began < 5, "in milliseconds; it was 40 s"


def test_a_continuum_is_never_used_up() -> None:
    encoding = Encoding(SearchSpace({"x": s.uniform(0, 1), "kind": s.choice(["a", "b"])}))
    point = Used(encoding, {}, set(encoding.keys_at(np.full((1, 2), 0.25)))).another(np.random.default_rng(0))
    assert point is not None


def test_distinct_configs_are_distinct_and_no_more_than_asked_for() -> None:
    encoding = Encoding(
        SearchSpace({"n": s.randint(0, 2**39), "m": s.randint(0, 2**30), "x": s.uniform(0, 1)})
    )
    points = encoding.distinct(500, np.random.default_rng(0))
    assert len(set(encoding.keys_at(points))) == len(points) == 500
