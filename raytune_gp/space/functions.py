"""Values that a user's function computes from the rest of the config, as Ray's `sample_from`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from raytune_gp.errors import SpaceError
from raytune_gp.space.plain import NotPlainError, as_plain, label

__all__ = ["SampleFrom", "resolve_functions"]


@dataclass(frozen=True)
class SampleFrom:
    """A function of nothing or of the config, and of a random generator if it has a parameter named `rng`."""

    func: Callable[..., Any]

    def __post_init__(self) -> None:
        if not callable(self.func):
            raise SpaceError(f"sample_from needs a function, not {self.func!r}; write a constant as it is")
        if not self._accepts({}) and not self._accepts():
            raise SpaceError(
                f"{self} must take the config or nothing (and `rng`, if it likes): give defaults"
            )

    @cached_property
    def _signature(self) -> inspect.Signature:
        try:
            return inspect.signature(self.func)
        except ValueError:  # some functions written in C have none; those that draw take nothing
            return inspect.Signature()

    def _accepts(self, *arguments: object) -> bool:
        try:
            self._signature.bind(*arguments, **self._keywords(None))
        except TypeError:
            return False
        return True

    def _keywords(self, rng: np.random.Generator | None) -> dict[str, Any]:
        return {"rng": rng} if "rng" in self._signature.parameters else {}

    def __call__(self, config: Mapping[str, Any], rng: np.random.Generator) -> Any:
        """The value for this config: `config["x"]`, `config.x` and Ray's older `spec.config.x` all serve."""
        keywords = self._keywords(rng)
        if not self._accepts({}):
            return self.func(**keywords)
        try:
            return self.func(_View(config), **keywords)
        except (AttributeError, KeyError) as error:
            try:
                return self.func(_View({"config": config}), **keywords)
            except (AttributeError, KeyError):
                raise error from None

    def __str__(self) -> str:
        return f"sample_from({label(self.func)})"


class _View(dict[Any, Any]):
    """A config whose entries can be read as attributes."""

    def __getattr__(self, name: str) -> Any:
        try:
            value = self[name]
        except KeyError:
            raise AttributeError(name) from None
        return _View(value) if isinstance(value, Mapping) else value


Read = Callable[[Mapping[str, Any]], Mapping[str, Any]]


def resolve_functions(
    functions: Mapping[str, SampleFrom], flat: dict[str, Any], nested: Read, rng: np.random.Generator
) -> None:
    """Add to `flat` the value of each function, in an order in which those that read others come after them.

    A value becomes what JSON would give back (a tuple a list), so that a config is the same after a resume.

    Args:
        functions: by flat name.
        flat: a flat config, changed in place.
        nested: turns a flat config into the nested one that functions read.

    Raises:
        SpaceError: a function failed, reads a parameter that is not there, or returned no JSON.
    """
    pending = list(functions)
    while pending:
        blocked: dict[str, Exception] = {}
        for name in pending:
            try:
                flat[name] = _call(name, functions[name], nested(flat), rng)
            except (AttributeError, KeyError) as error:
                blocked[name] = error
        if len(blocked) == len(pending):
            reason = blocked[pending[0]]
            raise SpaceError(
                f"sample_from of {pending[0]!r} reads what this config does not have ({reason!r}); "
                f"unresolved: {', '.join(map(repr, blocked))}. Use config.get(name, default)"
            ) from reason
        pending = list(blocked)


def _call(name: str, function: SampleFrom, config: Mapping[str, Any], rng: np.random.Generator) -> Any:
    """The plain value of one function; AttributeError and KeyError pass, for they may mean "not yet"."""
    try:
        return as_plain(function(config, rng))
    except (AttributeError, KeyError):
        raise
    except NotPlainError as error:
        raise SpaceError(
            f"sample_from of {name!r}: {error}; return numbers or text, look objects up"
        ) from None
    except Exception as error:
        raise SpaceError(f"sample_from of {name!r} raised {error!r}") from error
