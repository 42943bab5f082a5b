"""Commands that look at runs in a journal, going on or over; none of them needs Ray."""

from __future__ import annotations

import codecs
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from raytune_gp.cli.journals import JournalOption, NameArgument, find_trial, open_journal, replay
from raytune_gp.errors import FINAL, JournalError, RaytuneError

if TYPE_CHECKING:
    from raytune_gp.events import Event
    from raytune_gp.state import RunState
    from raytune_gp.storage.journal import SQLJournal
    from raytune_gp.trial import Trial

__all__ = ["list_runs", "logs", "report", "show", "status"]

POLL_S = 0.5
"""How often a command that follows a run looks at it, in seconds."""

JsonOption = Annotated[bool, typer.Option("--json", help="Strict JSON on the standard output.")]


def list_runs(
    journal: JournalOption = None,
    last: Annotated[int, typer.Option(min=1, help="So many of the newest runs.")] = 20,
    json: JsonOption = False,
) -> None:
    """List the newest runs of the journal."""
    from raytune_gp.analysis.summary import summary
    from raytune_gp.cli.output import print_json

    facts, unread = [], []
    with open_journal(journal) as opened:
        for row in opened.runs()[-last:]:
            try:
                state = replay(opened, row.name)
            except RaytuneError as error:  # the others can be read
                unread.append(f"run {row.name!r} cannot be read: {error}")
            else:
                facts.append({**summary(state), "last_event_at": state.now})
    if json:
        print_json(facts)
    elif facts:
        _print_runs(facts)
    elif not unread:
        typer.echo("the journal holds no run yet", err=True)
    for fault in unread:
        typer.echo(f"raytune-gp: {fault}", err=True)
    if unread:
        raise typer.Exit(1)


def _print_runs(facts: list[dict[str, Any]]) -> None:
    from rich.table import Table

    from raytune_gp.analysis.labels import number
    from raytune_gp.cli.output import ago, console, plain

    table = Table(border_style="dim", header_style="bold")
    for column in ("run", "status", "trials", "best", "last event"):
        table.add_column(column, justify="right" if column == "trials" else "left", overflow="fold")
    for f in facts:
        best = f"{f['metric']} {number(f['best']['value'])}" if f["best"] else "–"
        total = "" if f["num_samples"] is None else f" of {f['num_samples']}"
        cells = (f["name"], f["status"].lower(), f"{f['finished']}{total}", best, ago(f["last_event_at"]))
        table.add_row(*map(plain, cells))
    console().print(table)


def status(
    name: NameArgument,
    journal: JournalOption = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Until the run ends, or Ctrl-C.")] = False,
    json: JsonOption = False,
) -> None:
    """Say how far a run is, and what is best so far."""
    from raytune_gp.analysis.labels import varied_config
    from raytune_gp.analysis.summary import summary
    from raytune_gp.cli.output import ago, console, pairs, plain, print_json
    from raytune_gp.progress import view

    if follow and json:
        raise typer.BadParameter("--follow is for a terminal, and --json for a program: leave one out")
    with open_journal(journal) as opened:
        state = replay(opened, name)
        if follow:
            _follow(opened, state)
            return
    facts = {**summary(state, time.time()), "last_event_at": state.now}
    if json:
        print_json(facts)
        return
    screen = console()
    screen.print(view(state, time.time(), screen.width, 10))
    for warning in facts["warnings"]:
        screen.print(plain(f"warning: {warning}"), style="yellow", soft_wrap=True)
    if not state.status.is_ended:
        screen.print(f"last event {ago(state.now)}")
    best = state.best()
    if best is not None:
        screen.print(f"best config, of trial {best.number}:")
        screen.print(pairs(varied_config(state, best)))


def _follow(journal: SQLJournal, state: RunState) -> None:
    """Show the run as its own terminal does, from its journal."""
    from raytune_gp.progress import Progress

    with Progress() as progress:
        progress.update(state)
        while not state.status.is_ended:
            time.sleep(POLL_S)
            events = _news(journal, state)
            progress.update(state, events)
        progress.close(state)


def _news(journal: SQLJournal, state: RunState) -> list[Event]:
    """The events that have come, applied to `state`. A journal that is away for a while is waited for.

    Raises one of `errors.FINAL` where it is gone for good.
    """
    told = None
    while True:
        try:
            events = [event for _, event in journal.read(state.spec.name, state.index)]
            break
        except FINAL:
            raise
        except JournalError as error:
            if str(error) != told:
                told = str(error)
                typer.echo(f"waiting: {told}", err=True)
            time.sleep(POLL_S)
    for event in events:
        state.apply(event)
    return events


