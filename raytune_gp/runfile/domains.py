"""The search space as a run file spells it: `{loguniform: [0.001, 0.5]}` for `tune.loguniform`, and so on."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from raytune_gp import space as sp
from raytune_gp.errors import SpaceError

__all__ = ["DOMAINS", "SpellingError", "read_space"]

DOMAINS: Mapping[str, Callable[..., Any]] = {
    f.__name__: f
    for f in (
        *(sp.uniform, sp.quniform, sp.loguniform, sp.qloguniform, sp.reverse_loguniform),
        *(sp.randint, sp.qrandint, sp.lograndint, sp.qlograndint, sp.randn, sp.qrandn),
    )
}
"""Domains of numbers, by the names of their functions in `tune`."""

LISTS: Mapping[str, Callable[[Any], Any]] = {"choice": sp.choice, "grid_search": sp.grid_search}
WHEN = ("parent", "values", "then")
NAMES = (*DOMAINS, *LISTS, "when")

Path = tuple[Any, ...]


class SpellingError(SpaceError):
    """A part of a space that cannot be read; `path` leads to it."""

    def __init__(self, path: Path, message: str):
        super().__init__(message)
        self.path = path


def read_space(values: Mapping[str, Any], path: Path = ()) -> dict[str, Any]:
    """The space as `tune.run` takes it. A map of one domain's name is that domain; other maps are nested.

    Raises:
        SpellingError: a domain that cannot be, one beside other keys, or a name that is nearly a domain's.
    """
    return {key: _read(value, (*path, key)) for key, value in values.items()}


def _read(value: Any, path: Path) -> Any:
    if not isinstance(value, Mapping):
        return value
    named = [key for key in value if key in NAMES]
    if not named:
        _refuse_near_names(value, path)
        return read_space(value, path)
    if len(value) > 1:
        others = ", ".join(repr(k) for k in value if k != named[0])
        raise SpellingError(
            path, f"has {named[0]!r}, the name of a domain, beside {others}; a domain is a map of its own"
        )
    name = named[0]
    return _when(value[name], path) if name == "when" else _domain(name, value[name], path)


def _domain(name: str, arguments: Any, path: Path) -> Any:
    try:
        if name in LISTS:
            return LISTS[name](arguments)
        if isinstance(arguments, Mapping):
            return DOMAINS[name](**arguments)
        if isinstance(arguments, Sequence) and not isinstance(arguments, str):
            return DOMAINS[name](*arguments)
    except SpaceError as error:
        raise SpellingError(path, f"cannot be: {error}") from None
    except TypeError as error:
        raise SpellingError(path, f"is {name} of {arguments!r}, which cannot be: {error}") from None
    raise SpellingError(path, f"is {name} of {arguments!r}; it must be a list such as {{{name}: [0.1, 0.9]}}")


def _when(value: Any, path: Path) -> Any:
    if not isinstance(value, Mapping) or set(value) != set(WHEN):
        raise SpellingError(path, f"is when of {value!r}; it must be a map of {', '.join(WHEN)}")
    then = _read(value["then"], (*path, "when", "then"))
    try:
        return sp.when(value["parent"], value["values"], then)
    except SpaceError as error:
        raise SpellingError(path, f"cannot be: {error}") from None


def _refuse_near_names(value: Mapping[Any, Any], path: Path) -> None:
    """Raise at `{loguniformm: [0.001, 1]}`, which would pass for a nested constant."""
    if len(value) != 1:
        return
    [(key, content)] = value.items()
    close = difflib.get_close_matches(str(key), NAMES, n=1, cutoff=0.75)
    if close and isinstance(content, list):
        raise SpellingError(path, f"is {key!r} of {content!r}; did you mean {close[0]!r}?")
