"""The search space as a run file spells it: `{loguniform: [0.001, 0.5]}` for `tune.loguniform`, and so on."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from raytune_gp.errors import SpaceError
from raytune_gp.naming import near
from raytune_gp.space import domains

__all__ = ["DOMAINS", "SpellingError", "read_space"]

LISTS: Mapping[str, Callable[[Any], Any]] = {
    "choice": domains.choice,
    "grid_search": domains.grid_search,
}
DOMAINS: Mapping[str, Callable[..., Any]] = {
    name: getattr(domains, name) for name in domains.__all__ if name not in (*LISTS, "when", "sample_from")
}
"""Domains of numbers, by the names of their functions in `tune`."""

WHEN = ("parent", "values", "then")
NAMES = domains.__all__

_PYTHON = re.compile(r"(?:tune\.)?(\w+)(?:\(.*)?", re.DOTALL)
"""A domain as Python spells it, called or not, which YAML reads as text; perhaps up to its first comma."""

Path = tuple[Any, ...]


class SpellingError(SpaceError):
    """A part of a space that cannot be read; `path` leads to it."""

    def __init__(self, path: Path, message: str):
        super().__init__(message)
        self.path = path


def read_space(values: Mapping[str, Any], path: Path = ()) -> dict[str, Any]:
    """The space as `tune.run` takes it. A map of one domain's name is that domain; other maps are nested.

    Raises:
        SpellingError: a domain that cannot be, one beside other keys or where a hyperparameter's name should
            be, or a name that is nearly a domain's.
    """
    bare = next((key for key, value in values.items() if key in NAMES and isinstance(value, list)), None)
    if bare is not None:
        raise SpellingError(
            (*path, bare), f"is a domain without the name of a hyperparameter: write {{x: {{{bare}: …}}}}"
        )
    return {key: _read(value, (*path, key)) for key, value in values.items()}


def _read(value: Any, path: Path) -> Any:
    if not isinstance(value, Mapping):
        return _constant(value, path)
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


def _constant(value: Any, path: Path) -> Any:
    """The value, unless it is text that was meant for a domain."""
    called = _PYTHON.fullmatch(value.strip()) if isinstance(value, str) else None
    if called is not None and called[1] in NAMES:
        raise SpellingError(
            path,
            f"is the text {value!r}; a domain is a map, such as {{uniform: [0.1, 0.9]}}, and where the text "
            f"itself is meant, write {{choice: [{value!r}]}}",
        )
    _refuse_domain_in_list(value, path)
    return value


def _refuse_domain_in_list(value: Any, path: Path) -> None:
    """Raise where a list has a map inside that would be a domain by itself."""
    if not isinstance(value, list):
        return
    for item in value:
        if isinstance(item, Mapping) and len(item) == 1 and next(iter(item)) in NAMES:
            raise SpellingError(
                path,
                f"has the domain {dict(item)!r} inside of a list, where nothing would draw from it: give it "
                f"a name of its own, in a map, or under when",
            )
        _refuse_domain_in_list(list(item.values()) if isinstance(item, Mapping) else item, path)


def _domain(name: str, arguments: Any, path: Path) -> Any:
    if name == "sample_from":
        raise SpellingError(
            path, "is sample_from, a function in Python: compute it in the trainable, or use tune.run instead"
        )
    if name in LISTS:
        _refuse_domain_in_list(arguments, path)
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
        return domains.when(value["parent"], value["values"], then)
    except SpaceError as error:
        raise SpellingError(path, f"cannot be: {error}") from None


def _refuse_near_names(value: Mapping[Any, Any], path: Path) -> None:
    """Raise at `{loguniformm: [0.001, 1]}`, which would pass for a nested constant."""
    if len(value) != 1:
        return
    [(key, content)] = value.items()
    meant = near(str(key).removeprefix("tune."), NAMES, cutoff=0.75)
    if meant and isinstance(content, list):
        raise SpellingError(path, f"is {key!r} of {content!r}{meant}")
