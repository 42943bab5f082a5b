"""The soak, in small."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.soak import REPORTS, slope
from tests.programs import figures_of


@pytest.mark.ray
def test_a_short_soak_leaves_nothing_and_counts_everything(tmp_path: Path) -> None:
    """In a process of its own: what is counted there is nobody else's."""
    scale = ["--trials", "40", "--minutes", "0.05", "--every", "0.2"]
    found = figures_of(tmp_path, "benchmarks.soak", *scale)
    assert (found["trials"], found["failed"], found["reports"]) == (40, 0, 40 * REPORTS)
    assert found["left"] == {"processes": 0, "reapers": 0, "actors": 0, "temporary files": 0}
    assert found["at_the_end"]["coordinator_bytes"] > 1e7
    assert 1 <= found["at_the_end"]["workers"] <= 4
    assert (found["at_the_end"]["reapers"] > 0) == (sys.platform == "linux")
    assert found["journal_bytes_per_trial"] > 100
    assert 1 <= found["stored_files_per_trial"] < 3


def test_a_slope_is_that_of_the_second_half() -> None:
    samples = [{"finished": n, "bytes": 1000.0 if n < 50 else 10.0 * n} for n in range(0, 101, 10)]
    assert slope(samples, "bytes") == pytest.approx(10.0)
