"""A metric that no trial reports ends the run early, and says what to change; no other run is hurt.

A stop criterion that no trial reports is told of.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raytune_gp import events as ev
from raytune_gp import messages as msg
from raytune_gp.experiment import Experiment
from raytune_gp.protocols import Continue, Decision, Pause, Stop
from raytune_gp.schedulers import FIFOScheduler
from raytune_gp.status import RunStatus
from raytune_gp.trial import Config, Metric, Trial, TrialStatus
from raytune_gp.unheard import MOST, Unheard
from raytune_gp.unreported import MANY, idle_criteria, unranked_checkpoints
from tests.core.bench import Bench, kinds
from tests.support import Simulation, make_spec, replayed

Make = Callable[..., Bench]


def one_more(bench: Bench, worker: str = "w0/1", outcome: str = "completed", **metrics: Any) -> None:
    """The worker's trial makes one report, if metrics are given, and ends."""
    bench.say(worker, "started")
    if metrics:
        bench.report(worker, 1, **metrics)
    bench.end(worker, outcome, "no" if outcome == "failed" else None)
    bench.running()


def ended(bench: Bench) -> bool:
    return bench.state.status.is_ended


def test_the_run_ends_with_the_first_trials_and_says_what_to_change(make_bench: Make) -> None:
    bench = make_bench(num_samples=100).running()
    for _ in range(2):
        one_more(bench, Score=0.9, loss=0.1, time_total_s=1.0)
        assert not ended(bench)
    bench.say("w0/1", "started")
    bench.report("w0/1", 1, Score=0.9, note="text")
    assert kinds(bench.end("w0/1")) == ["AttemptEnded", "TrialEnded", "RunEnded", "WorkerReleased"]
    assert bench.state.status is RunStatus.FAILED
    assert bench.state.reason == (
        "no trial reported 'score', the metric to optimise. Set it to a name that is reported, or have the "
        "trainable report 'score'; then resume the run, or start it anew. The first 3 trials reported Score, "
        "loss, note; did you mean 'Score'?"
    )


@pytest.mark.parametrize(
    ("metrics", "said"),
    [
        ({}, "The first 3 trials reported nothing"),
        ({"time_this_iter_s": 1.0}, "The first 3 trials reported time_this_iter_s, training_iteration"),
        ({"score": "high"}, "The first 3 trials reported 'score' as 'high', which is no number"),
        ({"val/scores": 1.0}, "The first 3 trials reported val/scores; did you mean 'val/scores'?"),
        ({f"m{k:02}": 1.0 for k in range(25)}, "m18, m19 and 5 more"),
    ],
)
def test_what_was_reported_instead(make_bench: Make, metrics: dict[str, Any], said: str) -> None:
    bench = make_bench(num_samples=100).running()
    for _ in range(3):
        one_more(bench, **metrics)
    assert bench.state.status is RunStatus.FAILED
    assert bench.state.reason.endswith(said)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.integers(0, 40), max_size=60))
def test_the_first_silent_trials_are_known_in_whatever_order_they_end(numbers: list[int]) -> None:
    unheard = Unheard(metrics={"score"})
    for number in numbers:
        unheard.through(Trial(str(number), number, {}, {}, 0.0))
    assert unheard.silent == sorted(set(numbers))[:MOST]


@pytest.mark.parametrize(("slots", "heard"), [(1, 3), (5, 5), (30, 10)])
def test_as_many_trials_are_heard_as_run_side_by_side(make_bench: Make, slots: int, heard: int) -> None:
    bench = make_bench(slots=slots, num_samples=100).running()
    for count in range(1, heard + 1):
        first = bench.state.trials[min(bench.state.running)].worker
        assert first is not None
        one_more(bench, first, accuracy=0.9)
        assert ended(bench) == (count == heard)