def show(
    name: NameArgument,
    trial: Annotated[str | None, typer.Argument(help="One trial, such as 3: all that is known.")] = None,
    journal: JournalOption = None,
    json: JsonOption = False,
) -> None:
    """Show the trials of a run, or all that is known of one.

    That is its config, where the config came from, its reports and its error.
    """
    from raytune_gp.cli.output import console, print_json, trial_json
    from raytune_gp.progress import view

    with open_journal(journal) as opened:
        state = replay(opened, name)
    if trial is not None:
        found = find_trial(state, trial)
        if json:
            print_json(trial_json(state, found, reports=True))
        else:
            _print_trial(state, found)
    elif json:
        print_json([trial_json(state, t) for t in state.trials.values()])
    else:
        screen = console()
        screen.print(view(state, time.time(), screen.width, len(state.trials)))


def _print_trial(state: RunState, trial: Trial) -> None:
    from rich.table import Table

    from raytune_gp.analysis.labels import duration, flat_config, leaf_names, number
    from raytune_gp.cli.output import console, pairs, plain

    screen = console()
    values = dict(zip((m.name for m in state.spec.metrics), trial.objective or (), strict=False))
    facts = {
        "trial": trial.id,
        "status": trial.status.value.lower() + (f": {trial.reason}" if trial.reason else ""),
        **values,
        "attempts": trial.attempt,
        "trained": duration(trial.time_total_s),
        **_used(trial),
        "checkpoint": trial.checkpoint.path if trial.checkpoint else None,
    }
    screen.print(pairs(facts))
    for title, content in (
        ("config", flat_config(trial.config, leaf_names(state))),
        ("provenance", flat_config(trial.provenance)),
    ):
        screen.print(f"\n[bold]{title}[/bold]")
        screen.print(pairs(content))
    history = trial.history
    if len(history):
        table = Table(title="reports", title_justify="left", border_style="dim", header_style="bold")
        names = [column for column in history.columns if column != "training_iteration"]
        for column in ("step", *names):
            table.add_column(plain(column), justify="right")
        for position, step in enumerate(history.steps):
            table.add_row(str(step), *(number(history.columns[column][position]) for column in names))
        screen.print()
        screen.print(table)
    if trial.error:
        screen.print("\n[bold red]error[/bold red]")
        screen.print(plain(trial.error))


def _used(trial: Trial) -> dict[str, str]:
    """What it used of its machine, as far as that is known."""
    from raytune_gp.analysis.labels import amount
    from raytune_gp.usage import shown

    usage, words = shown(trial.usage), {}
    if "host_peak_b" in usage:
        words["host memory"] = f"{amount(usage['host_peak_b'])} at most"
    if "gpu_peak_b" in usage:
        of = f" of {amount(usage['gpu_total_b'])}" if "gpu_total_b" in usage else ""
        words["GPU memory"] = f"{amount(usage['gpu_peak_b'])}{of} at most"
    if "cpu_cores" in usage:
        words["CPU"] = f"{usage['cpu_cores']:.2g} cores on average"
    if "gpu_util" in usage:
        words["GPU"] = f"{usage['gpu_util']:.0%} utilised on average"
    return words


def logs(
    name: NameArgument,
    trial: Annotated[str, typer.Argument(help="The trial, such as 3.")],
    journal: JournalOption = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the trial ends, or Ctrl-C.")
    ] = False,
) -> None:
    """Print what a trial has printed.

    Where the storage is off this machine, the log is there once the trial has ended.
    """
    with open_journal(journal) as opened:
        state = replay(opened, name)
        found = find_trial(state, trial)
        tail = _Tail(state, found)
        going = follow
        while going:
            going = not (state.status.is_ended or found.status.is_finished)
            tail.print_news()
            if going:
                time.sleep(POLL_S)
                _news(opened, state)
        if not follow:
            tail.print_news()
    if not tail.found:
        why = "has not printed yet, or ran with --inline, which prints where it runs"
        typer.echo(f"trial {found.id} has no log at {tail.path}: it {why}", err=True)
        raise typer.Exit(1)


class _Tail:
    """A trial's log, printed from where it was printed to the last time."""

    def __init__(self, state: RunState, trial: Trial):
        from raytune_gp.storage.artifacts import Storage

        storage = Storage(state.spec.storage_path, state.spec.name)
        self.path = storage.path(trial.label, "log.txt")
        self.found = False
        self._filesystem = storage.filesystem
        self._printed = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def print_news(self) -> None:
        """Print what was added."""
        try:
            with self._filesystem.open_input_file(self.path) as file:
                file.seek(self._printed)
                news = file.read()
        except FileNotFoundError:
            return
        self.found = True
        self._printed += len(news)
        typer.echo(self._decoder.decode(news), nl=False)


def report(
    name: NameArgument,
    out: Annotated[Path | None, typer.Option(help="The file to write. Default: NAME.html.")] = None,
    journal: JournalOption = None,
) -> None:
    """Write the report of a run, an HTML page that works offline."""
    from raytune_gp.analysis.report import write_report

    with open_journal(journal) as opened:
        state = replay(opened, name)
    typer.echo(write_report(state, out or Path(f"{name}.html")))
