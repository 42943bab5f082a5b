"""What attempts used: how two of them add up, what readers see, and how busy a run's workers were."""

from __future__ import annotations

import pytest

from raytune_gp import events as ev
from raytune_gp import messages as msg
from raytune_gp.analysis.summary import utilisation
from raytune_gp.state import RunState
from raytune_gp.usage import merged, shown
from tests.core.bench import Bench, through_json

GIB = 1 << 30


def test_times_add_up_peaks_are_the_larger_and_means_are_weighed() -> None:
    one = {"wall_s": 1.0, "cpu_s": 2.0, "host_peak_b": 3 * GIB, "gpu_peak_b": GIB, "gpu_util": 0.9}
    other = {"wall_s": 3.0, "cpu_s": 1.0, "host_peak_b": 2 * GIB, "gpu_total_b": 8 * GIB, "gpu_util": 0.1}
    both = merged(one, other)
    assert both == {
        "wall_s": 4.0,
        "cpu_s": 3.0,
        "host_peak_b": 3 * GIB,
        "gpu_peak_b": GIB,
        "gpu_total_b": 8 * GIB,
        "gpu_util": pytest.approx(0.3),
    }
    assert merged({}, one) == one


def test_what_is_not_known_is_left_out_and_never_nought() -> None:
    assert shown({}) == {}
    assert shown({"wall_s": 2.0, "cpu_s": 3.0, "host_peak_b": 5}) == {"host_peak_b": 5, "cpu_cores": 1.5}
    assert shown({"wall_s": 0.0, "cpu_s": 0.0}) == {}


def test_the_usage_of_all_attempts_is_the_trials_and_goes_through_the_journal() -> None:
    bench = Bench(num_samples=1, max_failures=1).running()
    bench.say("w0/1", "started")
    used = {"wall_s": 1.0, "host_peak_b": 5 * GIB}
    bench.say("w0/1", "ended", outcome="failed", error="no", failure="error", usage=used)
    bench.say("w0/1", "started")
    bench.say("w0/1", "ended", outcome="completed", usage={"wall_s": 2.0, "host_peak_b": GIB})
    assert bench.state.trials["00000"].usage == {"wall_s": 3.0, "host_peak_b": 5 * GIB}
    again = RunState.of(through_json(bench.events))
    assert again.trials["00000"].usage == bench.state.trials["00000"].usage
    assert (again.busy_s, again.worker_s) == (bench.state.busy_s, bench.state.worker_s)


def test_the_share_of_their_time_that_workers_were_busy() -> None:
    bench = Bench(slots=2, num_samples=2)
    assert utilisation(bench.state, 0.0) is None
    bench.now = 2.0
    bench.arrive("w0/1", "w1/1")  # each took 2 s to start
    bench.now = 4.0
    bench.answer()  # and was idle for 2 s
    bench.now = 10.0
    bench.run_trial("w0/1", 1.0)  # after 6 s; nothing is left for that worker, which is released
    assert utilisation(bench.state, 10.0) == pytest.approx(12 / 20)
    assert utilisation(bench.state, 14.0) == pytest.approx(16 / 24)
    bench.now = 14.0
    bench.run_trial("w1/1", 1.0)
    assert utilisation(bench.state, 99.0) == pytest.approx(16 / 24), "the run is over"


def test_a_worker_that_waits_for_a_node_is_not_idle() -> None:
    bench = Bench(num_samples=1)
    bench.now = 300.0
    bench.arrive("w0/1")
    assert bench.state.worker_s == 10.0


def test_time_in_which_nobody_ran_the_run_does_not_count() -> None:
    bench = Bench(num_samples=2).running()
    bench.now = 5.0
    bench.report("w0/1", 1, 1.0) if bench.say("w0/1", "started") else None
    before = bench.state.busy_s
    bench.now = 500.0  # the driver was killed; somebody resumes
    bench.tell(msg.Resume({}))
    assert bench.state.busy_s == before
    assert isinstance(bench.events[-1], ev.RunResumed)
