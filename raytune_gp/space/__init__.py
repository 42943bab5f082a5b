"""Search spaces: domains with Ray Tune's names, conditions between them, and their place in the unit cube."""

from __future__ import annotations

from raytune_gp.space.base import Domain
from raytune_gp.space.choices import Choice, GridAxis
from raytune_gp.space.domains import (
    When,
    choice,
    grid_search,
    lograndint,
    loguniform,
    qlograndint,
    qloguniform,
    qrandint,
    qrandn,
    quniform,
    randint,
    randn,
    reverse_loguniform,
    sample_from,
    uniform,
    when,
)
from raytune_gp.space.encoding import Dimension, Encoding
from raytune_gp.space.functions import SampleFrom
from raytune_gp.space.numeric import Float, Integer, Normal
from raytune_gp.space.plain import label
from raytune_gp.space.search_space import Config, SearchSpace
from raytune_gp.space.structure import Condition

__all__ = [
    "Choice",
    "Condition",
    "Config",
    "Dimension",
    "Domain",
    "Encoding",
    "Float",
    "GridAxis",
    "Integer",
    "Normal",
    "SampleFrom",
    "SearchSpace",
    "When",
    "choice",
    "grid_search",
    "label",
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
