"""A trial's attempts: failures, losses, pauses, exploits, and items that come twice or too late."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from raytune_gp import events as ev
from raytune_gp import messages as msg
from raytune_gp.errors import TrainableError
from raytune_gp.execution.simulated_cluster import Network
from raytune_gp.experiment import MAX_LOSSES_IN_A_ROW
from raytune_gp.protocols import Decision, Exploit, Pause, Stop
from raytune_gp.schedulers import FIFOScheduler
from raytune_gp.status import RunStatus
from raytune_gp.trial import Trial, TrialStatus
from tests.core.bench import Bench, kinds
from tests.support import Simulation, make_spec

Make = Callable[..., Bench]


class Once(FIFOScheduler):
    """Gives `decision` for the first trial at step 2, once."""

    rule = "once/1"

    def __init__(self, decision: Decision):
        self.decision = decision

    def on_result(self, trial: Trial) -> Decision:
        due = trial.id == "00000" and trial.step == 2 and trial.attempt == 1
        return self.decision if due else super().on_result(trial)


class OnceThenResume(Once):
    def next_to_resume(self) -> str | None:
        return "00000"


# --- failures ---


@pytest.mark.parametrize("max_failures", [0, 2])
def test_a_raising_trial_is_tried_again_so_often(make_bench: Make, max_failures: int) -> None:
    bench = make_bench(num_samples=1, max_failures=max_failures).running()
    for failure in range(1, max_failures + 1):
        bench.say("w0/1", "started")
        bench.report("w0/1", failure, 0.1, checkpoint=failure == 1)
        events = bench.end("w0/1", "failed", "Traceback ...\nValueError: no")
        again = events[2]
        assert isinstance(again, ev.AttemptAssigned)
        assert events[1:] == [
            ev.TrialRequeued(0.0, "00000", f"retry after failure {failure}"),
            ev.AttemptAssigned(0.0, "00000", failure + 1, "w0/1", again.resume_from),
        ]
        assert again.resume_from is not None
        assert again.resume_from["step"] == 1, "from the newest checkpoint"
    events = bench.end("w0/1", "failed", "Traceback ...\nValueError: no")
    assert events[1] == ev.TrialEnded(0.0, "00000", "FAILED", None, "error", "ValueError: no")
    assert bench.state.observations[0].failure == "error"
    assert bench.state.trials["00000"].error == "Traceback ...\nValueError: no"
    assert bench.state.status is RunStatus.COMPLETED, "a failed trial is no failed run"


def test_a_trial_may_be_tried_again_for_ever(make_bench: Make) -> None:
    bench = make_bench(num_samples=1, max_failures=-1).running()
    for _ in range(20):
        assert kinds(bench.end("w0/1", "failed", "no"))[-1] == "AttemptAssigned"


def test_fail_fast_ends_the_run_and_its_other_trials_can_be_resumed(make_bench: Make) -> None:
    bench = make_bench(slots=2, num_samples=4, fail_fast=True).running()
    bench.say("w1/1", "started")
    bench.report("w1/1", 1, 1.0, checkpoint=True)
    events = bench.end("w0/1", "failed", "ValueError: no")
    assert kinds(events) == ["AttemptEnded", "TrialEnded", "RunEnded", "WorkerReleased", "WorkerReleased"]
    assert (bench.state.status, bench.state.reason) == (
        RunStatus.FAILED,
        "trial 00000 failed and fail_fast is set: ValueError: no",
    )
    bench.vanish("w0/1", "w1/1")
    other = bench.state.trials["00001"]
    assert (other.status, other.losses, other.error) == (TrialStatus.PENDING, 0, None), "no loss of its own"
    bench.tell(msg.Resume({}))
    bench.running()
    assert other.resume_from is not None
    assert (other.status, other.resume_from.step) == (TrialStatus.RUNNING, 1)


def test_an_unclean_worker_is_not_used_again(make_bench: Make) -> None:
    bench = make_bench(num_samples=2).running()
    events = bench.end("w0/1", "completed", left="2 child processes")
    assert kinds(events) == ["AttemptEnded", "WorkerReleased", "TrialEnded", "WorkerRequested"]
    assert events[1] == ev.WorkerReleased(0.0, "w0/1", "trial 00000 left 2 child processes")
    requested = events[-1]
    assert isinstance(requested, ev.WorkerRequested)
    assert requested.worker == "w0/2"


# --- lost workers ---


def test_a_lost_worker_is_replaced_and_the_trial_goes_on_from_its_checkpoint(make_bench: Make) -> None:
    bench = make_bench(num_samples=1).running()
    bench.say("w0/1", "started")
    bench.report("w0/1", 1, 0.1, checkpoint=True)
    bench.report("w0/1", 2, 0.2)
    bench.commands()
    assert kinds(bench.vanish("w0/1")) == ["WorkerLost", "TrialRequeued", "WorkerRequested"]
    assert bench.commands() == [msg.Connect("w0/2", 0, True, 0)], "nothing more for the lost one"
    assigned = bench.arrive("w0/2")[-1]
    assert isinstance(assigned, ev.AttemptAssigned)
    assert (assigned.attempt, assigned.resume_from) == (
        2,
        {"path": "00000/1/1", "step": 1, "attempt": 1, "value": 0.1},
    )
    trial = bench.state.trials["00000"]
    assert list(trial.history.steps) == [1], "the step after the checkpoint is superseded"
    bench.say("w0/2", "started")
    bench.report("w0/2", 2, 0.3)
    bench.end("w0/2")
    assert (trial.objective, list(trial.history.values("score"))) == ((0.3,), [0.1, 0.3])


def test_a_trial_that_loses_worker_after_worker_fails(make_bench: Make) -> None:
    bench = make_bench(num_samples=2, max_losses=2).running()
    for incarnation in (1, 2, 3):
        bench.say(f"w0/{incarnation}", "started")
        bench.vanish(f"w0/{incarnation}", reason="out of memory")
        bench.now += 60.0
        bench.running()
    trial = bench.state.trials["00000"]
    assert trial.status is TrialStatus.FAILED
    assert trial.reason == "3 attempts ended by: worker lost; the last one: out of memory"
    assert bench.state.running == {"00001": None}, "the run goes on"


def test_a_worker_killed_for_its_trials_slow_end_is_no_loss(make_bench: Make) -> None:
    bench = make_bench(num_samples=2, max_losses=0, scheduler=Once(Pause("rung"))).running()
    bench.say("w0/1", "started")
    bench.report("w0/1", 2, 1.0, checkpoint=True)
    assert kinds(bench.vanish("w0/1", reason="it did not stop within 10 s"))[:2] == [
        "WorkerLost",
        "TrialPaused",
    ]
    trial = bench.state.trials["00000"]
    assert (trial.losses, trial.error) == (0, None)


def test_workers_lost_in_a_row_end_the_run(make_bench: Make) -> None:
    bench = make_bench(num_samples=9, max_losses=99)
    bench.answer()
    for incarnation in range(1, MAX_LOSSES_IN_A_ROW + 1):
        assert bench.state.status is RunStatus.RUNNING
        bench.vanish(f"w0/{incarnation}", reason="no such image")
    assert bench.state.status is RunStatus.FAILED
    assert "no such image" in bench.state.reason
    bench.tell(msg.Resume({}))
    bench.vanish(f"w0/{MAX_LOSSES_IN_A_ROW + 1}")
    assert bench.state.status is RunStatus.RUNNING, "a resumed run counts anew"


def test_a_started_trial_breaks_the_row_of_losses(make_bench: Make) -> None:
    bench = make_bench(num_samples=9, max_losses=99).running()
    for incarnation in range(1, 3 * MAX_LOSSES_IN_A_ROW):
        if incarnation % MAX_LOSSES_IN_A_ROW == 0:
            bench.say(f"w0/{incarnation}", "started")
        bench.vanish(f"w0/{incarnation}")
        bench.running()
    assert bench.state.status is RunStatus.RUNNING


def test_a_stopped_trial_whose_worker_dies_keeps_the_value_of_the_decision(make_bench: Make) -> None:
    bench = make_bench(num_samples=1, scheduler=Once(Stop("bad"))).running()
    bench.say("w0/1", "started")
    bench.report("w0/1", 1, 0.1)
    bench.report("w0/1", 2, 0.2)
    assert kinds(bench.vanish("w0/1"))[:2] == ["WorkerLost", "TrialEnded"]
    trial = bench.state.trials["00000"]
    assert (trial.status, trial.objective, trial.reason) == (TrialStatus.STOPPED, (0.2,), "bad")


def test_a_worker_that_dies_as_it_is_halted_leaves_a_trial_to_resume(make_bench: Make) -> None:
    bench = make_bench(num_samples=1, max_losses=0).running()
    bench.say("w0/1", "started")
    bench.report("w0/1", 1, 0.1, checkpoint=True)
    bench.tell(msg.StopRun("enough"))
    assert kinds(bench.vanish("w0/1")) == ["WorkerLost", "TrialRequeued", "RunEnded"]
    assert list(bench.state.queue) == ["00000"]


# --- items ---


def test_repeated_items_and_gaps_are_dropped(make_bench: Make) -> None:
    bench = make_bench(num_samples=1).running()
    started = bench.item("w0/1", "started")
    bench.tell(started)
    report = bench.item("w0/1", "report", step=1, metrics={"score": 1.0})
    ahead = msg.Item("w0/1", 4, "00000", 1, "report", 0.0, {"step": 2, "metrics": {"score": 2.0}})
    assert bench.tell(ahead) == [], "a gap: the items between will come, and this one again"
    assert kinds(bench.tell(report)) == ["Reported"]
    assert bench.tell(report, started) == []
    assert list(bench.state.trials["00000"].history.steps) == [1]


def test_an_item_of_a_superseded_attempt_is_discarded_and_acknowledged(make_bench: Make) -> None:
    bench = make_bench(num_samples=2, max_failures=1).running()
    bench.end("w0/1", "failed", "no")
    bench.commands()
    late = msg.Item("w0/1", 2, "00000", 1, "report", 0.0, {"step": 9, "metrics": {"score": 9.0}})
    assert bench.tell(late) == [ev.ItemDiscarded(0.0, "w0/1", 2, "00000", 1)]
    unknown = msg.Item("w0/1", 3, "77777", 1, "report", 0.0, {"step": 9, "metrics": {"score": 9.0}})
    assert bench.tell(unknown) == [ev.ItemDiscarded(0.0, "w0/1", 3, "77777", 1)]
    assert bench.commands() == [msg.Acknowledge("w0/1", 3)]
    assert bench.say("w0/1", "started") == [ev.AttemptStarted(0.0, "w0/1", 4, "00000", 2)]
    assert len(bench.state.trials["00000"].history) == 0


def test_items_of_a_lost_worker_count_for_nothing(make_bench: Make) -> None:
    bench = make_bench(num_samples=1).running()
    late = bench.item("w0/1", "report", step=1, metrics={"score": 1.0})
    bench.vanish("w0/1")
    assert bench.tell(late) == []
    assert bench.vanish("w0/1") == [], "it is lost once"


# --- objectives ---


def test_a_trial_without_the_metric_fails_and_says_what_it_reported(make_bench: Make) -> None:
    bench = make_bench(num_samples=1).running()
    bench.say("w0/1", "started")
    bench.report("w0/1", 1, accuracy=0.9)
    bench.end("w0/1")
    trial = bench.state.trials["00000"]
    assert trial.status is TrialStatus.FAILED
    assert trial.reason == "ended without reporting score; it reported accuracy"
    assert bench.state.observations[0].failure == "metric missing"


def test_a_missing_metric_is_no_crash_where_a_later_report_follows_the_decision(make_bench: Make) -> None:
    bench = make_bench(num_samples=1, stop={"training_iteration": 1}).running()
    bench.say("w0/1", "started")
    bench.report("w0/1", 1)
    bench.report("w0/1", 2)
    bench.end("w0/1", "interrupted")
    assert bench.state.trials["00000"].status is TrialStatus.FAILED


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_is_a_failure_to_learn_from(make_bench: Make, value: float) -> None:
    bench = make_bench(num_samples=1).running()
    bench.run_trial("w0/1", 0.5, value)
    observation = bench.state.observations[0]
    assert (observation.values, observation.failure) == (None, "not finite")
    assert bench.state.trials["00000"].status is TrialStatus.COMPLETED
    assert bench.state.best() is None


def test_a_nan_after_the_decision_does_not_spoil_the_value(make_bench: Make) -> None:
    bench = make_bench(num_samples=1, scheduler=Once(Stop("bad"))).running()
    bench.say("w0/1", "started")
    for step, value in enumerate([0.1, 0.2, math.nan], start=1):
        bench.report("w0/1", step, value)
    bench.end("w0/1", "interrupted")
    assert bench.state.observations[0].values == (0.2,)


@pytest.mark.parametrize(
    ("scope", "expected"), [("last", 4.0), ("all", 9.0), ("avg", 5.0), ("last-5-avg", 5.0)]
)
def test_the_scope_says_which_value_counts(make_bench: Make, scope: str, expected: float) -> None:
    bench = make_bench(num_samples=1, scope=scope).running()
    bench.run_trial("w0/1", 2.0, 9.0, 4.0)
    assert bench.state.observations[0].values == (expected,)


# --- pausing and exploiting ---


def start_two(bench: Bench) -> None:
    """Two trials run; the second has a checkpoint of step 3 and a better score."""
    bench.running()
    bench.say("w0/1", "started")
    bench.say("w1/1", "started")
    for step in (1, 2, 3):
        bench.report("w1/1", step, 10.0 + step, checkpoint=True)
    bench.report("w0/1", 1, 1.0, checkpoint=True)


def test_a_paused_trial_frees_its_worker_and_comes_back(
    make_bench: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler = Once(Pause("its rung is full"))
    bench = make_bench(slots=1, num_samples=2, scheduler=scheduler).running()
    bench.say("w0/1", "started")
    bench.report("w0/1", 1, 1.0, checkpoint=True)
    decision = bench.report("w0/1", 2, 2.0, checkpoint=True)[1]
    assert decision == ev.Decided(0.0, "00000", 1, 2, "pause", "its rung is full", "once/1", None, None)
    assert [c.mode for c in bench.commands(msg.Interrupt)] == ["pause"]
    assert kinds(bench.end("w0/1", "interrupted"))[:4] == [
        "AttemptEnded",
        "TrialPaused",
        "TrialCreated",
        "AttemptAssigned",
    ]
    monkeypatch.setattr(scheduler, "next_to_resume", lambda: "00000")
    events = bench.run_trial("w0/1", 3.0)
    assigned = events[-1]
    assert isinstance(assigned, ev.AttemptAssigned)
    assert events[-2:] == [
        ev.Decided(0.0, "00000", 1, 2, "resume", "its turn", "once/1", None, None),
        ev.AttemptAssigned(0.0, "00000", 2, "w0/1", assigned.resume_from),
    ]
    assert assigned.resume_from is not None
    assert assigned.resume_from["path"] == "00000/1/2"
    bench.run_trial("w0/1")
    assert bench.state.status is RunStatus.COMPLETED


def test_a_trial_without_a_checkpoint_is_not_paused(make_bench: Make) -> None:
    bench = make_bench(num_samples=1, scheduler=Once(Pause("rung"))).running()
    bench.say("w0/1", "started")
    bench.report("w0/1", 1, 1.0)
    assert kinds(bench.report("w0/1", 2, 1.0)) == ["Reported"]


def test_a_pause_whose_checkpoint_never_came_goes_on(make_bench: Make) -> None:
    bench = make_bench(num_samples=1, scheduler=Once(Pause("rung"))).running()
    bench.say("w0/1", "started")
    bench.report("w0/1", 1, 1.0)
    bench.say("w0/1", "report", step=2, metrics={"score": 1.0}, checkpoint=True)
    assert kinds(bench.end("w0/1", "interrupted")) == ["AttemptEnded", "TrialRequeued", "AttemptAssigned"]


def test_paused_trials_that_nothing_resumes_end_with_the_run(make_bench: Make) -> None:
    bench = make_bench(num_samples=1, scheduler=Once(Pause("rung"))).running()
    bench.say("w0/1", "started")
    bench.report("w0/1", 1, 1.0)
    bench.report("w0/1", 2, 2.0, checkpoint=True)
    events = bench.end("w0/1", "interrupted")
    assert events[1:3] == [
        ev.TrialPaused(0.0, "00000"),
        ev.TrialEnded(0.0, "00000", "STOPPED", [2.0], None, "paused, and never resumed"),
    ]
    assert bench.state.status is RunStatus.COMPLETED


@pytest.mark.parametrize(("saved", "becomes"), [(True, "TrialPaused"), (False, "TrialRequeued")])
def test_a_worker_that_dies_as_its_trial_pauses(make_bench: Make, saved: bool, becomes: str) -> None:
    """With the checkpoint of its last step it is paused all the same; else the step is to be made again."""
    bench = make_bench(num_samples=2, scheduler=Once(Pause("rung"))).running()
    bench.say("w0/1", "started")
    bench.report("w0/1", 1, 1.0, checkpoint=True)
    bench.say("w0/1", "report", step=2, metrics={"score": 2.0}, checkpoint=True)
    if saved:
        bench.checkpoint("w0/1", 2)
    assert kinds(bench.vanish("w0/1"))[:2] == ["WorkerLost", becomes]


def test_a_pause_stands_when_the_run_is_stopped_before_it_is_carried_out(make_bench: Make) -> None:
    bench = make_bench(slots=2, num_samples=2, scheduler=OnceThenResume(Pause("rung")))
    start_two(bench)
    bench.report("w0/1", 2, 2.0, checkpoint=True)
    bench.tell(msg.StopRun("enough"))
    assert kinds(bench.end("w0/1", "interrupted"))[1] == "TrialPaused"
    assert kinds(bench.end("w1/1", "interrupted"))[1:3] == ["TrialRequeued", "RunEnded"]
    bench.vanish("w0/1", "w1/1")
    bench.tell(msg.Resume({}))
    bench.running()
    assert list(bench.state.running) == ["00001", "00000"], "the scheduler names the paused one"


def test_a_report_that_comes_during_a_halt_is_decided_on(make_bench: Make) -> None:
    bench = make_bench(num_samples=1, stop={"training_iteration": 2}).running()
    bench.say("w0/1", "started")
    bench.report("w0/1", 1, 1.0)
    bench.tell(msg.StopRun("enough"))
    bench.report("w0/1", 2, 2.0)
    bench.end("w0/1", "interrupted")
    assert bench.state.trials["00000"].status is TrialStatus.COMPLETED, "or it would run on, resumed"


EXPLOIT = Exploit("00001", {"x": 7.5}, "lags behind")


def test_an_exploit_takes_the_sources_checkpoint_and_a_new_config(make_bench: Make) -> None:
    bench = make_bench(slots=2, num_samples=2, scheduler=Once(EXPLOIT), keep_checkpoints=1)
    start_two(bench)
    decision = bench.report("w0/1", 2, 2.0)[-1]
    assert decision == ev.Decided(0.0, "00000", 1, 2, "exploit", "lags behind", "once/1", "00001", {"x": 7.5})
    bench.report("w1/1", 4, 14.0, checkpoint=True)
    kept = {c.trial: c.paths for c in bench.commands(msg.Retain)}
    assert kept["00001"] == ("00001/1/3", "00001/1/4"), "the newest, and the one that is borrowed"
    assigned = bench.end("w0/1", "interrupted")[-1]
    assert isinstance(assigned, ev.AttemptAssigned)
    assert assigned.resume_from is not None
    assert (assigned.trial, assigned.resume_from["path"]) == ("00000", "00001/1/3")
    assert bench.commands(msg.Start)[-1].config == {"x": 7.5}
    trial = bench.state.trials["00000"]
    bench.say("w0/1", "started")
    bench.report("w0/1", 4, 4.0)
    bench.end("w0/1")
    assert bench.state.observations[0].config == {"x": 7.5}
    assert list(trial.history.steps) == [1, 2, 4]


def last_kept(bench: Bench, trial: str) -> tuple[str, ...] | None:
    """The paths that the newest Retain command for `trial` names, of the commands since the last call."""
    return {c.trial: tuple(c.paths) for c in bench.commands(msg.Retain)}.get(trial)


class Twice(FIFOScheduler):
    """Trials 0 and 1 take trial 2 over, each at its second step."""

    def on_result(self, trial: Trial) -> Decision:
        if trial.step == 2 and trial.id != "00002":
            return Exploit("00002", {"x": 7.5}, "lags behind")
        return super().on_result(trial)


def exploited_twice(make_bench: Make) -> Bench:
    """Trial 2 is finished, and trials 0 and 1 run on from its checkpoint of step 3, not its newest."""
    bench = make_bench(slots=3, num_samples=3, scheduler=Twice(), keep_checkpoints=1).running()
    for step in (1, 2, 3):
        bench.report("w2/1", step, 9.0, checkpoint=True)
    for worker in ("w0/1", "w1/1"):
        bench.report(worker, 2, 1.0)
        bench.end(worker, "interrupted")
    bench.report("w2/1", 4, 9.0, checkpoint=True)
    bench.end("w2/1")
    assert last_kept(bench, "00002") == ("00002/1/3", "00002/1/4")
    return bench


def test_a_borrowed_checkpoint_goes_when_the_last_borrower_is_done(make_bench: Make) -> None:
    bench = exploited_twice(make_bench)
    bench.report("w0/1", 4, 1.0, checkpoint=True)
    bench.end("w0/1")
    assert last_kept(bench, "00002") is None, "trial 1 may still read it"
    bench.report("w1/1", 4, 1.0, checkpoint=True)
    assert last_kept(bench, "00002") is None
    bench.end("w1/1")
    assert last_kept(bench, "00002") == ("00002/1/4",)
    assert not bench.state.loans.borrowers


def test_a_borrowed_checkpoint_stays_with_a_borrower_that_has_none_of_its_own(make_bench: Make) -> None:
    """It is where one would go on from the finished trial; nothing else is."""
    bench = exploited_twice(make_bench)
    for worker in ("w0/1", "w1/1"):
        bench.report(worker, 4, 1.0)
        bench.end(worker)
    assert last_kept(bench, "00002") is None
    checkpoint = bench.state.trials["00000"].resume_point
    assert checkpoint is not None
    assert checkpoint.path == "00002/1/3"


def test_a_borrower_that_is_tried_again_goes_on_from_its_own(make_bench: Make) -> None:
    bench = make_bench(slots=2, num_samples=2, scheduler=Once(EXPLOIT), keep_checkpoints=1)
    start_two(bench)
    bench.report("w0/1", 2, 2.0)
    bench.report("w1/1", 4, 14.0, checkpoint=True)
    bench.end("w0/1", "interrupted")
    bench.report("w0/1", 4, 4.0, checkpoint=True)
    assert last_kept(bench, "00001") == ("00001/1/3", "00001/1/4")
    bench.vanish("w0/1")
    assert last_kept(bench, "00001") == ("00001/1/4",)


def test_an_exploit_survives_a_stop_of_the_run(make_bench: Make) -> None:
    bench = make_bench(slots=2, num_samples=2, scheduler=Once(EXPLOIT))
    start_two(bench)
    bench.report("w0/1", 2, 2.0, checkpoint=True)
    bench.tell(msg.StopRun("enough"))
    for worker in ("w0/1", "w1/1"):
        bench.end(worker, "interrupted")
    trial = bench.state.trials["00000"]
    assert trial.resume_from is not None
    assert (trial.config, trial.resume_from.path) == ({"x": 7.5}, "00001/1/3")


def test_a_source_that_was_itself_exploited_gives_what_it_took_over(make_bench: Make) -> None:
    """Its own older checkpoints belong to a config that it no longer has."""

    class Chain(FIFOScheduler):
        def on_result(self, trial: Trial) -> Decision:
            if trial.id == "00000" and trial.step == 2:
                return Exploit("00001", {"x": 7.5}, "first")
            if trial.id == "00002" and trial.step == 1:
                return Exploit("00000", {"x": 8.5}, "second")
            return super().on_result(trial)

    bench = make_bench(slots=3, num_samples=3, scheduler=Chain())
    start_two(bench)
    bench.report("w0/1", 2, 2.0, checkpoint=True)
    bench.end("w0/1", "interrupted")
    bench.say("w0/1", "started")
    bench.say("w2/1", "started")
    bench.report("w2/1", 1, 0.0)
    bench.end("w2/1", "interrupted")
    checkpoint = bench.state.trials["00002"].resume_from
    assert checkpoint is not None
    assert checkpoint.path == "00001/1/3"


def test_a_failure_during_an_exploit_goes_back_to_where_the_trial_was(make_bench: Make) -> None:
    """A person stops the trial between the decision and the end: the value is its own, not the source's."""
    bench = make_bench(slots=2, num_samples=2, scheduler=Once(EXPLOIT))
    start_two(bench)
    bench.report("w0/1", 2, 2.0)
    bench.tell(msg.StopTrial("00000", "no"))
    assert [c.mode for c in bench.commands(msg.Interrupt)] == ["stop"]
    bench.end("w0/1", "interrupted")
    trial = bench.state.trials["00000"]
    assert (trial.status, trial.config, trial.objective) == (TrialStatus.STOPPED, {"x": 0}, (2.0,))


