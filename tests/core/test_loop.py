"""The loop: nothing is said before it is committed, and what fails is tried again or thrown away whole."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from raytune_gp import events as ev
from raytune_gp import messages as msg
from raytune_gp.errors import JournalError
from raytune_gp.execution.simulated_cluster import Network
from raytune_gp.protocols import Decision, Stop
from raytune_gp.schedulers import FIFOScheduler
from raytune_gp.status import RunStatus
from raytune_gp.trial import Trial
from tests.support import MemoryJournal, Numbers, Simulation, flat_curve, make_spec


class Unsteady(MemoryJournal):
    """Fails as often as told, sometimes after it has written after all."""

    failures = 0
    writes_first = False
    reads_fail = False

    def append(self, *args: Any) -> None:
        if self.failures:
            self.failures -= 1
            if self.writes_first:
                super().append(*args)
            raise JournalError("the disk is full")
        super().append(*args)

    def open_requests(self, run: str) -> Any:
        if self.reads_fail:
            raise JournalError("the database is gone")
        return super().open_requests(run)


def test_nothing_is_told_before_it_is_committed() -> None:
    run = Simulation(make_spec(), flat_curve())
    committed: list[ev.Event] = []
    run.loop._on_commit = committed.extend
    send = run.executor.send

    def check(command: msg.Command) -> None:
        assert len(committed) == run.state.index, "but for the first event, which was there before"
        assert committed == run.journal.events()[1:]
        send(command)

    run.executor.send = check
    run.start().run()
    assert run.journal.of(ev.TermStarted)[0].versions.keys() >= {"python", "torch", "ray"}


@pytest.mark.parametrize("writes_first", [True, False])
def test_a_failing_journal_is_tried_again_until_it_works(writes_first: bool) -> None:
    journal = Unsteady()
    journal.writes_first = writes_first
    run = Simulation(make_spec(num_samples=3), flat_curve(), journal=journal)
    pauses: list[float] = []
    run.loop._sleep = pauses.append
    run.start()
    sent = []
    send = run.executor.send

    def note(command: msg.Command) -> None:
        sent.append(len(pauses))
        send(command)

    run.executor.send = note
    journal.failures = 6
    run.run()
    assert pauses == [0.1, 0.5, 2.0, 5.0, 5.0, 5.0]
    assert sent[0] == 6, "nothing was said in between"
    assert len(run.state.observations) == 3


class Broken(FIFOScheduler):
    """Raises at the second step of trial 1, until it is mended."""

    broken = True

    def on_result(self, trial: Trial) -> Decision:
        if self.broken and trial.id == "00001" and trial.step == 2:
            raise ZeroDivisionError("by the scheduler")
        return super().on_result(trial)


def test_a_decision_that_raises_ends_the_run_and_nothing_of_it_is_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = Simulation(make_spec(num_samples=4), flat_curve(steps=4), scheduler=Broken).start().run()
    assert run.state.status is RunStatus.FAILED
    assert "ZeroDivisionError: by the scheduler" in run.state.reason
    assert not run.cluster.workers
    assert not [e for e in run.journal.of(ev.Reported) if (e.trial, e.step, e.attempt) == ("00001", 2, 1)]
    monkeypatch.setattr(Broken, "broken", False)
    run.connect()
    run.start([msg.Resume({})]).run()
    assert run.state.status is RunStatus.COMPLETED
    assert [list(t.history.steps) for t in run.state.trials.values()] == [[1, 2, 3, 4]] * 4
    told = [(e.trial, e.attempt, e.step) for e in run.journal.of(ev.Reported)]
    assert len(told) == len(set(told))


class Unspeakable(FIFOScheduler):
    """Gives a reason that is no JSON."""

    def on_result(self, trial: Trial) -> Decision:
        return Stop(np.int64(3))  # type: ignore[arg-type]


def test_an_event_that_cannot_be_written_ends_the_run_with_its_reason() -> None:
    run = Simulation(make_spec(num_samples=4), flat_curve(steps=4), scheduler=Unspeakable).start().run()
    assert run.state.status is RunStatus.FAILED
    assert "int64 is not JSON serializable" in run.state.reason
    assert not run.journal.of(ev.Decided)


def test_requests_of_other_shells_are_heard_and_closed() -> None:
    run = Simulation(make_spec(num_samples=2), flat_curve(steps=5), slots=1).start()
    run.journal.request("run", "unheard of")
    run.journal.request("run", "stop_trial")
    run.journal.request("run", "resume", {"num_samples": 3})
    run.loop.turn()
    assert run.journal.requests == []
    while run.state.trials.get("00000") is None or run.state.trials["00000"].step < 2:
        run.loop.turn()
    run.journal.request("run", "stop_trial", {"trial": "00000", "reason": "by hand"})
    run.run()
    assert [t.reason for t in run.state.trials.values()] == ["by hand", None, None]


def test_a_journal_that_cannot_be_read_for_requests_stops_nothing() -> None:
    journal = Unsteady()
    journal.reads_fail = True
    run = Simulation(make_spec(num_samples=2), flat_curve(), journal=journal).start().run()
    assert run.state.status is RunStatus.COMPLETED


def test_a_request_survives_a_crash_before_its_commit() -> None:
    run = Simulation(make_spec(num_samples=2), flat_curve(steps=5)).start()
    run.journal.request("run", "stop", {"reason": "enough"})
    assert len(run.journal.open_requests("run")) == 1, "the old coordinator reads it, and dies"
    run.connect()
    run.start().run()
    assert (run.state.status, run.state.reason) == (RunStatus.STOPPED, "enough")
    run.connect()
    run.start([msg.Resume({})]).run()
    assert run.state.status is RunStatus.COMPLETED, "and it does not stop the run a second time"


def test_coordinators_that_start_again_and_again_without_progress_end_the_run() -> None:
    simulation = Simulation(make_spec(), flat_curve(), network=Network(suggest_s=1e9))
    for _ in range(6):
        simulation.connect()
        simulation.start()
    assert simulation.run().state.status == "FAILED"
    assert "none made progress" in simulation.state.reason
    simulation.connect()
    simulation.asker, simulation.cluster.network = Numbers(), Network()
    simulation.start([msg.Resume({})])
    assert simulation.run().state.status == "COMPLETED", "a resumed run has its starts back"
