"""Ray Tune's own domain objects, turned into ours, without importing Ray."""

from __future__ import annotations

import sys
from typing import Any

from raytune_gp.errors import SpaceError
from raytune_gp.space.choices import Choice, GridAxis
from raytune_gp.space.functions import SampleFrom
from raytune_gp.space.numeric import Float, Integer, Normal

__all__ = ["from_ray"]


def from_ray(value: Any) -> Any:
    """Our domain for one of Ray's; anything else as it is.

    Whoever holds a Ray domain has imported `ray.tune`, so where that is not loaded there is nothing to do.

    Raises:
        SpaceError: a Ray domain with a sampler of its own.
    """
    ray = sys.modules.get("ray.tune.search.sample")
    if ray is None or not isinstance(value, ray.Domain):
        return value
    if isinstance(value, ray.Function):
        return SampleFrom(value.func)
    sampler = value.get_sampler()
    if isinstance(value, ray.Categorical):
        categories = tuple(value.categories)
        return GridAxis(categories) if isinstance(sampler, ray.Grid) else Choice(categories)
    quantum = sampler.q if isinstance(sampler, ray.Quantized) else None
    inner = sampler.sampler if isinstance(sampler, ray.Quantized) else sampler
    is_log = isinstance(inner, ray.LogUniform)
    if isinstance(value, ray.Float) and isinstance(inner, ray.Normal):
        return Normal(inner.mean, inner.sd, quantum)
    if isinstance(value, ray.Float) and (is_log or isinstance(inner, ray.Uniform)):
        return Float(value.lower, value.upper, "log" if is_log else "linear", quantum)
    if isinstance(value, ray.Integer) and (is_log or isinstance(inner, ray.Uniform)):
        return Integer(value.lower, value.upper, 1 if quantum is None else quantum, is_log)
    raise SpaceError(
        f"Ray's domain {type(value).__name__} with sampler {type(inner).__name__} is unknown here; "
        "use uniform, randint, choice or their variants"
    )
