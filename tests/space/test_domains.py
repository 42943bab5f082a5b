"""Domains: the values they have, their places in [0, 1], and their distributions, beside Ray's own."""

from __future__ import annotations

import json
import math
import pickle
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from raytune_gp import space
from raytune_gp.errors import SpaceError
from raytune_gp.space import Choice, Domain

SAMPLE = 4000


def every_domain() -> list[Domain]:
    return [
        space.uniform(-2, 3),
        space.quniform(0, 1, 0.1),
        space.quniform(-0.6, 0.9, 0.3),
        space.loguniform(1e-5, 0.1),
        space.qloguniform(0.1, 10, 0.1),
        space.reverse_loguniform(0, 0.9999),
        space.randint(-3, 9),
        space.randint(4, 5),
        space.qrandint(0, 100, 7),
        space.lograndint(1, 1000),
        space.qlograndint(1, 500, 20),
        space.randn(3, 0.5),
        space.qrandn(0, 1, 0.25),
        space.choice(["sgd", "adam", (3, 3), None, True, 1, [1, 2], len]),
        space.grid_search([0.1, 1e-3, 10]),
        space.grid_search(["b", "a"]),
    ]


bounds = st.floats(-1e6, 1e6)
positive = st.floats(1e-12, 1e12)


@st.composite
def any_domain(draw: st.DrawFn) -> Domain:
    kind = draw(
        st.sampled_from(
            ["float", "log", "reverse", "int", "logint", "q", "qlog", "normal", "qnormal", "choice"]
        )
    )
    match kind:
        case "float":
            lower = draw(bounds)
            return space.uniform(lower, lower + draw(st.floats(1e-3, 1e6)))
        case "log":
            lower = draw(positive)
            return space.loguniform(lower, lower * draw(st.floats(1.001, 1e9)))
        case "reverse":
            lower = draw(st.floats(0, 0.9))
            return space.reverse_loguniform(lower, lower + draw(st.floats(0.01, 0.9999)) * (1 - lower))
        case "int" | "logint":
            low = 1 if kind == "logint" else -(10**9)
            least, step = draw(st.integers(low, 10**9)), draw(st.integers(1, 50))
            upper = least + step * draw(st.integers(1, 10**6))
            whole = space.qlograndint if kind == "logint" else space.qrandint
            return whole(least, upper, step)
        case "q" | "qlog":
            q = draw(st.sampled_from([0.1, 0.25, 1 / 3, 2.0, 1e-4, 1e5]))
            first = draw(st.integers(1 if kind == "qlog" else -1000, 1000))
            last = first + draw(st.integers(1, 5000))
            make = space.qloguniform if kind == "qlog" else space.quniform
            return make(first * q, last * q, q)
        case "normal":
            return space.randn(draw(bounds), draw(st.floats(1e-2, 1e6)))
        case "qnormal":
            sd = draw(st.floats(1e-2, 1e3))
            return space.qrandn(draw(st.floats(-100, 100)), sd, sd * draw(st.floats(1e-3, 5)))
        case _:
            values = st.one_of(st.integers(), st.text(), st.booleans(), st.none(), st.tuples(st.integers()))
            key = lambda v: (type(v) is bool, v)  # noqa: E731
            return space.choice(draw(st.lists(values, min_size=1, max_size=8, unique_by=key)))


@given(any_domain(), st.floats(0, 1))
@settings(deadline=None, max_examples=300)
def test_a_value_survives_the_way_to_its_place_and_back(domain: Domain, unit: float) -> None:
    value = domain.from_unit(unit)
    place = domain.to_unit(value)
    assert 0 <= place <= 1
    assert domain.from_unit(place) == value
    assert domain.to_unit(domain.from_unit(place)) == place
    assert domain.snap(value) == value
    assert domain.contains(value)
    assert domain.snap_units(np.array([unit]))[0] == place


