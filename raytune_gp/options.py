"""Parts of a run that users ask for by name and options, such as `{"name": "gp", "initial": 5}`."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

from raytune_gp.errors import SpecError
from raytune_gp.naming import near
from raytune_gp.space.plain import unboxed

__all__ = ["as_told", "make_part", "name_and_options"]


def as_told(options: Mapping[str, Any]) -> dict[str, Any]:
    """`options` with Python's own numbers for NumPy's, as a journal can hold them."""
    return {name: unboxed(value) for name, value in options.items()}


def name_and_options(
    what: str, given: str | Mapping[str, Any], known: Iterable[str]
) -> tuple[str, dict[str, Any]]:
    """What `"gp"` and `{"name": "gp", "initial": 5}` say: a name in lower case, and options.

    Args:
        what: the setting's name, for messages.
        given: the name, or a map of it and options.
        known: the names that there are, in lower case.

    Raises:
        SpecError: the name is missing, or not one of `known`.
    """
    options = {"name": given} if isinstance(given, str) else as_told(given)
    names = list(known)
    there = ", ".join(names)
    if "name" not in options:
        raise SpecError(
            f"{what} is {given!r}, which lacks a name: add one of {there}, as in {{'name': {names[0]!r}, …}}"
        )
    name = options.pop("name")
    if not isinstance(name, str) or name.lower() not in names:
        raise SpecError(f"{what} is {name!r}; it must be one of {there}{near(name, names)}")
    return name.lower(), options


def make_part(
    what: str, name: str, kind: type[Any], run: Mapping[str, Any], options: Mapping[str, Any]
) -> Any:
    """An object of class `kind`, from what the run gives to the parameters of these names, and from options.

    Raises:
        SpecError: an option that `kind` does not have, or a value of the wrong type.
    """
    parameters = inspect.signature(kind).parameters
    own = [parameter for parameter in parameters if parameter not in run]
    for option in options:
        if option not in own:
            fault = f"{option!r} is no option of {what} {name!r}"
            if option in run:
                fault += ", since the run gives it"
            raise SpecError(f"{fault}; it takes {', '.join(own) or 'none'}{near(option, own)}")
    given = {parameter: value for parameter, value in run.items() if parameter in parameters}
    try:
        return kind(**given, **options)
    except TypeError as error:
        said = ", ".join(f"{option}={value!r}" for option, value in options.items())
        raise SpecError(f"{what} {name!r} cannot be made with {said or 'its defaults'}: {error}") from None
