"""A run in the terminal: a table that is redrawn in place, or plain lines where there is no terminal."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from itertools import chain, islice
from types import TracebackType
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from raytune_gp import events as ev
from raytune_gp.analysis.labels import duration, error_line, number, varied_config
from raytune_gp.analysis.summary import summary
from raytune_gp.crew import STARTING_S, WorkerStatus
from raytune_gp.spec import in_words
from raytune_gp.state import RunState
from raytune_gp.status import RunStatus
from raytune_gp.trial import Trial, TrialStatus

__all__ = ["Progress", "headline", "trial_line", "view"]

REDRAW_S = 0.25
"""The least time between two drawings of the table."""

HEARTBEAT_S = 30.0
"""Without a terminal, the least time between two lines that say nothing but how far the run is."""

MAX_ROWS = 20
CHROME_ROWS = 9
"""Lines of the terminal that the table's rows leave free, for its frame, the headline and a prompt."""

FIXED_WIDTH = 58
"""The most that the columns of a table without hyperparameters take, frame included."""

_COLOURS = {
    TrialStatus.RUNNING: "cyan",
    TrialStatus.COMPLETED: "green",
    TrialStatus.STOPPED: "yellow",
    TrialStatus.FAILED: "red",
}


class Progress:
    """Shows a run while it goes on. A context manager; call `update` whenever something may have happened.

    Args:
        console: where to show it; by default the standard output.
        verbose: 0 shows nothing.
        clock: seconds since the epoch, as in the run's events.
    """

    def __init__(
        self, console: Console | None = None, verbose: int = 1, clock: Callable[[], float] = time.time
    ):
        self._console = console or Console()
        self._silent = verbose <= 0
        self._clock = clock
        self._live: Live | None = None
        self._shown_at = -math.inf

    def update(self, state: RunState, events: Sequence[ev.Event] = ()) -> None:
        """Show `state`, to which `events` were applied since the last call; cheap if called too often."""
        if self._silent or state.index < 0:
            return
        ended = [state.trials[e.trial] for e in events if isinstance(e, ev.TrialEnded)]
        now = self._clock()
        if self._console.is_terminal:
            self._announce(state, [t for t in ended if t.status is TrialStatus.FAILED])
            if now - self._shown_at >= REDRAW_S:
                self._shown_at = now
                self._draw(state, now)
            return
        self._announce(state, ended)
        if now - self._shown_at >= HEARTBEAT_S:
            self._shown_at = now
            self._console.print(headline(state, now), soft_wrap=True)

    def close(self, state: RunState | None = None) -> None:
        """Show `state` for the last time, with the best config, and give the terminal back."""
        if not self._silent and state is not None and state.index >= 0:
            if self._console.is_terminal:
                self._draw(state, self._clock())
            else:
                self._console.print(headline(state, self._clock()), soft_wrap=True)
        if self._live is not None:
            self._live.stop()
            self._live = None
        if not self._silent and state is not None and state.best() is not None:
            self._console.print(_best_config(state), soft_wrap=True)

    def _announce(self, state: RunState, trials: Sequence[Trial]) -> None:
        for trial in trials:
            self._console.print(trial_line(state, trial), soft_wrap=True)

    def _draw(self, state: RunState, now: float) -> None:
        if self._live is None:
            self._live = Live(console=self._console, auto_refresh=False)
            self._live.start()
        rows = max(3, min(MAX_ROWS, self._console.height - CHROME_ROWS))
        self._live.update(view(state, now, self._console.width, rows), refresh=True)

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def view(state: RunState, now: float, width: int, max_rows: int = MAX_ROWS) -> RenderableType:
    """The headline and the table of at most `max_rows` trials: running ones first, then the newest."""
    trials = [state.trials[t] for t in state.running]
    newest = (t for t in reversed(state.trials.values()) if t.id not in state.running)
    trials = list(islice(chain(trials, newest), max_rows))
    names, configs = _config_columns(state, trials, width)
    table = Table(expand=False, border_style="dim", header_style="bold")
    table.add_column("trial", justify="right", no_wrap=True)
    table.add_column("status", no_wrap=True)
    for name in names:
        table.add_column(Text(_clean(name)), no_wrap=True, max_width=max(12, width - FIXED_WIDTH))
    metric = Text(_clean(state.spec.metric.name))
    table.add_column(metric, justify="right", no_wrap=True, max_width=12)
    table.add_column("step", justify="right", no_wrap=True)
    table.add_column("time", justify="right", no_wrap=True)
    best = state.best()
    for trial, config in zip(trials, configs, strict=True):
        status = Text(trial.status.value.lower(), style=_COLOURS.get(trial.status, "dim"))
        cells = [status, *(Text(c) for c in config), _value(state, trial)]
        cells += [Text(str(trial.step)), Text(duration(trial.time_total_s))]
        table.add_row(Text(str(trial.number)), *cells, style="bold" if trial is best else "")
    hidden = len(state.trials) - len(trials)
    more = [Text(f"and {hidden} trials more", style="dim")] if hidden else []
    return Group(headline(state, now), table, *more)


