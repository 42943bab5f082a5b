"""Journals that are torn, altered, or of a newer version."""

from __future__ import annotations

import json
import sqlite3
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.fuzz.attempts import CrashError
from benchmarks.fuzz.odd import altered, damaged
from raytune_gp import tune
from raytune_gp.analysis.report import write_report
from raytune_gp.analysis.summary import summary
from raytune_gp.errors import RaytuneError
from raytune_gp.replay import derive
from raytune_gp.state import RunState
from raytune_gp.storage.journal import SQLJournal

__all__ = ["journals", "sample_journal"]


@cache
def sample_journal() -> bytes:
    """The file of a journal with two runs; to make it takes a second or more, and counts for no input."""

    def train(config: Mapping[str, Any]) -> None:
        if config["x"] > 0.8:
            raise ValueError("on purpose")
        for step in range(3):
            tune.report({"score": config["x"] * step, "text": "ü"})

    with tempfile.TemporaryDirectory() as directory:
        for name in ("one", "two"):
            tune.run(
                train,
                config={"x": tune.uniform(0, 1), "kind": tune.choice(["a", "b"])},
                metric="score",
                mode="max",
                num_samples=5,
                max_failures=1,
                search_alg="sobol",
                scheduler="median",
                name=name,
                executor="inline",
                verbose=0,
                storage_path=directory,
                journal=f"{directory}/journal.db",
            )
        connection = sqlite3.connect(f"{directory}/journal.db")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
        return Path(directory, "journal.db").read_bytes()


def journals(rng: Random) -> None:
    """A journal that is torn, altered, or of a newer version, read by everything that reads one."""
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, "journal.db")
        data = sample_journal()
        if rng.random() < 0.4:
            file.write_bytes(damaged(rng, data))
        else:
            file.write_bytes(data)
            _alter_rows(rng, file)
        before = _rows(file)
        try:
            _read_all(rng, file, directory)
        finally:
            after = _rows(file)
            if before is not None and (after is None or not before <= after):
                raise CrashError(f"{len(before - (after or set()))} rows are gone")


def _read_all(rng: Random, file: Path, directory: str) -> None:
    journal = SQLJournal(f"sqlite:///{file}")
    try:
        refused: RaytuneError | None = None
        for row in journal.runs():
            try:
                events = [event for _, event in journal.read(row.name)]
                state = RunState.of(events)
                json.dumps(summary(state))
                if rng.random() < 0.1:
                    write_report(state, Path(directory, "report.html"))
                for _ in derive(events):
                    pass
            except RaytuneError as error:
                refused = error
        journal.open_requests("one")
        if refused is not None:
            raise refused
    finally:
        journal.close()


def _alter_rows(rng: Random, file: Path) -> None:
    connection = sqlite3.connect(file)
    for _ in range(rng.choice([1, 1, 1, 3])):
        positions = connection.execute("SELECT run, position, body FROM events").fetchall()
        if not positions:
            break
        run, position, body = rng.choice(positions)
        where = ("WHERE run = ? AND position = ?", (run, position))
        body = body if isinstance(body, str) else "{}"
        put = "UPDATE events SET {} = ? " + where[0]
        match rng.randrange(9):
            case 0:
                connection.execute("DELETE FROM events " + where[0], where[1])
            case 1:
                connection.execute(put.format("version"), (rng.choice([5, 99, -1, "x", 1, 2.5]), *where[1]))
            case 2:
                kinds = ("Reported", "TrialEnded", "RunCreated", "Nobody", "", 5, "Event", "WorkerLost")
                connection.execute(put.format("kind"), (rng.choice(kinds), *where[1]))
            case 3:
                torn = damaged(rng, body.encode()).decode("utf-8", "replace")
                connection.execute(put.format("body"), (torn, *where[1]))
            case 4:
                raw = rng.choice([b"\xff\xfe", "", "null", "[]", "3", "{}", '"x"', "[" * 5000, 7])
                connection.execute(put.format("body"), (raw, *where[1]))
            case 5:
                moved = "SELECT 1 FROM events WHERE run = ? AND position IN (1000000, -5, 0)"
                if not connection.execute(moved, (run,)).fetchone():
                    connection.execute(put.format("position"), (rng.choice([10**6, -5, 0]), *where[1]))
            case 6:
                column = rng.choice(["created_at", "term"])
                odd = rng.choice(["x", -1, 10**12, b"\xff"])
                connection.execute(f"UPDATE runs SET {column} = ? WHERE name = ?", (odd, run))
            case 7:
                statements = (
                    "UPDATE layout SET version = 99",
                    "DELETE FROM layout",
                    "UPDATE layout SET version = 'x'",
                    "DROP TABLE events",
                    "DROP TABLE layout",
                    "ALTER TABLE events DROP COLUMN term",
                    "INSERT INTO layout VALUES (1)",
                    "UPDATE layout SET version = -3",
                )
                try:
                    connection.execute(rng.choice(statements))
                except sqlite3.Error:
                    continue
            case _:
                try:
                    text = json.dumps(altered(rng, json.loads(body)), default=str, skipkeys=True)
                except (ValueError, RecursionError):
                    continue
                connection.execute(put.format("body"), (text, *where[1]))
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'events'").fetchone():
            break
    connection.commit()
    connection.close()


def _rows(file: Path) -> set[Any] | None:
    """Every row of events that SQLite itself can read; None where it can read none."""
    try:
        connection = sqlite3.connect(f"file:{file}?mode=ro", uri=True)
        connection.text_factory = bytes
        try:
            return set(connection.execute("SELECT run, position, kind, version, body FROM events"))
        finally:
            connection.close()
    except sqlite3.Error:
        return None
