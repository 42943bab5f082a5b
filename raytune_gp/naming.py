"""What an unknown name may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["near", "suggestion"]


def near(name: object, known: Iterable[str], cutoff: float = 0.6) -> str:
    """The end of a message about an unknown name: the most similar one known, if any is."""
    close = difflib.get_close_matches(str(name), list(known), n=1, cutoff=cutoff)
    return f"; did you mean {close[0]!r}?" if close else ""


def suggestion(name: object, known: Iterable[str]) -> str:
    """As `near`, or else what there is."""
    names = list(known)
    there = f"; there are {', '.join(map(repr, names[:20]))}" if names else ""
    return near(name, names) or there
