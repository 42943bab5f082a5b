"""A run's life: stimuli in, events and commands out."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from raytune_gp import events as ev
from raytune_gp import messages as msg
from raytune_gp.spec import UNLIMITED
from raytune_gp.status import RunStatus
from raytune_gp.trial import Metric, Trial, TrialStatus
from tests.core.bench import Bench, kinds
from tests.support import Simulation, flat_curve, make_spec

Make = Callable[..., Bench]


def test_a_run_of_one_trial_event_by_event(make_bench: Make) -> None:
    bench = make_bench(num_samples=1)
    assert bench.events[1:] == [
        ev.CapacityKnown(0.0, 1),
        ev.SuggestionsRequested(0.0, request=0, count=1, start=0, completed=0),
        ev.WorkerRequested(0.0, "w0/1", slot=0, incarnation=1),
    ]
    assert bench.commands() == [
        msg.Suggest(0, 1, 0, (), (), None),
        msg.Connect("w0/1", slot=0, create=True, after_seq=0),
    ]
    assert bench.commands() == [], "a command is given once"

    bench.now = 1.0
    assert bench.arrive("w0/1") == [ev.WorkerUp(1.0, "w0/1", "node", 7)]
    suggestion = {"config": {"x": 0.5}, "provenance": {"method": "gp"}}
    assert bench.tell(msg.Suggested(0, [suggestion], {"scale": 2.0})) == [
        ev.SuggestionsReady(1.0, 0, [suggestion], {"scale": 2.0}, exhausted=False),
        ev.TrialCreated(1.0, "00000", missed=0),
        ev.AttemptAssigned(1.0, "00000", attempt=1, worker="w0/1", resume_from=None),
    ]
    assert bench.commands() == [msg.Start("w0/1", "00000", 1, {"x": 0.5}, None, 0.0)]

    bench.now = 2.0
    assert bench.say("w0/1", "started") == [ev.AttemptStarted(2.0, "w0/1", 1, "00000", 1)]
    metrics = {"training_iteration": 1, "score": 0.7}
    assert bench.report("w0/1", 1, 0.7) == [ev.Reported(2.0, "w0/1", 2, "00000", 1, 1, metrics, 2.0)]
    assert bench.commands() == [msg.Acknowledge("w0/1", 2)]

    assert bench.end("w0/1") == [
        ev.AttemptEnded(2.0, "w0/1", 3, "00000", 1, "completed", None, True, 2.0),
        ev.TrialEnded(2.0, "00000", "COMPLETED", [0.7], None, None),
        ev.WorkerReleased(2.0, "w0/1", "no trial is left for it"),
        ev.RunEnded(2.0, "COMPLETED", "every trial is finished"),
    ]
    assert bench.commands() == [msg.Release("w0/1"), msg.Acknowledge("w0/1", 3)]
    assert not bench.experiment.is_over
    assert bench.vanish("w0/1") == [ev.WorkerLost(2.0, "w0/1", "killed")]
    assert bench.experiment.is_over
    best = bench.state.best()
    assert best is not None
    assert (best.objective, best.provenance) == ((0.7,), {"method": "gp", "missed": 0})


@pytest.mark.parametrize("slots", [1, 3, 10])
@pytest.mark.parametrize("uses_results", [True, False])
def test_the_budget_is_exact(slots: int, uses_results: bool) -> None:
    run = Simulation(make_spec(num_samples=7), flat_curve(), slots=slots, uses_results=uses_results)
    run.start().run()
    assert run.state.status is RunStatus.COMPLETED
    assert [t.status for t in run.state.trials.values()] == [TrialStatus.COMPLETED] * 7
    assert [t.config["x"] for t in run.state.trials.values()] == list(range(7))
    assert max(w.slot for w in run.journal.of(ev.WorkerRequested)) == min(slots, 7) - 1


def test_max_concurrent_trials_bounds_the_workers(make_bench: Make) -> None:
    assert len(make_bench(slots=8, max_concurrent_trials=3).state.workers) == 3


def test_workers_no_trial_is_left_for_are_released_at_once(make_bench: Make) -> None:
    bench = make_bench(slots=3, num_samples=4).running()
    for worker in ("w0/1", "w1/1"):
        events = bench.run_trial(worker, 1.0)
    assert kinds(events)[-2:] == ["TrialEnded", "WorkerReleased"], "three done or running, one to go"
    assert list(bench.state.crew.slots) == [0, 2]


def test_a_smaller_cluster_takes_no_new_trials_until_it_fits(make_bench: Make) -> None:
    bench = make_bench(slots=3, num_samples=9).running()
    bench.tell(msg.SlotsOffered(1))
    assert kinds(bench.run_trial("w0/1", 1.0))[-1] == "WorkerReleased"
    assert kinds(bench.run_trial("w1/1", 1.0))[-1] == "WorkerReleased"
    assert kinds(bench.run_trial("w2/1", 1.0))[-2:] == ["TrialCreated", "AttemptAssigned"]


def test_a_growing_cluster_is_staffed(make_bench: Make) -> None:
    bench = make_bench(slots=0, num_samples=3)
    assert not bench.state.workers
    assert [e.worker for e in bench.tell(msg.SlotsOffered(2)) if isinstance(e, ev.WorkerRequested)] == [
        "w0/1",
        "w1/1",
    ]
    assert bench.tell(msg.SlotsOffered(2)) == [], "nothing new"


def test_an_unlimited_run_goes_on_until_it_is_stopped(make_bench: Make) -> None:
    bench = make_bench(num_samples=UNLIMITED, slots=1).running()
    for _ in range(20):
        bench.run_trial("w0/1", 1.0)
        bench.running()
    assert len(bench.state.observations) == 20
    assert bench.state.status is RunStatus.RUNNING
    bench.tell(msg.StopRun("enough"))
    assert bench.state.status is RunStatus.STOPPING


def test_an_exhausted_searcher_ends_the_run_early(make_bench: Make) -> None:
    bench = make_bench(num_samples=100).running()
    while bench.state.request is None:
        bench.run_trial("w0/1", 1.0)
    bench.answer(exhausted=True)
    while bench.state.status is RunStatus.RUNNING:
        bench.run_trial("w0/1", 1.0)
    assert bench.state.status is RunStatus.COMPLETED
    assert 0 < len(bench.state.trials) < 100


def test_a_searcher_that_raises_fails_the_run(make_bench: Make) -> None:
    bench = make_bench()
    assert bench.tell(msg.SuggestFailed(99, "of another life")) == []
    events = bench.tell(msg.SuggestFailed(0, "ValueError: no"))
    assert events[0] == ev.RunEnded(0.0, "FAILED", "the searcher raised: ValueError: no")
    assert kinds(events)[1:] == ["WorkerReleased"]


def test_a_stop_criterion_completes_the_trial_with_that_value(make_bench: Make) -> None:
    bench = make_bench(num_samples=1, stop={"score": 0.9, "training_iteration": 5}).running()
    bench.say("w0/1", "started")
    assert kinds(bench.report("w0/1", 1, 0.5)) == ["Reported"]
    decision = bench.report("w0/1", 2, 0.95)[-1]
    assert decision == ev.Decided(
        0.0, "00000", 1, 2, "complete", "score = 0.95 reached 0.9", "stop/1", None, None
    )
    assert bench.commands(msg.Interrupt) == [msg.Interrupt("w0/1", "00000", 1, "stop", 10.0)]
    bench.report("w0/1", 3, 0.1)
    bench.end("w0/1", "interrupted")
    trial = bench.state.trials["00000"]
    assert (trial.status, trial.objective) == (TrialStatus.COMPLETED, (0.95,))
    assert trial.step == 3, "the later report is history"


def test_a_minimised_metric_stops_from_above(make_bench: Make) -> None:
    bench = make_bench(metrics=(Metric("loss", "min"),), stop={"loss": 0.1}).running()
    bench.say("w0/1", "started")
    assert kinds(bench.report("w0/1", 1, loss=0.5)) == ["Reported"]
    assert kinds(bench.report("w0/1", 2, loss=float("nan"))) == ["Reported"]
    assert kinds(bench.report("w0/1", 3, loss=0.1)) == ["Reported", "Decided"]


def test_a_stopper_of_the_users_is_asked(make_bench: Make) -> None:
    bench = make_bench(num_samples=1, stopper=lambda trial: trial.step >= 2).running()
    bench.say("w0/1", "started")
    assert kinds(bench.report("w0/1", 1, 1.0)) == ["Reported"]
    decided = bench.report("w0/1", 2, 1.0)[-1]
    assert isinstance(decided, ev.Decided)
    assert decided.action == "complete"


class StopAll:
    """Ray's Stopper in two methods: a trial's own end, and everybody's."""

    met = False

    def __call__(self, trial: Trial) -> bool:
        self.met = trial.step >= 2
        return self.met

    def stop_all(self) -> bool:
        return self.met


