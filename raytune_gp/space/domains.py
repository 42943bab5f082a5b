"""The domains as users write them, with Ray Tune's names, signatures and bounds.

`__all__` is the one list of their names: `raytune_gp.space`, `raytune_gp.tune` and run files take it from
here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from raytune_gp.errors import SpaceError
from raytune_gp.space.choices import Choice, GridAxis, listed
from raytune_gp.space.conditions import When
from raytune_gp.space.functions import SampleFrom
from raytune_gp.space.numeric import Float, Integer, Normal

__all__ = [
    "choice",
    "grid_search",
    "lograndint",
    "loguniform",
    "qlograndint",
    "qloguniform",
    "qrandint",
    "qrandn",
    "quniform",
    "randint",
    "randn",
    "reverse_loguniform",
    "sample_from",
    "uniform",
    "when",
]

# `base` is taken because Ray takes it; the base of a logarithm changes nothing in a log-uniform distribution.


def uniform(lower: float, upper: float) -> Float:
    """A float between `lower` and `upper`."""
    return Float(lower, upper)


def quniform(lower: float, upper: float, q: float) -> Float:
    """A multiple of `q` from `lower` to `upper`, both included; the ends are half as likely, as in Ray."""
    return Float(lower, upper, q=q)


def loguniform(lower: float, upper: float, base: object = None) -> Float:
    """A float whose logarithm is uniform; `lower` must be above 0."""
    return Float(lower, upper, "log")


def qloguniform(lower: float, upper: float, q: float, base: object = None) -> Float:
    """A multiple of `q` from `lower` to `upper`, both included, whose logarithm is about uniform."""
    return Float(lower, upper, "log", q)


def reverse_loguniform(lower: float, upper: float) -> Float:
    """A float in 0 <= x < 1 where log(1 - x) is uniform: SageMaker's ReverseLogarithmic scale."""
    return Float(lower, upper, "reverse_log")


def randint(lower: int, upper: int) -> Integer:
    """An integer from `lower` up to, and without, `upper`."""
    return Integer(lower, upper)


def qrandint(lower: int, upper: int, q: int = 1) -> Integer:
    """A multiple of `q` from `lower` to `upper`; `upper` is included unless q is 1."""
    return Integer(lower, upper, q)


def lograndint(lower: int, upper: int, base: object = None) -> Integer:
    """An integer from `lower` up to, and without, `upper`, whose logarithm is about uniform."""
    return Integer(lower, upper, log=True)


def qlograndint(lower: int, upper: int, q: int, base: object = None) -> Integer:
    """A multiple of `q` from `lower` to `upper`, about log-uniform; `upper` is included unless q is 1."""
    return Integer(lower, upper, q, log=True)


def randn(mean: float = 0.0, sd: float = 1.0) -> Normal:
    """A normal float; a searcher proposes it within six standard deviations."""
    return Normal(mean, sd)


def qrandn(mean: float, sd: float, q: float) -> Normal:
    """A normal float, rounded to a multiple of `q`."""
    return Normal(mean, sd, q)


def choice(categories: Iterable[Any]) -> Choice:
    """One of the listed values, of any type: numbers, strings, tuples, functions, classes."""
    return Choice(categories)  # type: ignore[arg-type]  # Choice makes the tuple, and says what is wrong


def grid_search(values: Iterable[Any]) -> GridAxis:
    """Each of the listed values in turn; several axes make a grid, which `num_samples` repeats."""
    return GridAxis(values)  # type: ignore[arg-type]


def sample_from(func: Callable[..., Any]) -> SampleFrom:
    """What `func` computes from the config, or from nothing, once the searcher has chosen the rest.

    A parameter named `rng` gets the run's own generator, so that a seed repeats its draws.
    The value must be JSON; a tuple becomes a list.
    """
    return SampleFrom(func)


def when(parent: str, values: Iterable[Any], then: Any) -> When:
    """`then` exists only while the parameter `parent` has one of `values`.

    Args:
        parent: a flattened path, such as "optimizer" or "model/kind", of a discrete domain or a constant.
        values: one or more values that the parent can take.
        then: any domain, a constant, a dictionary of them, or another `when` (then both must hold).

    Raises:
        SpaceError: no values, or a parent that is not a path.
    """
    if not isinstance(parent, str) or not parent:
        raise SpaceError(f"when({parent!r}, …): the parent must be a path such as 'model/kind'")
    accepted = listed(values, f"when({parent!r}, …)")
    if not accepted:
        raise SpaceError(
            f"when({parent!r}, []) could never hold: give the values of {parent!r} that call for it"
        )
    return When(parent, accepted, then)