@given(any_domain(), st.lists(st.floats(-0.5, 1.5), min_size=2, max_size=20))
@settings(deadline=None, max_examples=100)
def test_arrays_and_single_values_agree(domain: Domain, units: list[float]) -> None:
    array = np.array(units)
    values = domain.decode(array)
    assert values == [domain.from_unit(unit) for unit in units]
    places = domain.encode(values)
    np.testing.assert_array_equal(places, domain.snap_units(array))
    np.testing.assert_array_equal(domain.snap_units(places), places)


@given(any_domain(), st.floats(0, 1), st.floats(0, 1))
@settings(deadline=None, max_examples=200)
def test_numbers_keep_their_order(domain: Domain, one: float, other: float) -> None:
    if domain.kind != "categorical":
        low, high = sorted([one, other])
        assert domain.from_unit(low) <= domain.from_unit(high)
        assert domain.to_unit(domain.from_unit(low)) <= domain.to_unit(domain.from_unit(high))


@given(st.floats(1e-3, 1), st.floats(1e-3, 1))
def test_snapping_a_float_moves_it_by_less_than_anyone_can_see(upper: float, share: float) -> None:
    value = upper * share
    assert space.uniform(0, upper).snap(value) == pytest.approx(value, abs=1e-11 * upper)
    assert space.loguniform(1e-7, 1).snap(value) == pytest.approx(value, rel=1e-10)


@pytest.mark.parametrize("domain", every_domain(), ids=str)
def test_a_sample_spans_the_domain(domain: Domain) -> None:
    rng = np.random.default_rng(0)
    values = [domain.sample(rng) for _ in range(SAMPLE)]
    assert all(domain.contains(value) for value in values)
    assert all(type(value) in (int, float) for value in values) or domain.kind == "categorical"
    places = domain.encode(values)
    if domain.size is not None and domain.size <= 30 and domain.kind != "float":
        assert set(places.tolist()) == set(domain.encode(domain.levels()).tolist())
    elif isinstance(domain, space.Normal):
        assert np.mean(values) == pytest.approx(domain.mean, abs=0.08 * domain.sd)
        assert np.std(values) == pytest.approx(math.hypot(domain.sd, (domain.q or 0) / 12**0.5), rel=0.05)
    else:
        assert places.min() < 0.08
        assert places.max() > 0.96
        assert np.mean(places) == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("domain", every_domain(), ids=str)
def test_a_description_is_json_and_a_domain_can_be_pickled(domain: Domain) -> None:
    described = domain.describe()
    assert json.loads(json.dumps(described)) == described
    domain.sample(np.random.default_rng(0))
    assert pickle.loads(pickle.dumps(domain)) == domain


@pytest.mark.parametrize("domain", every_domain(), ids=str)
def test_the_grid_holds_the_place_of_every_value(domain: Domain) -> None:
    grid = domain.grid()
    if domain.size is None:
        assert grid is None
    else:
        assert grid is not None
        assert len(grid) == domain.size == len(domain.levels())
        assert (np.diff(grid) > 0).all()
        np.testing.assert_array_equal(domain.snap_units(grid), grid)


@pytest.mark.parametrize(
    "domain",
    [
        space.reverse_loguniform(0, 1 - 1e-9),
        space.reverse_loguniform(0.9, 1 - 1e-12),
        space.loguniform(1e-300, 1e300),
        space.loguniform(1, 1 + 1e-9),
        space.uniform(1e9, 1e9 + 1),
        space.uniform(-1e307, 1e307),
        space.randn(1e6, 1e-3),
        space.randint(2**53 - 50, 2**53),
        space.lograndint(1, 2**40 - 1),
        space.qrandn(0, 1, 1e-5),
    ],
    ids=str,
)
def test_places_survive_where_floats_are_scarce(domain: Domain) -> None:
    units = np.random.default_rng(0).random(5000)
    values = domain.decode(units)
    places = domain.encode(values)
    assert domain.decode(places) == values
    np.testing.assert_array_equal(places, domain.snap_units(units))
    np.testing.assert_array_equal(domain.encode(domain.decode(places)), places)
    assert len(set(values)) > 40


def test_a_grid_of_many_values_is_not_listed() -> None:
    assert space.randint(0, 1024).grid() is not None
    assert space.randint(0, 1025).grid() is None


