"""The story as a picture: the best accuracy so far against the epochs spent, as SVG."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from benchmarks.story.summary import by_way

__all__ = ["picture"]

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760, 412, 56, 16, 28, 48
STYLES = {  # the last one drawn lies on top
    "random": ("#8a8f98", "120 random trials"),
    "random-kept": ("#c58b2a", "the same, the ten best after one epoch go on"),
    "gp": ("#2f6db5", "30 trials of the Gaussian process"),
    "gp-median": ("#1b8a5a", "30 trials of the Gaussian process, median rule"),
}


def picture(runs: Sequence[Mapping[str, Any]]) -> str:
    """An SVG document, a line for each run."""
    of = by_way(runs)
    curves = {way: [list(_best_so_far(run)) for run in of.get(way, [])] for way in STYLES}
    ends = [curve[-1] for lines in curves.values() for curve in lines]
    most, highest = max(epochs for epochs, _ in ends), max(best for _, best in ends)
    low, high = highest - 0.12, highest + 0.01

    def x(epochs: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * epochs / most

    def y(accuracy: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (high - max(accuracy, low)) / (high - low)

    parts = [
        "<title>Best validation accuracy so far against epochs trained</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
    ]
    for step in range(round(low * 50) + 1, round(high * 50) + 1):
        parts.append(_line([(LEFT, y(step / 50)), (WIDTH - RIGHT, y(step / 50))], "#e4e6ea", 1))
        parts.append(_text(LEFT - 8, y(step / 50) + 4, f"{step / 50:.2f}", "end"))
    for epochs in range(0, round(most) + 1, 120):
        parts.append(_text(x(epochs), HEIGHT - BOTTOM + 20, str(epochs), "middle"))
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, "epochs trained, over all trials", "middle"))
    parts.append(_text(LEFT, TOP - 10, "best validation accuracy so far", "start"))
    for way, (colour, _) in STYLES.items():
        for curve in curves[way]:
            steps = [
                (x(at), y(best))
                for before, (after, after_best) in pairwise(curve)
                for at, best in ((before[0], before[1]), (after, before[1]), (after, after_best))
            ]
            parts.append(_line(steps, colour, 2))
            parts.append(
                f'<circle cx="{x(curve[-1][0]):.1f}" cy="{y(curve[-1][1]):.1f}" r="4" fill="{colour}"/>'
            )
    for row, (colour, label) in enumerate(STYLES.values()):
        height = HEIGHT - BOTTOM - 20 * (len(STYLES) - row)
        parts.append(_line([(WIDTH - 350, height), (WIDTH - 322, height)], colour, 3))
        parts.append(_text(WIDTH - 314, height + 4, label, "start"))
    body = "\n".join(parts)
    frame = f'viewBox="0 0 {WIDTH} {HEIGHT}" role="img" font-family="sans-serif" font-size="13"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {frame}>\n{body}\n</svg>\n'


def _best_so_far(run: Mapping[str, Any]) -> Iterator[tuple[int, float]]:
    """After each trial the epochs trained in all, and the best last accuracy."""
    spent, best = 0, 0.0
    for trial in run["trials"]:
        spent += len(trial["curve"])
        best = max(best, trial["curve"][-1])
        yield spent, best


def _line(points: Sequence[tuple[float, float]], colour: str, width: float) -> str:
    path = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}"/>'


def _text(x: float, y: float, words: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="#30343b">{words}</text>'
