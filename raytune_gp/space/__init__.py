"""Search spaces: domains with Ray Tune's names, conditions between them, and their place in the unit cube."""

from __future__ import annotations

from raytune_gp.space import domains
from raytune_gp.space.base import Domain
from raytune_gp.space.choices import Choice, GridAxis
from raytune_gp.space.conditions import Condition, When
from raytune_gp.space.domains import *  # noqa: F403  # the one list of their names is there
from raytune_gp.space.encoding import Dimension, Encoding
from raytune_gp.space.functions import SampleFrom
from raytune_gp.space.numeric import Float, Integer, Normal
from raytune_gp.space.plain import label
from raytune_gp.space.search_space import Config, SearchSpace

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
    "label",
]
__all__ += domains.__all__
