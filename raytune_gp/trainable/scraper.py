"""Metrics in lines of text: a regular expression each, whose one group is the number; and reports of them."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any

import regex

from raytune_gp.errors import SpecError, TrainableError

__all__ = ["Scraper"]

LONGEST_SCANNED = 10_000
"""Characters of a line that metrics are looked for in."""

SCAN_S = 2.0
"""How long a pattern may take for a line, in seconds: nested repeats can take years."""


class Scraper:
    """Finds metrics in lines and gathers them into reports.

    A report is complete when every metric was seen, or when one is seen again: a program may print the
    metrics of an epoch in several lines, and some of them not each time.

    Of a line only the first LONGEST_SCANNED characters count.
    """

    def __init__(self, metrics: Mapping[str, str]):
        self._patterns = {name: _compile(name, pattern) for name, pattern in metrics.items()}
        self._found: dict[str, float] = {}

    def feed(self, line: str) -> list[dict[str, float]]:
        """The reports that `line` completes, in order. Raises TrainableError where a pattern is too slow."""
        line = line[:LONGEST_SCANNED]
        matches = [(m.start(), name, m[1]) for name in self._patterns for m in self._find(name, line)]
        reports = []
        for _, name, text in sorted(matches, key=operator.itemgetter(0)):
            try:
                value = float(text)
            except (TypeError, ValueError):
                continue
            if name in self._found:
                reports.append(self._take())
            self._found[name] = value
            if len(self._found) == len(self._patterns):
                reports.append(self._take())
        return reports

    def _find(self, name: str, line: str) -> list[Any]:
        pattern = self._patterns[name]
        try:
            return list(pattern.finditer(line, timeout=SCAN_S, concurrent=True))
        except TimeoutError:
            raise TrainableError(
                f"the pattern of metric {name!r} is {pattern.pattern!r}, and takes more than {SCAN_S:g} s "
                f"for a line of {len(line)} characters: avoid a repeat within a repeat, such as (a+)+"
            ) from None

    def finish(self) -> list[dict[str, float]]:
        """What is left at the end of the output."""
        return [self._take()] if self._found else []

    def _take(self) -> dict[str, float]:
        found, self._found = self._found, {}
        return found


def _compile(name: str, pattern: str) -> Any:
    try:
        compiled = regex.compile(pattern)
    except (regex.error, RecursionError, OverflowError, ValueError) as error:
        raise SpecError(
            f"the pattern of metric {name!r} is {pattern!r}, no regular expression: {error}"
        ) from None
    if compiled.groups != 1:
        raise SpecError(
            f"the pattern of metric {name!r} is {pattern!r}, with {compiled.groups} groups; it must have "
            f"one, around the number, as in accuracy=([0-9.eE+-]+)"
        )
    return compiled
