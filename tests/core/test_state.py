"""The state of a run is what its events add up to: live, replayed and read from JSON, at every index."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest

from raytune_gp import events as ev
from raytune_gp import messages as msg
from raytune_gp.execution.simulated_cluster import Network
from raytune_gp.experiment import Experiment
from raytune_gp.schedulers import FIFOScheduler
from raytune_gp.state import RunState
from raytune_gp.trial import Config, Metric
from tests.core.bench import Bench, check_state, through_json
from tests.core.fake_schedulers import FreezeThaw, Population, Promotion
from tests.support import Simulation, make_spec

Make = Callable[..., Bench]


class Recording(Experiment):
    """Keeps a copy of its state after every event."""

    def __init__(self, scheduler: Any):
        super().__init__(scheduler)
        self.states: list[RunState] = []

    def apply(self, event: ev.Event) -> None:
        super().apply(event)
        self.states.append(copy.deepcopy(self.state))


def wild(config: Config, first: int) -> Any:
    """Text, NaN, infinities and a missing metric among the reports; every fifth trial raises once."""
    for step in range(first + 1, 6):
        score = [1.0, math.nan, math.inf, 0.5, 2.0][(step + int(config["x"])) % 5]
        metrics: dict[str, Any] = {"score": score, "note": f"step {step}", "flag": step > 2}
        if step == 3:
            del metrics["score"]
        yield 0.5 + (int(config["x"]) * step) % 3, metrics
        if int(config["x"]) % 5 == 1 and first == 0 and step == 2:
            raise ValueError("once")


@pytest.mark.parametrize("scheduler", [FIFOScheduler, Promotion, Population, FreezeThaw])
@pytest.mark.parametrize("settings", [{}, {"keep_checkpoints": 2, "checkpoint_metric": Metric("score")}])
def test_every_prefix_replays_to_the_state_that_was(
    scheduler: Callable[[], Any], settings: dict[str, Any]
) -> None:
    spec = make_spec(num_samples=9, max_failures=1, **settings)

    def curve(config: Config, first: int) -> Any:
        for seconds, metrics in wild(config, first):
            yield seconds, {"score": 0.1, **metrics} if scheduler is not FIFOScheduler else metrics

    run = Simulation(
        spec,
        curve,
        slots=3,
        scheduler=scheduler,
        network=Network(loss=0.05, duplication=0.1, jitter=0.5),
        seed=1,
        snapshot_every=10**9,
    )
    run.make = lambda: Recording(scheduler())
    run.connect()
    run.start()
    while len(run.journal.rows) < 100:
        run.loop.turn()
    run.cluster.kill(sorted(run.cluster.workers)[0])
    run.journal.request("run", "stop", {"reason": "enough"})
    run.run()
    run.connect()
    run.start([msg.Resume({"num_samples": 10})]).run()
    experiment = run.loop.experiment
    assert isinstance(experiment, Recording)
    live = experiment.states
    events = run.journal.events()
    assert len(live) == len(events) > 150
    kinds = {type(e) for e in events}
    assert len(kinds) > 18, "nearly every kind of event is among them"
    plain, coded = RunState(), RunState()
    for index, (event, again) in enumerate(zip(events, through_json(events), strict=True)):
        plain.apply(event)
        coded.apply(again)
        assert plain == coded == live[index], f"after event {index}, {event}"
        assert plain.index == index
        if index and type(event) is not type(events[index - 1]):
            assert plain != live[index - 1]
    check_state(plain)


def test_what_is_outstanding_is_called_for_again_after_a_replay(make_bench: Make) -> None:
    bench = make_bench(slots=3, num_samples=9, uses_results=True).running()
    bench.say("w0/1", "started")
    bench.report("w0/1", 1, 1.0, checkpoint=True)
    bench.tell(msg.StopTrial("00000", "no"))
    bench.run_trial("w1/1", 1.0)
    bench.end("w2/1", "completed", left="a child process")
    told = bench.commands()
    assert bench.commands() == []
    again = Experiment(FIFOScheduler())
    again.replay(bench.events)
    commands = again.commands()
    trial = bench.state.workers["w1/1"].trial
    assert trial is not None
    assert [c for c in commands if isinstance(c, msg.Start)] == [
        msg.Start("w1/1", trial, 1, bench.state.trials[trial].config, None, 0.0)
    ], "not for the one that has started"
    assert [c for c in commands if isinstance(c, msg.Suggest)] == [
        c for c in told if isinstance(c, msg.Suggest)
    ]
    assert [c.trial for c in commands if isinstance(c, msg.Interrupt)] == ["00000"]
    assert [c for c in commands if isinstance(c, msg.Acknowledge)] == [
        msg.Acknowledge("w0/1", 3),
        msg.Acknowledge("w1/1", 3),
        msg.Acknowledge("w2/1", 1),
    ]
    assert [c for c in commands if isinstance(c, msg.Release)] == [msg.Release("w2/1")]
    connects = [c for c in commands if isinstance(c, msg.Connect)]
    assert sorted(connects, key=lambda c: c.worker) == [
        msg.Connect("w0/1", 0, False, 3),
        msg.Connect("w1/1", 1, False, 3),
        msg.Connect("w2/1", 2, False, 1),
        msg.Connect("w2/2", 2, True, 0),
    ]


def kept(bench: Bench) -> list[int]:
    """The steps of the checkpoints that the first trial's last Retain command names."""
    *_, last = (c for c in bench.commands(msg.Retain) if c.trial == "00000")
    return [int(path.rpartition("/")[2]) for path in last.paths]


