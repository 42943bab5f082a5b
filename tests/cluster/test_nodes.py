"""Several nodes on one machine: trials go where their resources are, and nodes that join are used."""

from __future__ import annotations

from pathlib import Path

import pytest

from raytune_gp.execution.ray_executor import PENDING
from tests.cluster.scripts import said
from tests.programs import figures_of

pytestmark = pytest.mark.ray

SCRIPT = """
import sys, threading, time
from pathlib import Path
import ray
from raytune_gp import tune
from tests.cluster.scripts import finish, start

there = Path(sys.argv[1]) / "there"
there.mkdir()

def train(config):
    time.sleep(0.7)
    context, trial = ray.get_runtime_context(), tune.get_context().get_trial_id()
    gpus = context.get_accelerator_ids()["GPU"]
    if int(trial) >= 24:  # the last six run side by side, however slowly their workers start
        (there / trial).touch()
        while len(list(there.iterdir())) < 6:
            time.sleep(0.05)
    tune.report({"score": config["x"], "node": context.get_node_id(), "gpus": ",".join(gpus)})

cluster = start(1)
first = cluster.add_node(num_cpus=2, num_gpus=1)
cluster.wait_for_nodes()
results = []

def tuning():
    results.append(tune.run(
        train, config={"x": tune.uniform(0, 1)}, metric="score", mode="max", num_samples=30,
        search_alg="random", resources_per_trial={"cpu": 0.5, "gpu": 0.5}, name="nodes", verbose=0,
        storage_path=sys.argv[1], journal=f"sqlite:///{sys.argv[1]}/journal.db",
    ))

run = threading.Thread(target=tuning)
run.start()
time.sleep(4)
joined = cluster.add_node(num_cpus=4, num_gpus=2)
run.join()
results = results[0]
heads = [n["NodeID"] for n in ray.nodes() if n["Resources"].get("GPU", 0) == 0]
finish(cluster, {
    "nodes": [r.metrics["node"] for r in results], "gpus": [r.metrics["gpus"] for r in results],
    "head": heads, "first": first.node_id, "joined": joined.node_id,
    "workers": [e for e in results.state.crew.incarnations],
})
"""


GROWING = """
import sys, threading, time
import ray
from ray.experimental.internal_kv import _internal_kv_put
from raytune_gp import tune
from raytune_gp.errors import SpecError
from raytune_gp.execution import growth
from tests.cluster.scripts import finish, start

how, storage, most = sys.argv[1:]
cluster = start(1)
said = {}

def train(config):
    tune.report({"score": config["x"], "node": ray.get_runtime_context().get_node_id()})
    time.sleep(0.3)

def tuning():
    try:
        results = tune.run(
            train, config={"x": tune.uniform(0, 1)}, metric="score", mode="max", num_samples=8,
            search_alg="random", resources_per_trial={"cpu": 1, "gpu": 1}, name="grows", verbose=0,
            storage_path=storage, journal=f"sqlite:///{storage}/journal.db",
        )
        said["nodes"] = sorted({r.metrics["node"] for r in results})
        said["trials"] = len(results)
    except SpecError as error:
        said["error"] = str(error)

def demand():
    from ray._private.worker import global_worker
    from ray.autoscaler.v2.sdk import get_cluster_resource_state
    asked = get_cluster_resource_state(global_worker.gcs_client).pending_resource_requests
    return sum(r.count for r in asked if dict(r.request.resources_bundle).get("GPU") == 1)

if how == "autoscaler":  # it leaves its configuration, and then acts on what is asked for
    _internal_kv_put("__autoscaler_cluster_config", b"nodes", namespace="__autoscaler")
if how in ("fixed", "autoscaler"):
    time.sleep(2.5)
    growth.SETTLING_S = 2.0
began = time.monotonic()
run = threading.Thread(target=tuning)
run.start()
joined = []
if how == "joins":
    time.sleep(3)
    joined.append(cluster.add_node(num_cpus=2, num_gpus=2).node_id)
if how == "autoscaler":
    said["asked"] = 0
    while said["asked"] < int(most) and time.monotonic() - began < 120:
        time.sleep(0.2)
        said["asked"] = demand()
    joined.append(cluster.add_node(num_cpus=1, num_gpus=1).node_id)
run.join()
said["seconds"] = time.monotonic() - began
said["joined"] = sorted(joined)
if how == "autoscaler":
    time.sleep(2)
    said["asked_at_last"] = demand()
finish(cluster, said)
"""


PLACED = """
import sys, time
from pathlib import Path
import ray
from raytune_gp import tune
from tests.cluster.scripts import finish, start

place = sys.argv[1]
cluster = start(0)
for _ in range(2):
    cluster.add_node(num_cpus=8)
cluster.wait_for_nodes()

def meeting(config):
    here = Path(config["place"])
    (here / tune.get_context().get_trial_id()).touch()
    while len(list(here.iterdir())) < 4:
        time.sleep(0.05)
    tune.report({"score": config["x"], "node": ray.get_runtime_context().get_node_id()})

said = {}
for placement in ("pack", "spread"):
    (Path(place) / placement).mkdir()
    results = tune.run(
        meeting, config={"x": tune.uniform(0, 1), "place": f"{place}/{placement}"},
        metric="score", mode="max", num_samples=4, max_concurrent_trials=4, search_alg="random",
        name=placement, verbose=0,
        resources_per_trial={"cpu": 1, "placement": placement},
        storage_path=f"{place}/results", journal=f"sqlite:///{place}/journal.db",
    )
    nodes = [r.metrics["node"] for r in results]
    said[placement] = sorted(nodes.count(node) for node in set(nodes))
finish(cluster, said)
"""


