"""The command that runs a run file in a cluster elsewhere: `submit`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from raytune_gp.cli.running import INTERRUPTED, RunFileArgument
from raytune_gp.errors import SpecError

if TYPE_CHECKING:
    from raytune_gp.runfile.model import RunFile
    from raytune_gp.runfile.plan import Plan

__all__ = ["EPILOG", "submit"]

EPILOG = (
    "Exit codes: those of `raytune-gp run`, which is what the job does; 1 also where the cluster does not "
    "take it; 130 where it is stopped, or followed no longer."
)


def submit(
    run_file: RunFileArgument,
    address: Annotated[
        str, typer.Option(metavar="URL", help="Of the head's job server.", envvar="RAY_API_SERVER_ADDRESS")
    ] = "http://127.0.0.1:8265",
    name: Annotated[str | None, typer.Option(help="Of the run, instead of the run file's name.")] = None,
    working_dir: Annotated[
        Path | None,
        typer.Option(
            metavar="DIRECTORY",
            help="What is copied to the cluster; the run file is in it. Default: the run file's directory, "
            "with its working_dir.",
        ),
    ] = None,
    env: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE", help="Of the job and its trials; whoever sees the cluster's jobs sees it."
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run of this name.")] = False,
    follow: Annotated[
        bool, typer.Option("--follow/--no-follow", help="Show what the job prints until it ends.")
    ] = True,
) -> None:
    """Run a run file in a Ray cluster elsewhere, as a job.

    The files of a directory go to the cluster's head, which runs `raytune-gp run` there; journal and storage
    are the cluster's. Ctrl-C ends the following and leaves the job alone.
    """
    from raytune_gp.execution.jobs import Job, JobServer
    from raytune_gp.runfile.plan import read_plan

    plan = read_plan(run_file, {"name": name})
    if resume and plan.file.name is None:
        raise SpecError(f"{run_file} gives no name: say which run to go on with, by --name or in the file")
    _refuse_what_stays_behind(plan.file)
    directory = _directory(plan, working_dir)
    job = Job(
        run=plan.name,
        run_file=plan.path.relative_to(directory).as_posix(),
        directory=str(directory),
        env=dict(_variable(text) for text in env or ()),
        resume=resume,
    )
    server = JobServer(address)
    job_id = server.submit(job)
    how = server.how_to_follow(job_id)
    if not follow:
        typer.echo(f"job {job_id} is submitted: {how}", err=True)
        return
    try:
        code = server.follow(job_id, lambda lines: typer.echo(lines, nl=False))
    except KeyboardInterrupt:
        typer.echo(f"\njob {job_id} goes on: {how}", err=True)
        raise typer.Exit(INTERRUPTED) from None
    raise typer.Exit(code)


def _variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise SpecError(f"--env is {text!r}; it must be NAME=VALUE, such as EPOCHS=5")
    return name, value


def _refuse_what_stays_behind(file: RunFile) -> None:
    """Raise SpecError for a place beside the run file: the copy in the cluster goes after the job."""
    for name, place in (("storage_path", file.storage_path), ("journal", file.journal)):
        if place is not None and _is_relative(place):
            raise SpecError(
                f"{name} is {place!r}, which is beside the run file, and of that the cluster has a copy that "
                f"does not stay: give a URI, or an absolute path in the cluster"
            )


def _is_relative(place: str) -> bool:
    scheme, url, rest = place.partition("://")
    if url:
        return scheme.startswith("sqlite") and not rest.startswith("//")
    return not place.startswith(("/", "~"))


def _directory(plan: Plan, given: Path | None) -> Path:
    """What is copied: the directory that was given, or the one that holds the run file and its working_dir.

    Raises SpecError where the run file is not in it, or where it would be all of the disk or the home.
    """
    here = plan.path.parent
    if given is not None:
        directory = given.expanduser().resolve()
        if not directory.is_dir() or not plan.path.is_relative_to(directory):
            raise SpecError(f"--working-dir is {str(given)!r}; it must be a directory with {plan.path} in it")
        return directory
    works_in = Path(plan.file.working_dir).expanduser()
    directory = here if works_in.is_absolute() else Path(os.path.commonpath([here, plan.directory]))
    if directory in (Path("/"), Path.home()):
        raise SpecError(
            f"all of {directory} would be copied to the cluster, since it holds {plan.path.name} and its "
            f"working_dir: put them into a directory of their own, or name one by --working-dir"
        )
    return directory
