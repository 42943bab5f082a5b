"""A space that is made again from its definition is the same to every searcher."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from raytune_gp import tune
from raytune_gp.errors import SpaceError
from raytune_gp.space import Encoding, SearchSpace
from raytune_gp.space.definition import definition, space_of


class Thing:
    """What JSON cannot hold."""


class Big(int):
    """A number to Python, and no number of JSON's: nothing makes it again, so it has no order."""


THING, OTHER = Thing(), Thing()

SPACES: dict[str, dict[Any, Any]] = {
    "numbers": {
        "a": tune.loguniform(1e-5, 0.3),
        "b": tune.quniform(0, 1, 0.05),
        "c": tune.randint(-3, 9),
        "d": tune.qlograndint(2, 64, 2),
        "e": tune.randn(1, 2),
        "f": tune.qrandn(0, 1, 0.5),
        "g": tune.reverse_loguniform(0, 0.9),
        "h": tune.randint(0, 10**9),
    },
    "choices": {
        "text": tune.choice(["1", "true", "a"]),
        "mixed": tune.choice([1, "1", None, True, (1, 2), [1, 2], 0.1, float("inf")]),
        "objects": tune.choice([THING, OTHER, Thing, len]),
        "bytes": tune.choice([b"x", Fraction(1, 3)]),
        "ordered": tune.choice([64, 16, 0.5]),
        "of their own": tune.choice([Big(3), Big(1), Big(2)]),
    },
    "grid": {"n": tune.grid_search([3, 1, 2]), "o": tune.grid_search([THING, "b"]), "x": tune.uniform(0, 1)},
    "nested": {
        "model": {
            "kind": tune.choice(["tree", THING]),
            "depth": tune.when("model/kind", ["tree"], tune.randint(1, 5)),
            "rate": tune.when("model/kind", [THING], tune.when("steps", [2, 4], tune.uniform(0, 1))),
        },
        7: tune.uniform(0, 1),
        "steps": tune.qrandint(2, 8, 2),
        "fixed": THING,
        "empty": {},
        "plain": {"list": [1, {"x": None}], "on": True},
        "only": tune.when("plain/on", [True], tune.choice([1, 2])),
        "twice": tune.sample_from(lambda config: 2 * config["steps"]),
    },
}


@pytest.mark.parametrize("name", SPACES)
def test_it_is_the_same_space(name: str) -> None:
    space = SearchSpace(SPACES[name])
    again = space_of(json.loads(json.dumps(definition(space))))
    functions = ("sample_from",)  # these alone are not the same
    described = [{k: v for k, v in s.describe().items() if k not in functions} for s in (space, again)]
    assert described[0] == described[1]
    assert again.order == space.order
    assert again.sample_from.keys() == space.sample_from.keys()
    assert len(again.grid_cells()) == len(space.grid_cells())
    units = np.random.default_rng(0).random((40, len(Encoding(space).dimensions)))
    forms = [[s.to_json(c) for c in Encoding(s).decode(units)] for s in (space, again)]
    assert forms[0] == forms[1]
    for form in forms[0]:
        places = [Encoding(s).place([s.from_json(form)]) for s in (space, again)]
        np.testing.assert_array_equal(places[0][0], places[1][0])
        np.testing.assert_array_equal(places[0][1], places[1][1])


def test_what_cannot_be_kept_is_said() -> None:
    keyed: dict[Any, Any] = {("a", "pair"): tune.uniform(0, 1)}
    form = definition(SearchSpace(keyed))
    assert "missing" in form
    with pytest.raises(SpaceError, match=r"cannot be made again: .* has a key that JSON cannot hold"):
        space_of(form)
