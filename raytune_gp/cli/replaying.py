"""The command that derives a run's suggestions again from its journal, and compares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from raytune_gp.cli.journals import JournalOption, NameArgument, open_journal
from raytune_gp.errors import RaytuneError

if TYPE_CHECKING:
    from raytune_gp.replay import Derived

__all__ = ["EPILOG", "replay"]

DIFFERS = 1
CANNOT = 2
SHOWN = 10
"""So many differences are written out."""

EPILOG = (
    "Exit codes: 0 every suggestion came out the same, to the last bit; 1 some differ; 2 they cannot be "
    "derived again, or wrong usage."
)


def replay(
    ctx: typer.Context,
    name: NameArgument,
    journal: JournalOption = None,
    json: Annotated[bool, typer.Option("--json", help="Strict JSON on the standard output.")] = False,
) -> None:
    """Derive every suggestion of a run again from its journal, and compare.

    They come out to the last bit with the same versions, CPU and threads; what of these is not as it was is
    said. Linear algebra gets as many threads as the journal says. It takes as long as the searcher took.
    """
    try:
        facts = _facts(name, journal)
    except RaytuneError as error:
        if ctx.find_root().params.get("debug"):
            raise
        typer.echo(f"raytune-gp: {error}", err=True)
        raise typer.Exit(CANNOT) from None
    if json:
        from raytune_gp.cli.output import print_json

        print_json(facts)
    else:
        _print(name, facts)
    if facts["equal"] < facts["suggestions"]:
        raise typer.Exit(DIFFERS)


def _facts(name: str, journal: str | None) -> dict[str, Any]:
    """What came of it, as JSON values. A suggestion counts as equal where its whole answer is."""
    from raytune_gp.execution.environment import threads_as
    from raytune_gp.replay import derive, make_asker
    from raytune_gp.state import RunState

    with open_journal(journal) as opened:
        events = [event for _, event in opened.read(name)]
    state = RunState.of(events)
    make_asker(state.spec)  # loads the libraries whose threads are set
    with threads_as(state.machine):
        answers = list(derive(events))
        elsewhere = _elsewhere(answers)
    return {
        "run": name,
        "suggestions": sum(answer.count for answer in answers),
        "equal": sum(answer.count for answer in answers if not answer.differences),
        "not_compared": sorted({parameter for answer in answers for parameter in answer.untold}),
        "elsewhere": elsewhere,
        "differences": [
            {
                "first_suggestion": answer.start,
                "request": answer.request,
                **vars(difference),
                "distance": difference.distance,
            }
            for answer in answers
            for difference in answer.differences
        ],
    }


def _elsewhere(answers: list[Derived]) -> list[dict[str, Any]]:
    """What is not here as it was where the suggestions were made: a thing, what it was, what it is."""
    from raytune_gp.execution.environment import machine, software_versions

    here = {**software_versions(), **machine()}
    found: dict[tuple[str, str | None], int] = {}
    for answer in answers:
        there: Mapping[str, str] = {**answer.versions, **answer.machine}
        for thing, now in here.items():
            if there.get(thing) != now:
                key = (thing, there.get(thing))
                found[key] = found.get(key, 0) + answer.count
    return [
        {"thing": thing, "was": was, "is": here[thing], "suggestions": count}
        for (thing, was), count in found.items()
    ]


def _print(name: str, facts: Mapping[str, Any]) -> None:
    count, equal = facts["suggestions"], facts["equal"]
    typer.echo(f"run {name}: {count} suggestions derived again, {equal} equal, {count - equal} not")
    if facts["not_compared"]:
        functions = ", ".join(facts["not_compared"])
        typer.echo(f"not compared, since a function of the user's gives them: {functions}")
    for f in facts["differences"][:SHOWN]:
        far = "" if f["distance"] is None else f", {f['distance']:.3g} apart"
        where = f"from suggestion {f['first_suggestion']}: {f['field']}"
        typer.echo(f"{where} was {f['was']!r} and is {f['now']!r}{far}")
    if len(facts["differences"]) > SHOWN:
        typer.echo(f"… and {len(facts['differences']) - SHOWN} more differences (--json has them all)")
    for f in facts["elsewhere"]:
        was = "not in the journal" if f["was"] is None else f["was"]
        typer.echo(f"{f['thing']}: {was} for {f['suggestions']} suggestions, {f['is']} here")
