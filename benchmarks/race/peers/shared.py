"""What adapters share: configs in the words of another package, brought back to ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from raytune_gp.space import Config, Integer, SearchSpace

__all__ = ["plain_config"]


def plain_config(space: SearchSpace, values: Mapping[str, Any]) -> Config:
    """The nested config of flat `values`: numpy scalars as Python's, without parameters that do not exist.

    An integer that a package hands back as a float, 17.0, is an int again: scikit-learn refuses the float.
    """
    flat: Config = {}
    for name in space.order:
        if name in values and space.is_active(name, flat):
            value = values[name]
            value = value.item() if isinstance(value, np.generic) else value
            is_whole = isinstance(value, float) and value.is_integer()
            flat[name] = int(value) if is_whole and isinstance(space.domains.get(name), Integer) else value
    return space.nested(flat)