def test_a_stopper_may_end_the_whole_run(make_bench: Make) -> None:
    bench = make_bench(slots=2, num_samples=9, stopper=StopAll()).running()
    bench.report("w0/1", 1, 1.0)
    events = bench.report("w0/1", 2, 1.0)
    assert kinds(events) == ["Reported", "Decided", "StopRequested"]
    assert [(c.trial, c.mode) for c in bench.commands(msg.Interrupt)] == [
        ("00000", "stop"),
        ("00001", "pause"),
    ]
    bench.report("w1/1", 1, 1.0)
    assert kinds(bench.report("w1/1", 2, 1.0)) == ["Reported", "Decided"], "it is stopping already"
    bench.end("w0/1", "interrupted")
    bench.end("w1/1", "interrupted")
    assert bench.state.status is RunStatus.STOPPED
    assert [t.status for t in bench.state.trials.values()] == [TrialStatus.COMPLETED] * 2


class Timeout:
    """Ray's TimeoutStopper: it ends no trial, only the whole run."""

    def __call__(self, trial: Trial) -> bool:
        return False

    def stop_all(self) -> bool:
        return True


def test_a_stopper_may_end_the_run_though_it_ends_no_trial(make_bench: Make) -> None:
    bench = make_bench(slots=2, num_samples=9, stopper=Timeout()).running()
    assert kinds(bench.report("w0/1", 1, 1.0)) == ["Reported", "StopRequested"]
    assert kinds(bench.report("w1/1", 1, 1.0)) == ["Reported"]


