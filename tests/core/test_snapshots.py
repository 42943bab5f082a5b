"""A snapshot and the events behind it are the state of all events; one that cannot be used is passed over."""

from __future__ import annotations

import dataclasses
import logging
import random
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from benchmarks.chaos.rounds import Faults, Scenario, draw, draw_faults, play
from raytune_gp import events as ev
from raytune_gp import messages as msg
from raytune_gp import recovery
from raytune_gp.codec import event_from_json, event_to_json
from raytune_gp.due import Due
from raytune_gp.errors import JournalError, StaleTermError
from raytune_gp.execution.simulated_cluster import Network
from raytune_gp.experiment import Experiment
from raytune_gp.failures import FailureKind
from raytune_gp.protocols import Scheduler
from raytune_gp.recovery import Snapshots, state_of
from raytune_gp.schedulers import FIFOScheduler, MedianStoppingRule
from raytune_gp.snapshots import VERSION, Part, Thawing, digest_of
from raytune_gp.state import RunState
from raytune_gp.storage.journal import SQLJournal
from raytune_gp.trial import Config, Metric
from tests.core.fake_schedulers import FreezeThaw, Population, Promotion
from tests.core.test_state import wild
from tests.support import MemoryJournal, Simulation, flat_curve, make_spec

Make = Callable[[], Scheduler]

MAKERS: dict[str, Make] = {
    "fifo": FIFOScheduler,
    "median": lambda: MedianStoppingRule(Metric("score")),
    "promotion": Promotion,
}


class Prefix(MemoryJournal):
    """The first rows of another journal."""

    def __init__(self, rows: Sequence[tuple[str, str]], parts: Sequence[Part] = ()):
        super().__init__()
        self.rows, self.snapshot, self.term = list(rows), list(parts), 1


def known(scheduler: Any) -> dict[str, Any]:
    """What a scheduler knows, to compare."""
    about: dict[str, Any] = {
        name: value if name.startswith("_") else _text(value) for name, value in vars(scheduler).items()
    }
    if "_at_step" in about:  # the steps that nobody has reached any more tell nothing
        about["_at_step"] = [list(column) for column in about["_at_step"] if len(column)]
        about["_curves"] = {trial: repr(curve) for trial, curve in about["_curves"].items() if curve}
    return about


def _text(value: Any) -> str:
    return repr(sorted(value) if isinstance(value, set) else value)


def called_for(due: Due) -> dict[Any, msg.Command]:
    """What is due, apart from the patience that goes with a start: a restart knows later reports too."""
    return {
        key: dataclasses.replace(command, patience=None) if isinstance(command, msg.Start) else command  # type: ignore[arg-type]
        for key, command in due.items()
    }


def check_at_every_index(rows: Sequence[tuple[str, str]], make: Make, every: int) -> None:
    """Play the journal once, take snapshots on the way, and recover at each index from what is there then."""
    journal = Prefix([])
    taking = Snapshots(journal, "run", lambda: Experiment(make()), every)
    live, plain = Experiment(make()), Experiment(make())
    for index, row in enumerate(rows):
        journal.rows.append(row)
        event = event_from_json(*row)
        live.apply(event)
        plain.apply(event)
        live.commands()  # what is due has been told, as in a loop
        taking.take(live, 1, [event])
        found = Snapshots(journal, "run", lambda: Experiment(make()), every).recover()
        assert found.state == plain.state, f"after event {index}, {event}"
        assert list(found.state.trials) == list(plain.state.trials)
        assert list(found.state.crew.idle) == list(plain.state.crew.idle)
        assert known(found.scheduler) == known(plain.scheduler), f"after event {index}, {event}"
        asked = Experiment(make())
        asked.replay(event_from_json(*r) for r in journal.rows)
        assert called_for(found.state.due) == called_for(asked.state.due), f"after event {index}, {event}"
    assert len(journal.snapshot) == len(rows) // every


@pytest.mark.parametrize("every", [2, 13])
@pytest.mark.parametrize("scheduler", MAKERS)
@pytest.mark.parametrize("settings", [{}, {"keep_checkpoints": 2, "checkpoint_metric": Metric("score")}])
def test_a_snapshot_and_its_tail_are_the_state(scheduler: str, settings: dict[str, Any], every: int) -> None:
    """Through pauses, losses, evictions, a stop, and a resumption that changes the metric."""

    def curve(config: Config, first: int) -> Iterator[Any]:
        for seconds, metrics in wild(config, first):
            yield seconds, {"score": 0.1, "other": 1.0, **metrics}

    spec = make_spec(num_samples=7, max_failures=1, **settings)
    network = Network(loss=0.05, duplication=0.1, jitter=0.5)
    run = Simulation(spec, curve, slots=3, scheduler=MAKERS[scheduler], network=network, seed=1)
    run.start()
    while len(run.journal.rows) < 80:
        run.loop.turn()
    run.cluster.kill(sorted(run.cluster.workers)[0])
    next(w for w in run.cluster.workers.values() if w.current)._say("leaving", {"grace_s": 5.0})
    while not run.journal.of(ev.WorkerLeaving):
        run.loop.turn()
    run.journal.request("run", "stop", {"reason": "enough"})
    run.run()
    run.connect()
    run.start([msg.Resume({"num_samples": 8, "metrics": [{"name": "other", "mode": "min"}]})]).run()
    assert len({kind for kind, _ in run.journal.rows}) > 17
    check_at_every_index(run.journal.rows, MAKERS[scheduler], every)


