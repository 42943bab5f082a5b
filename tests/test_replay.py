"""`raytune-gp replay`: every suggestion comes out again, and what does not is said."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from raytune_gp import events as ev
from raytune_gp import tune
from raytune_gp.cli import app
from raytune_gp.replay import derive
from raytune_gp.searchers.random import RandomSearcher
from raytune_gp.space import SearchSpace
from raytune_gp.storage.journal import SQLJournal
from tests.storage.test_kept import load


class Thing:
    """What JSON cannot hold."""


THING = Thing()

SPACE = {
    "rate": tune.loguniform(1e-4, 1.0),
    "kind": tune.choice(["sgd", THING]),
    "momentum": tune.when("kind", ["sgd"], tune.uniform(0, 1)),
    "level": tune.grid_search([1, 2]),
    "twice": tune.sample_from(lambda config, rng: [2 * config["rate"], float(rng.random())]),
    "fixed": THING,
}


def train(config: dict[str, Any]) -> None:
    if config["rate"] > 0.9:
        raise ValueError("too fast")
    tune.report({"score": config["level"] - config["rate"] + config.get("momentum", 0.3)})


def run(folder: Path, name: str = "run", **settings: Any) -> Path:
    """A run of this name in the folder's journal."""
    chosen: dict[str, Any] = {"config": SPACE, "num_samples": 6, "search_alg": {"name": "gp", "initial": 4}}
    tune.run(
        train,
        metric="score",
        mode="max",
        name=name,
        seed=3,
        executor="inline",
        verbose=0,
        storage_path=str(folder / "results"),
        journal=str(folder / "journal.db"),
        **{**chosen, **settings},
    )
    return folder / "journal.db"


def derived(file: Path, name: str = "run") -> list[Any]:
    journal = SQLJournal(f"sqlite:///{file}")
    try:
        return list(derive(event for _, event in journal.read(name)))
    finally:
        journal.close()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("replay")
    file = run(folder, points_to_evaluate=[{"rate": 0.01}, {"kind": THING, "level": 2}])
    run(folder, points_to_evaluate=[{"rate": 0.01}, {"rate": 0.02}], num_samples=8, resume=True)
    run(folder, "walk", search_alg="random")
    run(folder, "object", search_alg=RandomSearcher(SearchSpace(SPACE)))
    return file


@pytest.fixture
def altered(finished: Path, tmp_path: Path) -> Callable[[str, Callable[[Any], None]], Path]:
    """Make a copy of the journal with events of a kind altered."""

    def alter(kind: str, change: Callable[[Any], None]) -> Path:
        file = tmp_path / "altered.db"
        source, target = sqlite3.connect(finished), sqlite3.connect(file)
        source.backup(target)
        query = "SELECT position, body FROM events WHERE run = 'run' AND kind = ?"
        for position, body in target.execute(query, (kind,)).fetchall():
            event = json.loads(body)
            change(event)
            put = "UPDATE events SET body = ? WHERE run = 'run' AND position = ?"
            target.execute(put, (json.dumps(event), position))
        target.commit()
        source.close()
        target.close()
        return file

    return alter


def command(file: Path, *arguments: str) -> Any:
    result = CliRunner().invoke(app, ["replay", *arguments, "--journal", str(file)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    return result


def test_every_suggestion_comes_out_again_across_guesses_grid_functions_and_a_resume(finished: Path) -> None:
    answers = derived(finished)
    assert sum(answer.count for answer in answers) >= 16
    assert [d for answer in answers for d in answer.differences] == []
    assert {answer.untold for answer in answers} == {("twice",)}
    journal = SQLJournal(f"sqlite:///{finished}")
    ready = [e for _, e in journal.read("run") if isinstance(e, ev.SuggestionsReady)]
    journal.close()
    methods = [s["provenance"]["method"] for event in ready for s in event.suggestions]
    assert methods.count("guess") == 2
    assert methods.count("gp") >= 5


def test_other_searchers_too(finished: Path) -> None:
    answers = derived(finished, "walk")
    assert sum(answer.count for answer in answers) >= 12
    assert not any(answer.differences for answer in answers)


def test_the_command_says_so_and_exits_with_0(finished: Path) -> None:
    done = command(finished, "run")
    assert done.exit_code == 0, done.output
    assert "0 not" in done.stdout
    assert "gives them: twice" in done.stdout
    facts = json.loads(command(finished, "run", "--json").stdout)
    assert facts["equal"] == facts["suggestions"] >= 16
    assert facts["elsewhere"] == []


def test_a_value_that_was_altered_is_named_with_how_far_it_is_off(
    altered: Callable[[str, Callable[[Any], None]], Path],
) -> None:
    def change(event: Any) -> None:
        if event["request"] == 0:
            event["suggestions"][0]["config"]["rate"] = 0.01 + 1e-6

    done = command(altered("SuggestionsReady", change), "run")
    assert done.exit_code == 1
    assert "suggestions.0.config.rate was 0.010001 and is 0.01, 1e-06 apart" in done.stdout


def test_a_report_that_was_altered_shows_in_what_was_suggested_afterwards(
    altered: Callable[[str, Callable[[Any], None]], Path],
) -> None:
    def change(event: Any) -> None:
        if event["trial"] == "00002":
            event["objective"] = [event["objective"][0] + 1e-3]

    facts = json.loads(command(altered("TrialEnded", change), "run", "--json").stdout)
    assert 0 < facts["equal"] < facts["suggestions"]
    assert all(d["request"] > 2 for d in facts["differences"])
    assert any("memory" in d["field"] and d["distance"] for d in facts["differences"])


def test_what_is_not_here_as_it_was_is_said(altered: Callable[[str, Callable[[Any], None]], Path]) -> None:
    def change(event: Any) -> None:
        event["versions"]["numpy"] = "1.0"
        event["machine"]["cpu"] = "an abacus"
        event["machine"]["threads"] = "1"

    file = altered("TermStarted", change)
    facts = json.loads(command(file, "run", "--json").stdout)
    said = {f["thing"]: f["was"] for f in facts["elsewhere"]}
    assert said == {"numpy": "1.0", "cpu": "an abacus"}, "threads are set as they were"
    assert "cpu: an abacus for" in command(file, "run").stdout


def test_what_the_journal_does_not_hold_cannot_be_derived(finished: Path, tmp_path: Path) -> None:
    done = command(finished, "object")
    assert done.exit_code == 2
    assert "searched by an object of 'raytune_gp.searchers.random.RandomSearcher'" in done.stderr
    old = command(load("events2_layout2", tmp_path), "kept")
    assert old.exit_code == 2
    assert "kept no definition of its search space" in old.stderr
    assert command(finished, "nobody").exit_code == 2