def test_configs_that_are_refused_at_once_do_not_speak_for_those_that_train(make_bench: Make) -> None:
    """The metric may come with the last step alone: what ends early says nothing of what started before."""
    bench = make_bench(slots=2, num_samples=100).running()
    bench.say("w0/1", "started")
    bench.report("w0/1", 1, loss=0.5)
    for _ in range(20):
        one_more(bench, "w1/1")
    assert not ended(bench)
    bench.report("w0/1", 2, 0.7)
    bench.end("w0/1")
    for _ in range(20):
        bench.running()
        one_more(bench, "w1/1")
    assert not ended(bench), "a trial has reported it"


def test_a_trial_that_raises_or_is_stopped_by_a_person_says_nothing(make_bench: Make) -> None:
    bench = make_bench(num_samples=100).running()
    for _ in range(10):
        one_more(bench, outcome="failed", accuracy=0.9)
    for _ in range(10):
        bench.say("w0/1", "started")
        bench.report("w0/1", 1, accuracy=0.9)
        (trial,) = bench.state.running
        bench.tell(msg.StopTrial(trial, "no"))
        bench.end("w0/1", "interrupted")
        bench.running()
        assert bench.state.observations[-1].failure == "stopped before a report"
    assert not ended(bench)


class Always(FIFOScheduler):
    """Decides the same after every report, and resumes the trial that it is told."""

    rule = "always/1"

    def __init__(self, decision: Decision):
        self.decision = decision
        self.resumed: str | None = None

    def on_result(self, trial: Trial) -> Decision:
        return self.decision

    def next_to_resume(self) -> str | None:
        return self.resumed


@pytest.mark.parametrize("decision", [Stop("worse"), Pause("its rung")])
def test_a_scheduler_that_ranks_without_the_metric(make_bench: Make, decision: Decision) -> None:
    bench = make_bench(num_samples=100, scheduler=Always(decision)).running()
    for count in range(1, 4):
        bench.say("w0/1", "started")
        bench.report("w0/1", 1, accuracy=0.9, checkpoint=True)
        bench.end("w0/1", "interrupted")
        bench.running()
        assert ended(bench) == (count == 3)
    assert bench.state.status is RunStatus.FAILED


def test_a_paused_trial_that_is_resumed_is_heard_to_the_end(make_bench: Make) -> None:
    """Trials 1 to 3 are paused while trial 0 runs; trial 3 runs again when trial 0 raises."""
    scheduler = Always(Pause("its rung"))
    bench = make_bench(slots=2, num_samples=100, scheduler=scheduler).running()
    for resumed in (None, None, "00003"):
        bench.say("w1/1", "started")
        bench.report("w1/1", 1, accuracy=0.9, checkpoint=True)
        scheduler.resumed = resumed
        bench.end("w1/1", "interrupted")
        bench.running()
    assert list(bench.state.running) == ["00000", "00003"]
    scheduler.resumed = None
    one_more(bench, outcome="failed")
    assert not ended(bench)


def test_paused_trials_do_not_end_a_run_that_is_resumed(make_bench: Make) -> None:
    scheduler = Always(Pause("its rung"))
    bench = make_bench(num_samples=100, scheduler=scheduler).running()
    for _ in range(3):
        bench.say("w0/1", "started")
        bench.report("w0/1", 1, accuracy=0.9, checkpoint=True)
        bench.end("w0/1", "interrupted")
        bench.running()
    bench.vanish("w0/1")
    scheduler.decision = Continue()
    bench.tell(msg.Resume({}))
    bench.running()
    one_more(bench, "w0/2", score=0.5)
    assert not ended(bench)


def curve(reported: str) -> Callable[[Config, int], Any]:
    def of(config: Config, first: int) -> Any:
        for step in range(first + 1, 3):
            yield 1.0, {reported: config["x"] + step / 10}

    return of


