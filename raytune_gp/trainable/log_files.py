"""Logs of programs that ran elsewhere, line by line as their programs wrote them.

SageMaker's come with a prefix on each line: the time and perhaps the stream from CloudWatch, the name of the
container from its local mode.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import regex

from raytune_gp.errors import SpecError
from raytune_gp.trainable.program import Lines

__all__ = ["log_lines"]

_CHUNK = 1 << 20

_CONTAINER = regex.compile(r"(?:\x1b\[[0-9;]*m)*[\w.-]*algo-[0-9]+[\w.-]*[ \t]*\|(?:\x1b\[[0-9;]*m)*[ ]?")
"""`algo-1-f2x3a | `, coloured or not."""

_TIME = regex.compile(
    r"(?:[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:[.,][0-9]+)?(?:Z|[+-][0-9]{2}:?[0-9]{2})"
    r"|[0-9]{13})[ \t]+(?:[\w./-]*algo-[0-9]+[\w-]*[ \t]+)?"
)
"""A time with its zone, or in milliseconds, and perhaps the stream `job/algo-1-1714560000`."""

HEAD = 100
"""By so many lines it is told whether times are a prefix, which half of them must have: else they are the
program's own. A message of several lines has one prefix."""


def log_lines(path: Path) -> Iterator[str]:
    """The lines of a log as the program printed them, split where a trial's output is.

    Raises SpecError where it cannot be read.
    """
    lines = _lines(path)
    head = list(itertools.islice(lines, HEAD))
    written = [line for line in head if line.strip()]
    timed = 2 * sum(_TIME.match(line) is not None for line in written) >= len(written) > 0
    for line in itertools.chain(head, lines):
        prefix = _TIME.match(line) if timed else None
        line = line[prefix.end() :] if prefix else line
        container = _CONTAINER.match(line)
        yield line[container.end() :] if container else line


def _lines(path: Path) -> Iterator[str]:
    lines = Lines()
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                yield from lines.feed(chunk)
    except OSError as error:
        raise SpecError(f"the log {str(path)!r} cannot be read: {error}") from None
    yield from lines.finish()
