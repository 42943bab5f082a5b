"""What the figures are made of: points, axes, colours and ranges."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from raytune_gp.analysis.labels import short
from raytune_gp.analysis.style import EARLY_TO_LATE, MUTED, plain
from raytune_gp.trial import Metric

__all__ = [
    "Figure",
    "beyond",
    "colours",
    "dots",
    "evenly",
    "good_is_dark",
    "hover_name",
    "lines",
    "title",
    "value_range",
]

Figure = dict[str, Any]

FEW = 8
"""Below so many values nothing counts as an outlier."""


def dots(x: Any, y: Any, numbers: Any) -> dict[str, Any]:
    """A trace of points that know their trials."""
    return {"type": "scatter", "mode": "markers", "x": plain(x), "y": plain(y), "customdata": plain(numbers)}


def lines(x: Any, y: Any) -> dict[str, Any]:
    """A line, without hover texts."""
    return {"type": "scatter", "mode": "lines", "x": plain(x), "y": plain(y), "hoverinfo": "skip"}


def hover_name(name: str) -> str:
    """A name inside a hover template, where a percent sign and braces would mean something."""
    return plain(short(name)).replace("%", "&#37;")


def title(name: str) -> dict[str, Any]:
    """The title of an axis; its distance keeps it off long tick labels."""
    return {"title": {"text": plain(short(name)), "standoff": 12}}


def colours(
    values: Any, title: str, scale: Sequence[Any], span: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    bar = {"thickness": 8, "len": 0.9, "outlinewidth": 0, "tickfont": {"size": 10, "color": MUTED}}
    bar["title"] = {"text": plain(short(title, 14)), "font": {"size": 10, "color": MUTED}}
    colour = {"color": plain(values), "colorscale": scale, "showscale": True, "colorbar": bar}
    if span and "range" in span:
        colour |= {"cmin": span["range"][0], "cmax": span["range"][1]}
    return colour


def good_is_dark(metric: Metric) -> list[Any]:
    """Dark is good."""
    colours = [c for _, c in EARLY_TO_LATE]
    if metric.mode == "min":
        colours.reverse()
    return [[at, colour] for (at, _), colour in zip(EARLY_TO_LATE, colours, strict=True)]


def value_range(values: pd.Series, metric: Metric) -> dict[str, Any]:
    """The axis range that leaves out values much worse than the rest, if there are any; else none."""
    known = values[np.isfinite(values)].to_numpy(dtype=float)
    if len(known) < FEW:
        return {}
    sign = 1.0 if metric.mode == "max" else -1.0
    best, quarter = float(np.max(sign * known)), float(np.quantile(sign * known, 0.25))
    worst, limit = float(np.min(sign * known)), quarter - 3.0 * (best - quarter)
    if worst >= limit or limit == best:
        return {}
    pad = 0.05 * (best - limit)
    return {"range": sorted((sign * (limit - pad), sign * (best + pad)))}


def beyond(values: pd.Series, metric: Metric) -> int:
    """How many values are so much worse than the rest that the figures' axes leave them out."""
    low, high = value_range(values, metric).get("range", (-math.inf, math.inf))
    return int(((values < low) | (values > high)).sum())


def evenly(items: np.ndarray, limit: int) -> np.ndarray:
    """At most `limit` of the items, evenly chosen, the first and the last among them."""
    if len(items) <= limit:
        return items
    return items[np.linspace(0, len(items) - 1, limit).round().astype(int)]