@pytest.mark.parametrize(
    ("domain", "lowest", "highest"),
    [
        (space.uniform(-2, 3), -2.0, 3.0),
        (space.loguniform(1e-5, 0.1), 1e-5, 0.1),
        (space.reverse_loguniform(0, 0.99), 0.0, 0.99),
        (space.quniform(0, 1, 0.1), 0.0, 1.0),
        (space.qloguniform(0.1, 10, 0.1), 0.1, 10.0),
        (space.randint(0, 10), 0, 9),
        (space.lograndint(1, 10), 1, 9),
        (space.qrandint(0, 10, 5), 0, 10),
        (space.qrandint(0, 10), 0, 9),
        (space.qrandint(0, 10, 1), 0, 9),
        (space.qrandint(1, 11, 5), 5, 10),
        (space.qlograndint(1, 100, 10), 10, 100),
        (space.qlograndint(1, 100, 1), 1, 99),
    ],
    ids=str,
)
def test_bounds(domain: Domain, lowest: float, highest: float) -> None:
    assert domain.from_unit(0.0) == lowest
    assert domain.from_unit(1.0) == highest
    assert domain.contains(lowest)
    assert domain.contains(highest)
    assert not domain.contains(lowest - 10)
    assert not domain.contains(highest + 10)
    described = domain.describe()
    assert (described["lower"], described["upper"]) == (lowest, highest)


def test_scales_put_the_middle_where_they_should() -> None:
    assert space.uniform(0, 10).from_unit(0.5) == 5
    assert space.loguniform(1e-4, 1).from_unit(0.5) == pytest.approx(1e-2)
    assert 1 - space.reverse_loguniform(0, 0.9999).from_unit(0.5) == pytest.approx(1e-2)
    assert space.randn(3, 2).from_unit(0.5) == pytest.approx(3)
    assert space.randn().to_unit(1.0) == pytest.approx(0.841344746)
    assert space.lograndint(1, 1024).from_unit(0.51) == 34


def test_normal_ends_are_finite_and_any_number_belongs() -> None:
    domain = space.randn(0, 2)
    assert domain.from_unit(0.0) == -12
    assert domain.from_unit(1.0) == 12
    assert domain.contains(1e9)
    assert domain.snap(1e9) == 12
    assert not domain.contains(math.inf)


def test_quantised_values_have_no_dust() -> None:
    assert space.quniform(0, 1, 0.1).levels() == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
    assert space.quniform(0, 1, 0.1).snap(3 * 0.1) == 0.3
    assert space.quniform(0, 1, 0.1).contains(3 * 0.1)
    assert not space.quniform(0, 1, 0.1).contains(0.35)
    assert math.copysign(1, space.quniform(-1, 1, 0.5).from_unit(0.45)) == 1


def test_types_of_values() -> None:
    assert space.randint(0, 5).contains(3.0)
    assert type(space.randint(0, 5).snap(3.0)) is int
    assert type(space.uniform(0, 5).snap(np.float32(3))) is float
    assert not space.randint(0, 5).contains(True)
    assert not space.uniform(0, 5).contains("1")
    assert not space.uniform(0, 5).contains(None)
    assert not space.uniform(0, 5).contains(math.nan)


def test_choices_tell_true_from_one_and_find_the_unhashable() -> None:
    domain = space.choice([1, True, 0, False, [1, 2], {"a": 1}, np.float64(2.5)])
    assert domain.snap(True) is True
    assert type(domain.snap(1.0)) is int
    assert domain.index([1, 2]) == 4
    assert domain.index({"a": 1}) == 5
    assert type(domain.choices[6]) is float
    assert domain.to_unit(np.bool_(True)) == pytest.approx(1.5 / 7)


@pytest.mark.parametrize("listed", [space.choice, space.grid_search])
def test_three_numbers_are_ordered_however_they_are_listed(listed: Callable[[list[Any]], Choice]) -> None:
    numbers = listed([10, 0.1, 1])
    assert numbers.is_ordered
    assert [numbers.to_unit(v) for v in (0.1, 1, 10)] == pytest.approx([1 / 6, 1 / 2, 5 / 6])
    assert numbers.from_unit(0.9) == 10
    assert numbers.levels() == [10, 0.1, 1]  # a grid goes through them as they stand there


