"""The story: what goes on after an epoch, what random search is expected to find, the picture."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

import numpy as np
import pytest

from benchmarks.story.picture import STYLES, picture
from benchmarks.story.runs import KEPT, kept
from benchmarks.story.summary import expected_best, summary


def run(way: str, test: float, *curves: list[float]) -> dict[str, Any]:
    trials = [{"config": {"learning_rate": 0.1}, "curve": curve} for curve in curves]
    return {"way": way, "seed": 0, "config": {}, "test": [test, test], "trials": trials}


RUNS = [
    run("random", 0.50, *([[0.1, 0.2 + 0.001 * i] for i in range(119)]), [0.2, 0.5]),
    run("random-kept", 0.50, *([[0.1]] * 119), [0.2]),
    run("gp", 0.52, *([[0.1, 0.3]] * 20), *([[0.3, 0.52]] * 10)),
    run("gp-median", 0.48, *([[0.1]] * 20), *([[0.3, 0.4]] * 10)),
]
RUNS[1]["trials"] += [{"config": {}, "curve": [0.5], "goes_on": True}] * 10


def test_the_best_after_one_epoch_go_on_behind_the_others() -> None:
    trials = [{"config": {}, "curve": [0.01 * (i % 20), i, 0.5]} for i in range(40)]
    found = kept(trials)
    assert [len(trial["curve"]) for trial in found] == [1] * 40 + [2] * KEPT
    assert [trial["curve"][0] for trial in found[40:]] == [15, 16, 17, 18, 19, 35, 36, 37, 38, 39]


def test_the_expected_best_is_that_of_many_draws() -> None:
    values = np.random.default_rng(0).normal(size=50)
    draws = np.random.default_rng(1).choice(values, (20_000, 10)).max(1)
    assert expected_best(values.tolist(), 10) == pytest.approx(
        draws.mean(), abs=4 * draws.std() / 20_000**0.5
    )
    assert expected_best([3.0], 7) == pytest.approx(3.0)


def test_the_summary_counts_epochs_and_pairs() -> None:
    ways = summary(RUNS)["ways"]
    assert ways["random"]["share_of_epochs"] == 1.0
    assert ways["random"]["pairs"] == 0  # not against itself
    assert (ways["random-kept"]["trials"], ways["random-kept"]["epochs"]) == (120, 130)
    assert ways["gp"]["share_of_epochs"] == 0.25
    assert (ways["gp"]["better_in_test"], ways["gp-median"]["better_in_test"]) == (1, 0)
    assert ways["gp"]["to_reach_120_random"] == [{"trials": 21, "share_of_epochs": 42 / 240}]
    assert ways["gp-median"]["to_reach_120_random"] == [None]
    assert ways["gp"]["median_share_of_epochs_to_reach_it"] == 42 / 240
    assert ways["gp-median"]["median_share_of_epochs_to_reach_it"] is None
    assert ways["gp"]["mean_validation"] == 0.52


def test_the_picture_has_a_line_for_each_run() -> None:
    drawn = ET.fromstring(picture(RUNS))
    colours = [line.get("stroke") for line in drawn.iter("{http://www.w3.org/2000/svg}polyline")]
    for colour, _ in STYLES.values():
        assert colours.count(colour) == 2  # its own, and the legend's
