"""What further trials of a run would report, by a Gaussian process over its results, whoever searched it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import pandas as pd

from raytune_gp.codec import DAMAGE
from raytune_gp.errors import RaytuneError, RunError, SpaceError, SpecError
from raytune_gp.searchers.gp import GPSearcher
from raytune_gp.space import SearchSpace
from raytune_gp.space.definition import space_of
from raytune_gp.state import RunState
from raytune_gp.trial import Config

__all__ = ["predict"]


def predict(state: RunState, configs: Iterable[Config], share: float) -> pd.DataFrame:
    """`median`, `low` and `high` of the run's metric for a trial of each config: see `ResultGrid.predict`."""
    if isinstance(configs, str | Mapping) or not isinstance(configs, Iterable):
        raise SpecError(f"configs is {configs!r}; it must be a list of configs, such as [{{…}}]")
    try:
        space = space_of(state.spec.space.get("definition") or {})
        searcher = GPSearcher(space, mode=state.spec.metric.mode, seed=state.spec.seed)
        searcher.update([replace(o, config=space.from_json(o.config)) for o in state.observations], ())
    except (SpaceError, *DAMAGE) as error:
        raise RunError(f"the results of run {state.spec.name!r} cannot be read again: {error}") from None
    asked = [_as_journalled(space, config) for config in configs]
    try:
        median, low, high = searcher.predict(asked, share=share)
    except RaytuneError:
        raise
    except Exception as error:  # of three libraries' numerics
        raise RunError(f"no model of run {state.spec.name!r} is to be trusted: {error}") from error
    return pd.DataFrame({"median": median, "low": low, "high": high})


def _as_journalled(space: SearchSpace, config: Config) -> Config:
    """A user's config with the values that it would have in the journal, of which `space` was made again."""
    restored = space.from_json(space.to_json(config))
    space.validate(restored, complete=True)
    return restored
