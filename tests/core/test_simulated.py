"""The simulated cluster: virtual time, the network's faults, and workers that outlive coordinators."""

from __future__ import annotations

import time
from typing import Any

import pytest

from raytune_gp import messages as msg
from raytune_gp.execution.simulated import MAX_INPUTS, SimulatedExecutor
from raytune_gp.execution.simulated_cluster import Network, SimulatedCluster
from raytune_gp.failures import FailureKind
from raytune_gp.trial import CheckpointRecord
from tests.support import Numbers, Simulation, flat_curve, make_spec

CONNECT = msg.Connect("w0/1", 0, True, 0)


def cluster(steps: int = 3, **network: Any) -> SimulatedCluster:
    return SimulatedCluster(flat_curve(steps), slots=2, network=Network(**network))


def connected(made: SimulatedCluster, after_seq: int = 0, *, create: bool = True) -> SimulatedExecutor:
    executor = SimulatedExecutor(made, Numbers())
    executor.send(msg.Connect("w0/1", 0, create, after_seq))
    return executor


def start(trial: str = "00000", attempt: int = 1, step: int = 0) -> msg.Start:
    resume_from = CheckpointRecord("p", step, attempt - 1) if step else None
    return msg.Start("w0/1", trial, attempt, {"x": 5}, resume_from, float(step))


def everything(executor: SimulatedExecutor, until: float = 100.0) -> list[msg.Input]:
    inputs: list[msg.Input] = []
    while executor.now() < until:
        inputs += executor.next(until)
    return inputs


def items(inputs: list[msg.Input]) -> list[msg.Item]:
    return [i for i in inputs if isinstance(i, msg.Item)]


def after(executor: SimulatedExecutor, seconds: float, *commands: msg.Command) -> list[msg.Input]:
    """The inputs of some seconds, after which `commands` are sent."""
    inputs = everything(executor, executor.now() + seconds)
    for command in commands:
        executor.send(command)
    return inputs


def test_time_passes_only_in_steps_and_only_to_the_deadline() -> None:
    made = cluster(start_worker_s=10.0)
    executor = connected(made)
    assert executor.next(5.0) == [msg.SlotsOffered(2)]
    assert executor.now() == 0.0
    assert executor.next(5.0) == []
    assert executor.now() == 5.0
    assert executor.next(50.0) == [msg.WorkerArrived("w0/1", "node0", 0)]
    assert executor.now() == 10.0
    assert executor.next(None) == [], "nothing is under way"


def test_an_attempt_says_what_it_does_in_order() -> None:
    executor = connected(cluster(steps=2))
    after(executor, 2.0, start(step=1))
    said = items(after(executor, 9.0))
    assert [(i.seq, i.kind, i.time) for i in said] == [
        (1, "started", 2.001),
        (2, "report", 3.001),
        (3, "checkpoint", 3.001),
        (4, "ended", pytest.approx(3.011)),  # the report has waited for a decision, a hundredth of its step
    ]
    assert said[1].body == {
        "step": 2,
        "metrics": {"training_iteration": 2, "time_total_s": 2.0, "score": 5.0},
        "checkpoint": True,
    }
    assert said[3].body == {"outcome": "completed", "error": None, "failure": None}


def test_a_repeated_start_has_no_effect_even_after_the_end() -> None:
    executor = connected(cluster(steps=2))
    after(executor, 1.5, start())
    said = items(after(executor, 5.0, start())) + items(after(executor, 5.0))
    assert [i.kind for i in said] == ["started", "report", "checkpoint", "report", "checkpoint", "ended"]


def test_a_busy_worker_refuses_another_trial() -> None:
    executor = connected(cluster(steps=4))
    after(executor, 1.5, start("00000"))
    after(executor, 1.5, start("00001"))
    assert {i.trial for i in items(after(executor, 9.0))} == {"00000"}


def test_an_interrupted_attempt_ends_at_its_next_report() -> None:
    executor = connected(cluster(steps=9))
    after(executor, 1.5, start())
    said = items(after(executor, 1.5, msg.Interrupt("w0/1", "00000", 7, "stop", 10.0)))
    said += items(after(executor, 1.0, msg.Interrupt("w0/1", "00000", 1, "stop", 10.0)))
    said += items(after(executor, 20.0))
    assert [i.body["step"] for i in said if i.kind == "report"] == [1, 2, 3]
    assert said[-1].body["outcome"] == "interrupted"


def test_a_killed_worker_vanishes_and_its_name_is_not_used_again() -> None:
    made = cluster()
    executor = connected(made)
    after(executor, 1.5, start())
    after(executor, 1.5)
    made.kill("w0/1")
    made.kill("w0/1")
    assert after(executor, 9.0, CONNECT) == [msg.WorkerVanished("w0/1", "it died")]
    assert after(executor, 9.0) == [msg.WorkerVanished("w0/1", "it was not found")]
    assert made.workers == {}


