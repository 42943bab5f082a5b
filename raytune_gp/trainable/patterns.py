"""Regular expressions that find a metric's number in a line: how they are written, checked and compiled.

A pattern has one group, around the number. `{float}` stands for a number as programs print it, and is the
group where there is no other: `loss={float}`. SageMaker's metric definitions are taken as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import regex

from raytune_gp.errors import SpecError

__all__ = [
    "SAMPLES",
    "TOKEN",
    "Definitions",
    "compile_pattern",
    "metric_definitions",
    "unread_samples",
    "whole",
]

TOKEN = "{float}"

SAMPLES = ("0.25", "9.1e-05", "-0.3", "nan", "1E+4")
"""Numbers as programs print them; whoever writes a pattern of digits and dots forgets some."""

MOST_REPEATS = 100_000
"""Counted repeats within one another are written out when a pattern is compiled, and fill the memory."""

_NUMBER = (
    r"[-+]?(?:(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|(?i:nan|inf(?:inity)?)(?![A-Za-z0-9_]))"
)
_NOT_INSIDE = r"(?<![0-9]|(?<!\.)\.|[0-9.][eE]|[0-9.][eE][-+]|(?<!\w)[-+])"
"""A number begins here: behind no digit, no point of its own, no exponent and no sign, so that `.*{float}`
takes no piece of it."""

_WHOLE = regex.compile(_NUMBER)

Definitions = Mapping[str, str] | Sequence[Mapping[str, str]]
"""Metric name to pattern; or as SageMaker writes it, `[{"Name": "loss", "Regex": "loss=(.*?);"}]`."""


def metric_definitions(metrics: Any) -> dict[str, str]:
    """Metric name to pattern. Raises SpecError for what is not of `Definitions`, or has a name twice."""
    if isinstance(metrics, Mapping):
        pairs = list(metrics.items())
    elif isinstance(metrics, Sequence) and not isinstance(metrics, str):
        pairs = [_pair(definition) for definition in metrics]
    else:
        raise SpecError(f"metrics is {metrics!r}; it must be a map such as {{'loss': 'loss={TOKEN}'}}")
    for name, pattern in pairs:
        if not isinstance(name, str) or not name or not isinstance(pattern, str):
            raise SpecError(f"metrics has {name!r}: {pattern!r}; it must be a name and a pattern, both text")
    found = dict(pairs)
    twice = next((name for name, _ in pairs if sum(name == other for other, _ in pairs) > 1), None)
    if twice is not None:
        raise SpecError(f"metrics defines {twice!r} twice; a metric has one pattern, with | for alternatives")
    if not found:
        raise SpecError("metrics is empty; it must have at least the metric to optimise")
    return found


def _pair(definition: Any) -> tuple[Any, Any]:
    if not isinstance(definition, Mapping) or set(definition) != {"Name", "Regex"}:
        raise SpecError(
            f"metrics has {definition!r}; a definition is {{Name: loss, Regex: 'loss={TOKEN}'}}, these two"
        )
    return definition["Name"], definition["Regex"]


def compile_pattern(name: str, pattern: str) -> Any:
    """The pattern of metric `name`, compiled. Raises SpecError where it is none, or has not one group."""
    of = f"the pattern of metric {name!r} is {pattern!r}"
    number = f"{_NOT_INSIDE}(?>{_NUMBER})"
    try:
        if _repeats(pattern) > MOST_REPEATS:
            raise SpecError(f"{of}, with repeats in repeats, more than {MOST_REPEATS:,} in all: use fewer")
        tokens = pattern.count(TOKEN)
        compiled = regex.compile(pattern.replace(TOKEN, number))
        if tokens == 1 and compiled.groups == 0:
            compiled = regex.compile(pattern.replace(TOKEN, f"({number})"))
    except (regex.error, RecursionError, OverflowError, ValueError) as error:
        if isinstance(error, SpecError):
            raise
        raise SpecError(f"{of}, no regular expression: {error}") from None
    if compiled.groups != 1:
        which = f", around the {TOKEN} that counts" if tokens else f"; {name}={TOKEN} would do"
        raise SpecError(
            f"{of}, with {compiled.groups} groups; it must have one, around the number, as in "
            f"accuracy=([0-9.eE+-]+){which}"
        )
    return compiled


def unread_samples(pattern: str) -> list[str]:
    """Which of SAMPLES the group of a pattern has no room for, so that it would miss them."""
    if TOKEN in pattern:
        return []
    group = next((group for group in _groups(pattern) if group.captures), None)
    try:
        inside = regex.compile(pattern[group.start : group.end] if group else ".*")
        return [sample for sample in SAMPLES if not _reads(inside, sample)]
    except (regex.error, TimeoutError):  # a group that means something only where it stands
        return []


def _reads(inside: Any, sample: str) -> bool:
    if inside.fullmatch(sample, timeout=1.0):
        return True
    match = inside.match(sample, timeout=1.0)
    return match is not None and match[0] != "" and whole(sample, 0, match[0]) == sample


def whole(line: str, start: int, found: str) -> str:
    """`found`, which stands at `start`; where it ends inside of a number, the number to its end.

    `([0-9.]+)` would read 9.1 of 9.1e-05.
    """
    if found[-1:].isspace() or not found:
        return found
    number = _WHOLE.match(line, start)
    longer = number is not None and number.end() > start + len(found)
    return number[0] if number is not None and longer else found


@dataclass(frozen=True)
class _Group:
    """The inside of a group, `pattern[start:end]`, and how often it is repeated at least."""

    start: int
    end: int
    captures: bool
    repeats: int


_COUNT = regex.compile(r"\{([0-9]{1,9})(?:,[0-9]*)?\}")
_NAMED = regex.compile(r"\?P?<[^=!][^>]*>")


def _plain(pattern: str) -> Iterator[tuple[int, str]]:
    """The characters of a pattern that are neither escaped nor in a set, with their places."""
    place, in_set = 0, False
    while place < len(pattern):
        char = pattern[place]
        if char == "\\":
            place += 1
        elif in_set:
            in_set = char != "]"
        elif char == "[":
            in_set = True
            first = 2 if pattern[place + 1 : place + 2] == "^" else 1
            place += first if pattern[place + first : place + first + 1] == "]" else 0
        else:
            yield place, char
        place += 1


def _groups(pattern: str) -> list[_Group]:
    """All groups of a pattern, the inner ones first."""
    opened: list[tuple[int, bool]] = []
    groups = []
    for place, char in _plain(pattern):
        if char == "(":
            named = _NAMED.match(pattern, place + 1)
            captures = named is not None or pattern[place + 1 : place + 2] not in ("?", "*")
            opened.append((named.end() if named else place + 1, captures))
        elif char == ")" and opened:
            count = _COUNT.match(pattern, place + 1)
            start, captures = opened.pop()
            groups.append(_Group(start, place, captures, int(count[1]) if count else 1))
    return groups


def _repeats(pattern: str) -> int:
    """How often the most repeated part of a pattern is repeated, by counts such as {100} alone."""
    groups, most = _groups(pattern), 1
    for place, char in _plain(pattern):
        count = _COUNT.match(pattern, place) if char == "{" else None
        if count is not None:
            times = int(count[1])
            for group in groups:
                times *= max(1, group.repeats) if group.start <= place < group.end else 1
            most = max(most, times)
    return most