def test_an_exploit_of_a_source_without_checkpoint_is_not_taken(make_bench: Make) -> None:
    bench = make_bench(slots=2, num_samples=2, scheduler=Once(EXPLOIT)).running()
    bench.say("w0/1", "started")
    bench.report("w0/1", 1, 1.0)
    assert kinds(bench.report("w0/1", 2, 1.0)) == ["Reported"]


# --- in virtual time ---


def test_a_trial_that_does_not_heed_its_stop_is_killed_after_the_grace_period() -> None:
    def hangs(config: Any, first: int) -> Any:
        yield 1.0, {"score": 1.0}
        yield 1.0, {"score": 2.0}
        yield 1e6, {"score": 3.0}

    run = Simulation(
        make_spec(num_samples=1, grace_s=7.0),
        hangs,
        slots=1,
        scheduler=lambda: Once(Stop("bad")),
        is_decided_on=False,  # it does not wait for the word, and is in its last step when that comes
    )
    run.start().run()
    trial = run.state.trials["00000"]
    assert (trial.status, trial.objective) == (TrialStatus.STOPPED, (2.0,))
    assert run.journal.of(ev.Decided)[0].at + 7.0 == pytest.approx(run.cluster.clock, abs=0.1)
    assert not run.cluster.workers


def test_a_trial_that_is_stopped_trains_no_further_where_its_reports_wait_for_the_word() -> None:
    def curve(config: Any, first: int) -> Any:
        for step in range(1, 10):
            yield 60.0, {"score": float(step)}

    def play(**how: Any) -> Simulation:
        spec = make_spec(num_samples=1, stop={"score": 2.0}, grace_s=10.0)
        return Simulation(spec, curve, slots=1, **how).start().run()

    run, hasty = play(), play(is_decided_on=False)
    assert sum(run.cluster.busy_s.values()) == 120.0
    assert len(run.journal.of(ev.WorkerLost)) == len(hasty.journal.of(ev.WorkerLost)) == 1
    assert run.journal.of(ev.WorkerReleased), "when all was done; it was not killed"
    assert not hasty.journal.of(ev.WorkerReleased)
    assert run.cluster.clock == pytest.approx(121.0, abs=0.5)
    assert hasty.cluster.clock == pytest.approx(131.0, abs=0.5), "ended by force, ten seconds into its third"


