"""Journals of every version so far can be read, shown, resumed and moved; later ones are refused."""

from __future__ import annotations

import json
import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from raytune_gp import events as ev
from raytune_gp import tune
from raytune_gp.cli import app
from raytune_gp.codec import SCHEMA_VERSION
from raytune_gp.errors import JournalError, SchemaVersionError
from raytune_gp.state import RunState
from raytune_gp.storage import layout
from raytune_gp.storage.journal import SQLJournal
from tests.storage.fixtures import make

FIXTURES = Path(make.__file__).parent
KEPT = sorted(path.stem for path in FIXTURES.glob("*.sql"))


@pytest.fixture(params=KEPT)
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The file of a kept journal, whose run has its storage below `tmp_path`."""
    return load(request.param, tmp_path)


def load(name: str, directory: Path) -> Path:
    file = directory / f"{name}.db"
    connection = sqlite3.connect(file)
    connection.executescript(
        (FIXTURES / f"{name}.sql").read_text().replace(make.STORAGE, f"{directory}/results")
    )
    connection.close()
    return file


def test_there_is_one_of_every_version() -> None:
    numbers = [tuple(map(int, re.findall(r"\d+", name))) for name in KEPT]
    assert {events for events, _ in numbers} == set(range(1, SCHEMA_VERSION + 1))
    assert {tables for _, tables in numbers} == set(range(1, layout.LAYOUT + 1))
    for name, (events, tables) in zip(KEPT, numbers, strict=True):
        text = (FIXTURES / f"{name}.sql").read_text()
        assert set(re.findall(r"INSERT INTO \"events\" VALUES\('kept',\d+,\d+,'\w+',(\d+),", text)) == {
            str(events)
        }
        assert ('"layout"' in text) == (tables > 1)


def test_a_kept_journal_is_read(kept: Path) -> None:
    journal = SQLJournal(f"sqlite:///{kept}")
    state = RunState.of(event for _, event in journal.read("kept"))
    journal.close()
    trials = list(state.trials.values())
    assert [t.status.value for t in trials] == ["COMPLETED", "FAILED", "COMPLETED", "COMPLETED", "RUNNING"]
    assert [len(t.history) for t in trials] == [3, 0, 3, 3, 0]
    assert [o.values is None for o in state.observations] == [False, True, True, False]
    assert trials[1].attempt == 2
    assert "ValueError: on purpose" in str(trials[1].error)
    assert [c.step for c in trials[0].checkpoints] == [3]


def test_a_kept_journal_is_shown(kept: Path) -> None:
    runner = CliRunner()
    for command in (["status", "kept"], ["show", "kept"]):
        done = runner.invoke(app, [*command, "--json", "--journal", str(kept)])
        assert done.exit_code == 0, done.output
        assert json.loads(done.stdout)
    listed = runner.invoke(app, ["list", "--json", "--journal", str(kept)])
    assert [run["finished"] for run in json.loads(listed.stdout)] == [4]


@pytest.mark.filterwarnings("ignore:the trainable of run 'kept' has changed")
def test_a_kept_run_goes_on(kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(make.Until, "trials", 99)
    url = f"sqlite:///{kept}"
    results = tune.run(
        make.train, storage_path=str(tmp_path / "results"), journal=url, resume=True, **make.SETTINGS
    )
    assert [r.status.value for r in results] == ["COMPLETED", "FAILED", *["COMPLETED"] * 4]
    assert results.state.trials["00004"].attempt == 2
    connection = sqlite3.connect(kept)
    versions = "SELECT DISTINCT version FROM events ORDER BY position"
    written = {version for (version,) in connection.execute(versions)}
    assert written == {int(kept.stem[6]), SCHEMA_VERSION}, "old events stay as they were written"
    assert connection.execute("SELECT version FROM layout").fetchall() == [(layout.LAYOUT,)]
    connection.close()


def test_a_kept_run_moves_to_a_server(kept: Path, postgres_url: str) -> None:
    old, new = SQLJournal(f"sqlite:///{kept}"), SQLJournal(postgres_url)
    old.copy("kept", new)
    assert [(row.name, row.events) for row in new.runs()] == [("kept", 58)]
    assert [*map(repr, new.read("kept"))] == [*map(repr, old.read("kept"))], "there is a NaN among them"
    old.close()
    new.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database that holds nothing yet."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/journal.db"
    return request.getfixturevalue("postgres_url")


def tables(journal: SQLJournal) -> dict[str, list[str]]:
    inspector = sa.inspect(journal._database.engine)
    return {name: [c["name"] for c in inspector.get_columns(name)] for name in inspector.get_table_names()}


def test_the_tables_are_those_of_this_layout(url: str) -> None:
    """Change them only with a step that makes the old into the new, and keep a journal of the new layout."""
    journal = SQLJournal(url)
    assert tables(journal) == {
        "runs": ["name", "created_at", "term"],
        "events": ["run", "position", "term", "kind", "version", "body"],
        "requests": ["id", "run", "kind", "body", "closed"],
        "snapshots": ["run", "position", "follows", "version", "digest", "body"],
        "layout": ["version"],
    }
    journal.close()


@pytest.mark.parametrize("name", KEPT)
def test_old_tables_become_those_of_today(name: str, tmp_path: Path) -> None:
    old, new = SQLJournal(f"sqlite:///{load(name, tmp_path)}"), SQLJournal(f"sqlite:///{tmp_path}/new.db")
    assert tables(old) == tables(new)
    old.close()
    new.close()


def step(statement: str) -> Any:
    return lambda connection: connection.exec_driver_sql(statement)


def test_steps_are_taken_in_order_all_or_none(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Today's layout and two imagined later ones, of which the second fails at first."""
    journal = SQLJournal(url)
    journal.create_run("run", ev.RunCreated(0.0, {}))
    journal.close()
    later = [step("ALTER TABLE runs ADD COLUMN colour TEXT"), step("UPDATE runs SET colour = 'blue'")]
    monkeypatch.setattr(layout, "LAYOUT", layout.LAYOUT + 2)
    monkeypatch.setattr(layout, "STEPS", [*layout.STEPS, later[0], step("UPDATE nonsense SET colour = 1")])
    with pytest.raises(JournalError, match="nonsense"):
        SQLJournal(url)
    monkeypatch.setattr(layout, "STEPS", [*layout.STEPS[:-1], later[1]])
    for _ in range(2):
        journal = SQLJournal(url)
        with journal._database.engine.connect() as connection:
            assert connection.exec_driver_sql("SELECT colour FROM runs").scalars().all() == ["blue"]
            found = connection.exec_driver_sql("SELECT version FROM layout").scalars().all()
            assert found == [layout.LAYOUT]
        assert journal.exists("run")
        journal.close()


def test_tables_of_a_later_day_are_refused(url: str) -> None:
    journal = SQLJournal(url)
    with journal._database.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE layout SET version = 99")
    journal.close()
    said = f"have layout 99, and this raytune-gp knows layouts up to {layout.LAYOUT}: install the version"
    with pytest.raises(SchemaVersionError, match=said):
        SQLJournal(url)
