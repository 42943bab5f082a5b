"""Nodes that are drained, nodes that die, hosts without memory: clusters of several nodes on one machine."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import psutil
import pytest

from raytune_gp import events as ev
from tests.cluster.scripts import said
from tests.execution.watching import events_of, of

pytestmark = pytest.mark.ray

LOSING_A_NODE = """
import sys, threading, time
from pathlib import Path
import ray
from raytune_gp import tune
from tests.execution.trainables import counting
from tests.cluster.scripts import finish, start

how, place = sys.argv[1:]
ledger = Path(place) / "ledger"
quick = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 300, "health_check_timeout_ms": 300,
         "health_check_failure_threshold": 3}
cluster = start(0, _system_config=quick)
leaving = cluster.add_node(num_cpus=2)
cluster.wait_for_nodes()

def tuning():
    tune.run(
        counting, config={"x": tune.uniform(0, 1), "ledger": str(ledger), "steps": 20, "seconds": 0.4},
        metric="score", mode="max", num_samples=2, search_alg="random", name="moves", verbose=0,
        storage_path=place, journal=f"sqlite:///{place}/journal.db",
    )

def reported(times):
    for trial in ("00000", "00001"):
        while not ledger.exists() or ledger.read_text().count(f"step {trial}") < times:
            time.sleep(0.05)

run = threading.Thread(target=tuning)
run.start()
reported(3)
staying = cluster.add_node(num_cpus=2)
if how == "drained":
    from ray._private.worker import global_worker
    deadline = int(time.time() * 1000) + 60_000
    taken = global_worker.gcs_client.drain_node(leaving.node_id, 2, "spot", deadline)  # 2: preemption
    began = time.time()
    while ledger.read_text().count("start") < 4 and time.time() - began < 60:
        time.sleep(0.05)  # until both trials have begun elsewhere
cluster.remove_node(leaving, allow_graceful=False)
run.join()
finish(cluster, {"leaving": leaving.node_id, "staying": staying.node_id})
"""


def check_account(place: Path, events: list[ev.Event]) -> None:
    """Both trials end once and well, every step counts once, and nothing is held against a config."""
    assert Counter(e.trial for e in of(events, ev.TrialEnded)) == {"00000": 1, "00001": 1}
    assert {(e.status, e.failure) for e in of(events, ev.TrialEnded)} == {("COMPLETED", None)}
    ends = [line for line in (place / "ledger").read_text().splitlines() if line.startswith("end")]
    assert sorted(ends) == ["end 00000", "end 00001"]
    for trial in ("00000", "00001"):
        last = of(events, ev.AttemptAssigned)
        attempts = [e for e in last if e.trial == trial]
        assert len(attempts) == 2
        steps = [e.step for e in of(events, ev.Reported) if e.trial == trial and e.attempt == 2]
        assert steps == list(range(attempts[1].resume_from["step"] + 1, 21))


def test_a_drained_node_is_left_in_time_and_costs_no_step(tmp_path: Path) -> None:
    found = said(LOSING_A_NODE, "drained", str(tmp_path))
    events = events_of(f"sqlite:///{tmp_path / 'journal.db'}", "moves")
    check_account(tmp_path, events)
    [draining] = of(events, ev.NodeDraining)
    assert draining.node == found["leaving"]
    assert draining.deadline is not None
    ups = {e.worker: e.node for e in of(events, ev.WorkerUp)}
    after = events[events.index(draining) :]
    assert {ups[e.worker] for e in of(after, ev.AttemptAssigned)} == {found["staying"]}
    steps = Counter(line for line in (tmp_path / "ledger").read_text().splitlines() if "step" in line)
    assert max(steps.values()) == 1, "no step was trained twice"
    assert {e.outcome for e in of(events, ev.AttemptEnded)} == {"interrupted", "completed"}


def test_a_node_that_is_gone_moves_its_trials_and_is_not_counted(tmp_path: Path) -> None:
    found = said(LOSING_A_NODE, "killed", str(tmp_path))
    events = events_of(f"sqlite:///{tmp_path / 'journal.db'}", "moves")
    check_account(tmp_path, events)
    ups = {e.worker: e.node for e in of(events, ev.WorkerUp)}
    lost = [e for e in of(events, ev.WorkerLost) if ups.get(e.worker) == found["leaving"]]
    assert [e.failure for e in lost] == ["node lost", "node lost"]


MEMORY = """
import json, sys, time
from pathlib import Path
import ray
from raytune_gp import tune

place = sys.argv[1]
eaten = Path(place) / "eaten"

def hungry(config):
    held, hungry = [], not eaten.exists()
    eaten.touch()
    while hungry and len(held) < 48:
        held.append(b"1" * (1 << 26))
    time.sleep(30 if hungry else 0)  # above the threshold, and long enough there to be seen
    tune.report({"score": 1.0})

ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
results = tune.run(
    hungry, config={"x": 1.0}, metric="score", mode="max", name="memory",
    verbose=0, storage_path=place, journal=f"sqlite:///{place}/journal.db",
)
print(json.dumps({"status": [r.status for r in results]}))
ray.shutdown()
"""


def test_host_memory_has_a_budget_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray kills the worker, and the coordinator beside it, once 2 GB more of the host's memory are used."""
    memory = psutil.virtual_memory()
    if memory.available < 6 << 30:
        pytest.skip(f"{memory.available >> 20} MiB of memory are free, and 6 GiB are needed")
    used = (memory.total - memory.available + (2000 << 20)) / memory.total
    monkeypatch.setenv("RAY_memory_usage_threshold", f"{used:.4f}")
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "100")
    found = said(MEMORY, str(tmp_path))
    events = events_of(f"sqlite:///{tmp_path / 'journal.db'}", "memory")
    lost = [e for e in of(events, ev.WorkerLost) if "release" not in e.reason]
    assert lost[0].failure == "out of host memory"
    assert "low on memory" in lost[0].reason
    [first, *_] = of(events, ev.TrialRequeued)
    assert first.due_at - first.at == pytest.approx(10.0)
    assert of(events, ev.AttemptAssigned)[1].at >= first.due_at
    assert found["status"] == ["COMPLETED"], "what it ate is not there a second time"
