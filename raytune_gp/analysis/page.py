"""The parts of the report's page: its frame, tables, and figures that plotly.js draws in the browser."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Sequence
from typing import Any

from raytune_gp.analysis.browser import SCRIPT, STYLE
from raytune_gp.analysis.labels import number

__all__ = ["cards", "chart", "document", "pairs", "section", "table", "text"]


def text(value: Any) -> str:
    """A value as text that HTML reads as nothing but text."""
    return html.escape(str(value))


def section(title: str, *parts: str, lead: str = "") -> str:
    """A part of the page under a heading; nothing where there are no parts. `lead` is a sentence, as HTML."""
    body = "".join(parts)
    if not body:
        return ""
    sentence = f"<p class=lead>{lead}</p>" if lead else ""
    return f"<section><h2>{text(title)}</h2>{sentence}{body}</section>"


def cards(items: Iterable[tuple[str, str, str]]) -> str:
    """A row of key figures: (what, value, remark), as plain text."""
    cells = (
        f"<div class=card><div class=what>{text(what)}</div><div class=value>{text(value)}</div>"
        f"<div class=remark>{text(remark)}</div></div>"
        for what, value, remark in items
    )
    return f"<div class=cards>{''.join(cells)}</div>"


def pairs(rows: Iterable[Sequence[Any]], head: Sequence[str] = ()) -> str:
    """A small table whose first column names what the others hold."""
    top = f"<thead><tr>{''.join(f'<th>{text(h)}</th>' for h in head)}</tr></thead>" if head else ""
    lines = (
        f"<tr><th>{text(name)}</th>{''.join(f'<td>{text(number(v))}</td>' for v in values)}</tr>"
        for name, *values in rows
    )
    return f"<div class=scroll><table class=pairs>{top}<tbody>{''.join(lines)}</tbody></table></div>"


def table(head: Sequence[str], rows: Iterable[Sequence[Any]], best: int | None) -> str:
    """The trials: sortable by a click on a heading, the row whose first cell is `best` marked.

    A cell is a value, or a pair of a value and the name of a CSS class.
    """
    top = "".join(f"<th>{text(h)}</th>" for h in head)
    body = []
    for row in rows:
        mark = " class=best" if row[0] == best else ""
        body.append(f'<tr id="trial-{row[0]}"{mark}>{"".join(map(_cell, row))}</tr>')
    return (
        f"<input class=filter type=search placeholder='Filter these trials' aria-label='Filter these trials'>"
        f"<div class='scroll tall'><table class=trials><thead><tr>{top}</tr></thead>"
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def _cell(cell: Any) -> str:
    value, kind = cell if isinstance(cell, tuple) else (cell, "")
    shown = text(number(value))
    if kind == "note":
        return f'<td class=note title="{shown}">{shown}</td>'
    if kind:
        return f"<td><span class='pill {kind}'>{shown}</span></td>"
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    key = f' data-key="{float(value)!r}"' if is_number else ""
    return f"<td{key}>{shown}</td>"


def chart(figure: dict[str, Any], height: int, caption: str = "") -> str:
    """A figure, drawn when it comes into view. `height` in pixels; `caption` is HTML."""
    data = json.dumps(figure, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    note = f"<figcaption>{caption}</figcaption>" if caption else ""
    return (
        f'<figure><div class=chart style="height:{height}px">'
        f"<script type=application/json>{data}</script></div>{note}</figure>"
    )


def document(title: str, body: str, plotly_js: str) -> str:
    """The whole page, which needs nothing from elsewhere."""
    return (
        "<!doctype html><html lang=en><head><meta charset=utf-8>"
        "<meta name=viewport content='width=device-width, initial-scale=1'>"
        f"<title>{text(title)}</title><style>{STYLE}</style></head><body><main>{body}</main>"
        f"<script>{plotly_js}</script><script>{SCRIPT}</script></body></html>"
    )
