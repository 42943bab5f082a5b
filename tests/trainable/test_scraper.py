"""Metrics in lines of text."""

from __future__ import annotations

from typing import Any

import pytest

from raytune_gp.errors import TrainableError
from raytune_gp.trainable import scraper
from raytune_gp.trainable.scraper import Scraper


def feed(patterns: dict[str, str], *lines: str) -> list[dict[str, float]]:
    found = Scraper(patterns)
    return [report for line in lines for report in found.feed(line)] + found.finish()


def test_a_pattern_that_would_take_years_for_a_line_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scraper, "SCAN_S", 0.1)
    with pytest.raises(TrainableError, match=r"metric 'loss' is .* avoid a repeat within a repeat"):
        Scraper({"loss": r"(x+x+)+y"}).feed("x" * 5000)


def test_patterns_that_hold_a_program_up_line_by_line_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scraper, "SLOW_S", 0.2)
    slow = Scraper({"loss": "(?:a|aa)+$(.)?"})
    lines = ["a" * 23 + "!"] * 1000
    with pytest.raises(TrainableError, match=r"the patterns '.*' have taken 0 s for \d+ lines, and the"):
        any(map(slow.feed, lines))
    monkeypatch.setattr(scraper, "SLOW_LINE_S", 1.0)
    assert slow.feed("x") == [], "many lines may take long in all"


BOTH = {"loss": r"loss=(\S+)", "acc": r"acc=(\S+)"}


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["acc=0.5 loss=2"], [{"acc": 0.5, "loss": 2}]),
        (["loss=2", "noise", "acc=0.5"], [{"acc": 0.5, "loss": 2}]),
        (["loss=2", "acc=1", "loss=1", "acc=2"], [{"loss": 2, "acc": 1}, {"loss": 1, "acc": 2}]),
        (["loss=3", "loss=2", "loss=1 acc=1"], [{"loss": 3}, {"loss": 2}, {"loss": 1, "acc": 1}]),
        (["acc=1 loss=2 acc=3 loss=4"], [{"acc": 1, "loss": 2}, {"acc": 3, "loss": 4}]),
        (["acc=1e-3 loss=nan"], [{"acc": 0.001, "loss": pytest.approx(float("nan"), nan_ok=True)}]),
        (["acc=good", "acc=1"], [{"acc": 1}]),
        (["nothing"], []),
    ],
)
def test_metrics_are_gathered_into_reports(lines: list[str], expected: Any) -> None:
    assert feed(BOTH, *lines) == expected


def test_a_group_that_took_no_part_is_no_number() -> None:
    assert feed({"m": r"done(?: m=(\d+))?"}, "done", "done m=3") == [{"m": 3}]


def test_colours_are_no_part_of_a_line() -> None:
    assert feed({"loss": "^loss: {float}$"}, "\x1b[1mloss\x1b[0m: \x1b[34m0.5\x1b[0m\x1b[K") == [
        {"loss": 0.5}
    ]