def test_the_time_budget_stops_gently_and_in_time() -> None:
    run = Simulation(make_spec(num_samples=50, time_budget_s=10.5), flat_curve(steps=4), slots=2).start()
    assert run.loop.experiment.deadline == 10.5
    run.run()
    assert run.state.status is RunStatus.STOPPED
    assert run.state.reason == "the time budget of 10.5 s is used up"
    assert run.journal.of(ev.StopRequested)[0].at == pytest.approx(10.5)
    assert run.cluster.clock < 13
    assert [run.state.trials[t].step for t in run.state.queue] == [2, 2], "they can be resumed"


def test_a_gentle_stop_and_a_resumption_with_more_samples() -> None:
    run = Simulation(make_spec(num_samples=3), flat_curve(steps=6), slots=2).start()
    while run.cluster.clock < 2.5:
        run.loop.turn()
    run.journal.request("run", "stop", {"reason": "a person asked"})
    run.run()
    assert (run.state.status, run.state.reason) == (RunStatus.STOPPED, "a person asked")
    assert not run.cluster.workers
    halted = {t: run.state.trials[t].step for t in run.state.queue}
    assert len(halted) == 2
    assert all(0 < step < 6 for step in halted.values())

    run.connect()
    run.start([msg.Resume({"num_samples": 5})]).run()
    assert run.state.status is RunStatus.COMPLETED
    assert [t.config["x"] for t in run.state.trials.values()] == [0, 1, 2, 3, 4], "none skipped or doubled"
    for trial in run.state.trials.values():
        assert list(trial.history.steps) == [1, 2, 3, 4, 5, 6]
        assert trial.attempt == (2 if trial.id in halted else 1)
    resumed = {e.trial: e.resume_from["step"] for e in run.journal.of(ev.AttemptAssigned) if e.resume_from}
    assert resumed == halted, "each goes on from its checkpoint"


def test_a_resumption_while_the_stop_is_under_way_lets_the_trials_go_on(make_bench: Make) -> None:
    bench = make_bench(num_samples=1).running()
    bench.say("w0/1", "started")
    bench.report("w0/1", 1, 1.0, checkpoint=True)
    bench.tell(msg.StopRun("oops"))
    bench.tell(msg.Resume({}))
    assert kinds(bench.end("w0/1", "interrupted")) == ["AttemptEnded", "TrialRequeued", "AttemptAssigned"]
    checkpoint = bench.state.trials["00000"].resume_from
    assert checkpoint is not None
    assert checkpoint.step == 1


