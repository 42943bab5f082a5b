"""The problems that optimisers race on, by name: half of them to develop on, half to report on."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.race.problems.base import Problem
from benchmarks.race.problems.functions import FUNCTIONS
from benchmarks.race.problems.grids import GRIDS
from benchmarks.race.problems.models import MODELS
from benchmarks.race.problems.pools import POOLS
from raytune_gp.errors import SpecError

__all__ = ["PROBLEMS", "chosen"]

PROBLEMS = {problem.name: problem for problem in (*POOLS, *GRIDS, *MODELS, *FUNCTIONS)}


def chosen(words: Sequence[str]) -> list[Problem]:
    """The problems that `words` name: "develop", "develop:nets" (a half's group) or a problem's own name.

    Raises:
        SpecError: a word names none.
    """
    names: dict[str, None] = {}
    for word in words:
        half, _, group = word.partition(":")
        found = [n for n, p in PROBLEMS.items() if n == word or (p.half == half and group in ("", *p.groups))]
        if not found:
            groups = sorted({group for problem in PROBLEMS.values() for group in problem.groups})
            raise SpecError(
                f"{word!r} names no problem; name a half (develop, report), its group such as develop:nets "
                f"({', '.join(groups)}), or one of {', '.join(PROBLEMS)}"
            )
        names |= dict.fromkeys(found)
    return [PROBLEMS[name] for name in names]
