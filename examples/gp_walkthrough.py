"""How a Gaussian process chooses the next point: six steps on a function of one hyperparameter, as pictures.

    python examples/gp_walkthrough.py [page.html]

The parts are those of the searcher, used by hand: a surrogate is fitted to what is known, expected
improvement says where another trial promises most, and that point is tried next. No Ray, no trials.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import plotly.graph_objects as go

from raytune_gp.acquisition.logei import LogEI
from raytune_gp.acquisition.optimize import draw_pool, maximise
from raytune_gp.acquisition.region import Region
from raytune_gp.surrogate.features import Column, FeatureMap
from raytune_gp.surrogate.fit import fit
from raytune_gp.surrogate.posterior import GPPosterior

STEPS = 6
START = (0.3, 0.5, 0.95)
GRID = np.linspace(0.0, 1.0, 401)
FEATURES = FeatureMap([Column()])
REGION = Region(FEATURES.columns, fixed=np.array([np.nan]))


def loss(x: np.ndarray) -> np.ndarray:
    """The function to minimise, unknown to the model: a shallow valley near 0.22, the deep one near 0.745."""
    valleys = 0.6 * np.exp(-(((x - 0.22) / 0.12) ** 2)) + 0.9 * np.exp(-(((x - 0.74) / 0.13) ** 2))
    return 1.0 - valleys + 0.15 * np.sin(5 * x)


@dataclass(frozen=True)
class Step:
    """What is known before a trial, what the surrogate makes of it over GRID, and where it looks next."""

    x: np.ndarray
    y: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray
    improvement: np.ndarray
    next: float


def think(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> Step:
    """One turn of Bayesian optimisation, given losses `y` (n) at places `x` (n) of the unit interval."""
    centre, spread = y.mean(), y.std()
    targets = -(y - centre) / spread  # the surrogate takes standardised targets, the higher the better
    hyperparameters = fit(FEATURES, x[:, None], targets, rng=rng)
    posterior = GPPosterior.of(FEATURES, hyperparameters, x[:, None], targets)

    acquisition = LogEI(posterior, np.array([targets.max()]))
    best = x[[targets.argmax()], None]
    pool = draw_pool(REGION, best, rng)
    chosen = maximise(acquisition, REGION, pool, acquisition(pool.x), rng=rng)

    mean, variance = posterior.marginals(GRID[:, None])
    improvement = spread * np.exp(acquisition(GRID[:, None]))
    deviation = spread * np.sqrt(variance)
    return Step(x, y, centre - spread * mean[:, 0], deviation, improvement, float(chosen.x[0]))


def walk() -> list[Step]:
    """STEPS turns from the places in START."""
    rng = np.random.default_rng(0)
    x = np.array(START)
    steps = []
    for _ in range(STEPS):
        steps.append(think(x, loss(x), rng))
        x = np.append(x, steps[-1].next)
    return steps


# --- the pictures: two columns of panels, the surrogate above and expected improvement below it ---

INK, SOFT, MUTED = "#1f2933", "#52606d", "#8b97a3"
BLUE, GREEN, RED = "#2f6fb0", "#0f8a5f", "#c0392b"
BAND, HILL = "rgba(47,111,176,0.16)", "rgba(15,138,95,0.22)"


def draw(steps: list[Step]) -> go.Figure:
    """All steps as one figure."""
    figure = go.Figure()
    rows = (len(steps) + 1) // 2
    for k, step in enumerate(steps):
        left, top = 0.54 * (k % 2), 1.0 - (k // 2) / rows
        _panel(figure, k, step, left, top, 1.0 / rows)
    figure.update_layout(
        template="plotly_white",
        width=1200,
        height=160 + 400 * rows,
        margin={"l": 60, "r": 20, "t": 130, "b": 20},
        font={"family": "system-ui, sans-serif", "size": 13, "color": INK},
        title={
            "text": "<b>How a Gaussian process chooses the next trial</b><br><span style='font-size:14px;"
            f"color:{SOFT}'>Mean and band are what the model believes after the trials so far. Expected "
            "improvement (EI) is high where the mean is low or the band is wide;<br>the next trial goes to "
            "its peak.</span>",
            "x": 0.05,
            "y": 1.0,
            "yanchor": "top",
            "yref": "container",
            "pad": {"t": 20},
        },
        legend={"orientation": "h", "x": 0.0, "xanchor": "left", "y": 1.01, "yanchor": "bottom"},
    )
    return figure


def _panel(figure: go.Figure, k: int, step: Step, left: float, top: float, height: float) -> None:
    x, above, below = f"x{k + 1}", f"y{2 * k + 1}", f"y{2 * k + 2}"
    best = int(step.y.argmin())

    def add(y_axis: str, name: str, xs: object, ys: object, **style: object) -> None:
        shown = k == 0 and not name.startswith("_")
        figure.add_scatter(x=xs, y=ys, xaxis=x, yaxis=y_axis, name=name, showlegend=shown, **style)

    edges = np.concatenate([step.mean + 1.96 * step.deviation, (step.mean - 1.96 * step.deviation)[::-1]])
    around = np.concatenate([GRID, GRID[::-1]])
    add(above, "95 % band", around, edges, fill="toself", fillcolor=BAND, line_width=0, hoverinfo="skip")
    add(above, "the unknown function", GRID, loss(GRID), line={"color": MUTED, "dash": "dot", "width": 1.5})
    add(above, "mean", GRID, step.mean, line={"color": BLUE, "width": 2.5})
    add(above, "trials", step.x, step.y, mode="markers", marker={"color": INK, "size": 9})
    add(
        above,
        "best so far",
        step.x[[best]],
        step.y[[best]],
        mode="markers",
        marker={"color": "white", "size": 12, "line": {"color": GREEN, "width": 3}},
    )
    add(
        below,
        "expected improvement",
        GRID,
        step.improvement,
        fill="tozeroy",
        fillcolor=HILL,
        line={"color": GREEN, "width": 2},
    )
    peak = step.improvement.max()
    add(
        below,
        "next trial",
        [step.next],
        [peak],
        mode="markers",
        marker={"symbol": "triangle-down", "color": RED, "size": 12},
    )
    figure.add_shape(
        type="line",
        xref=x,
        yref="paper",
        x0=step.next,
        x1=step.next,
        y0=top - 0.82 * height,
        y1=top - 0.1 * height,
        line={"color": RED, "width": 1.2, "dash": "dash"},
    )
    figure.add_annotation(
        text=f"<b>After {len(step.x)} trials</b> · best loss {step.y[best]:.2f} · next at {step.next:.3f}",
        xref="paper",
        yref="paper",
        x=left,
        y=top - 0.03 * height,
        xanchor="left",
        yanchor="middle",
        showarrow=False,
        font_size=14,
    )
    axis = {"gridcolor": "#eef1f4", "zeroline": False, "linecolor": "#d5dbe1", "showline": True}
    lower, upper = top - 0.82 * height, top - 0.60 * height
    figure.update_layout(
        {
            f"xaxis{k + 1}": {**axis, "domain": [left, left + 0.46], "anchor": below, "range": [-0.01, 1.01]},
            f"yaxis{2 * k + 1}": {
                **axis,
                "domain": [upper + 0.03 * height, top - 0.1 * height],
                "anchor": x,
                "range": [-0.35, 1.5],
                "title": {"text": "loss", "standoff": 4},
            },
            f"yaxis{2 * k + 2}": {
                **axis,
                "domain": [lower, upper],
                "anchor": x,
                "range": [0, 1.25 * peak],
                "nticks": 3,
                "title": {"text": "EI", "standoff": 4},
            },
        }
    )


if __name__ == "__main__":
    page = Path(sys.argv[1] if len(sys.argv) > 1 else "gp_walkthrough.html")
    steps = walk()
    for step in steps:
        print(f"{len(step.x)} trials, best loss {step.y.min():.3f}, next at {step.next:.3f}")
    draw(steps).write_html(page, include_plotlyjs=True, config={"displayModeBar": False})
    print(f"wrote {page}")
