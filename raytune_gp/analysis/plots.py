"""The figures of a whole run, as plain JSON for plotly.js: what frames.py computed, drawn.

Each function takes what it draws and returns `{"data": [...], "layout": {...}}`, which `Plotly.newPlot` and
`plotly.graph_objects.Figure` both accept. Text that users wrote is escaped, because plotly reads tags in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from raytune_gp.analysis.drawing import Figure, colours, dots, evenly, hover_name, lines, title, value_range
from raytune_gp.analysis.labels import short
from raytune_gp.analysis.style import ACCENT, BAD, BEST, EARLY_TO_LATE, MUTED, figure, plain
from raytune_gp.trial import Metric

__all__ = ["deviations", "history", "learning_curves", "predictions"]

MAX_CURVES = 200
MAX_CURVE_POINTS = 200


def history(best: pd.DataFrame, methods: Mapping[str, str], metric: Metric) -> Figure:
    """Each finished trial's value and the best so far, in order of completion (`frames.best_so_far`).

    `methods` maps a trial's id to what proposed it; failed trials are crosses at the foot.
    """
    valued, failed = best[best["value"].notna()], best[best["value"].isna()]
    method = valued["trial_id"].map(methods).fillna("")
    hover = f"trial %{{customdata}}<br>{hover_name(metric.name)} %{{y:.6g}}<extra></extra>"
    traces: list[dict[str, Any]] = []
    for position, name in enumerate(dict.fromkeys(method)):
        some = valued[method == name]
        marker: dict[str, Any] = {"size": 7, "color": _METHODS[position % len(_METHODS)]}
        points = dots(some["completed"], some["value"], some["number"])
        traces.append(
            points | {"name": plain(short(name)) or "trial", "marker": marker, "hovertemplate": hover}
        )
    line = {"color": BEST, "width": 2, "shape": "hv"}
    known = best[best["best"].notna()]
    traces.append(lines(known["completed"], known["best"]) | {"name": "best so far", "line": line})
    if len(failed):
        marker = {"size": 8, "color": BAD, "symbol": "x-thin-open"}
        points = dots(failed["completed"], [0.02] * len(failed), failed["number"])
        hover = "trial %{customdata}<br>no value<extra></extra>"
        traces.append(points | {"name": "no value", "yaxis": "y2", "marker": marker, "hovertemplate": hover})
    foot = {"overlaying": "y", "range": [0, 1], "visible": False, "fixedrange": True}
    axis = {**title(metric.name), **value_range(valued["value"], metric)}
    return figure(traces, xaxis=title("trials finished"), yaxis=axis, yaxis2=foot, showlegend=True)


_METHODS = ("#8fb3d9", ACCENT, "#c58b2a", "#7a5ea8")


def learning_curves(reports: pd.DataFrame, trials: pd.DataFrame, metric: Metric, best: int | None) -> Figure:
    """The metric by step of up to MAX_CURVES trials, the trial numbered `best` always among them and on top.

    Long curves are thinned to MAX_CURVE_POINTS.
    """
    column = f"metrics/{metric.name}"
    if column not in reports:
        return figure([])
    reports = reports[reports[column].notna()]
    status = dict(zip(trials["number"], trials["status"], strict=True))
    chosen = evenly(reports["number"].unique(), MAX_CURVES)
    groups: dict[str, list[pd.DataFrame]] = {}
    for number, curve in reports[reports["number"].isin({*chosen, best})].groupby("number"):
        name = "best" if number == best else status[number].lower()
        groups.setdefault(name, []).append(curve.iloc[evenly(np.arange(len(curve)), MAX_CURVE_POINTS)])
    hover = f"trial %{{customdata}}<br>step %{{x}}<br>{hover_name(metric.name)} %{{y:.6g}}<extra></extra>"
    traces = []
    for name, (colour, width) in _CURVES.items():
        if name in groups:
            x, y, numbers = _with_gaps(groups[name], column)
            look = {"line": {"color": colour, "width": width}, "marker": {"size": 3}}
            trace = {"type": "scatter", "mode": "lines+markers", "x": x, "y": y, "customdata": numbers}
            traces.append(trace | look | {"name": name, "hovertemplate": hover})
    axis = {**title(metric.name), **value_range(reports[column], metric)}
    return figure(traces, xaxis=title("step"), yaxis=axis, showlegend=True)


_CURVES = {
    "completed": ("#9db8d6", 1.2),
    "stopped": ("#d9a441", 1.2),
    "failed": (BAD, 1.2),
    "paused": (MUTED, 1.2),
    "pending": (MUTED, 1.2),
    "running": ("#7a5ea8", 1.2),
    "best": (BEST, 2.6),
}
"""How each group of curves is drawn, the last on top."""


def predictions(trials: pd.DataFrame, metric: Metric) -> Figure:
    """Observed against predicted values, with bars of one predicted deviation (`quality.predicted`)."""
    bars: dict[str, Any] = {"type": "data", "array": plain(trials["deviation"]), "color": "#b9cbe0"}
    bars |= {"thickness": 1, "width": 0}
    points = dots(trials["mean"], trials["value"], trials["number"])
    hover = "trial %{customdata}<br>predicted %{x:.6g}<br>observed %{y:.6g}<extra></extra>"
    marker = {"size": 7, **colours(trials["number"], "trial", EARLY_TO_LATE)}
    points |= {"error_x": bars, "marker": marker, "hovertemplate": hover}
    ends = [float(np.nanmin(trials[["mean", "value"]])), float(np.nanmax(trials[["mean", "value"]]))]
    line = lines(ends, ends) | {"line": {"color": MUTED, "width": 1, "dash": "dot"}}
    x, y = title(f"predicted {metric.name}"), title(f"observed {metric.name}")
    return figure([line, points], xaxis=x, yaxis=y)


def deviations(trials: pd.DataFrame, metric: Metric) -> Figure:
    """How sure the searcher was and how far it was off, trial by trial (`quality.predicted`)."""
    off = (trials["value"] - trials["mean"]).abs()
    error = dots(trials["number"], off, trials["number"])
    hover = "trial %{customdata}<br>%{y:.4g}<extra></extra>"
    error |= {
        "name": "|observed − predicted|",
        "marker": {"size": 7, "color": ACCENT},
        "hovertemplate": hover,
    }
    sure = lines(trials["number"], trials["deviation"])
    sure |= {"name": "predicted deviation", "line": {"color": _METHODS[2], "width": 2}}
    y = title(metric.name) | {"rangemode": "tozero"}
    return figure([sure, error], xaxis=title("trial"), yaxis=y, showlegend=True)


def _with_gaps(curves: list[pd.DataFrame], column: str) -> tuple[list[Any], list[Any], list[Any]]:
    """The curves as one line with gaps: a trace a group is drawn much faster than a trace a trial."""
    x: list[Any] = []
    y: list[Any] = []
    numbers: list[Any] = []
    for curve in curves:
        x += [*plain(curve["step"]), None]
        y += [*plain(curve[column]), None]
        numbers += [*plain(curve["number"]), None]
    return x, y, numbers
