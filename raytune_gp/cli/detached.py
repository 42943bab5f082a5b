"""Commands for runs that go on without the process that started them: `attach` and `clean`."""

from __future__ import annotations

from typing import Annotated

import typer

from raytune_gp.cli.journals import JournalOption, NameArgument, journal_url
from raytune_gp.cli.running import QuietOption, ReportOption, finish

__all__ = ["attach", "clean"]


def attach(
    name: NameArgument, journal: JournalOption = None, report: ReportOption = None, quiet: QuietOption = False
) -> None:
    """Follow a run that goes on in the cluster, until it ends.

    Ctrl-C ends the following and leaves the run alone. Of a run that is over, the result is shown at once.
    """
    from raytune_gp import tune

    try:
        results = tune.attach(name, journal=journal_url(journal), verbose=0 if quiet else 1)
    except KeyboardInterrupt as error:
        typer.echo(str(error), err=True)
        raise
    finish(results, report)


def clean(
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="List it, and remove nothing.")] = False,
) -> None:
    """Remove what runs that are dead have left behind.

    In the Ray cluster these are workers without a coordinator; on this machine, processes that trials have
    started, and directories for files on their way to the storage. Runs that go on are not touched, and
    journals, checkpoints and logs stay.
    """
    from raytune_gp.execution.cleaning import look

    found = look()
    for leftover in found.leftovers:
        if not dry_run:
            leftover.remove()
        typer.echo(f"{'found' if dry_run else 'removed'}: {leftover.what}: {leftover.why}")
    for line in found.left_alone:
        typer.echo(f"left alone: {line}", err=True)
    if not found.leftovers:
        typer.echo("nothing to remove", err=True)