@pytest.mark.parametrize(
    "values",
    [["c", "b", "a"], ["32", "16", "8"], [2, 1], *([3, 2, odd] for odd in (True, None, math.inf, math.nan))],
    ids=str,
)
def test_other_choices_stay_as_they_are_listed(values: list[Any]) -> None:
    domain = space.choice(values)
    assert not domain.is_ordered
    assert [domain.to_unit(v) for v in values] == pytest.approx(
        [(i + 0.5) / len(values) for i in range(len(values))]
    )


def test_numbers_of_any_size_are_ordered() -> None:
    domain = space.choice([10**400, 1, -(10**400)])
    assert domain.is_ordered
    assert domain.from_unit(0.0) == -(10**400)


def test_labels_are_told_apart_and_free_of_addresses() -> None:
    labels = space.choice([lambda: 1, lambda: 2, "1", 1, object(), math.nan]).labels
    assert len(set(labels)) == 6
    assert labels[3] == "1 (2)"
    assert "0x" not in "".join(labels)


def untyped(value: Any) -> Any:
    """What a user without a type checker can pass."""
    return value


WRONG: dict[str, list[Callable[[], object]]] = {
    "lower must be below upper; swap them": [
        lambda: space.uniform(1, 0),
        lambda: space.uniform(1, 1),
        lambda: space.quniform(2, 1, 0.1),
        lambda: space.qrandint(5, 5, 2),
    ],
    "upper is exclusive": [lambda: space.randint(3, 3), lambda: space.lograndint(3, 2)],
    "must start above 0, not at 0": [
        lambda: space.loguniform(0, 1),
        lambda: space.qloguniform(0, 1, 0.1),
        lambda: space.lograndint(0, 5),
        lambda: space.qlograndint(0, 50, 5),
    ],
    "must start above 0, not at -1": [lambda: space.loguniform(-1, 1)],
    "0 <= x < 1": [lambda: space.reverse_loguniform(0.5, 1), lambda: space.reverse_loguniform(-0.1, 0.5)],
    "lower must be a finite number, not nan": [lambda: space.uniform(math.nan, 1)],
    "upper must be a finite number, not inf": [lambda: space.loguniform(1, math.inf)],
    "upper must be a finite number, not '1'": [lambda: space.uniform(0, untyped("1"))],
    "lower must be a finite number, not None": [lambda: space.uniform(untyped(None), 1)],
    "lower must be a finite number, not True": [lambda: space.uniform(True, 5)],
    "q must be a finite number, not nan": [lambda: space.quniform(0, 1, math.nan)],
    "q must be a finite number, not inf": [lambda: space.qrandn(0, 1, math.inf)],
    "mean must be a finite number": [lambda: space.randn(math.inf, 1)],
    "sd must be above 0": [lambda: space.randn(0, 0), lambda: space.qrandn(0, -1, 0.1)],
    "lower must be a whole number, not 0.5": [lambda: space.randint(untyped(0.5), 3)],
    "upper must be a whole number, not inf": [lambda: space.randint(0, untyped(math.inf))],
    "q must be a whole number, not 1.5": [lambda: space.qrandint(0, 9, untyped(1.5))],
    "q must be above 0": [lambda: space.quniform(0, 1, 0), lambda: space.qrandint(0, 9, -1)],
    "larger than the range": [
        lambda: space.quniform(0, 1, 2),
        lambda: space.qrandint(0, 3, 4),
        lambda: space.qlograndint(1, 5, 9),
        lambda: space.qrandn(0, 1, 13),
    ],
    "lower must be a multiple of q; take 0.2": [lambda: space.quniform(0.15, 1, 0.2)],
    "upper must be a multiple of q; take 10": [lambda: space.qloguniform(2, 9.5, 2)],
    "at most 2\\*\\*40": [lambda: space.randint(0, 2**41), lambda: space.quniform(0, 1, 1e-13)],
    "beyond 2\\*\\*53": [lambda: space.randint(0, 2**60)],
    "at least sd / 100000": [lambda: space.qrandn(0, 1, 1e-6)],
    "too close for floating-point": [
        lambda: space.uniform(1.0, math.nextafter(1, 2)),
        lambda: space.loguniform(1e15, 1e15 + 1),
        lambda: space.randn(1e16, 1),
    ],
    "wider than a float": [lambda: space.uniform(-1.7e308, 1.7e308), lambda: space.randn(0, 1e308)],
    "nothing to choose from": [lambda: space.choice([]), lambda: space.grid_search([])],
    "listed twice": [
        lambda: space.choice(["a", "b", "a"]),
        lambda: space.choice([1, 1.0]),
        lambda: space.choice([math.nan, -math.nan]),
        lambda: space.choice([[1], frozenset({1}), untyped({1})]),
        lambda: space.grid_search([[1], [1]]),
    ],
    "needs a list of values": [
        lambda: space.choice("abc"),
        lambda: space.choice(untyped(3)),
        lambda: space.grid_search({"a": 1}),
    ],
    "choice lists the domain uniform\\(0, 1\\), which nothing would draw": [
        lambda: space.choice([1, space.uniform(0, 1)])
    ],
    "order changes": [lambda: space.choice({"a", "b"})],
    "sample_from needs a function": [lambda: space.sample_from(untyped(3))],
    "must take the config or nothing": [lambda: space.sample_from(lambda a, b: 1)],
    "must be a path": [lambda: space.when("", ["a"], 1), lambda: space.when(untyped(3), ["a"], 1)],
    "could never hold": [lambda: space.when("a", [], 1)],
    "needs a list of values, not 'sgd'": [lambda: space.when("optimizer", "sgd", 1)],
}


