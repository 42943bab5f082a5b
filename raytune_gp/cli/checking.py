"""The command that checks a run file, and a program's patterns on a log, before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from raytune_gp.cli.running import RunFileArgument
from raytune_gp.errors import SpecError
from raytune_gp.spec import in_words

if TYPE_CHECKING:
    from raytune_gp.runfile.plan import Checked, Plan

__all__ = ["check"]


def check(
    run_file: RunFileArgument,
    log: Annotated[
        Path | None,
        typer.Option(
            "--log",
            metavar="FILE",
            help="What a program printed, here or on SageMaker: it is scraped as a trial's output is, and "
            "every metric must be in it.",
        ),
    ] = None,
) -> None:
    """Check a run file without training, and say what would run.

    Its keys, its search space, its searcher and scheduler are made, its trainable is imported, and the
    patterns of its metrics are tried on numbers as programs print them.
    """
    from raytune_gp.cli.output import console, pairs
    from raytune_gp.runfile.plan import read_plan

    plan = read_plan(run_file)
    checked = plan.check()
    typer.echo(f"{run_file} can run:")
    console().print(pairs(_described(plan, checked)))
    if plan.file.metrics:
        _try_on_samples(plan.file.definitions)
    if log is not None:
        _try_on_log(plan, log)


def _described(plan: Plan, checked: Checked) -> dict[str, Any]:
    file, space = plan.file, checked.space
    metrics = file.definitions if file.metrics else {}
    at_a_time = file.max_concurrent_trials or "as many as the cluster holds"
    trials = "without bound" if checked.trials < 0 else str(checked.trials)
    return {
        "trainable": f"{plan.trainable} in {plan.directory}",
        "objective": f"{file.metric}, {file.mode}, {file.scope}",
        "trials": f"{trials}, {at_a_time} at a time, each with {in_words(checked.resources)}",
        "searcher": _options(checked.searcher),
        "scheduler": _options(checked.scheduler),
        **{f"space.{name}": str(domain) for name, domain in space.dimensions.items()},
        **{f"space.{name}": repr(value) for name, value in space.constants.items()},
        **{f"metrics.{name}": pattern for name, pattern in metrics.items()},
        "storage": plan.storage_path,
    }


def _options(about: Mapping[str, Any]) -> str:
    return " ".join([str(about.get("name")), *(f"{k}={v!r}" for k, v in about.items() if k != "name")])


def _try_on_samples(metrics: Mapping[str, str]) -> None:
    """Say which numbers a pattern would miss; no error, for a metric may have none such."""
    from raytune_gp.trainable.patterns import TOKEN, unread_samples

    for name, pattern in metrics.items():
        missed = unread_samples(pattern)
        if missed:
            typer.echo(
                f"note: the pattern of {name!r} is {pattern!r}, and does not read {', '.join(missed)}: if it "
                f"may be such a number, write {TOKEN} for the group",
                err=True,
            )


@dataclass
class _Found:
    """What a pattern found in a log."""

    lines: int = 0
    values: list[float] = field(default_factory=list)
    """The first and the last one."""
    count: int = 0

    def add(self, values: list[float]) -> None:
        """The values of one more line."""
        if values:
            self.lines += 1
            self.count += len(values)
            self.values = [(self.values or values)[0], values[-1]]


def _try_on_log(plan: Plan, log: Path) -> None:
    """Scrape a program's output as a trial would. Raises SpecError where a metric is not found in it."""
    from raytune_gp.cli.output import console
    from raytune_gp.trainable.log_files import log_lines
    from raytune_gp.trainable.scraper import Scraper

    if plan.file.metrics is None:
        raise SpecError("--log is for a command with metrics; this run file names a function")
    metrics = plan.file.definitions
    scraper = Scraper(metrics)
    found = {name: _Found() for name in metrics}
    lines = reports = 0
    for line in log_lines(log):
        lines += 1
        values = scraper.values(line)
        reports += len(scraper.gather(values))
        for name, what in found.items() if values else ():
            what.add([value for other, value in values if other == name])
    reports += len(scraper.finish())
    typer.echo(f"{log}: {lines} lines make {reports} reports")
    console().print(_table(metrics, found))
    missing = [name for name, what in found.items() if not what.count]
    if missing:
        patterns = ", ".join(f"{name!r} by {metrics[name]!r}" for name in missing)
        raise SpecError(f"not found in {log}: {patterns}")


def _table(metrics: Mapping[str, str], found: Mapping[str, _Found]) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table("metric", "lines", "values", "first", "last", "pattern", box=None, padding=(0, 2, 0, 0))
    for name, what in found.items():
        first, last = (repr(value) for value in what.values) if what.values else ("–", "–")
        cells = (name, str(what.lines), str(what.count), first, last, metrics[name])
        table.add_row(*(Text(cell) for cell in cells))
    return table