def _config_columns(
    state: RunState, trials: Sequence[Trial], width: int
) -> tuple[list[str], list[list[str]]]:
    """A column for each hyperparameter where they all fit into `width`, else one for all of them."""
    configs = [varied_config(state, trial) for trial in trials]
    names = list(dict.fromkeys(chain.from_iterable(configs)))
    cells = [[_shown(config[n]) if n in config else "" for n in names] for config in configs]
    brief = _brief(names)
    widths = [max(len(cell) for cell in (name, *column)) for name, *column in zip(brief, *cells, strict=True)]
    if sum(widths) + 3 * len(widths) <= width - FIXED_WIDTH:
        return brief, cells
    shorter = dict(zip(names, brief, strict=True))
    return ["config"], [[_joined({shorter[n]: v for n, v in config.items()})] for config in configs]


def _brief(names: Sequence[str]) -> list[str]:
    """The last part of each nested name, or the whole of it where that would not be the only one."""
    tails = [name.rpartition("/")[2] for name in names]
    return [t if tails.count(t) == 1 else name for name, t in zip(names, tails, strict=True)]


def _value(state: RunState, trial: Trial) -> Text:
    """The trial's objective, or what it reported last."""
    value = trial.objective[0] if trial.objective else trial.value(state.spec.metric)
    if value is None:
        return Text("–", style="dim")
    if not math.isfinite(value):
        return Text(str(value), style="red")
    if trial.status.is_finished and trial.objective is None:
        return Text(number(value), style="dim")
    return Text(number(value))


def headline(state: RunState, now: float) -> Text:
    """How far the run is, what is best, and how long it takes, at time `now` (seconds since the epoch)."""
    facts = summary(state, now)
    total = f" of {facts['num_samples']}" if facts["num_samples"] is not None else ""
    counts = ", ".join(f"{count} {status.lower()}" for status, count in facts["counts"].items() if count)
    parts = [f"{_clean(state.spec.name)}: {facts['finished']}{total} trials finished"]
    parts[0] += f" ({counts})" if counts else ""
    best = facts["best"]
    if best:
        parts.append(f"best {_clean(facts['metric'])} {number(best['value'])} (trial {best['number']})")
    left = facts["time_left_s"]
    times = duration(facts["elapsed_s"])
    parts.append(f"{times}, about {duration(left)} left" if left else times)
    if facts["utilisation"] is not None and state.observations:
        parts.append(f"workers {facts['utilisation']:.0%} busy")
    if facts["trials_per_gpu"] > 1:
        parts.append(f"{facts['trials_per_gpu']} trials a GPU")
    if state.status.is_ended:
        parts.append(f"{state.status.value.lower()}: {_clean(state.reason)}")
    elif state.status is RunStatus.STOPPING:
        parts.append(f"stopping, trials end at their next report: {_clean(state.reason)}")
    elif _waits_for_room(state, now):
        asked = _clean(in_words(state.spec.resources))
        parts.append(f"waiting for a node with room for a trial ({asked})")
    return Text(" · ".join(parts))


def _waits_for_room(state: RunState, now: float) -> bool:
    """Whether no trial runs, and the workers that were asked for have not come for longer than they start."""
    requested = any(w.status is WorkerStatus.REQUESTED for w in state.workers.values())
    return requested and not state.running and now - state.now > STARTING_S


def trial_line(state: RunState, trial: Trial) -> Text:
    """One line on a trial that has ended: its config, and its value or its error."""
    line = Text(f"trial {trial.number} {trial.status.value.lower()}", style=_COLOURS.get(trial.status, ""))
    error = error_line(trial)
    steps = "1 step" if trial.step == 1 else f"{trial.step} steps"
    line.append(f" after {steps}, {duration(trial.time_total_s)}: ", style="default")
    if error is not None:
        line.append(_clean(error))
    else:
        line.append(f"{_clean(state.spec.metric.name)} ", style="default").append_text(_value(state, trial))
    return line.append(f" ({_joined(varied_config(state, trial))})", style="dim")


def _best_config(state: RunState) -> Text:
    best = state.best()
    assert best is not None
    return Text("best config: ", style="bold").append(_joined(varied_config(state, best)), style="default")


def _joined(config: dict[str, Any]) -> str:
    return ", ".join(f"{_clean(name)}={_shown(value)}" for name, value in config.items())


def _shown(value: Any) -> str:
    return _clean(f"{value:.4g}" if isinstance(value, float) else str(value))


def _clean(text: str) -> str:
    """The text without what a terminal would obey, such as escape sequences in an error message."""
    return "".join(c if c.isprintable() else " " for c in text)