def test_a_run_whose_trainable_is_mended_goes_on() -> None:
    run = Simulation(make_spec(num_samples=9), curve("accuracy"), slots=3).start().run()
    assert run.state.status is RunStatus.FAILED
    assert len(run.state.observations) == 3
    run.cluster.curve = curve("score")
    run.connect()
    run.start([msg.Resume({})]).run()
    assert run.state.status is RunStatus.COMPLETED
    assert [t.status for t in run.state.trials.values()] == [TrialStatus.FAILED] * 3 + (
        [TrialStatus.COMPLETED] * 6
    )


def test_a_run_whose_trainable_is_not_mended_ends_again_after_as_many_trials() -> None:
    run = Simulation(make_spec(num_samples=20), curve("accuracy"), slots=3).start().run()
    run.connect()
    run.start([msg.Resume({})]).run()
    assert run.state.status is RunStatus.FAILED
    assert 6 <= len(run.state.observations) <= 8


def test_a_run_whose_metric_is_put_right_gives_the_finished_trials_their_values() -> None:
    run = Simulation(make_spec(num_samples=9), curve("accuracy"), slots=3).start().run()
    run.connect()
    right = [{"name": "accuracy", "mode": "max"}]
    run.start([msg.Resume({"metrics": right})]).run()
    assert run.state.status is RunStatus.COMPLETED
    assert [t.objective for t in run.state.trials.values()] == [(x + 0.2,) for x in range(9)]
    assert {t.status for t in run.state.trials.values()} == {TrialStatus.COMPLETED}
    assert len(run.asker.asked[-1].completed) >= 3
    assert all(o.values is not None and o.failure is None for o in run.asker.asked[-1].completed)


def test_a_metric_that_is_put_right_gives_a_value_to_trials_that_a_person_stopped(make_bench: Make) -> None:
    bench = make_bench(slots=2, num_samples=100, stop={"epoch": 2}).running()
    bench.tell(msg.StopTrial("00000", "no"))
    bench.end("w0/1", "interrupted")
    bench.running()
    for worker, step in (("w1/1", 1), ("w1/1", 2), ("w0/1", 1)):
        bench.report(worker, step, accuracy=0.1 * step, epoch=step)
    bench.end("w1/1", "interrupted")
    bench.tell(msg.StopTrial("00002", "no"))
    bench.end("w0/1", "interrupted")
    ended = [bench.state.trials[o.trial_id] for o in bench.state.observations]
    assert [(t.id, t.status, t.objective) for t in ended] == [
        ("00000", TrialStatus.STOPPED, None),
        ("00001", TrialStatus.FAILED, None),
        ("00002", TrialStatus.STOPPED, None),
    ]
    bench.tell(msg.Resume({"metrics": [{"name": "accuracy", "mode": "max"}]}))
    assert [(t.status, t.objective) for t in ended] == [
        (TrialStatus.STOPPED, None),
        (TrialStatus.COMPLETED, (0.2,)),
        (TrialStatus.STOPPED, (0.1,)),
    ]
    assert [o.failure for o in bench.state.observations] == ["stopped before a report", None, None]


def test_a_metric_that_is_put_right_leaves_a_trial_stopped_whose_time_was_up(make_bench: Make) -> None:
    bench = make_bench(num_samples=9, trial_timeout_s=100.0).running()
    bench.say("w0/1", "started")
    bench.report("w0/1", 1, accuracy=0.5)
    bench.now = 100.0
    bench.tell(msg.Tick())
    bench.end("w0/1", "interrupted")
    trial = bench.state.trials["00000"]
    assert (trial.status, trial.reason) == (
        TrialStatus.FAILED,
        "its time of 100 s is used up, and it had reported no score",
    )
    bench.tell(msg.Resume({"metrics": [{"name": "accuracy", "mode": "max"}]}))
    assert (trial.status, trial.objective) == (TrialStatus.STOPPED, (0.5,))
    assert trial.reason == "its time of 100 s is used up"
    assert bench.state.observations[0].failure is None


