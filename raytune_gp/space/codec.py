"""Values of a config as the journal keeps them: JSON, from which the very objects of the space come back."""

from __future__ import annotations

from typing import Any

from raytune_gp.errors import SpaceError
from raytune_gp.space.base import Domain
from raytune_gp.space.choices import Choice
from raytune_gp.space.plain import NotPlainError, as_plain, label

__all__ = ["constant_from_json", "constant_to_json", "value_from_json", "value_to_json"]


def value_to_json(name: str, domain: Domain | None, value: Any) -> Any:
    """The JSON form of a parameter's value; `domain` is None for the result of a function.

    Raises:
        SpaceError: JSON cannot hold it, and it is not a choice that could be known by its index.
    """
    try:
        return domain.to_json(value) if isinstance(domain, Choice) else as_plain(value)
    except SpaceError as error:
        raise SpaceError(f"{name!r}: {error}") from None
    except NotPlainError:
        raise SpaceError(
            f"{name!r} is {value!r}, which the journal cannot keep: use numbers or text"
        ) from None


def value_from_json(name: str, domain: Domain | None, form: Any) -> Any:
    """The value that `value_to_json` was given.

    Raises:
        SpaceError: a choice, known by its index, that the domain does not have.
    """
    try:
        return domain.from_json(form) if isinstance(domain, Choice) else form
    except SpaceError as error:
        raise SpaceError(f"{name!r}: {error}") from None


def constant_to_json(value: Any) -> Any:
    """The JSON form of a constant; one that JSON cannot hold is only marked as such."""
    try:
        return as_plain(value)
    except NotPlainError:
        return {"$constant": True, "repr": label(value)}


def constant_from_json(name: str, constant: Any, form: Any) -> Any:
    """The constant itself if `form` is its form, else the value that was kept (the space has changed since).

    Raises:
        SpaceError: an object that JSON could not hold, and that this space does not have.
    """
    if form == constant_to_json(constant):
        return constant
    if isinstance(form, dict) and set(form) == {"$constant", "repr"}:
        raise SpaceError(f"{name!r} was the constant {form['repr']}, but is {label(constant)} in this space")
    return form
