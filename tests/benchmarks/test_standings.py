"""The standings: ranks with ties, regrets, wins and their intervals, on records made by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from benchmarks.race.standing import gather
from benchmarks.standings import interval, show, summary


def record(
    optimiser: str, problem: str, seed: int, scores: Sequence[float | None], best: float | None = 0.0
) -> dict[str, Any]:
    return {
        "optimiser": optimiser,
        "problem": problem,
        "seed": seed,
        "trials": len(scores),
        "workers": 4,
        "best": best,
        "scores": list(scores),
        "seconds": [0.1] * len(scores),
    }


RECORDS = [
    record("gp", "branin", 0, [8.0, 4.0, 1.0, 1.0]),
    record("random", "branin", 0, [None, 9.0, 4.0, 4.0]),
    record("tpe", "branin", 0, [8.0, 8.0, 4.0, 3.999]),
    record("gp", "levy12", 0, [None, None, None, 2.0], best=None),
    record("random", "levy12", 0, [7.0, 6.0, 5.0, 5.0], best=None),
    record("tpe", "levy12", 0, [7.0, 6.0, 5.0, 1.0], best=None),
    record("gp", "levy12", 1, [1.0, 1.0, 1.0, 1.0], best=None),  # a pair that the others have not run
    record("random", "branin", 0, [9.0] * 4 + [3.0] * 8 + [1.5] * 4),  # four times as many
]


def test_ranks_average_ties_and_a_run_without_a_success_comes_last() -> None:
    standings = gather(RECORDS, trials=4, workers=4)
    assert standings.optimisers == ("gp", "random", "tpe")
    assert standings.problems == ("branin", "levy12")
    np.testing.assert_array_equal(standings.ranks(1.0), [[1, 2], [2.5, 3], [2.5, 1]])
    np.testing.assert_array_equal(standings.ranks(0.25), [[1.5, 3], [3, 1.5], [1.5, 1.5]])


def test_regret_is_in_units_of_random_search() -> None:
    standings = gather(RECORDS, trials=4, workers=4)
    np.testing.assert_allclose(standings.scale, [4.0, 4.0])  # levy12: the best that any run saw is 1
    np.testing.assert_allclose(standings.regrets(1.0)[:2], [[0.25, 0.25], [1.0, 1.0]])


def test_trials_needed_to_reach_random_search_of_four_times_the_budget() -> None:
    standings = gather(RECORDS, trials=4, workers=4)
    np.testing.assert_array_equal(standings.target, [1.5, np.nan])
    np.testing.assert_array_equal(standings.needed()[:, 0], [3, np.inf, np.inf])
    assert np.isnan(standings.needed()[:, 1]).all()


def test_only_pairs_that_all_have_run_count() -> None:
    assert len(gather(RECORDS, trials=4, workers=4, optimisers=["gp"]).problems) == 3
    assert gather(RECORDS, trials=4, workers=4, problems=["branin"]).problems == ("branin",)
    with pytest.raises(ValueError, match="no problem and seed"):
        gather(RECORDS, trials=5, workers=4)
    with pytest.raises(ValueError, match="random search sets the scale"):
        gather([r for r in RECORDS if r["optimiser"] != "random"], trials=4, workers=4)


def test_the_summary_counts_wins_and_its_tables_name_everyone() -> None:
    figures = summary(gather(RECORDS, trials=4, workers=4), "gp")
    against = figures["against"]
    assert {n: (a["wins"], a["losses"], a["ties"]) for n, a in against.items()} == {
        "random": (2, 0, 0),
        "tpe": (1, 1, 0),
    }
    to_target = {name: of["trials_to_target"] for name, of in figures["optimisers"].items()}
    assert to_target["gp"] == {"reached": 1.0, "problems": 1.0, "median": 3.0}
    assert to_target["random"] == {"reached": 0.0, "problems": 0.0, "median": None}
    assert figures["groups"]["high-dimensional"]["mean_rank"]["tpe"]["100%"] == 1.0
    text = show(figures)
    assert all(name in text for name in ("gp", "random", "tpe", "smooth", "2 pairs"))


def test_an_interval_draws_problems_and_not_runs() -> None:
    alike = interval(np.array([0.0] * 50 + [1.0] * 50), ["a"] * 50 + ["b"] * 50)
    assert alike == (0.0, 1.0)  # two problems say little, however many seeds they have
    many = interval(np.tile([0.0, 1.0], 50), [str(i) for i in range(100)])
    assert 0.38 < many[0] < 0.5 < many[1] < 0.62
