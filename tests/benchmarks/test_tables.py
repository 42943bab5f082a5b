"""Tables of recorded configs: what answers for them, and between them."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from benchmarks.fidelity import judged
from benchmarks.race.problems.base import Task
from benchmarks.race.problems.tables import Table, fitted, nearest
from raytune_gp.space import loguniform, uniform

SPACE = {"rate": loguniform(1e-3, 10.0), **{f"x{i}": uniform(0.0, 1.0) for i in range(5)}}


@pytest.fixture(scope="module")
def table() -> Table:
    """400 records of what the rate matters for most; a rate above 1 fails."""
    rng = np.random.default_rng(0)
    columns = {name: np.array(domain.decode(rng.uniform(size=400))) for name, domain in SPACE.items()}
    distance = (np.log10(columns["rate"]) + 1) ** 2 + 0.3 * columns["x0"]
    values = np.where(columns["rate"] > 1, np.nan, np.exp(2 * distance))
    return Table(SPACE, columns, values, seconds=1.0 + columns["x1"])


@pytest.mark.parametrize("answer", [nearest, fitted])
def test_a_record_has_its_own_value_and_seconds(answer: Callable[[Table], Task], table: Table) -> None:
    task = answer(table)
    rng = np.random.default_rng(0)
    assert task.timed is not None
    assert table.seconds is not None
    for row in range(0, 400, 20):
        config = {name: float(column[row]) for name, column in table.columns.items()}
        truth = task.truth(config)
        if math.isnan(table.values[row]):
            assert math.isnan(truth)
        else:
            assert truth == pytest.approx(table.values[row], rel=1e-6)
        assert task.seconds(config, rng) == pytest.approx(table.seconds[row], rel=1e-6)
    assert task.best == np.nanmin(table.values)


def test_the_regression_knows_what_fails_between_the_records(table: Table) -> None:
    task = fitted(table)
    others = {f"x{i}": 0.5 for i in range(5)}
    assert math.isnan(task.truth({"rate": 5.0, **others}))
    assert not math.isnan(task.truth({"rate": 0.1, **others}))


def test_the_regression_is_nearer_to_records_held_out_than_the_nearest_record(table: Table) -> None:
    found = judged(table, seed=0)
    assert found["nearest"] < found["fitted"] > 0.9
