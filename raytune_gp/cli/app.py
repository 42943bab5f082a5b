"""The commands of `raytune-gp` put together, and how errors become exit codes."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from raytune_gp.cli import checking, detached, reading, replaying, running, submitting
from raytune_gp.errors import RaytuneError, RunFailedError

__all__ = ["app", "main"]


class _Commands(TyperGroup):
    """Says an error of raytune-gp in a line on stderr: exit code 1, and 3 where a run could not go on."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command. With --debug, errors keep their traceback."""
        try:
            return super().invoke(ctx)
        except RaytuneError as error:
            if ctx.params.get("debug"):
                raise
            typer.echo(f"raytune-gp: {error}", err=True)
            raise typer.Exit(running.FAILED if isinstance(error, RunFailedError) else 1) from None
        except KeyboardInterrupt:
            raise typer.Exit(running.INTERRUPTED) from None


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import PackageNotFoundError, version

        try:
            found = version("raytune-gp")
        except PackageNotFoundError:
            found = "(not installed: run from its source)"
        typer.echo(f"raytune-gp {found}")
        raise typer.Exit


app = typer.Typer(
    cls=_Commands,
    name="raytune-gp",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _root(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version.")
    ] = False,
) -> None:
    """Gaussian-process hyperparameter tuning on Ray. Begin with `raytune-gp demo`."""


_EPILOGS: dict[Any, str] = {
    **running.EPILOGS,
    replaying.replay: replaying.EPILOG,
    submitting.submit: submitting.EPILOG,
}

for _command in (
    *(running.demo, running.run, checking.check, running.resume),
    *(submitting.submit, detached.attach, running.stop),
    *(reading.list_runs, reading.status, reading.show, reading.logs, reading.report),
    detached.clean,
    replaying.replay,
):
    app.command(_command.__name__.removesuffix("_runs"), epilog=_EPILOGS.get(_command))(_command)


def main() -> None:
    """Run the command that the process was called with, and end the process with its exit code."""
    app(prog_name="raytune-gp")
