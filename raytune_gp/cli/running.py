"""Commands that start, resume and stop runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from raytune_gp.cli.journals import (
    JournalOption,
    NameArgument,
    find_trial,
    journal_url,
    open_journal,
    replay,
)
from raytune_gp.errors import RunError, RunExistsError, SpecError

if TYPE_CHECKING:
    from raytune_gp.results import ResultGrid
    from raytune_gp.runfile.plan import Plan

__all__ = ["EPILOGS", "FAILED", "INTERRUPTED", "RunFileArgument", "demo", "finish", "resume", "run", "stop"]

FAILED = 3
INTERRUPTED = 130

EXIT_CODES = (
    "Exit codes: 0 the run is completed; 1 it was refused, before anything started; 2 wrong usage; "
    "3 it could not go on, or no trial gave a usable value; 130 it was stopped before its end, "
    "by Ctrl-C or `raytune-gp stop`. A detached run that is going: 0."
)

RunFileArgument = Annotated[Path, typer.Argument(metavar="RUN.yaml", help="The run file.")]
SamplesOption = Annotated[
    int | None, typer.Option("--num-samples", "-n", help="Instead of the run file's num_samples.")
]
InlineOption = Annotated[
    bool, typer.Option("--inline", help="In this process, one trial at a time, without Ray; for a debugger.")
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]
DetachOption = Annotated[
    bool, typer.Option("--detach", "-d", help="Return once it is going; `raytune-gp attach` follows it.")
]
ReportOption = Annotated[
    Path | None, typer.Option("--report", metavar="FILE", help="Write an HTML report in the end.")
]


def demo(
    trials: Annotated[int, typer.Option(min=2, help="How many trials.")] = 12,
    workers: Annotated[int, typer.Option(min=1, help="How many at a time, with a CPU each.")] = 2,
    seed: Annotated[int, typer.Option(min=0, help="Of the searcher.")] = 0,
    data_dir: Annotated[
        Path | None,
        typer.Option(help="A copy of CIFAR-10, archive or folder. Default: $CIFAR10_DIR, else digits."),
    ] = None,
    download: Annotated[bool, typer.Option("--download", help="Fetch CIFAR-10 (170 MB) if need be.")] = False,
    out: Annotated[Path | None, typer.Option(help="Where the HTML report goes. Default: NAME.html.")] = None,
    name: Annotated[str | None, typer.Option(help="Of the run. Default: demo and the time.")] = None,
    journal: JournalOption = None,
) -> None:
    """Tune a small residual network on this machine, in a few minutes.

    It starts a Ray cluster of its own, and tunes learning rate, momentum, weight decay and batch size on
    CIFAR-10, or on scikit-learn's images of digits where there is no CIFAR-10.
    """
    from raytune_gp.demo import Demo

    place = None if data_dir is None else str(data_dir)
    Demo(trials, workers, seed, place, download, out, name, journal_url(journal)).go()


def run(
    run_file: RunFileArgument,
    name: Annotated[str | None, typer.Option(help="Instead of the run file's name.")] = None,
    num_samples: SamplesOption = None,
    journal: JournalOption = None,
    report: ReportOption = None,
    inline: InlineOption = False,
    detach: DetachOption = False,
    quiet: QuietOption = False,
) -> None:
    """Run what a run file says.

    It runs on the Ray cluster at $RAY_ADDRESS, or on one that is started on this machine. Nothing is run but
    the trainable that the file names. Ctrl-C stops gently: trials end at their next report, and
    `raytune-gp resume` goes on; a second Ctrl-C does not wait for that.
    """
    from raytune_gp.afterwards import command_for
    from raytune_gp.runfile.plan import read_plan

    plan = read_plan(run_file, {"name": name, "num_samples": num_samples})
    url = _url(plan, journal)
    try:
        _go(plan, _arguments(plan, detach, report, url), url, report, inline, quiet)
    except RunExistsError as error:
        with open_journal(url) as opened:
            if not opened.exists(plan.name):  # it is going on in this cluster, from another journal
                raise
        raise RunExistsError(f"{error}. From the shell: {command_for('resume', plan.name, url)}") from None


def resume(
    run: Annotated[
        str, typer.Argument(metavar="NAME|RUN.yaml", help="The run, or its run file if that has a name.")
    ],
    name: Annotated[str | None, typer.Option(help="Of the run, where its run file has none.")] = None,
    num_samples: SamplesOption = None,
    journal: JournalOption = None,
    storage: Annotated[
        str | None,
        typer.Option(
            metavar="PATH|URI",
            help="Where the run's checkpoints are, in case its journal is lost. Default: the run file's.",
        ),
    ] = None,
    report: ReportOption = None,
    inline: InlineOption = False,
    detach: DetachOption = False,
    quiet: QuietOption = False,
) -> None:
    """Go on with a run that `raytune-gp run` started.

    Finished trials stay, and unfinished ones continue from their checkpoints. The run file is read again: it
    must still be there, with the same search space. A run that the journal lacks is restored from the backup
    beside its checkpoints.
    """
    from raytune_gp.execution.restoring import bring_back
    from raytune_gp.runfile.plan import read_plan
    from raytune_gp.settings import absolute_storage_path, default_storage_path

    path = Path(run)
    plan = read_plan(path, {"name": name}) if path.suffix in (".yaml", ".yml") or path.is_file() else None
    if plan is not None and plan.file.name is None:
        raise SpecError(f"{run} gives no name: say which run to go on with, by --name or in the file")
    url = journal_url(journal) if plan is None else _url(plan, journal)
    known = run if plan is None else plan.name
    usual = default_storage_path() if plan is None else plan.storage_path
    with open_journal(url, create=True) as opened:
        if not opened.exists(known):
            place = usual if storage is None else absolute_storage_path(storage)
            about = bring_back(opened, url, known, place, "inline" if inline else "ray")
            if about is not None:
                typer.echo(about.explain(known, opened.shown), err=True)
        state = replay(opened, known)
    origin = state.spec.run_file
    if plan is None and not origin:
        raise RunError(
            f"run {run!r} was not started from a run file: run its script again with resume=True, or give "
            f"the run file that it can go on with"
        )
    plan = plan or read_plan(origin["path"], {"name": run})
    if origin and origin["sha256"] != plan.sha256:
        typer.echo(f"{plan.path} has changed since the run was started; it counts as it is now", err=True)
    samples = plan.samples_to_resume(state.spec.num_samples) if num_samples is None else num_samples
    arguments = {
        **_arguments(plan, detach, report, url),
        "num_samples": samples,
        "storage_path": state.spec.storage_path,
    }
    results = _go(plan, {**arguments, "resume": True}, url, report, inline, quiet)
    if results.state.index == state.index:
        typer.echo(f"run {plan.name} is completed: a larger --num-samples would go on", err=True)


def _arguments(plan: Plan, detach: bool, report: Path | None, url: str) -> dict[str, Any]:
    """The run file's arguments. Raises SpecError for a report of a run that is not followed to its end."""
    from raytune_gp.afterwards import command_for

    arguments = plan.arguments()
    arguments["detached"] = arguments["detached"] or detach
    if report is not None and arguments["detached"]:
        later = command_for("report", plan.name, url)
        raise SpecError(f"a detached run has no end here: write its report by {later}")
    return arguments


