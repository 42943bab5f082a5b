"""The Scheduler protocol carries what it must: promotion, exploitation and thawing, through crashes."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from raytune_gp import events as ev
from raytune_gp.execution.simulated_cluster import Network
from raytune_gp.protocols import Scheduler
from raytune_gp.schedulers import FIFOScheduler, MedianStoppingRule
from raytune_gp.status import RunStatus
from raytune_gp.trial import Config, Metric, Trial, TrialStatus
from tests.core.fake_schedulers import FreezeThaw, Population, Promotion
from tests.support import Simulation, make_spec, noisy_curve, replayed

FAKES: dict[str, Callable[[], Scheduler]] = {
    "promotion": Promotion,
    "population": Population,
    "freeze_thaw": FreezeThaw,
    "median": lambda: MedianStoppingRule(Metric("score")),
    "fifo": FIFOScheduler,
}


def rising(steps: int = 9) -> Any:
    """The score grows with the step and with x; a step takes a second, more for larger x."""

    def curve(config: Config, first: int) -> Any:
        for step in range(first + 1, steps + 1):
            yield 1.0 + 0.01 * config["x"], {"score": config["x"] + step / 100}

    return curve


def resumptions(run: Simulation) -> list[ev.AttemptAssigned]:
    return [e for e in run.journal.of(ev.AttemptAssigned) if e.attempt > 1]


def steps(trial: Trial) -> list[int]:
    return list(trial.history.steps)


def test_promoted_trials_go_on_from_their_rung() -> None:
    run = Simulation(make_spec(num_samples=9), rising(), slots=2, scheduler=Promotion).start().run()
    trials = list(run.state.trials.values())
    assert run.state.status is RunStatus.COMPLETED
    assert all(steps(t) == list(range(1, t.step + 1)) for t in trials), "no step is trained or told twice"
    assert {t.step for t in trials} == {1, 3, 9}, "each left at a rung"
    assert trials[8].step == 9, "the best one runs to its end"
    assert trials[8].status is TrialStatus.COMPLETED
    for assigned in resumptions(run):
        assert assigned.resume_from is not None
        assert assigned.resume_from["step"] in (1, 3)
        assert assigned.resume_from["path"] == f"{assigned.trial}/{assigned.attempt - 1}/" + str(
            assigned.resume_from["step"]
        )
    stopped = [t for t in trials if t.step < 9]
    assert len(stopped) == 4
    for trial in stopped:
        assert (trial.status, trial.reason) == (TrialStatus.STOPPED, "paused, and never resumed")
        assert trial.objective == (trial.config["x"] + trial.step / 100,)
    assert run.journal.of(ev.RunEnded)[0].status == "COMPLETED"
    assert not run.state.paused
    spent = sum(run.cluster.busy_s.values())
    assert spent == pytest.approx(sum((1 + 0.01 * t.config["x"]) * t.step for t in trials))


def test_paused_trials_give_their_worker_to_others() -> None:
    run = Simulation(make_spec(num_samples=9), rising(), slots=1, scheduler=Promotion).start().run()
    assert [w.worker for w in run.journal.of(ev.WorkerRequested)] == ["w0/1"], "one worker serves them all"
    assert len(run.journal.of(ev.TrialPaused)) > 5


def test_exploited_trials_take_checkpoint_and_config() -> None:
    run = Simulation(make_spec(num_samples=4), rising(8), slots=4, scheduler=Population).start().run()
    decisions = [d for d in run.journal.of(ev.Decided) if d.action == "exploit"]
    assert decisions
    events = run.journal.events()
    for decision in decisions:
        assigned = next(
            e
            for e in events[events.index(decision) :]
            if isinstance(e, ev.AttemptAssigned) and e.trial == decision.trial
        )
        assert assigned.resume_from is not None
        source = assigned.resume_from["path"].split("/")[0]
        assert source == decision.source != decision.trial
    last = decisions[-1]
    exploiter = run.state.trials[last.trial]
    assert exploiter.config == last.config
    assert exploiter.history.values("score")[-1] == pytest.approx(last.config["x"] + 0.08), "its config ran"
    assert [t.status for t in run.state.trials.values()] == [TrialStatus.COMPLETED] * 4
    assert all(sorted(set(steps(t))) == steps(t) for t in run.state.trials.values())
    assert [o.config for o in run.state.observations if o.trial_id == last.trial] == [last.config]


def test_frozen_trials_thaw_and_the_hopeless_are_given_up() -> None:
    run = Simulation(make_spec(num_samples=8), rising(6), slots=2, scheduler=FreezeThaw).start().run()
    trials = list(run.state.trials.values())
    by_status = {s: [t.number for t in trials if t.status is s] for s in TrialStatus}
    assert by_status[TrialStatus.STOPPED], "some are given up"
    assert by_status[TrialStatus.COMPLETED] == list(range(by_status[TrialStatus.COMPLETED][0], 8))
    assert all(steps(t) == list(range(1, t.step + 1)) for t in trials)
    for trial in trials[by_status[TrialStatus.COMPLETED][0] :]:
        assert (trial.step, trial.attempt) == (6, 4), "two steps an attempt, and a last one to return"
    thawed = [d.trial for d in run.journal.of(ev.Decided) if d.action == "resume"]
    assert thawed[-1] != "00000"


@pytest.mark.parametrize("name", FAKES)
def test_a_replay_gives_the_same_scheduler_after_every_event(name: str) -> None:
    run = Simulation(make_spec(num_samples=8), noisy_curve(5, seed=3), slots=3, scheduler=FAKES[name], seed=3)
    after_commit = []
    run.loop._on_commit = lambda events: after_commit.append(known(run.loop.experiment.scheduler))
    run.start().run()
    experiment = replayed([], FAKES[name]())
    replays = []
    for event in run.journal.events():
        experiment.apply(event)
        replays.append(known(experiment.scheduler))
    assert all(known_live in replays for known_live in after_commit)
    assert replays[-1] == after_commit[-1]


def known(scheduler: Any) -> Any:
    return copy.deepcopy(vars(scheduler)) if hasattr(scheduler, "__dict__") else None


@pytest.mark.parametrize("name", ["promotion", "population", "freeze_thaw"])
@pytest.mark.parametrize("seed", range(6))
def test_crashes_and_lost_workers_in_the_middle(name: str, seed: int) -> None:
    """The coordinator comes back knowing the same; every trial finishes once, and no step is told twice."""
    network = Network(loss=0.05, duplication=0.1, jitter=0.5)
    spec = make_spec(num_samples=8, max_losses=99)
    run = Simulation(spec, rising(6), slots=3, scheduler=FAKES[name], network=network, seed=seed).start()
    turns = 0
    while not run.loop.experiment.is_over:
        run.loop.turn()
        turns += 1
        if turns % 9 == seed:
            before = known(run.loop.experiment.scheduler)
            run.connect()
            run.loop.experiment.replay(e for _, e in run.journal.read("run"))
            assert known(run.loop.experiment.scheduler) == before
            run.start()
        if turns % 40 == 10 and run.cluster.workers:
            run.cluster.kill(sorted(run.cluster.workers)[0])
        assert turns < 5000
    assert run.state.status is RunStatus.COMPLETED
    assert len(run.state.observations) == len(run.state.trials) == 8
    told = [(e.trial, e.attempt, e.step) for e in run.journal.of(ev.Reported)]
    assert len(told) == len(set(told))
    assert not run.cluster.workers