def test_a_report_does_not_wait_long_for_a_coordinator_that_is_away() -> None:
    def curve(config: Any, first: int) -> Any:
        for step in range(first + 1, 4):
            yield 60.0, {"score": float(step)}

    run = Simulation(make_spec(num_samples=1, stop={"score": 9.0}), curve, slots=1).start()
    while not run.journal.of(ev.Reported):
        run.loop.turn()
    run.crash(200.0)
    run.connect().start().run()
    assert list(run.state.trials["00000"].history.values("score")) == [1.0, 2.0, 3.0]
    assert run.cluster.ledger[-1].kind == "ended"
    assert run.cluster.ledger[-1].time == pytest.approx(1 + 180 + 2 * 0.6, abs=0.1), (
        "a hundredth of each step"
    )


def test_a_raising_trainable_is_a_failed_trial() -> None:
    def raises(config: Any, first: int) -> Any:
        yield 1.0, {"score": 1.0}
        raise TrainableError("broken")

    run = Simulation(make_spec(num_samples=2, max_failures=1), raises).start().run()
    assert [t.reason for t in run.state.trials.values()] == ["TrainableError: broken"] * 2
    assert [t.attempt for t in run.state.trials.values()] == [2, 2]


def test_an_interrupt_that_overtakes_its_start_is_heeded() -> None:
    def long(config: Any, first: int) -> Any:
        for _ in range(100):
            yield 1.0, {"score": 1.0}

    for seed in range(10):
        network = Network(latency_s=0.5, jitter=0.9)
        run = Simulation(make_spec(num_samples=1), long, slots=1, network=network, seed=seed).start()
        while not run.journal.of(ev.AttemptAssigned):
            run.loop.turn()
        run.journal.request("run", "stop_trial", {"trial": "00000"})
        run.loop._polled_at = -1.0
        run.run()
        assert run.cluster.clock < 15