@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        ({}, [1, 2, 3, 4, 5]),
        ({"keep_checkpoints": 1}, [5]),
        ({"keep_checkpoints": 2}, [4, 5]),
        ({"keep_checkpoints": 2, "checkpoint_metric": Metric("score")}, [2, 5]),
        ({"keep_checkpoints": 3, "checkpoint_metric": Metric("score", "min")}, [1, 4, 5]),
        ({"keep_checkpoints": 2, "checkpoint_metric": Metric("absent", "min")}, [2, 5]),
    ],
)
def test_the_newest_and_the_best_checkpoints_are_kept(
    make_bench: Make, settings: dict[str, Any], steps: list[int]
) -> None:
    bench = make_bench(num_samples=1, **settings).running()
    bench.say("w0/1", "started")
    for step, score in enumerate([1.0, 9.0, math.nan, 2.0, 3.0], start=1):
        bench.report("w0/1", step, score, checkpoint=True)
    assert kept(bench) == steps
    assert [c.step for c in bench.state.trials["00000"].checkpoints] == steps


def test_what_comes_after_the_decision_takes_no_place_from_what_counts(make_bench: Make) -> None:
    bench = make_bench(num_samples=1, keep_checkpoints=1, stop={"training_iteration": 5}).running()
    bench.say("w0/1", "started")
    for step in (4, 5, 6, 7):
        bench.report("w0/1", step, float(step), note=f"step {step}", checkpoint=True)
    bench.end("w0/1", "interrupted")
    trial = bench.state.trials["00000"]
    assert (trial.objective, trial.step) == ((5.0,), 7)
    [*_, last] = bench.commands(msg.Retain)
    assert last == msg.Retain("00000", ("00000/1/5",), is_finished=True), "6 and 7 go"
    assert trial.checkpoint is not None
    assert trial.checkpoint.step == 5
    assert trial.last_report(()) == {"training_iteration": 5, "score": 5.0, "note": "step 5"}


def test_a_checkpoint_that_the_attempt_goes_on_from_is_kept(make_bench: Make) -> None:
    bench = make_bench(num_samples=1, keep_checkpoints=1, max_failures=1).running()
    bench.say("w0/1", "started")
    bench.report("w0/1", 1, 1.0, checkpoint=True)
    bench.end("w0/1", "failed", "once")
    bench.say("w0/1", "started")
    bench.report("w0/1", 2, 2.0, checkpoint=True)
    assert kept(bench) == [1, 2]
    bench.end("w0/1")
    assert kept(bench) == [2], "and goes once the attempt is over"


def test_the_best_trial_is_the_earliest_among_equals(make_bench: Make) -> None:
    bench = make_bench(num_samples=4, metrics=(Metric("score", "min"),)).running()
    assert bench.state.best() is None
    for score in (math.nan, 2.0, 1.0, 1.0):
        bench.run_trial("w0/1", score)
        bench.running()
    best = bench.state.best()
    assert best is not None
    assert best.id == "00002"


def test_several_metrics_make_an_objective_of_several_values(make_bench: Make) -> None:
    metrics = (Metric("score"), Metric("seconds", "min"))
    bench = make_bench(num_samples=2, metrics=metrics).running()
    bench.report("w0/1", 1, 0.5, seconds=3.0)
    bench.end("w0/1")
    assert bench.state.observations[0].values == (0.5, 3.0)
    bench.run_trial("w0/1", 0.5)
    assert bench.state.trials["00001"].reason == ("ended without reporting seconds; it reported score")


def test_a_users_own_time_that_is_no_number_is_no_crash(make_bench: Make) -> None:
    bench = make_bench(num_samples=1).running()
    bench.report("w0/1", 1, 0.5, time_total_s="three minutes")
    bench.report("w0/1", 2, 0.5, time_total_s=7)
    assert bench.state.trials["00000"].time_total_s == 7.0
