"""One HTML page that tells what a run did and found; it works without a network."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from raytune_gp.analysis import parameter_plots, plots
from raytune_gp.analysis.drawing import beyond
from raytune_gp.analysis.frames import best_so_far, reports_frame, trials_frame
from raytune_gp.analysis.labels import amount, duration, number
from raytune_gp.analysis.page import cards, chart, document, pairs, section, table, text
from raytune_gp.analysis.parameters import Parameter, parameters
from raytune_gp.analysis.quality import importance, methods, predicted, prediction_quality
from raytune_gp.analysis.summary import summary
from raytune_gp.errors import RaytuneError, SpecError
from raytune_gp.space.plain import label
from raytune_gp.spec import ExperimentSpec
from raytune_gp.state import RunState

__all__ = ["report_html", "write_report"]

MAX_DOTS = 1500
"""Figures of more trials than this are thinned, so that a browser stays quick."""

MOST_MODELLED = 200
"""Finished trials beyond which the report has no prediction: the model takes many seconds."""


def write_report(state: RunState, path: str | Path) -> Path:
    """Write the report of `state` to the file `path`, and return the path.

    Parent directories are made; in a directory that is there, the file is called by the run. Raises
    SpecError where it cannot be written.
    """
    target = Path(path).expanduser()
    try:
        if target.is_dir():
            target /= f"{state.spec.name}.html"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(report_html(state), encoding="utf-8")
    except OSError as error:
        raise SpecError(f"no report can be written to {str(target)!r}: {error}; name another file") from None
    return target


def report_html(state: RunState) -> str:
    """The page as text: about 5 MB, most of it plotly.js."""
    from plotly.offline import get_plotlyjs

    return document(f"{state.spec.name} · raytune-gp", "".join(_sections(_Run(state))), get_plotlyjs())


@dataclass(frozen=True)
class _Run:
    """A run with the frames that its sections share."""

    state: RunState

    @property
    def spec(self) -> ExperimentSpec:
        return self.state.spec

    @cached_property
    def facts(self) -> dict[str, Any]:
        return summary(self.state)

    @cached_property
    def trials(self) -> pd.DataFrame:
        return trials_frame(self.state)

    @cached_property
    def parameters(self) -> list[Parameter]:
        return parameters(self.state, self.trials)

    @property
    def best(self) -> dict[str, Any] | None:
        best: dict[str, Any] | None = self.facts["best"]
        return best

    @cached_property
    def drawn(self) -> pd.DataFrame:
        """The trials that figures show: all of them, or a random choice and the best ones."""
        if len(self.trials) <= MAX_DOTS:
            return self.trials
        leading = self.trials["objective"].rank(ascending=self.spec.metric.mode == "min") <= MAX_DOTS // 5
        chosen = self.trials.sample(MAX_DOTS, random_state=0).index
        return self.trials[leading | self.trials.index.isin(chosen)]


def _sections(run: _Run) -> Iterator[str]:
    yield _head(run)
    yield _outcome(run)
    yield _hyperparameters(run)
    yield _together(run)
    yield _curves(run)
    yield _searcher(run)
    yield _trials(run)
    yield _settings(run)


def _head(run: _Run) -> str:
    facts, metric = run.facts, run.spec.metric
    aim = "Maximise" if metric.mode == "max" else "Minimise"
    sentence = f"{aim} <b>{text(metric.name)}</b>"
    if run.spec.trainable:
        sentence += f" of <b>{text(run.spec.trainable)}</b>"
    names = [p.name for p in run.parameters]
    if names:
        shown = ", ".join(text(n) for n in names[:8]) + (", …" if len(names) > 8 else "")
        sentence += f" over {len(names)} hyperparameter{'s' if len(names) > 1 else ''}: {shown}"
    reason = f" – {text(facts['reason'])}" if facts["reason"] else ""
    state = f"<p class=sub>The run is {facts['status'].lower()}{reason}.</p>"
    state += "".join(f"<p class=sub>Warning: {text(warning)}</p>" for warning in facts["warnings"])
    return f"<h1>{text(run.spec.name)}</h1><p class=sub>{sentence}.</p>{state}{cards(_cards(run))}"


def _cards(run: _Run) -> Iterator[tuple[str, str, str]]:
    facts, counts, best = run.facts, run.facts["counts"], run.best
    yield (
        f"best {run.spec.metric.name}",
        number(best["value"]) if best else "–",
        f"trial {best['number']}" if best else "no trial has a usable value",
    )
    total = facts["num_samples"]
    yield "trials finished", f"{facts['finished']}", f"of {total}" if total else "no limit was set"
    parts = [f"{counts[s]} {s.lower()}" for s in ("COMPLETED", "RUNNING", "PENDING", "PAUSED") if counts[s]]
    yield "stopped early", f"{counts['STOPPED']}", ", ".join(parts)
    missing = sum(facts["without_value"].values()) - counts["FAILED"]
    yield "failed", f"{counts['FAILED']}", f"{missing} more without a usable value" if missing > 0 else ""
    left = f"about {duration(facts['time_left_s'])} left" if facts["time_left_s"] else ""
    yield "elapsed", duration(facts["elapsed_s"]), left
    saved = facts["time_saved_s"]
    busy = facts["utilisation"]
    if busy is not None:
        yield "workers busy", f"{busy:.0%}", "of the time that they were there"
    yield (
        "trained in all",
        duration(facts["trial_time_s"]),
        f"about {duration(saved)} saved by early stopping" if saved else "",
    )


def _outcome(run: _Run) -> str:
    """The best config beside the best value so far."""
    if run.trials.empty:
        return section("Results", "<p class=sub>No trial has been created yet.</p>")
    if run.best is None:
        return section("Results", _failures(run))
    drawn = best_so_far(run.state)
    drawn = drawn[drawn["number"].isin(set(run.drawn["number"]))]
    column = run.trials.get("provenance/method", pd.Series([""] * len(run.trials)))
    by_trial = dict(zip(run.trials["trial_id"], column.fillna("").astype(str), strict=True))
    figure = chart(plots.history(drawn, by_trial, run.spec.metric), 380, _left_out(run))
    domains = {p.name: p.domain for p in run.parameters}
    rows = [(k, v if v is not None else "None", domains.get(k, "")) for k, v in run.best["config"].items()]
    values = [(f"{name} (metric)", value, "") for name, value in run.best["values"].items()]
    searched = "searched" if any(domains.values()) else ""
    config = pairs(rows + values, head=("", f"trial {run.best['number']}", searched))
    left = f"<div><h3>Best config</h3>{config}{_repeated(run)}</div>"
    return section("Results", f"<div class=wide>{left}<div>{figure}</div></div>")


def _repeated(run: _Run) -> str:
    """What another trial of the best config would come to, where a model can say so within seconds."""
    best = run.state.best()
    if best is None or len(run.state.observations) > MOST_MODELLED:
        return ""
    from raytune_gp.analysis.prediction import predict  # with PyTorch

    try:
        median, low, high = predict(run.state, [best.config], 0.9).iloc[0]
    except RaytuneError:
        return ""
    ends = " to ".join(f"{end:.4g}" if math.isfinite(end) else "what was never seen" for end in (low, high))
    return (
        f"<p class=sub>A Gaussian process over all results predicts another trial of this config at "
        f"{median:.4g} (90 %: {ends}). A part of each best value is luck.</p>"
    )


def _failures(run: _Run) -> str:
    """Why there is no best trial: the errors, most frequent first."""
    errors = run.trials["error"].dropna().value_counts().head(5)
    if errors.empty:
        return "<p class=lead>No trial has finished with a usable value yet.</p>"
    rows = [(error, f"{count} trial{'s' if count > 1 else ''}") for error, count in errors.items()]
    return f"<p class='lead bad'>No trial has a usable value.</p>{pairs(rows, head=('error', ''))}"


def _hyperparameters(run: _Run) -> str:
    if not run.parameters or run.trials.empty:
        return ""
    return section(
        "Hyperparameters",
        _importance(run),
        *(_parameter(run, p) for p in run.parameters),
        lead="Left: the metric against the value, dark for late trials. Right: what was tried when, dark for "
        "good trials, open circles for those without a value. A click on a point leads to its trial.",
    )


def _importance(run: _Run) -> str:
    found = importance(run.trials, run.parameters)
    if found is None:
        return ""
    most = max(found["importance"].max(), 1e-9)
    bars = "".join(
        f"<div>{text(row.name)}</div>"
        f"<div><div class=bar style='width:{max(0.0, row.share / most):.1%}'></div></div>"
        f"<div>{max(0.0, row.share):.2f} ± {row.deviation:.2f}</div>"
        for row in found.rename(columns={"importance": "share"}).itertuples(index=False)
    )
    lead = (
        f"What tells good trials from bad ones, among those that were tried: a random forest explains "
        f"{found.attrs['r2']:.0%} of the variance of the ranks of trials it has not seen; each bar is the "
        f"share that a hyperparameter accounts for, alone and with others (mean ± deviation of five folds)."
    )
    return f"<div><p class=lead>{lead}</p><div class=bars>{bars}</div></div>"


def _parameter(run: _Run, parameter: Parameter) -> str:
    left = chart(parameter_plots.scatter(parameter, run.drawn, run.spec.metric), 270)
    right = chart(parameter_plots.over_time(parameter, run.drawn, run.spec.metric), 270)
    title = f"<h3>{text(parameter.name)} <span class=domain>{text(parameter.domain)}</span></h3>"
    return f"<div class=parameter>{title}<div class=two>{left}{right}</div></div>"


def _together(run: _Run) -> str:
    axes = run.parameters[:16]
    if run.best is None or len(axes) < 2:
        return ""
    lead = "Each line is a trial that has a value, dark for good ones. Drag along an axis to select trials."
    if len(axes) < len(run.parameters):
        lead += f" The first {len(axes)} of {len(run.parameters)} hyperparameters are shown."
    figure = chart(parameter_plots.parallel(axes, run.drawn, run.spec.metric), 420)
    return section("All hyperparameters together", figure, lead=lead)


def _curves(run: _Run) -> str:
    reports = reports_frame(run.state)
    if reports.empty or reports.groupby("trial_id").size().max() < 2:
        return ""
    number_of_best = run.best["number"] if run.best else None
    count = reports["trial_id"].nunique()
    lead = (
        f"All {count} trials that reported."
        if count <= plots.MAX_CURVES
        else (f"{plots.MAX_CURVES} of the {count} trials that reported, evenly chosen, and the best one.")
    )
    figure = plots.learning_curves(reports, run.trials, run.spec.metric, number_of_best)
    return section("Learning curves", chart(figure, 420), lead=lead)


def _searcher(run: _Run) -> str:
    """What proposed the trials, and how good its predictions were."""
    proposers, foretold = methods(run.trials, run.spec.metric.mode), predicted(run.trials)
    if proposers.empty and foretold.empty:
        return ""
    head = ["", *(c if c != "milliseconds" else "ms a suggestion" for c in proposers.columns[1:])]
    parts = [] if proposers.empty else [pairs(proposers.itertuples(index=False), head=head)]
    lead = "What proposed the trials, and what became of them." + _meaning(proposers)
    if len(foretold) >= 2:
        lead += " " + _judgement(prediction_quality(foretold))
        left = chart(plots.predictions(foretold, run.spec.metric), 340, "On the dotted line it was right.")
        right = chart(plots.deviations(foretold, run.spec.metric), 340, "It explores where it is unsure.")
        parts.append(f"<div class=two style='margin-top:18px'>{left}{right}</div>")
    return section("The searcher", *parts, lead=lead)


def _meaning(proposers: pd.DataFrame) -> str:
    """What the names of methods mean that do not say it by themselves."""
    known = {
        "guess": "Guesses are the user's own.",
        "initial": "Initial trials are spread about the middle, before there is a model.",
    }
    names = () if proposers.empty else proposers["method"]
    return "".join(f" {known[name]}" for name in names if name in known)


def _judgement(quality: dict[str, float]) -> str:
    better = 1.0 - quality["error"] / quality["baseline"] if quality["baseline"] > 0 else float("nan")
    compared = ""
    if np.isfinite(better):
        compared = f", {abs(better):.0%} {'less' if better >= 0 else 'more'} than always saying their mean"
    ranked = quality["rank_correlation"]
    correlation = f" Predicted and observed ranks correlate by {ranked:.2f}." if np.isfinite(ranked) else ""
    return (
        f"It predicted {quality['count']:.0f} values and was off by {quality['error']:.4g} on average"
        f"{compared}.{correlation} {quality['within_1']:.0%} lay within one predicted deviation and "
        f"{quality['within_2']:.0%} within two; 68% and 95% would be right."
    )


def _trials(run: _Run) -> str:
    if run.trials.empty:
        return ""
    metrics = ["objective", *(f"objective/{m.name}" for m in run.spec.metrics[1:])]
    configs = [f"config/{p.name}" for p in run.parameters]
    method = ["provenance/method"] if "provenance/method" in run.trials else []
    head = ["trial", "status", *(m.name for m in run.spec.metrics), *(p.name for p in run.parameters)]
    used = [name for name in _USED if name in run.trials]
    head += ["steps", "seconds", *(_USED[name] for name in used), *("by" for _ in method), "note"]
    columns = [
        "number",
        "status",
        *metrics,
        *configs,
        "step",
        "time_total_s",
        *used,
        *method,
        "error",
        "failure",
        "reason",
    ]
    shown = run.trials[columns].round({"time_total_s": 1})
    shown[used] = (shown[used] / (1 << 30)).round(2)
    rows = (_row(list(values)) for values in shown.itertuples(index=False, name=None))
    return section("Trials", table(head, rows, run.best["number"] if run.best else None), lead=_memory(run))


_USED = {"usage/host_peak_b": "host GiB", "usage/gpu_peak_b": "GPU GiB"}
"""Peaks of memory, and how their columns are headed."""


def _memory(run: _Run) -> str:
    """What the trials needed at most, in a sentence, or nothing where that is not known."""
    parts = []
    for name, where in (("usage/host_peak_b", "the host"), ("usage/gpu_peak_b", "its GPUs")):
        peaks = run.trials[name].dropna() if name in run.trials else pd.Series(dtype=float)
        if len(peaks):
            parts.append(f"{amount(peaks.median())} on {where} (the largest {amount(peaks.max())})")
    return f"The median trial needed at most {' and '.join(parts)}." if parts else ""


def _row(values: list[Any]) -> list[Any]:
    *values, error, failure, reason = values
    note = next((n for n in (error, reason, failure) if isinstance(n, str) and n), "")
    values[1] = (values[1], values[1].lower())
    return [*values, (note, "note")]


def _settings(run: _Run) -> str:
    spec, state = run.spec, run.state
    hidden = {"name", "metrics", "space", "fingerprints"}
    settings = [
        (_SAID.get(k, k), _shown(v))
        for k, v in spec.to_json().items()
        if k not in hidden and v not in (None, {}, "")
    ]
    started = datetime.fromtimestamp(state.created_at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    facts = [("started", started), ("coordinators", state.term), *state.versions.items()]
    left = f"<div><h3>Settings</h3>{pairs(settings)}</div>"
    return section(
        "The run", f"<div class=two>{left}<div><h3>Start and software</h3>{pairs(facts)}</div></div>"
    )


_SAID = {"grace_s": "grace_period_s", "resources": "resources_per_trial", "searcher": "search_alg"}
"""Settings that users know by another name than the journal's."""


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        if set(value) == {"name"}:
            return label(value["name"])
        shown = {k: f"({_shown(v)})" if isinstance(v, dict) else label(v) for k, v in value.items()}
        return ", ".join(f"{k} = {v}" for k, v in shown.items())
    return label(value)


def _left_out(run: _Run) -> str:
    """What the figures of values do not show, in a sentence or two, or nothing."""
    sentences = []
    if len(run.drawn) < len(run.trials):
        sentences.append(f"{len(run.drawn)} of {len(run.trials)} trials are drawn, the best among them.")
    count = beyond(run.drawn["objective"], run.spec.metric)
    if count:
        values = "1 value lies" if count == 1 else f"{count} values lie"
        sentences.append(f"{values} far beyond the others: double-click a figure to see the whole range.")
    return " ".join(sentences)
