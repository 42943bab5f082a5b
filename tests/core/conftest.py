from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from raytune_gp.state import RunState
from tests.core.bench import Bench, through_json


@pytest.fixture
def make_bench() -> Iterator[Callable[..., Bench]]:
    """Makes benches; at the end each one's events, replayed from JSON, must give the state it is in."""
    made: list[Bench] = []

    def make(**settings: Any) -> Bench:
        made.append(Bench(**settings))
        return made[-1]

    yield make
    for bench in made:
        state = RunState()
        for event in through_json(bench.events):
            state.apply(event)
        assert state == bench.state