def _url(plan: Plan, journal: str | None) -> str:
    return journal_url(journal, plan.file.journal, plan.path.parent)


def _go(
    plan: Plan,
    arguments: Mapping[str, Any],
    url: str,
    report: Path | None,
    inline: bool,
    quiet: bool,
) -> ResultGrid:
    """Run to the end (a detached run: set it going), and `finish`."""
    from raytune_gp import tune

    executor = "inline" if inline else "ray"
    results = tune.run(**arguments, journal=url, executor=executor, verbose=0 if quiet else 1)
    if results.state.status.is_ended:
        finish(results, report)
    return results


def finish(results: ResultGrid, report: Path | None) -> None:
    """Write the report of a run that is over, and exit as the run did, unless it went well."""
    state = results.state
    if report is not None:
        try:
            typer.echo(f"report: {results.write_report(report)}", err=True)
        except SpecError as error:  # the results are in the journal, whatever became of the page
            typer.echo(f"raytune-gp: {error}, by raytune-gp report {state.spec.name} --out FILE", err=True)
    if state.status.value == "STOPPED":
        raise typer.Exit(INTERRUPTED)
    if state.best() is None:
        first = f"; the first: {results.errors[0]}" if results.errors else ""
        typer.echo(f"raytune-gp: none of {len(results)} trials gave a usable value{first}", err=True)
        raise typer.Exit(FAILED)


def stop(
    name: NameArgument,
    trial: Annotated[str | None, typer.Argument(help="Only this trial of it.")] = None,
    journal: JournalOption = None,
) -> None:
    """Ask a run, or one of its trials, to stop.

    Trials end at their next report. A run can be resumed.
    """
    with open_journal(journal) as opened:
        state = replay(opened, name)
        if state.status.is_ended:
            raise RunError(f"run {name!r} is not going on: {state.status.value.lower()}, {state.reason}")
        reason = "stopped by raytune-gp stop"
        if trial is None:
            opened.request(name, "stop", {"reason": reason})
            typer.echo(f"asked run {name} to stop", err=True)
            return
        found = find_trial(state, trial)
        if found.status.is_finished:
            raise RunError(f"trial {found.id} of run {name!r} is {found.status.value.lower()} already")
        opened.request(name, "stop_trial", {"trial": found.id, "reason": reason})
        typer.echo(f"asked trial {found.id} of run {name} to stop", err=True)


EPILOGS: dict[Callable[..., None], str] = {run: EXIT_CODES, resume: EXIT_CODES}
