"""The coordinator is killed at every commit and every command; the account at the end is the same.

No report is lost, none is counted twice, the budget is exact, and no training is repeated.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest

from benchmarks.chaos.crashes import Crash, FragileExecutor, FragileJournal, Plan
from raytune_gp import events as ev
from raytune_gp import messages as msg
from raytune_gp.errors import StaleTermError
from raytune_gp.execution.loop import Loop
from raytune_gp.execution.simulated import SimulatedExecutor
from raytune_gp.execution.simulated_cluster import Network
from raytune_gp.status import RunStatus
from raytune_gp.trial import Config, TrialStatus
from tests.core.bench import check_state
from tests.support import MemoryJournal, Simulation, make_spec, noisy_curve

STEPS = 3
SPEC = make_spec(num_samples=5, max_failures=1, stop={"score": 4.2}, keep_checkpoints=2)


def curve(config: Config, first: int) -> Any:
    """Trial 1 raises in its first attempt, all the others just run.

    Trial 4 meets the stop criterion in its last step but one: the last is under way when the word comes,
    and so is trained and told however long the word takes.
    """
    for step in range(first + 1, STEPS + 1):
        yield 1.0 + 0.25 * config["x"], {"score": config["x"] + step / 10}
        if config["x"] == 1 and first == 0 and step == 2:
            raise ValueError("once")


def simulate(plans: Sequence[Plan], outage_s: float = 0.0, is_decided_on: bool = False) -> Simulation:
    """A run whose n-th coordinator follows the n-th plan, `outage_s` after its predecessor's crash.

    Its reports do not wait for a decision, unless they are `is_decided_on`: how far a trial is that is told
    to stop must not depend on a crash.
    """
    journal = FragileJournal(MemoryJournal())
    run = Simulation(SPEC, curve, slots=2, journal=journal, is_decided_on=is_decided_on)
    for plan in plans:
        journal.plan = plan
        run.connect(partial(FragileExecutor, plan=plan))
        try:
            run.start().run()
        except Crash:
            run.crash(outage_s)
    return run


def account(run: Simulation) -> dict[str, Any]:
    """Everything that must not depend on crashes."""
    reports = sorted((e.trial, e.attempt, e.step) for e in run.journal.of(ev.Reported))
    finished = [(t.id, t.status, t.config, t.objective, t.attempt) for t in run.state.trials.values()]
    return {
        "status": run.state.status,
        "trials": finished,
        "ended": Counter(e.trial for e in run.journal.of(ev.TrialEnded)),
        "checkpoints": {t.id: t.checkpoints for t in run.state.trials.values()},
        "histories": {t.id: t.history.columns for t in run.state.trials.values()},
        "reports": reports,
        "trained_s": round(sum(run.cluster.busy_s.values()), 6),
        "workers": sorted(e.worker for e in run.journal.of(ev.WorkerRequested)),
        "left": sorted(run.cluster.workers),
    }


def undisturbed() -> tuple[dict[str, Any], list[str]]:
    plan = Plan()
    run = simulate([plan])
    return account(run), plan.points


def test_the_undisturbed_run_is_what_we_think_it_is() -> None:
    expected, points = undisturbed()
    assert expected["status"] is RunStatus.COMPLETED
    assert [(status, attempt) for _, status, _, _, attempt in expected["trials"]] == [
        (TrialStatus.COMPLETED, 2 if number == 1 else 1) for number in range(5)
    ]
    assert len(expected["reports"]) == len(set(expected["reports"])) == 5 * STEPS
    assert expected["left"] == []
    commands = {p.split()[1] for p in points if "commit" not in p}
    assert commands == {
        "Connect",
        "Suggest",
        "Start",
        "Acknowledge",
        "Interrupt",
        "Retain",
        "Release",
    }, "every kind of command is a place to crash at"
    assert len(points) >= 150


@pytest.mark.parametrize("outage_s", [0.0, 1.7, 100.0])
def test_a_crash_at_any_point_changes_nothing(outage_s: float) -> None:
    expected, points = undisturbed()
    for at, what in enumerate(points):
        plan = Plan(at)
        run = simulate([plan, Plan()], outage_s)
        assert len(plan.points) == at + 1, "it crashed there"
        assert account(run) == expected, f"after a crash at point {at}, {what}"
        assert run.journal.term == 2
        check_state(run.state)


@pytest.mark.parametrize("outage_s", [0.0, 1.7])
def test_where_reports_wait_for_decisions_a_crash_costs_a_stopped_trial_a_step_at_most(
    outage_s: float,
) -> None:
    alike = ("status", "trials", "ended", "left")
    plan = Plan()
    run = simulate([plan], is_decided_on=True)
    expected, steps = account(run), {t.id: t.step for t in run.state.trials.values()}
    assert steps["00004"] == STEPS - 1, "it went no further"
    for at, what in enumerate(plan.points):
        run = simulate([Plan(at), Plan()], outage_s, is_decided_on=True)
        found = account(run)
        assert {k: found[k] for k in alike} == {k: expected[k] for k in alike}, f"crash at {at}, {what}"
        later = {t.id: t.step - steps[t.id] for t in run.state.trials.values()}
        assert later.pop("00004") in (0, 1)
        assert set(later.values()) == {0}
        check_state(run.state)


def test_a_crash_during_the_recovery_changes_nothing() -> None:
    expected, points = undisturbed()
    rng = np.random.default_rng(0)
    for _ in range(200):
        first, second, third = rng.integers(len(points)), rng.integers(60), rng.integers(12)
        run = simulate([Plan(int(first)), Plan(int(second)), Plan(int(third)), Plan()], rng.uniform(0, 2))
        assert account(run) == expected, f"after crashes at {first}, {second}, {third}"


def random_faults(seed: int, *, kills: int, crashes: int) -> Simulation:
    """Messages lost, doubled and delayed; workers killed; coordinators replaced; all of it at random."""
    rng = np.random.default_rng(seed)
    network = Network(latency_s=0.05, loss=0.15, duplication=0.15, jitter=0.9)
    spec = make_spec(num_samples=8, max_losses=99)
    run = Simulation(spec, noisy_curve(STEPS, seed), slots=3, network=network, seed=seed)

    def kill() -> None:
        if run.cluster.workers:
            run.cluster.kill(str(rng.choice(sorted(run.cluster.workers))))

    for at in rng.uniform(0.5, 12.0, size=kills):
        run.cluster.after(float(at), kill)
    replaced = set(rng.integers(1, 60, size=crashes).tolist())
    run.start()
    for turn in range(20_000):
        if run.loop.experiment.is_over:
            return run
        if turn in replaced:
            run.connect()
            run.start()
        run.loop.turn()
        check_state(run.state)
    raise AssertionError(f"seed {seed} is not over: {run.state}")


@pytest.mark.parametrize(("kills", "crashes"), [(0, 0), (0, 4), (4, 0), (4, 4)])
def test_random_faults_lose_nothing_and_count_nothing_twice(kills: int, crashes: int) -> None:
    for seed in range(40):
        run = random_faults(seed, kills=kills, crashes=crashes)
        assert run.state.status is RunStatus.COMPLETED, (seed, run.state.reason)
        told = Counter((e.trial, e.attempt, e.step) for e in run.journal.of(ev.Reported))
        assert max(told.values()) == 1, seed
        assert [o.values is not None for o in run.state.observations] == [True] * 8, seed
        assert [t.config["x"] for t in run.state.trials.values()] == list(range(8)), seed
        assert not run.cluster.workers, seed
        for trial in run.state.trials.values():
            values = [metrics["score"] for _, metrics in noisy_curve(STEPS, seed)(trial.config, 0)]
            assert list(trial.history.steps) == [1, 2, 3], seed
            assert list(trial.history.values("score")) == values, seed
            assert trial.objective == (values[-1],), seed
            assert kills or trial.attempt == 1, "nothing is started twice for a lost message"


def test_an_old_coordinator_that_still_lives_is_fenced_off() -> None:
    """It may decide what it likes: its first commit is refused, and it has told the workers nothing."""
    for turns in range(1, 25, 3):
        old = Simulation(SPEC, curve, slots=2, is_decided_on=False).start()
        for _ in range(turns):
            old.loop.turn()
        executor = SimulatedExecutor(old.cluster, old.asker)
        loop = Loop("run", old.make, old.journal, executor, sleep=lambda s: None)
        loop.open()
        sent: list[msg.Command] = []
        send = old.executor.send
        old.executor.send = lambda command, send=send, sent=sent: (sent.append(command), send(command))
        refused = False
        while not loop.experiment.is_over:
            if not refused:
                try:
                    old.loop.turn()
                except StaleTermError:
                    refused = True
            loop.turn()
        if not refused:
            with pytest.raises(StaleTermError):
                old.loop._turn([msg.SlotsOffered(99)])
        assert sent == []
        old.loop = loop
        assert account(old) == undisturbed()[0]


def test_the_same_seed_gives_the_same_run() -> None:
    first, second = (random_faults(7, kills=4, crashes=2).journal.rows for _ in range(2))
    assert first == second
    assert random_faults(8, kills=4, crashes=2).journal.rows != first


def test_a_crash_before_the_first_event_and_after_the_last() -> None:
    run = Simulation(SPEC, curve, slots=2)
    run.connect()
    run.connect()
    run.start().run()
    expected = account(run)
    run.connect()
    run.start().run()
    assert account(run) == expected