@pytest.mark.parametrize(
    ("message", "make"), [(message, make) for message, makers in WRONG.items() for make in makers]
)
def test_wrong_domains_are_refused_with_the_reason(message: str, make: Callable[[], object]) -> None:
    with pytest.raises(SpaceError, match=message):
        make()


@pytest.mark.parametrize(
    ("domain", "value", "message"),
    [
        (space.uniform(0, 1), "x", "'x' has no place in uniform\\(0, 1\\)"),
        (space.uniform(0, 1), None, "None has no place"),
        (space.randint(0, 9), math.nan, "nan has no place"),
        (space.choice(["a"]), "b", "'b' is none of choice\\(\\[a\\]\\)"),
        (space.choice(["a"]), [1], "is none of"),
    ],
    ids=str,
)
def test_values_without_a_place_are_refused(domain: Domain, value: object, message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        domain.to_unit(value)


def test_values_that_compare_by_element_may_be_chosen() -> None:
    weights = [torch.tensor([1.0, 2.0]), torch.tensor([2.0, 1.0]), np.array([1.0, 2.0, 3.0])]
    assert Choice(tuple(weights)).contains(weights[1])


def test_what_is_a_multiple_of_q_does_not_depend_on_its_size() -> None:
    assert space.quniform(-1, 1, 0.1).contains(1e-17)
    assert space.quniform(0, 1000, 0.1).contains(999.9)
    assert not space.quniform(0, 1000, 0.1).contains(999.95)
    assert not space.quniform(0, 1e9, 1).contains(999_999_999.3)
    assert all(space.quniform(1e6, 1e6 + 10, 0.001).contains(1e6 + 0.001 * k) for k in range(10_000))
    with pytest.raises(SpaceError, match="upper must be a multiple of q; take 1000000000, or another q"):
        space.quniform(0, 1e9 + 0.3, 1)


def test_the_keys_of_a_dictionary_are_in_order() -> None:
    assert space.choice({"b": 1, "a": 2}.keys()).choices == ("b", "a")


def test_nan_among_choices_is_found_by_any_nan() -> None:
    choices = space.choice(["none", math.nan])
    assert choices.contains(float("nan"))
    assert choices.index(float("nan")) == 1


def test_long_lists_of_choices_are_made_at_once() -> None:
    began = time.process_time()
    assert space.choice([f"v{i}" for i in range(20_000)]).size == 20_000
    assert time.process_time() - began < 2
