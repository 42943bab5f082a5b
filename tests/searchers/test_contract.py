"""What every searcher owes its caller. A new one adds a line to `KINDS` and inherits all of these tests."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cloudpickle
import numpy as np
import pytest

from raytune_gp.protocols import Searcher, SuggestionBatch, SuggestionRequest
from raytune_gp.searchers import SEARCHERS, make_searcher
from raytune_gp.space import (
    SearchSpace,
    choice,
    grid_search,
    lograndint,
    loguniform,
    qrandint,
    quniform,
    randint,
    randn,
    sample_from,
    uniform,
    when,
)
from raytune_gp.trial import Config, Metric, Observation

SPACES: dict[str, dict[str, Any]] = {
    "floats": {"x": uniform(-1, 1), "y": uniform(0, 1e-3), "z": randn(2, 0.5)},
    "logarithms": {"rate": loguniform(1e-6, 1), "width": lograndint(8, 4096)},
    "integers": {"a": randint(-3, 900), "b": qrandint(0, 64, 8), "c": quniform(0, 1, 0.25)},
    "categories": {"kind": choice(["a", "b", None]), "shape": choice([(1, 2), (3,)]), "rate": uniform(0, 1)},
    "conditions": {
        "optimizer": choice(["sgd", "adam"]),
        "momentum": when("optimizer", ["sgd"], uniform(0, 1)),
        "inner": {"beta": when("optimizer", ["adam"], loguniform(0.5, 1)), "rate": uniform(0, 1)},
    },
    "grid": {"model": grid_search(["s", "m", "l"]), "rate": loguniform(1e-3, 1), "depth": randint(1, 9)},
    "computed": {"x": uniform(0, 1), "epochs": 3, "twice": sample_from(lambda config: 2 * config["x"])},
    "tiny": {"a": choice(["u", "v"]), "b": randint(0, 3)},
}


@dataclass(frozen=True)
class Case:
    """A kind of searcher on a space."""

    kind: str
    space_name: str
    options: Mapping[str, Any]

    @property
    def space(self) -> SearchSpace:
        return SearchSpace(SPACES[self.space_name])

    def make(self, space: SearchSpace, seed: int = 7) -> Searcher:
        return make_searcher(self.kind, space, Metric("score", "max"), seed=seed, options=self.options)

    def told(self, count: int, value: Callable[[int], float | None] | None = None) -> Searcher:
        """A fresh searcher that knows `count` observations and two pending configs."""
        space = self.space
        searcher = self.make(space)
        searcher.update(*snapshot(space, count, value))
        return searcher


KINDS: dict[str, Mapping[str, Any]] = {"gp": {}, "random": {}, "sobol": {}, "grid": {"points": 3}}
CASES = [Case(kind, space, options) for kind, options in KINDS.items() for space in SPACES]
every_case = pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c.kind}-{c.space_name}")
every_kind = pytest.mark.parametrize("kind", KINDS)


def test_every_searcher_that_has_a_name_is_here() -> None:
    assert set(KINDS) == set(SEARCHERS)


def snapshot(
    space: SearchSpace, count: int, value: Callable[[int], float | None] | None = None
) -> tuple[list[Observation], list[Config]]:
    """Observations and pending configs at random places; every fourth has failed unless `value` says."""
    rng = np.random.default_rng(3)
    configs = [space.sample(rng) for _ in range(count + 2)]
    value = value or (lambda i: None if i % 4 == 3 else float(np.sin(i)))
    values = [value(i) for i in range(count)]
    completed = [
        Observation(c, None if v is None else (v,), str(i), "failed" if v is None else None)
        for i, (c, v) in enumerate(zip(configs, values, strict=False))
    ]
    return completed, configs[count:]


def request(
    space: SearchSpace, id: int, count: int, start: int, memory: Mapping[str, Any] | None = None
) -> SuggestionRequest:
    """A request as an `Asker` makes it."""
    cells = space.grid_cells()
    fixed = [cells[(start + i) % len(cells)] for i in range(count)] if space.grid_axes else None
    return SuggestionRequest(id, count, start, memory, fixed)


def ask(
    searcher: Searcher, space: SearchSpace, count: int = 3, start: int = 12, id: int = 4
) -> SuggestionBatch:
    return searcher.suggest(request(space, id, count, start))


def plain(batch: SuggestionBatch, space: SearchSpace) -> str:
    """An answer to the last bit."""
    rows = [[space.to_json(s.config), dict(s.provenance)] for s in batch.suggestions]
    return json.dumps([rows, batch.memory])


def numbers(node: Any) -> list[float]:
    """All floats in a nest of dictionaries and lists."""
    if isinstance(node, Mapping):
        return numbers(list(node.values()))
    if isinstance(node, list | tuple):
        return [n for item in node for n in numbers(item)]
    return [node] if isinstance(node, float) else []


@every_case
def test_suggestions_are_of_the_space_and_as_many_as_were_asked_for(case: Case) -> None:
    space, searcher = case.space, case.told(9)
    assert isinstance(searcher, Searcher)
    for count, start in ((1, 0), (5, 0), (3, 12)):
        batch = ask(searcher, space, count, start)
        left = max(0, len(searcher) - start) if case.kind == "grid" else count  # type: ignore[arg-type]
        assert len(batch.suggestions) == min(count, left)
        for i, suggestion in enumerate(batch.suggestions):
            assert space.contains(suggestion.config), suggestion.config
            assert np.isfinite(numbers(suggestion.config)).all()
            if case.kind != "grid":  # a grid goes through the cells by itself
                cell = space.grid_cells()[(start + i) % len(space.grid_cells())]
                assert {n: space.flat(suggestion.config)[n] for n in cell} == cell


@every_case
def test_provenance_and_memory_are_json_without_nan(case: Case) -> None:
    space, searcher = case.space, case.told(9)
    batch = ask(searcher, space)
    for suggestion in batch.suggestions:
        assert json.loads(json.dumps(suggestion.provenance, allow_nan=False)) == suggestion.provenance
        assert suggestion.provenance["method"]
    assert json.loads(json.dumps(batch.memory, allow_nan=False)) == batch.memory


@every_case
def test_an_answer_depends_on_snapshot_and_request_alone(case: Case) -> None:
    space, searcher = case.space, case.told(9)
    expected = plain(ask(searcher, space), space)
    assert plain(ask(searcher, space), space) == expected, "asking is not recorded"
    searcher.update(*snapshot(space, 5, lambda i: -3.0 * i))
    ask(searcher, space, count=2, start=8, id=9)
    searcher.update(*snapshot(space, 9))
    assert plain(ask(searcher, space), space) == expected, "an update replaces the one before"
    assert plain(ask(case.told(9), space), space) == expected, "another process says the same"


@every_kind
def test_memory_survives_the_journal(kind: str) -> None:
    case = Case(kind, "conditions", KINDS[kind])
    space, searcher = case.space, case.told(9)
    memory = ask(searcher, space).memory
    journalled = None if memory is None else json.loads(json.dumps(memory))
    answers = [searcher.suggest(request(space, 5, 2, 15, m)) for m in (memory, journalled)]
    assert plain(answers[0], space) == plain(answers[1], space)


@every_kind
def test_it_travels_by_cloudpickle_before_and_after_use(kind: str) -> None:
    case = Case(kind, "categories", KINDS[kind])
    space, searcher = case.space, case.told(9)
    fresh = cloudpickle.loads(cloudpickle.dumps(case.make(space)))
    fresh.update(*snapshot(space, 9))
    expected = plain(ask(searcher, space), space)
    assert plain(ask(cloudpickle.loads(cloudpickle.dumps(searcher)), space), space) == expected
    assert plain(ask(fresh, space), space) == expected


@every_kind
def test_the_seed_matters_where_there_is_chance(kind: str) -> None:
    case = Case(kind, "floats", KINDS[kind])
    answers = {plain(ask(case.make(case.space, seed), case.space, start=0), case.space) for seed in (1, 2)}
    assert len(answers) == (1 if kind == "grid" else 2)


@pytest.mark.parametrize(
    "case", [c for c in CASES if c.kind != "gp"], ids=lambda c: f"{c.kind}-{c.space_name}"
)
def test_what_follows_a_sequence_does_so_however_it_is_batched(case: Case) -> None:
    space, searcher = case.space, case.make(case.space)
    assert not searcher.uses_results
    at_once = [s.config for s in ask(searcher, space, 7, 0).suggestions]
    parts = [(0, 1), (1, 3), (4, 3)]
    in_parts = [
        s.config
        for i, (start, count) in enumerate(parts)
        for s in ask(case.told(i), space, count, start, id=i).suggestions
    ]
    assert in_parts == at_once
    assert len({space.key(c) for c in at_once}) > 2


@pytest.mark.parametrize("counts", [(6,), (2, 1, 3), (1,) * 6])
@pytest.mark.parametrize("kind", ["gp", "grid"])
def test_nothing_is_proposed_twice_until_there_is_nothing_else(kind: str, counts: Sequence[int]) -> None:
    case = Case(kind, "tiny", KINDS[kind])
    space, searcher = case.space, case.make(case.space)
    completed: list[Observation] = []
    seen: set[Any] = set()
    for turn, count in enumerate(counts):
        start = len(seen)
        pending = [o.config for o in completed[-2:]]
        searcher.update(completed[:-2] if pending else completed, pending)
        for suggestion in ask(searcher, space, count, start, id=turn).suggestions:
            assert space.key(suggestion.config) not in seen
            seen.add(space.key(suggestion.config))
            completed.append(Observation(suggestion.config, (float(len(seen)),), str(len(seen))))
    assert len(seen) == space.size == 6
    searcher.update(completed, [])
    extra = ask(searcher, space, 2, 6, id=9).suggestions
    assert len(extra) == (0 if kind == "grid" else 2)
    assert all(space.contains(s.config) for s in extra)


@pytest.mark.parametrize("space_name", SPACES)
def test_a_batch_of_the_gp_repeats_neither_itself_nor_what_is_finished_or_pending(space_name: str) -> None:
    case = Case("gp", space_name, {})
    space = case.space
    completed, pending = snapshot(space, 9)
    taken = [space.key(c) for c in (*(o.config for o in completed), *pending)]
    if space.size is not None and space.size < 9:
        completed, taken = (
            completed[:2],
            [space.key(c) for c in (*(o.config for o in completed[:2]), *pending)],
        )
    searcher = case.make(space)
    searcher.update(completed, pending)
    batch = ask(searcher, space, 3, 12).suggestions
    keys = [space.key(s.config) for s in batch]
    free = None if space.size is None else space.size - len(set(taken))
    if free is None or free >= 3:
        assert len(set(keys)) == 3
        assert not set(keys) & set(taken)


@pytest.mark.parametrize(
    "value",
    [
        lambda i: None,
        lambda i: 1.0,
        lambda i: 1e300 * (-1) ** i,
        lambda i: 1e-300 * i,
        lambda i: -1e12 if i == 3 else float(i),
        lambda i: 2.0 if i == 4 else None,
    ],
    ids=["all failed", "all equal", "huge", "minute", "an outlier", "one alone"],
)
@pytest.mark.parametrize("kind", ["gp", "random"])
def test_odd_values_are_never_fatal(kind: str, value: Callable[[int], float | None]) -> None:
    case = Case(kind, "conditions", KINDS[kind])
    batch = ask(case.told(9, value), case.space)
    assert all(case.space.contains(s.config) for s in batch.suggestions)
    assert all(math.isfinite(n) for s in batch.suggestions for n in numbers(s.provenance))


def test_the_gp_keeps_away_from_what_failed() -> None:
    """Failures are observations: where half of the space fails, the other half is searched."""
    space = SearchSpace({"x": uniform(0, 1)})
    searcher = make_searcher("gp", space, Metric("score", "max"), seed=0)
    xs = np.linspace(0.05, 0.95, 10)
    completed = [Observation({"x": float(x)}, None if x > 0.5 else (0.5,), str(x)) for x in xs]
    searcher.update(completed, [])
    found: Sequence[Any] = searcher.suggest(SuggestionRequest(0, 4, start=10)).suggestions
    assert sum(s.config["x"] < 0.5 for s in found) >= 3, [s.config for s in found]
