"""Metrics in lines of text: a regular expression each, whose one group is the number; and reports of them."""

from __future__ import annotations

import operator
import time
from typing import Any

import regex

from raytune_gp.errors import TrainableError
from raytune_gp.trainable.patterns import Definitions, compile_pattern, metric_definitions, whole

__all__ = ["Scraper"]

LONGEST_SCANNED = 10_000
"""Characters of a line that metrics are looked for in."""

SHORT = 200

SCAN_S = 2.0
"""How long a pattern may take for a line, in seconds: nested repeats can take years."""

SLOW_LINE_S = 0.01
SLOW_S = 60.0
"""Patterns that take so long for a line, on average, and so long in all, hold the program up."""


_COLOURS = regex.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Scraper:
    """Finds metrics in lines and gathers them into reports.

    A report is complete when every metric was seen, or when one is seen again: a program may print the
    metrics of an epoch in several lines, and some of them not each time.

    Of a line only the first LONGEST_SCANNED characters count, without the codes of a terminal's colours. A
    number is read to its end, also where the group of a pattern ends before.
    """

    def __init__(self, metrics: Definitions):
        definitions = metric_definitions(metrics)
        self._patterns = {name: compile_pattern(name, text) for name, text in definitions.items()}
        self._texts = definitions
        self._found: dict[str, float] = {}
        self._lines, self._spent_s = 0, 0.0
        self.took_s = 0.0
        self.has_found = False

    def values(self, line: str) -> list[tuple[str, float]]:
        """The metrics in `line` by name, in the order they stand there.

        Raises TrainableError where a pattern is too slow.
        """
        began = time.monotonic()
        cut = len(line) > LONGEST_SCANNED
        line = line[:LONGEST_SCANNED]
        if "\x1b" in line:
            line = _COLOURS.sub("", line)
        matches = [found for name in self._patterns for found in self._find(name, line)]
        self.took_s = time.monotonic() - began
        self._lines += 1
        self._spent_s += self.took_s
        if self._spent_s > SLOW_S and self._spent_s > SLOW_LINE_S * self._lines:
            raise TrainableError(
                f"the patterns {', '.join(map(repr, self._texts.values()))} have taken {self._spent_s:.0f} s "
                f"for {self._lines} lines, and the program waits for them: write simpler ones, without "
                f".* before what you look for"
            )
        if not matches:
            return []
        values = []
        for _, name, match in sorted(matches, key=operator.itemgetter(0)):
            if match[1] is None or (cut and match.end(1) == len(line)):
                continue  # an optional group that took no part; a number that may go on
            try:
                values.append((name, float(whole(line, match.start(1), match[1]))))
            except ValueError:
                continue
        return values

    def feed(self, line: str) -> list[dict[str, float]]:
        """The reports that `line` completes, in order. Raises TrainableError where a pattern is too slow."""
        return self.gather(self.values(line))

    def gather(self, values: list[tuple[str, float]]) -> list[dict[str, float]]:
        """The reports that the values of a line complete, in order."""
        reports = []
        for name, value in values:
            self.has_found = True
            if name in self._found:
                reports.append(self._take())
            self._found[name] = value
            if len(self._found) == len(self._patterns):
                reports.append(self._take())
        return reports

    def _find(self, name: str, line: str) -> list[tuple[int, str, Any]]:
        """Where the pattern of a metric matches, with its name and the match.

        Other threads run meanwhile, unless the line is so short that a change of threads would take longer.
        """
        aside = len(line) > SHORT
        try:
            found = self._patterns[name].finditer(line, timeout=SCAN_S, concurrent=aside)
            return [(match.start(), name, match) for match in found]
        except TimeoutError:
            raise TrainableError(
                f"the pattern of metric {name!r} is {self._texts[name]!r}, and takes more than {SCAN_S:g} s "
                f"for a line of {len(line)} characters: avoid a repeat within a repeat, such as (a+)+"
            ) from None

    def finish(self) -> list[dict[str, float]]:
        """What is left at the end of the output."""
        return [self._take()] if self._found else []

    def _take(self) -> dict[str, float]:
        found, self._found = self._found, {}
        return found
