"""The scale benchmark, in small."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks import scale
from benchmarks.scale import REPORTS, Case, play


@pytest.mark.parametrize("searcher", ["sobol", "gp"])
def test_a_case_plays_all_its_trials(searcher: str) -> None:
    found = play(Case(16, 60, searcher))
    assert found["ended"] == 60 <= found["suggested"] <= 60 + 16
    assert 60 < found["reports"] <= 60 * REPORTS
    assert len(found["cpu_ms_by_part"]) >= 3
    assert found["virtual_s"] > 60


def test_a_case_whose_time_is_up_says_how_far_it_came() -> None:
    found = play(Case(16, 100_000, minutes=0.02))
    assert 0 < found["ended"] < 100_000
    assert sum(found["cpu_s"].values()) >= 1.19


def test_cases_on_record_are_not_played_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case(8, 16)
    out = tmp_path / "scale.json"
    out.write_text(json.dumps({"cases": {case.name: {"ended": 16}}}))
    monkeypatch.setattr(scale, "CASES", (case,))
    monkeypatch.setattr(scale, "play", lambda case: pytest.fail("played again"))
    monkeypatch.setattr(sys, "argv", ["scale", "--out", str(out)])
    scale.main()
    assert json.loads(out.read_text())["cases"] == {case.name: {"ended": 16}}