def test_a_node_takes_its_workers_with_it_and_a_later_coordinator_learns_why() -> None:
    made = SimulatedCluster(flat_curve(), slots=4, nodes=2)
    executor = SimulatedExecutor(made, Numbers())
    names = [f"w{slot}/1" for slot in range(4)]
    after(executor, 2.0, *[msg.Connect(name, slot, True, 0) for slot, name in enumerate(names)])
    after(executor, 2.0)
    made.kill_node("node1")
    assert sorted(made.workers) == ["w0/1", "w2/1"]
    lost = [msg.WorkerVanished(name, "it died", FailureKind.NODE_LOST) for name in ("w1/1", "w3/1")]
    assert after(executor, 1.0) == lost
    later = SimulatedExecutor(made, Numbers())
    later.send(msg.Connect("w3/1", 3, False, 0))
    assert msg.WorkerVanished("w3/1", "it was not found", FailureKind.NODE_LOST) in after(later, 1.0)


def test_a_delayed_message_is_late_and_is_counted() -> None:
    made = cluster(delay=1.0, delay_s=7.0)
    executor = connected(made)
    assert after(executor, 7.9) == [msg.SlotsOffered(2)]
    assert after(executor, 0.2) == [msg.WorkerArrived("w0/1", "node0", 0)]
    assert made.faults["delay"] == 1


def test_the_ledger_has_what_was_said_though_nobody_listened() -> None:
    made = SimulatedCluster(flat_curve(4), slots=1, checkpoint_every=2)
    executor = connected(made)
    after(executor, 1.5, start())
    executor.disconnect()
    while made.step(20.0):
        pass
    kinds = ["started", "report", "report", "checkpoint", "report", "report", "checkpoint", "ended"]
    assert [item.kind for item in made.ledger] == kinds
    assert [item.body["checkpoint"] for item in made.ledger if item.kind == "report"] == [False, True] * 2


def test_a_release_that_overtakes_the_creation_wins() -> None:
    made = cluster(start_worker_s=5.0)
    executor = connected(made)
    executor.send(msg.Release("w0/1"))
    inputs = after(executor, 20.0)
    assert msg.WorkerVanished("w0/1", "it was released") in inputs
    assert not any(isinstance(i, msg.WorkerArrived) for i in inputs)
    assert made.workers == {}


def test_a_coordinator_that_comes_back_reads_on_behind_what_it_has() -> None:
    made = cluster(steps=3)
    first = connected(made)
    after(first, 1.5, start())
    heard = items(after(first, 1.5))
    first.send(msg.Acknowledge("w0/1", 2))
    first.disconnect()
    while made.step(20.0):
        pass
    assert first.next(20.0) == []
    assert made.workers["w0/1"].outbox.read(0)[0].seq == 3, "what was sent arrives though the sender is gone"
    second = connected(made, after_seq=heard[-1].seq, create=False)
    rest = items(after(second, 9.0))
    assert [i.seq for i in heard + rest] == list(range(1, 9))


def test_a_worker_refuses_an_older_connection() -> None:
    made = cluster(steps=3)
    old = connected(made)
    after(old, 1.5)
    new = connected(made, create=False)
    after(new, 0.5)
    old.send(start())
    old.send(CONNECT)
    assert items(after(new, 9.0)) == []
    new.send(start())
    assert len(items(after(new, 9.0))) == 8
    assert items(list(old._inputs)) == []


def test_what_is_lost_is_sent_again_and_what_is_doubled_comes_twice() -> None:
    made = SimulatedCluster(flat_curve(3), slots=1, network=Network(loss=0.4, duplication=0.4), seed=1)
    executor = connected(made)
    after(executor, 5.0, start())
    said = [i.seq for i in items(after(executor, 60.0))]
    assert set(said) == set(range(1, 9)), "nothing is lost for good"
    assert len(said) > 8, "something was doubled"


def test_inputs_come_in_bounded_batches() -> None:
    executor = SimulatedExecutor(cluster(), Numbers())
    for _ in range(MAX_INPUTS + 10):
        executor._put(msg.Tick())
    assert [len(executor.next(0.0)) for _ in range(3)] == [MAX_INPUTS, 11, 0]


def test_a_suggestion_takes_its_time_and_is_made_once() -> None:
    made = cluster(suggest_s=3.0)
    asker = Numbers()
    executor = SimulatedExecutor(made, asker)
    suggest = msg.Suggest(0, 2, 0, (), (), None)
    executor.send(suggest)
    executor.send(suggest)
    assert everything(executor, 2.9) == [msg.SlotsOffered(2)]
    answers = everything(executor, 9.0)
    assert len(answers) == len(asker.asked) == 1


@pytest.mark.parametrize("jitter", [0.0, 0.5])
def test_jitter_is_seeded(jitter: float) -> None:
    def clock(seed: int) -> float:
        network = Network(jitter=jitter)
        run = Simulation(make_spec(), flat_curve(), network=network, seed=seed).start().run()
        return float(run.cluster.clock)

    assert clock(1) == clock(1)
    assert (clock(1) == clock(2)) == (jitter == 0)


def test_a_hundred_workers_and_a_thousand_trials_take_little_time() -> None:
    began = time.process_time()
    spec = make_spec(num_samples=1000)
    run = Simulation(spec, flat_curve(steps=2), slots=100, uses_results=False).start().run()
    assert len(run.state.observations) == 1000
    assert run.cluster.clock == pytest.approx(1 + 10 * 2.0, rel=0.2), "the workers never wait"
    assert time.process_time() - began < 100
