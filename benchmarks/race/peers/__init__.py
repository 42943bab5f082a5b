"""Optimisers by name, each behind one small adapter: what a race asks of them, and how a name makes one.

An entrant is written `name` or `name:option=value,option=value`; the options are keyword arguments of the
optimiser. Adapters are imported where they are first asked for, so that a peer need not be installed.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Protocol

from raytune_gp.errors import SpecError
from raytune_gp.space import SearchSpace

__all__ = ["PEERS", "Entrant", "Optimiser"]


class Optimiser(Protocol):
    """Proposes configs to minimise. The race tells it only what has finished."""

    def ask(self, ordinal: int) -> Mapping[str, Any]:
        """The config of trial `ordinal`, which counts from 0 and is pending from now on."""

    def tell(self, ordinal: int, value: float | None) -> None:
        """What trial `ordinal` came to: a finite value, or None where it failed."""


PEERS = {
    "gp": ("ours:gp", "raytune-gp"),
    "random": ("ours:random", "raytune-gp"),
    "sobol": ("ours:sobol", "raytune-gp"),
    "optuna-gp": ("optuna:gp", "optuna"),
    "optuna-tpe": ("optuna:tpe", "optuna"),
    "optuna-tpe-univariate": ("optuna:tpe_univariate", "optuna"),
    "smac": ("smac:smac", "smac"),
    "ax": ("ax:ax", "ax-platform"),
    "hyperopt": ("ray_tune:hyperopt", "hyperopt"),
    "bayesopt": ("ray_tune:bayesopt", "bayesian-optimization"),
    "vizier": ("vizier:vizier", "google-vizier"),
    "hebo": ("hebo:hebo", "HEBO"),
}
"""Of each optimiser, its adapter (module of this package, and function in it) and the package it measures.

The function takes a space, a seed, the number of trials to come and the options, and returns an `Optimiser`.
"""


@dataclass(frozen=True)
class Entrant:
    """One optimiser with its options, under the label that its results bear."""

    label: str
    peer: str
    options: Mapping[str, Any]

    @classmethod
    def parse(cls, text: str, label: str | None = None) -> Entrant:
        """The entrant that `text` describes, such as `gp:initial=5`.

        Raises:
            SpecError: an unknown name, a part that is no option, or a peer that is not installed.
        """
        peer, _, listed = text.partition(":")
        if peer not in PEERS:
            raise SpecError(f"{peer!r} is no optimiser of the race; there are {', '.join(PEERS)}")
        options = {}
        for part in filter(None, listed.split(",")):
            name, equals, value = part.partition("=")
            if not equals:
                raise SpecError(f"{part!r} in {text!r} is no option: write option=value")
            options[name.strip()] = _value(value.strip())
        entrant = cls(label or text, peer, options)
        try:
            _ = entrant.version
        except PackageNotFoundError as error:
            raise SpecError(
                f"{peer} needs {error.name}, which is not installed: benchmarks/race/peers.txt says how"
            ) from None
        return entrant

    @property
    def version(self) -> str:
        """The package measured, and its version."""
        package = PEERS[self.peer][1]
        return f"{package} {version(package)}"

    def make(self, space: SearchSpace, seed: int, trials: int) -> Optimiser:
        """A fresh optimiser for one run of `trials` trials; some plan by their number."""
        module, _, function = PEERS[self.peer][0].partition(":")
        adapter: Callable[..., Optimiser] = getattr(import_module(f"{__name__}.{module}"), function)
        return adapter(space, seed, trials, **self.options)


def _value(text: str) -> Any:
    """An option's value: a Python literal, or else the text itself."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