def test_a_stop_criterion_that_no_trial_reports_is_told_of_when_one_is_through(make_bench: Make) -> None:
    bench = make_bench(num_samples=9, stop={"Score": 0.9, "scale": 1}).running()
    assert idle_criteria(bench.state) == {}
    bench.say("w0/1", "started")
    bench.report("w0/1", 1, 0.5)
    assert idle_criteria(bench.state) == {}
    bench.end("w0/1")
    first, second = idle_criteria(bench.state).values()
    assert first == (
        "stop has 'Score', which no trial has reported so far, so that it ends none. To put it right, end "
        "the run and resume it with the right stop. Trial 0 made 1 report, of score, training_iteration; did "
        "you mean 'score'?"
    )
    assert "stop has 'scale'" in second
    bench.running()
    one_more(bench, score=0.5, scale=0.0)
    assert idle_criteria(bench.state) == {"Score": first}
    bench.tell(msg.Resume({"stop": {"score": 0.9, "scale": 1}}))
    assert idle_criteria(bench.state) == {}


def test_a_metric_to_rank_checkpoints_by_that_no_trial_reports_is_told_of(make_bench: Make) -> None:
    bench = make_bench(num_samples=9, keep_checkpoints=2, checkpoint_metric=Metric("acuracy")).running()
    assert unranked_checkpoints(bench.state) is None
    one_more(bench, score=0.5, accuracy=0.7)
    assert unranked_checkpoints(bench.state) == (
        "checkpoint_score_attribute is 'acuracy', which no trial has reported so far: checkpoints are ranked "
        "by 'score' (max) instead. To put it right, end the run and resume it with the right one. Trial 0 "
        "made 1 report, of accuracy, score, training_iteration; did you mean 'accuracy'?"
    )
    bench.tell(msg.Resume({"checkpoint_metric": {"name": "accuracy", "mode": "max"}}))
    assert unranked_checkpoints(bench.state) is None


def test_a_trial_that_nothing_ends_tells_of_a_criterion_by_its_many_reports(make_bench: Make) -> None:
    bench = make_bench(num_samples=9, stop={"training_iterations": 10}).running()
    bench.say("w0/1", "started")
    for step in range(1, MANY + 1):
        assert idle_criteria(bench.state) == {}
        bench.report("w0/1", step, 0.5)
    (warning,) = idle_criteria(bench.state).values()
    assert warning.endswith(
        f"made {MANY} reports, of score, training_iteration; did you mean 'training_iteration'?"
    )


@pytest.mark.parametrize("value", [math.nan, True, 3])
def test_what_is_reported_at_all_is_no_slip(make_bench: Make, value: Any) -> None:
    bench = make_bench(num_samples=9, stop={"done": 5}).running()
    one_more(bench, score=0.5, done=value)
    assert idle_criteria(bench.state) == {}


def test_a_trial_that_another_criterion_ended_says_nothing_of_what_was_to_come(make_bench: Make) -> None:
    bench = make_bench(num_samples=9, stop={"score": 0.9, "validated": 1}).running()
    for outcome in ("interrupted", "failed"):
        bench.say("w0/1", "started")
        bench.report("w0/1", 1, 0.95 if outcome == "interrupted" else 0.1)
        bench.end("w0/1", outcome, "no")
        bench.running()
    assert [t.status.value for t in bench.state.trials.values()][:2] == ["COMPLETED", "FAILED"]
    assert idle_criteria(bench.state) == {}


def test_replay_applies_the_end_and_decides_nothing_again() -> None:
    run = Simulation(make_spec(num_samples=9), curve("accuracy"), slots=3).start().run()
    events = run.journal.events()
    (end,) = (index for index, event in enumerate(events) if isinstance(event, ev.RunEnded))
    before = replayed(events[:end])
    assert before.state.status is RunStatus.RUNNING
    after: Experiment = replayed(events)
    assert after.state == run.state
    assert after.advance(msg.Tick(), 99.0) == []
