"""Failures by their kind: who is blamed, how often and when a trial is tried again, what is learned."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from raytune_gp import events as ev
from raytune_gp import messages as msg
from raytune_gp.codec import event_from_json
from raytune_gp.failures import POLICIES, FailureKind, counts_against, policy_of
from raytune_gp.patience import FACTOR, FLOOR_S, Patience
from raytune_gp.status import RunStatus
from raytune_gp.trial import TrialStatus
from tests.core.bench import Bench, kinds
from tests.support import Simulation, flat_curve, make_spec, replayed

Make = Callable[..., Bench]


def fail(bench: Bench, kind: str) -> list[ev.Event]:
    """The running trial fails by `kind`: it says so, or its worker is gone."""
    worker = next(w for w in bench.state.workers.values() if w.trial is not None)
    bench.say(worker.id, "started")
    if kind in (FailureKind.WORKER_LOST, FailureKind.NODE_LOST, FailureKind.PREEMPTED):
        return bench.tell(msg.WorkerVanished(worker.id, "gone", FailureKind(kind)))
    return bench.say(worker.id, "ended", outcome="failed", error="Trace\nit broke", failure=kind, left=None)


def again(bench: Bench) -> None:
    """Whatever the trial waits for has come: its time, and a worker."""
    bench.now += 3600.0
    bench.tell(msg.Tick())
    bench.running()


def test_every_kind_has_a_policy_and_nodes_are_never_held_against_a_config() -> None:
    assert POLICIES.keys() == set(FailureKind)
    for kind in (FailureKind.NODE_LOST, FailureKind.PREEMPTED):
        policy = POLICIES[kind]
        assert (policy.blamed, policy.infeasible, policy.retries) == (False, False, None)
    assert policy_of("a word of a later version") == POLICIES[FailureKind.ERROR]
    assert counts_against(None)


ENDING = [kind for kind in FailureKind if POLICIES[kind].delays_s]


@pytest.mark.parametrize("kind", ENDING)
def test_a_trial_is_tried_again_as_often_as_its_kind_allows(make_bench: Make, kind: FailureKind) -> None:
    policy = POLICIES[kind]
    retries = 1 if policy.blamed else policy.retries
    bench = make_bench(num_samples=1, max_failures=1).running()
    trial = bench.state.trials["00000"]
    for attempt in range(1, (7 if retries is None else retries) + 1):
        requeued = next(e for e in fail(bench, kind) if isinstance(e, ev.TrialRequeued))
        wait = policy.delay_s(attempt)
        assert requeued.due_at == (bench.now + wait if wait else None)
        assert (trial.failures, trial.losses) == ((attempt, 0) if policy.blamed else (0, attempt))
        again(bench)
        assert trial.attempt == attempt + 1
    if retries is None:
        return
    ended = next(e for e in fail(bench, kind) if isinstance(e, ev.TrialEnded))
    assert (ended.status, ended.failure) == ("FAILED", kind)
    assert bench.state.observations[0].failure == kind
    assert bench.state.status is RunStatus.COMPLETED, "a failed trial is no failed run"


def test_max_failures_counts_only_what_the_config_is_blamed_for(make_bench: Make) -> None:
    bench = make_bench(num_samples=1, max_failures=1).running()
    for kind in ("node lost", "preempted", "worker lost", "out of host memory", "no report", "disk full"):
        fail(bench, kind)
        again(bench)
    trial = bench.state.trials["00000"]
    assert (trial.failures, trial.losses, trial.status) == (0, 6, TrialStatus.RUNNING)
    fail(bench, "error")
    again(bench)
    assert trial.status is TrialStatus.RUNNING, "one failure is allowed"
    fail(bench, "out of GPU memory")
    assert (trial.failures, trial.status) == (2, TrialStatus.FAILED)


def test_a_trial_that_waits_for_its_retry_leaves_its_worker_to_others(make_bench: Make) -> None:
    bench = make_bench(num_samples=3).running()
    fail(bench, FailureKind.DISK_FULL)
    bench.running()
    assert list(bench.state.running) == ["00001"]
    assert bench.experiment.deadline == bench.state.trials["00000"].due_at == 30.0
    bench.now = 29.0
    bench.run_trial("w0/1", 1.0)
    assert list(bench.state.running) == ["00002"], "its time has not come"
    bench.now = 30.0
    assert bench.tell(msg.Tick()) == [], "no worker is free"
    assert bench.experiment.deadline is None, "nothing is to be looked at until one is"
    bench.run_trial("w0/1", 1.0)
    assert list(bench.state.running) == ["00000"]


def test_a_retry_comes_in_time_by_itself_and_after_a_crash() -> None:
    failed = {"done": False}

    def curve(config: Any, first: int) -> Any:
        if not failed["done"]:
            failed["done"] = True
            raise MemoryError
        yield from flat_curve()(config, first)

    run = Simulation(make_spec(num_samples=1), curve, slots=1)
    run.start()
    for _ in range(20):
        run.loop.turn()
        if run.state.queue and run.state.trials["00000"].due_at:
            break
    due_at = run.state.trials["00000"].due_at
    assert due_at is not None
    run.connect()
    run.start().run()
    assigned = run.journal.of(ev.AttemptAssigned)
    assert [e.attempt for e in assigned] == [1, 2]
    assert due_at <= assigned[1].at < due_at + 1.0
    assert run.state.trials["00000"].status is TrialStatus.COMPLETED


def test_resume_forgives_what_was_not_the_configs_fault(make_bench: Make) -> None:
    bench = make_bench(num_samples=1, max_failures=5).running()
    for kind in ("error", "disk full"):
        fail(bench, kind)
        if kind == "error":
            again(bench)
    trial = bench.state.trials["00000"]
    assert trial.due_at is not None
    bench.tell(msg.StopRun("enough"))
    bench.tell(msg.Resume({}))
    assert (trial.failures, trial.losses, trial.due_at) == (1, 0, None)


def test_a_loss_in_a_journal_without_kinds_counts_as_a_lost_worker() -> None:
    event = event_from_json("WorkerLost", '{"at":1.0,"worker":"w0/1","reason":"killed"}', 2)
    assert event == ev.WorkerLost(1.0, "w0/1", "killed", FailureKind.WORKER_LOST)


# --- timeouts ---


def test_a_trial_whose_time_is_up_is_stopped_and_keeps_its_value(make_bench: Make) -> None:
    bench = make_bench(num_samples=1, trial_timeout_s=100.0).running()
    bench.now = 5.0
    bench.say("w0/1", "started")
    bench.report("w0/1", 1, 0.5)
    assert bench.experiment.deadline == 105.0
    bench.now = 105.0
    [decided] = bench.tell(msg.Tick())
    assert isinstance(decided, ev.Decided)
    assert (decided.action, decided.reason, decided.rule) == (
        "stop",
        "its time of 100 s is used up",
        "timeout/1",
    )
    assert bench.experiment.deadline is None
    assert [c.mode for c in bench.commands(msg.Interrupt)] == ["stop"]
    bench.report("w0/1", 2, 9.0)
    bench.end("w0/1", "interrupted")
    trial = bench.state.trials["00000"]
    assert (trial.status, trial.objective) == (TrialStatus.STOPPED, (0.5,))


def test_a_trial_without_a_value_when_its_time_is_up_has_failed(make_bench: Make) -> None:
    bench = make_bench(num_samples=1, trial_timeout_s=100.0).running()
    bench.say("w0/1", "started")
    bench.now = 100.0
    bench.tell(msg.Tick())
    events = bench.vanish("w0/1", reason="it did not stop within 10 s")
    ended = next(e for e in events if isinstance(e, ev.TrialEnded))
    assert (ended.status, ended.failure) == ("FAILED", "timeout")
    assert ended.reason == "its time of 100 s is used up, and it had reported no score"
    assert counts_against(ended.failure)


def test_time_trained_in_earlier_attempts_counts(make_bench: Make) -> None:
    bench = make_bench(num_samples=1, trial_timeout_s=100.0, max_failures=1).running()
    bench.say("w0/1", "started")
    bench.report("w0/1", 1, 0.5, checkpoint=True, time_total_s=70.0)
    bench.now = 80.0
    fail(bench, "error")
    bench.say("w0/1", "started")
    assert bench.experiment.deadline == 80.0 + 30.0


def test_the_next_time_that_is_up_is_the_earliest_of_all_that_run(make_bench: Make) -> None:
    rng = random.Random(0)
    bench = make_bench(num_samples=1000, slots=8, max_failures=2, trial_timeout_s=50.0)
    seen = set()
    for _ in range(400):
        bench.running()
        bench.now += rng.choice([0.0, 1.0, 7.0])
        worker = rng.choice([w for w in bench.state.workers.values() if w.trial is not None])
        trial = bench.state.trials[worker.trial or ""]
        step = len(trial.history) + 1
        if not trial.started:
            bench.say(worker.id, "started")
        elif rng.random() < 0.6:
            bench.report(worker.id, step, 0.5, checkpoint=True, time_total_s=float(step))
        elif rng.random() < 0.4:
            bench.vanish(worker.id)
        else:
            bench.end(worker.id, "completed" if trial.stopping is None else "interrupted")
        running = [bench.state.trials[t] for t in bench.state.running]
        times = [t.deadline for t in running if t.deadline is not None and t.stopping is None]
        waiting = [bench.state.trials[t].due_at for t in bench.state.queue]
        times += [at for at in waiting if at is not None and at > bench.now]
        assert bench.experiment.deadline == min(times, default=None)
        seen.add(bench.experiment.deadline)
        bench.tell(msg.Tick())
    assert len(seen) > 20


# --- nodes that are to go ---


def test_a_drained_node_is_left_at_the_next_checkpoint_and_gets_nothing_new(make_bench: Make) -> None:
    bench = make_bench(num_samples=2, slots=2)
    bench.tell(msg.WorkerArrived("w0/1", "old", 1))
    bench.answer()
    bench.say("w0/1", "started")
    bench.report("w0/1", 1, 0.5, checkpoint=True)
    events = bench.tell(msg.NodeDrained("old", 60.0))
    assert events == [ev.NodeDraining(0.0, "old", 60.0)]
    assert bench.tell(msg.NodeDrained("old", 60.0)) == [], "it is said each second"
    [interrupt] = bench.commands(msg.Interrupt)
    assert (interrupt.mode, interrupt.grace_s) == ("evict", 60.0)
    bench.report("w0/1", 2, 0.6, checkpoint=True)
    events = bench.end("w0/1", "interrupted")
    assert kinds(events)[:3] == ["AttemptEnded", "TrialRequeued", "WorkerReleased"]
    trial = bench.state.trials["00000"]
    assert trial.resume_from is not None
    assert (trial.failures, trial.losses, trial.resume_from.step) == (0, 0, 2)
    late = bench.tell(msg.WorkerArrived("w1/1", "old", 2))
    assert kinds(late)[:2] == ["WorkerUp", "WorkerReleased"], "nothing starts there"
    bench.tell(msg.WorkerArrived("w0/2", "new", 3))
    assert bench.state.workers["w0/2"].trial == "00000"


def test_a_node_that_dies_before_its_trial_is_saved_costs_no_loss(make_bench: Make) -> None:
    bench = make_bench(num_samples=1, max_losses=0).running()
    bench.say("w0/1", "started")
    bench.tell(msg.NodeDrained("node", None))
    [interrupt] = bench.commands(msg.Interrupt)
    assert interrupt.grace_s == bench.state.spec.grace_s
    assert "TrialRequeued" in kinds(bench.vanish("w0/1"))
    assert bench.state.trials["00000"].losses == 0


def test_a_worker_that_was_told_to_go_is_no_loss_even_if_it_is_killed_at_once(make_bench: Make) -> None:
    bench = make_bench(num_samples=1, max_losses=0).running()
    bench.say("w0/1", "started")
    bench.report("w0/1", 1, 0.5, checkpoint=True)
    bench.say("w0/1", "leaving", grace_s=120.0)
    [interrupt] = bench.commands(msg.Interrupt)
    assert (interrupt.mode, interrupt.grace_s) == ("evict", 120.0)
    bench.vanish("w0/1")
    bench.running()
    trial = bench.state.trials["00000"]
    assert (trial.attempt, trial.losses, trial.failures) == (2, 0, 0)


# --- silence ---


def test_patience_is_learned_from_all_trials_with_a_floor_and_doubles(make_bench: Make) -> None:
    assert Patience().limit_s(None) is None, "nothing is known yet"
    assert Patience(known_s=100.0).limit_s(None) == FACTOR * 100.0
    assert Patience(known_s=100.0).limit_s(300.0) == FACTOR * 300.0
    assert Patience(known_s=1.0).limit_s(2.0) == FLOOR_S
    assert Patience(known_s=100.0, hangs=2).limit_s(None) == 4 * FACTOR * 100.0
    assert Patience(7.0, 100.0, 2).limit_s(300.0) == 7.0
    assert Patience(None, 100.0).limit_s(300.0) is None


def test_a_new_attempt_is_told_what_the_run_knows_of_times_between_reports(make_bench: Make) -> None:
    bench = make_bench(num_samples=2).running()
    assert bench.commands(msg.Start)[0].patience == Patience("auto", None, 0)
    bench.say("w0/1", "started")
    bench.report("w0/1", 1, 0.5, time_this_iter_s=90.0)
    bench.report("w0/1", 2, 0.5, time_this_iter_s=20.0)
    bench.report("w0/1", 3, 0.5, time_this_iter_s="a user's own")
    fail(bench, FailureKind.SILENT)
    assert bench.commands(msg.Start)[0].patience == Patience("auto", 90.0, 1)


def test_what_is_tallied_is_replayed(make_bench: Make) -> None:
    bench = make_bench(num_samples=1, max_failures=3, trial_timeout_s=50.0).running()
    for kind in ("error", "worker lost", "no report"):
        fail(bench, kind)
        again(bench)
    bench.tell(msg.NodeDrained("other", 1.0))
    rebuilt = replayed(bench.events)
    assert rebuilt.state == bench.state
    assert rebuilt.state.trials["00000"].tally == {"error": 1, "worker lost": 1, "no report": 1}