def test_through_random_faults() -> None:
    """Coordinators that crash go on from their snapshots, and readers of every journal agree with them."""
    crashed = 0
    for seed in range(10):
        rng = random.Random(seed)
        scenario = draw(rng)
        journal = SQLJournal("sqlite://")
        calm = play(scenario, Faults(), journal, "calm")
        found = play(scenario, draw_faults(rng, calm), journal, "run")
        crashed += sum(count for what, count in found.faults.items() if what.startswith("crash"))
        assert len(list(journal.parts("run"))) > 1
        assert state_of(journal, "run") == RunState.of(found.events) == found.state, seed
        rows = [(type(event).__name__, event_to_json(event)) for event in found.events]
        check_at_every_index(rows, partial(_scheduler_of, scenario), 5)
        journal.close()
    assert crashed > 8


def _scheduler_of(scenario: Scenario) -> Scheduler:
    return scenario.experiment().scheduler


# --- what a part costs ---


def trials_in(part: Part) -> list[str]:
    """The ids of the trials that a part has."""
    thawing = Thawing()
    thawing.take(part.body)
    return list(thawing.state().trials)


def test_no_part_has_many_finished_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    """However few events each of them made, for the loop stands still meanwhile."""
    monkeypatch.setattr(recovery, "MANY", 5)
    run = Simulation(make_spec(num_samples=40), flat_curve(), slots=2, snapshot_every=10_000).start().run()
    sizes = [len(trials_in(part)) for part in run.journal.snapshot]
    assert len(sizes) == 40 // 5
    assert max(sizes) <= 5 + 2 + 2, "beside those that run, and whose end came in the same turn"
    wide = Simulation(make_spec(num_samples=40), flat_curve(), slots=10, snapshot_every=10_000).start().run()
    assert len(wide.journal.snapshot) < len(sizes), "those that run are in every part"


def test_a_resumption_changes_only_the_trials_that_it_forgives(finished: MemoryJournal) -> None:
    state = RunState.of(finished.events())
    state.changed.clear()
    lost = state.trials["00003"]
    lost.tally[FailureKind.WORKER_LOST] += 1
    state.apply(ev.RunResumed(state.now, {"num_samples": 9}))
    assert state.changed == {"00003"}
    assert not lost.tally


@pytest.mark.parametrize("every", [5, 29])
def test_trials_that_a_resumption_gives_a_value(every: int) -> None:
    """The metric was a slip, and the finished trials have the one of now."""
    spec = make_spec(num_samples=4, metrics=(Metric("slip"),))
    run = Simulation(spec, flat_curve(), slots=1).start().run()
    run.connect()
    run.start([msg.Resume({"num_samples": 8, "metrics": [{"name": "score", "mode": "max"}]})]).run()
    assert all(trial.objective for trial in run.state.trials.values())
    check_at_every_index(run.journal.rows, FIFOScheduler, every)


# --- snapshots that cannot be used ---


@pytest.fixture(scope="module")
def finished() -> MemoryJournal:
    """The journal of a run that is over, with a snapshot of several parts."""
    run = Simulation(make_spec(num_samples=8), flat_curve(), slots=2, snapshot_every=20).start().run()
    assert len(run.journal.snapshot) > 3
    return run.journal


def altered(part: Part, **changes: Any) -> Part:
    return dataclasses.replace(part, **changes)


