"""How figures look, and how values get into them: calm colours, JSON without NaN, text without tags."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable
from typing import Any, overload

__all__ = ["ACCENT", "BAD", "BEST", "EARLY_TO_LATE", "FAINT", "INK", "MUTED", "figure", "plain"]

INK = "#1f2933"
MUTED = "#6b7785"
FAINT = "#b8c1cb"
ACCENT = "#2f6fb0"
BEST = "#0f8a5f"
BAD = "#c0392b"

EARLY_TO_LATE = [[0.0, "#efc75e"], [0.35, "#6fb58f"], [0.7, "#2c7a94"], [1.0, "#173a5e"]]
"""A colour scale whose steps differ in lightness too, for those who see few hues."""

_FONT = {"family": "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif", "size": 12, "color": INK}
_AXIS = {"gridcolor": "#eef1f4", "linecolor": "#d5dbe1", "zeroline": False, "automargin": True, "ticks": ""}


def figure(traces: list[dict[str, Any]], **layout: Any) -> dict[str, Any]:
    """A figure of `traces` with this project's layout, changed by `layout`."""
    base: dict[str, Any] = {
        "font": _FONT,
        "paper_bgcolor": "white",
        "plot_bgcolor": "white",
        "margin": {"l": 56, "r": 16, "t": 16, "b": 44},
        "showlegend": False,
        "hovermode": "closest",
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "font": {"size": 11}},
        "hoverlabel": {"bgcolor": "white", "bordercolor": "#d5dbe1", "font": _FONT},
    }
    axes = {name: _AXIS | axis for name, axis in layout.items() if name[1:5] == "axis"}
    return {"data": traces, "layout": base | layout | axes}


@overload
def plain(values: str) -> str: ...
@overload
def plain(values: Iterable[Any]) -> list[Any]: ...
def plain(values: Any) -> Any:
    """Values for plotly: text escaped, numbers of at most 7 digits, and None for what is not finite."""
    if isinstance(values, str):
        return html.escape(values, quote=False)
    return [_plain(v) for v in values]


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return html.escape(value, quote=False)
    number = float(value)
    if not math.isfinite(number):
        return None
    return int(number) if number.is_integer() and abs(number) < 2**53 else float(f"{number:.7g}")
