"""The patterns of metrics: what they read, and what is refused before anything runs."""

from __future__ import annotations

import math
import time
from typing import Any

import pytest

from raytune_gp.errors import SpecError
from raytune_gp.trainable.patterns import SAMPLES, compile_pattern, metric_definitions, unread_samples
from raytune_gp.trainable.scraper import Scraper

NUMBERS = {
    **{text: float(text) for text in SAMPLES},
    "-1.5E-300": -1.5e-300,
    "+2": 2.0,
    ".5": 0.5,
    "7.": 7.0,
    "1e400": math.inf,
    "0": 0.0,
    "NaN": math.nan,
    "-inf": -math.inf,
    "Infinity": math.inf,
    "3.14159265358979": 3.14159265358979,
}


def read(pattern: str, line: str) -> list[float]:
    return [value for _, value in Scraper({"m": pattern}).values(line)]


@pytest.mark.parametrize("text", NUMBERS)
@pytest.mark.parametrize(
    ("pattern", "line"),
    [
        ("loss={float}", "loss=%s"),
        ("loss=({float})", "epoch 3: loss=%s, lr=0.1"),
        ("loss.*{float}", "loss: %s"),
        ("^.*loss: +{float}%$", "val loss:  %s%%"),
        (r"step (?:\d+) loss={float};", "step 12 loss=%s;"),
        ("{float} loss=({float})", "0.5 loss=%s"),
        ("loss=([0-9.eE+-]+|(?i:nan|[+-]?inf.*))", "loss=%s"),
        ("loss=(.*?);", "loss=%s;"),
    ],
)
def test_numbers_are_read_as_programs_print_them(pattern: str, line: str, text: str) -> None:
    assert read(pattern, line % text) == [pytest.approx(NUMBERS[text], nan_ok=True, rel=0, abs=0)]


@pytest.mark.parametrize(
    ("pattern", "line", "expected"),
    [
        (r"loss=([0-9.]+)", "loss=9.1e-05 next", 9.1e-05),
        (r"loss=([0-9]+)", "loss=1E+4", 1e4),
        (r"loss=(\d+\.\d{2})", "loss=0.98765", 0.98765),
        (r"loss=(-?\d)", "loss=-12,", -12.0),
        (r"epoch (\d+)", "epoch 3. loss=2", 3.0),
        (r"acc=(\d+)%", "acc=95%", 95.0),
        (r"n=(\d+)", "n=3elements", 3.0),
    ],
)
def test_a_number_is_read_to_its_end(pattern: str, line: str, expected: float) -> None:
    assert read(pattern, line) == [expected]


@pytest.mark.parametrize(
    "line", ["loss=information", "loss=nano", "loss=", "loss=e5", "loss=-", "loss=.", "loss=abc1"]
)
def test_what_is_no_number_is_not_taken_for_one(line: str) -> None:
    assert read("loss={float}", line) == []


def test_a_number_at_the_end_of_what_is_scanned_is_not_cut() -> None:
    line = "x" * 9992 + "loss=9.1e-05 loss=2"
    assert read("loss={float}", line) == []
    assert read("loss={float}", line[3:]) == []
    assert read("loss={float}", line[6:]) == [9.1e-05]


def test_sagemakers_definitions_are_taken() -> None:
    definitions = [
        {"Name": "validation:rmse", "Regex": ".*\\[[0-9]+\\].*#011validation-rmse:(\\S+)"},
        {"Name": "loss", "Regex": "Loss = (.*?);"},
    ]
    assert metric_definitions(definitions) == {d["Name"]: d["Regex"] for d in definitions}
    scraper = Scraper(definitions)
    assert scraper.feed("[12]#011train-rmse:1.5#011validation-rmse:2.25") == []
    assert scraper.feed("GAN Loss = 4e-3;") == [{"validation:rmse": 2.25, "loss": 0.004}]


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        ("loss=(.*)", "metrics is 'loss=(.*)'; it must be a map such as {'loss': 'loss={float}'}"),
        ({}, "metrics is empty; it must have at least the metric to optimise"),
        ([], "metrics is empty"),
        (
            [{"Name": "loss"}],
            "metrics has {'Name': 'loss'}; a definition is {Name: loss, Regex: 'loss={float}'}",
        ),
        ([{"Name": "loss", "Regex": 3}], "metrics has 'loss': 3; it must be a name and a pattern, both text"),
        ([{"Name": "a", "Regex": "(.)"}] * 2, "metrics defines 'a' twice; a metric has one pattern"),
        ({"": "(.)"}, "metrics has '': '(.)'; it must be a name"),
    ],
)
def test_what_defines_no_metrics(metrics: Any, message: str) -> None:
    with pytest.raises(SpecError) as refused:
        metric_definitions(metrics)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("acc=[0-9", "no regular expression: "),
        (
            "acc=.*",
            "with 0 groups; it must have one, around the number, as in accuracy=([0-9.eE+-]+); m={float}",
        ),
        ("(a)(b)", "with 2 groups"),
        ("{float} of {float}", "with 0 groups; it must have one.*, around the {float} that counts"),
        ("(a) {float} ({float})", "with 2 groups"),
        ("(((a{1000}){1000}){1000})", "with repeats in repeats, more than 100,000 in all: use fewer"),
    ],
)
def test_what_is_no_pattern(pattern: str, message: str) -> None:
    began = time.monotonic()
    with pytest.raises(SpecError) as refused:
        compile_pattern("m", pattern)
    for part in message.split(".*"):
        assert part in str(refused.value)
    assert f"the pattern of metric 'm' is {pattern!r}, " in str(refused.value)
    assert time.monotonic() - began < 60


@pytest.mark.parametrize(
    "pattern",
    [
        r"(\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2},\d{3})",
        r"[({]{5}(\d{1,100}){1,100}",
        r"\({9}(a{9})[^]{9}({]x{9}",
    ],
)
def test_ordinary_counts_are_no_repeats_in_repeats(pattern: str) -> None:
    assert compile_pattern("m", pattern).groups == 1


@pytest.mark.parametrize(
    ("pattern", "unread"),
    [
        ("loss={float}", []),
        ("loss=(.*?);", []),
        (r"loss=(\S+)", []),
        ("loss=([0-9.eE+-]+|nan)", []),
        ("loss=([0-9.]+)", ["-0.3", "nan"]),
        (r"loss\[\(\]=(?:a|b)(?P<value>-?\d+\.\d+)\)", ["nan", "1E+4"]),
        ("[(](?<n>[0-9.eE+-]+)[)]", ["nan"]),
        (r"(?<=loss=)(\d+)", ["-0.3", "nan"]),
    ],
)
def test_a_pattern_tells_which_numbers_it_cannot_read(pattern: str, unread: list[str]) -> None:
    assert unread_samples(pattern) == unread