@pytest.mark.parametrize(
    ("said", "change"),
    [
        ("it is of version '0.0.1 1.1 ab'", lambda part: altered(part, version="0.0.1 1.1 ab")),
        ("it is damaged", lambda part: altered(part, body=part.body[:-1])),
        ("it is damaged", lambda part: altered(part, body=b"\0" + part.body[1:])),
        ("it is damaged", lambda part: altered(part, body=b"")),
        ("it follows a part at 3, which is not there", lambda part: altered(part, follows=3)),
    ],
)
@pytest.mark.parametrize("which", [0, 2, -1])
def test_a_part_that_cannot_be_used_is_passed_over(
    said: str,
    change: Callable[[Part], Part],
    which: int,
    finished: MemoryJournal,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    parts = list(finished.snapshot)
    parts[which] = change(parts[which])
    journal = Prefix(finished.rows, parts)
    experiment = Snapshots(journal, "run", lambda: Experiment(FIFOScheduler())).recover()
    assert experiment.state == RunState.of(finished.events()) == state_of(journal, "run")
    assert said in caplog.text
    assert f"at event {parts[which].position} is passed over" in caplog.text


def test_a_snapshot_ahead_of_its_journal_or_of_other_events_is_passed_over(
    finished: MemoryJournal, caplog: pytest.LogCaptureFixture
) -> None:
    last = finished.snapshot[-1].position
    shorter = Prefix(finished.rows[:last], finished.snapshot)
    assert state_of(shorter, "run") == RunState.of(shorter.events())
    assert "the journal ends before it" in caplog.text
    other = Prefix(finished.rows, finished.snapshot)
    kind, body = other.rows[last]
    other.rows[last] = (kind, body.replace('"at":', '"at":1'))
    assert state_of(other, "run") == RunState.of(other.events())
    assert "or of other events than the journal's" in caplog.text


def test_what_is_sound_and_makes_no_state_is_passed_over(
    finished: MemoryJournal, caplog: pytest.LogCaptureFixture
) -> None:
    part = finished.snapshot[0]
    body = (2).to_bytes(8, "little") + b"{}"
    anchor = finished.rows[part.position][1]
    digest = digest_of("run", part.position, -1, VERSION, anchor, body)
    journal = Prefix(finished.rows, [altered(part, body=body, digest=digest)])
    assert state_of(journal, "run") == RunState.of(finished.events())
    assert "KeyError" in caplog.text


def test_after_a_bad_part_the_chain_goes_on_from_the_last_good_one(finished: MemoryJournal) -> None:
    parts = list(finished.snapshot)
    parts[2] = altered(parts[2], body=b"torn")
    journal = Prefix(finished.rows, parts)
    snapshots = Snapshots(journal, "run", lambda: Experiment(FIFOScheduler()), 1)
    experiment = snapshots.recover()
    snapshots.take(experiment, 1, finished.events())
    assert [part.position for part in journal.snapshot] == [
        parts[0].position,
        parts[1].position,
        len(journal.rows) - 1,
    ]
    reading = CountingJournal(journal.rows, journal.snapshot)
    assert state_of(reading, "run") == RunState.of(finished.events())
    assert reading.read_after == [len(journal.rows) - 1], "nothing is left to apply"


class CountingJournal(Prefix):
    """Notes from where it was read."""

    def __init__(self, rows: Sequence[tuple[str, str]], parts: Sequence[Part] = ()):
        super().__init__(rows, parts)
        self.read_after: list[int] = []

    def read(self, run: str, after_index: int = -1) -> Iterator[tuple[int, ev.Event]]:
        self.read_after.append(after_index)
        return super().read(run, after_index)


def test_a_scheduler_that_cannot_be_restored_sees_all_events(finished: MemoryJournal) -> None:
    """A user's own may lack the methods; one of another rule cannot use what the one before it knew."""
    expected: dict[Make, int] = {
        FIFOScheduler: finished.snapshot[-1].position,
        Population: -1,
        FreezeThaw: -1,
        Promotion: -1,
    }
    for make, after in expected.items():
        journal = CountingJournal(finished.rows, finished.snapshot)
        Snapshots(journal, "run", partial(_experiment, make)).recover()
        assert journal.read_after == [after]


def _experiment(make: Make) -> Experiment:
    return Experiment(make())


def test_a_snapshot_that_cannot_be_written_ends_no_run(caplog: pytest.LogCaptureFixture) -> None:
    class Full(MemoryJournal):
        def keep_part(self, run: str, term: int, part: Part) -> None:
            raise JournalError("the disk is full")

    run = Simulation(make_spec(), flat_curve(), journal=Full(), snapshot_every=20).start().run()
    assert len(run.state.observations) == 6
    assert caplog.text.count("was not written: JournalError: the disk is full") == len(run.journal.rows) // 20
    assert caplog.records[0].levelno == logging.WARNING


@pytest.fixture(params=["sqlite", "postgresql"])
def sql(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SQLJournal]:
    url = f"sqlite:///{tmp_path}/journal.db"
    journal = SQLJournal(url if request.param == "sqlite" else request.getfixturevalue("postgres_url"))
    yield journal
    journal.close()


def test_parts_in_a_database(sql: SQLJournal) -> None:
    """They come back as they were, behind the part that they follow; an old coordinator can store none."""
    sql.create_run("run", ev.RunCreated(0.0, make_spec().to_json()))
    term = sql.raise_term("run")
    events = [ev.CapacityKnown(float(n), n) for n in range(1, 9)]
    sql.append("run", term, 1, events)
    parts = [Part(p, f, VERSION, "d" * 64, bytes(range(256)) * p) for p, f in ((2, -1), (5, 2), (7, 5))]
    for part in parts:
        sql.keep_part("run", term, part)
    assert list(sql.parts("run")) == [(p, event_to_json(events[p.position - 1])) for p in parts]
    ahead = Part(99, 2, VERSION, "d" * 64, b"")
    sql.keep_part("run", term, ahead)
    assert [(part, anchor is None) for part, anchor in sql.parts("run")] == [(parts[0], False), (ahead, True)]
    sql.raise_term("run")
    with pytest.raises(StaleTermError):
        sql.keep_part("run", term, parts[0])
    assert list(sql.parts("another")) == []