LABELLED = """
import sys, time
import ray
from raytune_gp import tune
from raytune_gp.errors import SpecError
from raytune_gp.execution import growth
from tests.cluster.scripts import finish, start

place = sys.argv[1]
cluster = start(0)
spot = cluster.add_node(num_cpus=2, labels={"ray.io/market-type": "spot", "zone": "a"})
lasting = cluster.add_node(num_cpus=2, labels={"zone": "b"})
cluster.wait_for_nodes()
growth.SETTLING_S = 0.0

def train(config):
    tune.report({"score": config["x"], "node": ray.get_runtime_context().get_node_id()})

def tuning(name, selector):
    return tune.run(
        train, config={"x": tune.uniform(0, 1)}, metric="score", mode="max", num_samples=3,
        search_alg="random", name=name, verbose=0,
        resources_per_trial={"cpu": 1, "label_selector": selector},
        storage_path=f"{place}/results", journal=f"sqlite:///{place}/journal.db",
    )

said = {"spot": spot.node_id, "lasting": lasting.node_id}
for name, selector in {
    "is": {"ray.io/market-type": "spot"}, "is-not": {"ray.io/market-type": "!spot"},
    "one-of": {"zone": "in(b, c)"}, "none-of": {"zone": "!in(b, c)", "ray.io/market-type": "spot"},
}.items():
    results = tuning(name, selector)
    said[name] = sorted({r.metrics["node"] for r in results})
    said["journal"] = results.state.spec.to_json()["resources"]
    said["workers"] = max(said.get("workers", 0), len(results.state.crew.incarnations))
try:
    tuning("nowhere", {"zone": "in(c, d)", "rack": "!7"})
except SpecError as error:
    said["error"] = str(error)
finish(cluster, said)
"""


def test_trials_go_to_the_nodes_with_gpus_and_a_node_that_joins_is_used(tmp_path: Path) -> None:
    found = said(SCRIPT, str(tmp_path))
    assert len(found["nodes"]) == 30
    assert not set(found["nodes"]) & set(found["head"]), "the head has no GPU"
    assert set(found["nodes"]) == {found["first"], found["joined"]}
    assert set(found["gpus"]) <= {"0", "1"}
    assert len(found["workers"]) == 6, "two trials on each of three GPUs"


def test_a_run_waits_for_a_node_that_is_still_joining(tmp_path: Path) -> None:
    found = said(GROWING, "joins", str(tmp_path), str(PENDING))
    assert found["trials"] == 8
    assert found["nodes"] == found["joined"]


def test_a_fixed_cluster_refuses_at_once_what_no_node_can_hold(tmp_path: Path) -> None:
    found = said(GROWING, "fixed", str(tmp_path), str(PENDING))
    assert "asks for CPU 1, GPU 1, and no node can hold it (node 0: CPU 1, GPU 0)" in found["error"]
    assert found["seconds"] < 60


def test_a_run_asks_an_autoscaler_for_nodes_until_it_ends(tmp_path: Path) -> None:
    """The test plays the autoscaler: it looks at what is asked for, and adds a node."""
    found = said(GROWING, "autoscaler", str(tmp_path), str(PENDING))
    assert (found["asked"], found["asked_at_last"]) == (PENDING, 0)
    assert found["trials"] == 8
    assert found["nodes"] == found["joined"]


def test_workers_are_packed_or_spread_as_asked(tmp_path: Path) -> None:
    """Ray packs a node to half of its CPUs, which are four of eight."""
    assert said(PLACED, str(tmp_path)) == {"pack": [4], "spread": [2, 2]}


def test_trials_go_where_the_labels_say_and_a_selector_that_no_node_meets_is_refused(tmp_path: Path) -> None:
    found = said(LABELLED, str(tmp_path))
    assert found["is"] == found["none-of"] == [found["spot"]]
    assert found["is-not"] == found["one-of"] == [found["lasting"]]
    assert found["workers"] <= 2, "as many as the one node holds"
    selector = {"zone": "!in(b, c)", "ray.io/market-type": "spot"}
    assert found["journal"] == {"cpu": 1, "label_selector": selector}
    asked = "a trial asks for CPU 1, zone in(c, d), rack !7, and no node can hold it ("
    assert found["error"].startswith(f"resources_per_trial can never be met: {asked}")
    for has in ("zone a", "zone b", "zone not set"):
        assert f"rack not set, {has}" in found["error"]


def test_sixteen_halves_of_eight_gpus_while_nodes_come_and_go(tmp_path: Path) -> None:
    """Three nodes with 8 logical GPUs, one with two more that joins, and one of four that is killed."""
    found = figures_of(tmp_path, "benchmarks.cluster", "--epochs", "5", "--seconds", "1.2")
    assert (found["at_once_before_the_join"], found["at_once_after_the_join"]) == (16, 20)
    assert found["trials_on_each_device"] == {f"{node}.{gpu}": 2 for node in (0, 1) for gpu in range(4)}
    assert found["devices_of_the_node_that_joined"] == ["0", "1"]
    assert found["seconds_from_join_to_first_use"] < 120
    assert found["trials_on_the_lost_node"] == 8
    assert found["others_disturbed"] == 0
    assert found["epochs_lost_at_most"] <= 3, "the one in training, and those whose checkpoint was on its way"
    assert found["trained_more_than_once"] <= 16
    assert found["completed"] == 20
