"""Trials that share GPUs as the run finds out: how many, when, and what a GPU without memory leads to."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.chaos.crashes import Crash, FragileExecutor, FragileJournal, Plan
from raytune_gp import events as ev
from raytune_gp import messages as msg
from raytune_gp.analysis.summary import summary
from raytune_gp.execution.simulated_cluster import GPUs
from raytune_gp.packing import MOST, Packing, predicted_peak, share_of
from raytune_gp.status import RunStatus
from raytune_gp.trial import Config, TrialStatus
from tests.core.bench import Bench, check_state, kinds
from tests.support import MemoryJournal, Simulation, flat_curve, make_spec, replayed

GIB = 1 << 30
AUTO = {"cpu": 1, "gpu": "auto"}


def told(peaks: list[float], total: float = 80 * GIB, **known: Any) -> Packing:
    packing = Packing(**known)
    for number, peak in enumerate(peaks):
        packing.learn(str(number), {"gpu_peak_b": peak, "gpu_total_b": total})
    return packing


def test_as_many_shares_as_trials_fit_on_a_gpu_in_rays_four_decimals() -> None:
    for trials in range(1, MOST + 1):
        assert trials * share_of(trials) <= 1 < (trials + 1) * share_of(trials)
        assert round(share_of(trials), 4) == share_of(trials)


def test_of_twenty_new_trials_one_needs_more_than_predicted() -> None:
    """Over many samples of a lognormal distribution: what the interval promises, few peaks or many."""
    rng = np.random.default_rng(0)
    for count in (4, 30):
        logs = rng.normal(23.0, 0.5, size=(4000, count + 1))
        known = logs[:, :-1]
        moments = zip(known.mean(1), known.var(1, ddof=1), strict=True)
        predicted = np.array([predicted_peak(count, mean, variance) for mean, variance in moments])
        beyond = np.exp(logs[:, -1]) > predicted
        assert np.mean(beyond) < 0.06
    assert predicted_peak(4, np.log(5.0), 0.0) == pytest.approx(5.0)


@settings(deadline=None, max_examples=100)
@given(
    st.lists(st.tuples(st.integers(0, 9), st.floats(1.0, 1e12)), min_size=1, max_size=40),
    st.integers(0, 2),
)
def test_the_moments_of_the_peaks_are_those_of_all_of_them_added_up(
    heard: list[tuple[int, float]], alike: int
) -> None:
    """Whatever trials tell, again and again; the same where all peaks are alike, or nearly so."""
    packing = Packing()
    for number, peak in heard:
        peak = peak if alike == 0 else 7e9 + alike * number
        packing.learn(str(number), {"gpu_peak_b": peak, "gpu_total_b": 80 * GIB})
        logs = np.log(list(packing.peaks.values()))
        assert packing.mean_log == pytest.approx(logs.mean(), rel=1e-12, abs=1e-12)
        assert packing.squares == pytest.approx(((logs - logs.mean()) ** 2).sum(), rel=1e-9, abs=1e-11)


@pytest.mark.parametrize(
    ("packing", "expected"),
    [
        (told([]), None),
        (told([9 * GIB] * 3), None),
        (told([9 * GIB] * 4), 7),
        (told([2 * GIB] * 4), MOST),
        (told([20 * GIB, 9 * GIB, 5 * GIB, 12 * GIB]), 1),
        (told([50 * GIB] * 4), None),
        (told([9 * GIB] * 4, most=3), 3),
        (told([9 * GIB] * 5, trials_per_gpu=2, known=4), None),
        (told([9 * GIB] * 6, trials_per_gpu=2, known=4), 7),
        (told([30 * GIB] * 5, trials_per_gpu=7, known=4), 2),
        (told([9 * GIB] * 5, trials_per_gpu=7, known=4, most=6), 6),
    ],
)
def test_how_many_trials_share_a_gpu(packing: Packing, expected: int | None) -> None:
    change = packing.change()
    assert (change and change[0]) == (None if expected == 1 else expected)


def test_a_gpu_without_memory_bounds_it_for_good() -> None:
    packing = told([9 * GIB] * 4, trials_per_gpu=7, known=4)
    packing.ran_out(7)
    assert packing.change() == (6, "a trial ran out of memory where 7 shared a GPU")
    packing.changed(6)
    for number in range(100):
        packing.learn(f"n{number}", {"gpu_peak_b": 9 * GIB, "gpu_total_b": 80 * GIB})
        assert packing.change() is None


def sharing(total: int = 20, **settings: Any) -> Bench:
    return Bench(slots=1, resources=AUTO, num_samples=total, **settings).running()


def finish(bench: Bench, worker: str, peak: float = 9 * GIB, **how: Any) -> list[ev.Event]:
    bench.say(worker, "started")
    bench.report(worker, 1, 1.0)
    usage = {"gpu_peak_b": peak, "gpu_total_b": 80 * GIB}
    return bench.say(worker, "ended", **{"outcome": "completed", **how}, usage=usage)


def test_workers_with_another_share_go_before_anything_is_assigned_to_them() -> None:
    bench = sharing()
    for _ in range(3):
        assert "AttemptAssigned" in kinds(finish(bench, "w0/1"))
    events = finish(bench, "w0/1")
    assert kinds(events)[2:5] == ["PackingChanged", "WorkerReleased", "WorkerRequested"]
    assert events[4].trials_per_gpu == 7  # type: ignore[attr-defined]
    commands = bench.commands()
    assert msg.Pack(7) in commands
    assert [c.trials_per_gpu for c in commands if isinstance(c, msg.Connect) and c.worker == "w0/2"] == [7]
    assert bench.tell(msg.SlotsOffered(2, trials_per_gpu=1)) == [], "counted for another share"
    assert len(bench.tell(msg.SlotsOffered(7, trials_per_gpu=7))) >= 7
    assert summary(bench.state)["trials_per_gpu"] == 7


def test_memory_that_runs_out_on_a_shared_gpu_counts_for_nothing_and_at_a_whole_one_fails() -> None:
    bench = sharing()
    for _ in range(4):
        finish(bench, "w0/1")
    bench.running()
    trial = bench.state.workers["w0/2"].trial
    assert trial is not None
    out = {
        "outcome": "failed",
        "error": "CUDA out of memory",
        "failure": "out of GPU memory",
        "left": "doubt",
    }
    bench.tell(bench.item("w0/2", "started"))
    events = bench.say("w0/2", "ended", **out)
    assert events[0].failure == "out of shared GPU memory"  # type: ignore[attr-defined]
    assert bench.of(ev.PackingChanged)[-1].trials_per_gpu == 6
    assert bench.state.trials[trial].failures == 0
    bench.running()
    worker = bench.state.trials[trial].worker
    assert worker is not None
    assert bench.state.workers[worker].trials_per_gpu == 6, (
        "it is tried again on a larger share, first of all"
    )

    alone = sharing()
    alone.say("w0/1", "started")
    assert alone.say("w0/1", "ended", **out)[0].failure == "out of GPU memory"  # type: ignore[attr-defined]
    assert alone.state.trials["00000"].status is TrialStatus.FAILED


def test_without_any_word_of_memory_each_has_a_gpu_and_that_is_said() -> None:
    bench = sharing()
    for _ in range(4):
        assert summary(bench.state)["warnings"] == []
        bench.run_trial("w0/1", 1.0)
    assert bench.of(ev.PackingChanged) == []
    (warning,) = summary(bench.state)["warnings"]
    assert "none of 4 finished trials could tell" in warning
    assert Bench(resources={"gpu": 1}).state.packing.warning({"gpu": 1}, 99) is None


def peak_of(config: Config) -> float:
    """From 8 to 11 GiB; of one trial 50, which the first few do not tell of."""
    x = int(config["x"])
    return (50 if x == 9 else 8 + x % 4) * GIB


def simulated(count: int = 40, **more: Any) -> Simulation:
    spec = make_spec(num_samples=count, resources=AUTO)
    gpus = GPUs(count=2, total_b=80 * GIB, peak_b=peak_of)
    return Simulation(spec, flat_curve(4), slots=2, gpus=gpus, **more)


def check_account(run: Simulation, count: int) -> None:
    trials = run.state.trials.values()
    assert run.state.status is RunStatus.COMPLETED
    assert [t.config["x"] for t in trials] == list(range(count)), "none is lost, and none too many"
    assert {t.status for t in trials} == {TrialStatus.COMPLETED}
    assert not any(t.failures for t in trials)
    assert set(Counter(e.trial for e in run.journal.of(ev.TrialEnded)).values()) == {1}
    assert not run.cluster.workers
    check_state(run.state)


def test_more_trials_run_at_once_and_a_gpu_without_memory_costs_none() -> None:
    run = simulated().start().run()
    check_account(run, 40)
    packed = [e.trials_per_gpu for e in run.journal.of(ev.PackingChanged)]
    assert packed[0] > 1
    ended = run.journal.of(ev.AttemptEnded)
    failed = [e for e in ended if e.failure is not None]
    assert failed, "the large ones did not fit beside others"
    assert {e.failure for e in failed} == {"out of shared GPU memory"}
    alone = Simulation(make_spec(num_samples=40), flat_curve(4), slots=2).start().run()
    assert run.cluster.clock < 0.8 * alone.cluster.clock


def test_peaks_that_are_alike_fill_the_gpus() -> None:
    gpus = GPUs(count=2, total_b=80 * GIB, peak_b=lambda config: 9 * GIB)
    spec = make_spec(num_samples=60, resources=AUTO)
    run = Simulation(spec, flat_curve(4), slots=2, gpus=gpus).start().run()
    check_account(run, 60)
    assert [e.trials_per_gpu for e in run.journal.of(ev.PackingChanged)] == [7]
    assert max(e.slots for e in run.journal.of(ev.CapacityKnown)) == 14
    assert not [e for e in run.journal.of(ev.AttemptEnded) if e.failure]


def test_a_replay_and_a_snapshot_know_the_packing() -> None:
    run = simulated(snapshot_every=7).start()
    for _ in range(150):
        run.loop.turn()
    assert run.state.trials_per_gpu > 1
    before = json.loads(json.dumps(asdict(run.state.packing)))
    assert asdict(replayed(run.journal.events()).state.packing) == before
    run.connect()
    run.start()
    assert asdict(run.state.packing) == before
    check_account(run.run(), 40)


def test_a_coordinator_that_crashes_anywhere_loses_none() -> None:
    plan = Plan()
    journal = FragileJournal(MemoryJournal())
    journal.plan = plan
    run = simulated(14, journal=journal)
    run.connect(lambda executor: FragileExecutor(executor, plan))
    run.start().run()
    assert any("Pack" in point for point in plan.points)
    for at in range(0, len(plan.points), 7):
        plan = Plan(at)
        journal = FragileJournal(MemoryJournal())
        journal.plan = plan
        crashed = simulated(14, journal=journal)
        crashed.connect(partial(FragileExecutor, plan=plan))
        with pytest.raises(Crash):
            crashed.start().run()
        crashed.executor.disconnect()
        journal.plan = Plan()
        crashed.connect()
        crashed.start().run()
        check_account(crashed, 14)
