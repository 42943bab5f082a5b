"""The figures of hyperparameters: each against the metric, each over time, and all of them together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from raytune_gp.analysis.drawing import Figure, colours, dots, good_is_dark, hover_name, title, value_range
from raytune_gp.analysis.labels import number, short
from raytune_gp.analysis.parameters import Parameter
from raytune_gp.analysis.style import EARLY_TO_LATE, FAINT, figure, plain
from raytune_gp.trial import Metric

__all__ = ["over_time", "parallel", "scatter"]


def scatter(parameter: Parameter, trials: pd.DataFrame, metric: Metric) -> Figure:
    """The metric against a hyperparameter, coloured by the trials' order."""
    places = parameter.places(trials[f"config/{parameter.name}"].tolist())
    shown = np.isfinite(places) & trials["objective"].notna().to_numpy()
    some = trials[shown]
    colour = colours(some["number"], "trial", EARLY_TO_LATE)
    points = dots(_spread(parameter, places[shown], some["number"]), some["objective"], some["number"])
    text = _texts(parameter, some)
    hover = f"trial %{{customdata}}<br>%{{text}}<br>{hover_name(metric.name)} %{{y:.6g}}<extra></extra>"
    points |= {"text": text, "marker": {"size": 7, **colour}, "hovertemplate": hover}
    axis = {**title(metric.name), **value_range(some["objective"], metric)}
    return figure([points], xaxis=_axis(parameter, places) | title(parameter.name), yaxis=axis)


def over_time(parameter: Parameter, trials: pd.DataFrame, metric: Metric) -> Figure:
    """A hyperparameter's value against the trial's number, coloured by the metric; grey: no value."""
    places = parameter.places(trials[f"config/{parameter.name}"].tolist())
    known = np.isfinite(places)
    valued = known & trials["objective"].notna().to_numpy()
    traces = []
    for shown, has_value in ((known & ~valued, False), (valued, True)):
        some = trials[shown]
        if some.empty:
            continue
        values = some["objective"]
        marker = {"color": FAINT, "symbol": "circle-open"}
        if has_value:
            marker = colours(values, metric.name, good_is_dark(metric), value_range(values, metric))
        points = dots(some["number"], _spread(parameter, places[shown], some["number"]), some["number"])
        hover = "trial %{customdata}<br>%{text}<extra></extra>"
        look = {"marker": {"size": 7, **marker}, "hovertemplate": hover}
        traces.append(points | look | {"text": _texts(parameter, some)})
    return figure(traces, xaxis=title("trial"), yaxis=_axis(parameter, places) | title(parameter.name))


def parallel(axes: Sequence[Parameter], trials: pd.DataFrame, metric: Metric) -> Figure:
    """Parallel coordinates of the trials that have a value: a line a trial, an axis a hyperparameter.

    A parameter that a trial lacks is at the foot of its axis, at the mark "absent". Values much worse than
    the rest are at the end of the metric's axis.
    """
    some = trials[trials["objective"].notna()]
    span = value_range(some["objective"], metric)
    colour = colours(some["objective"], "", good_is_dark(metric), span) | {"showscale": False}
    values = np.clip(some["objective"].to_numpy(dtype=float), *span.get("range", (None, None)))
    columns = [_dimension(p, p.places(some[f"config/{p.name}"].tolist())) for p in axes]
    columns.append(_dimension(Parameter(metric.name, "linear"), values))
    hidden = {"size": 1, "color": "rgba(0,0,0,0)"}
    trace = {"type": "parcoords", "line": colour, "dimensions": columns, "rangefont": hidden}
    return figure([trace], margin={"l": 70, "r": 60, "t": 50, "b": 20})


def _dimension(parameter: Parameter, places: np.ndarray) -> dict[str, Any]:
    """One axis of the parallel coordinates, with its ticks."""
    at = np.log10(places) if parameter.scale == "log" else places
    known = at[np.isfinite(at)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    if parameter.scale == "choice":
        low, high = 0.0, float(max(1, len(parameter.choices) - 1))
        ticks = [float(position) for position in range(len(parameter.choices))]
        texts = [short(choice, 14) for choice in parameter.choices]
    else:
        high = high if high > low else low + 1.0
        ticks = _ticks(low, high)
        low, high = ticks[0], ticks[-1]
        texts = [f"{10**t:.3g}" if parameter.scale == "log" else f"{t:.6g}" for t in ticks]
    if len(known) < len(at):
        absent = float(f"{low - 0.15 * (high - low):.6g}")
        at = np.where(np.isfinite(at), at, absent)
        low, ticks, texts = absent, [absent, *ticks], ["absent", *texts]
    axis = {"label": plain(short(parameter.name, 18)), "range": [low, high]}
    return axis | {"values": plain(at), "tickvals": ticks, "ticktext": texts}  # no tags are read here


def _ticks(low: float, high: float) -> list[float]:
    """About five round numbers, the first and the last of which enclose `low` and `high`."""
    rough = (high - low) / 5
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * m for m in (1, 2, 5, 10) if unit * m >= rough)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{k * step:.12g}") for k in range(first, last + 1)]


def _texts(parameter: Parameter, trials: pd.DataFrame) -> list[str]:
    values = trials[f"config/{parameter.name}"].tolist()
    shown = (number(v) for v in values)
    name = short(parameter.name)
    return [plain(f"{name} {short(text)}") for text in shown]


def _axis(parameter: Parameter, places: np.ndarray) -> dict[str, Any]:
    if parameter.scale == "choice":
        texts = [plain(short(c, 16)) for c in parameter.choices]
        ends = [-0.6, len(texts) - 0.4]
        return {"tickvals": list(range(len(texts))), "ticktext": texts, "range": ends, "zeroline": False}
    if parameter.scale == "log":
        return {"type": "log", "exponentformat": "e"} | _decades(places)
    return {}


def _decades(places: np.ndarray) -> dict[str, int]:
    """Every how many decades an axis has a tick; plotly's own ticks where there would be fewer than two."""
    known = places[np.isfinite(places)]
    decades = math.log10(known.max() / known.min()) if len(known) else 0.0
    return {"dtick": math.ceil(decades / 6)} if decades >= 2 else {}


def _spread(parameter: Parameter, places: np.ndarray, numbers: pd.Series) -> np.ndarray:
    """The places, those of choices moved apart a little by trial, so that none hides another."""
    if parameter.scale != "choice":
        return places
    return places + 0.36 * (((numbers.to_numpy() * 0.6180339887) % 1.0) - 0.5)