def test_a_smaller_budget_on_resumption_ends_the_run(make_bench: Make) -> None:
    bench = make_bench(num_samples=4, slots=2).running()
    bench.tell(msg.StopRun("enough"))
    for worker in ("w0/1", "w1/1"):
        bench.end(worker, "interrupted")
    bench.vanish("w0/1", "w1/1")
    bench.tell(msg.Resume({"num_samples": 1}))
    for _ in range(2):
        bench.running()
        bench.run_trial(next(w.id for w in bench.state.workers.values() if w.trial), 1.0)
    assert bench.state.status is RunStatus.COMPLETED
    assert len(bench.state.trials) == 2


def test_suggestions_dropped_by_a_stop_are_asked_for_again(make_bench: Make) -> None:
    bench = make_bench(num_samples=8, slots=1).running()
    assert len(bench.state.ready) > 0
    bench.tell(msg.StopRun("later"))
    bench.end("w0/1", "interrupted")
    bench.vanish("w0/1")
    bench.tell(msg.Resume({}))
    assert bench.of(ev.SuggestionsRequested)[-1].start == 1


def test_a_request_open_during_a_stop_does_not_shift_the_sequence(make_bench: Make) -> None:
    """Dropped suggestions and an answer on its way: a grid would lose some cells and repeat others."""
    bench = make_bench(num_samples=100, slots=2).running()
    bench.tell(msg.SlotsOffered(30))
    assert bench.state.request is not None
    late = bench.state.request
    bench.tell(msg.StopRun("oops"), msg.Resume({}))
    assert bench.tell(msg.Suggested(late.request, [{"config": {"x": 99}, "provenance": {}}])) == []
    bench.answer()
    assert [s.config["x"] for s in bench.state.ready][:2] == [2, 3]


def test_stopping_one_trial(make_bench: Make) -> None:
    bench = make_bench(num_samples=3, slots=1, max_failures=5).running()
    bench.say("w0/1", "started")
    bench.report("w0/1", 1, 0.4)
    assert kinds(bench.tell(msg.StopTrial("00000", "looks bad"))) == ["Decided"]
    bench.report("w0/1", 2, 0.9)
    assert bench.tell(msg.StopTrial("00000", "again")) == [], "the decision stands"
    bench.end("w0/1", "interrupted")
    trial = bench.state.trials["00000"]
    assert (trial.status, trial.objective, trial.reason) == (TrialStatus.STOPPED, (0.4,), "looks bad")
    assert bench.tell(msg.StopTrial("00000", "too late")) == []
    assert bench.tell(msg.StopTrial("12345", "unknown")) == []


def test_stopping_a_trial_that_waits_ends_it_at_once(make_bench: Make) -> None:
    bench = make_bench(num_samples=2, slots=1, max_losses=9).running()
    bench.vanish("w0/1")
    assert list(bench.state.queue) == ["00000"]
    events = bench.tell(msg.StopTrial("00000", "no"))
    assert events[0] == ev.TrialEnded(0.0, "00000", "STOPPED", None, "stopped before a report", "no")
    assert not bench.state.queue


def test_a_trial_can_be_stopped_before_it_has_started(make_bench: Make) -> None:
    bench = make_bench(num_samples=1).running()
    bench.commands()
    bench.tell(msg.StopTrial("00000", "no"))
    assert bench.commands() == [msg.Interrupt("w0/1", "00000", 1, "stop", 10.0)]
    bench.say("w0/1", "started")
    bench.report("w0/1", 1, 0.4)
    bench.end("w0/1", "interrupted")
    assert bench.state.observations[0].failure == "stopped before a report"


def test_an_ended_run_hears_no_more_requests(make_bench: Make) -> None:
    bench = make_bench(num_samples=1).running()
    bench.run_trial("w0/1", 1.0)
    assert bench.tell(msg.StopRun("late"), msg.Tick(), msg.Suggested(0, [])) == []
    assert bench.state.status is RunStatus.COMPLETED


def test_more_samples_after_the_end(make_bench: Make) -> None:
    bench = make_bench(num_samples=1).running()
    bench.run_trial("w0/1", 1.0)
    bench.vanish("w0/1")
    bench.tell(msg.Resume({"num_samples": 2}))
    bench.running()
    assert [e.worker for e in bench.of(ev.WorkerRequested)] == ["w0/1", "w0/2"]
    bench.run_trial("w0/2", 2.0)
    assert [o.values for o in bench.state.observations] == [(1.0,), (2.0,)]


def test_time_never_runs_backwards(make_bench: Make) -> None:
    bench = make_bench()
    bench.now = 5.0
    bench.arrive("w0/1")
    bench.now = 3.0
    assert {e.at for e in bench.answer()} == {5.0}
