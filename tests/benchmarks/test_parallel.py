"""What more workers cost in trials, on records made by hand."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.parallel import needed, summary


def record(problem: str, seed: int, workers: int, scores: list[float | None]) -> dict[str, Any]:
    return {"problem": problem, "seed": seed, "workers": workers, "scores": scores}


RECORDS = [
    record("branin", 0, 2, [None, 3.0, 1.0, 1.0]),
    record("branin", 0, 8, [4.0, 4.0, 4.0, 2.0]),  # 4 trials to 2.0, which the other had after 3
    record("branin", 1, 2, [5.0, 5.0, 5.0, 1.0]),
    record("branin", 1, 8, [5.0, 0.5, 0.5, 0.5]),  # 2 trials to 1.0, and the other 4
    record("levy", 0, 2, [1.0] * 4),
    record("levy", 0, 8, [None] * 4),
    record("levy", 1, 2, [1.0] * 4),
]


def test_both_are_held_to_what_the_worse_one_reached() -> None:
    assert needed(RECORDS, 2, 8) == {"branin": [(3, 4), (4, 2)]}
    assert needed(RECORDS, 8, 2) == {"branin": [(4, 3), (2, 4)]}


def test_the_mean_is_geometric_and_its_interval_of_problems() -> None:
    found = summary({"a": [(5, 10), (10, 20)], "b": [(2, 1), (4, 2)]}, delay=6)
    assert found["ratio"] == found["ratio_median"] == 1.0
    assert found["ratio_95"] == [0.5, 2.0]
    assert (found["pairs"], found["more_trials"], found["fewer_trials"]) == (4, 2, 2)
    assert summary({"a": [(10, 11)], "b": [(20, 22)]}, delay=6)["ratio_95"] == pytest.approx([1.1, 1.1])


def test_a_delay_alone_would_cost_so_many_trials_more() -> None:
    assert summary({"a": [(10, 10), (20, 20), (60, 60)]}, delay=6)["delay_median"] == 1.3
