"""Several nodes on one machine: trials go where their resources are, and a node that joins is used."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.ray

ROOT = Path(__file__).parent.parent.parent

SCRIPT = """
import json, sys, threading, time
import ray
from ray.cluster_utils import Cluster
from raytune_gp import tune

def train(config):
    time.sleep(0.7)
    context = ray.get_runtime_context()
    gpus = context.get_accelerator_ids()["GPU"]
    tune.report({"score": config["x"], "node": context.get_node_id(), "gpus": ",".join(gpus)})

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
ray.init(address=cluster.address, log_to_driver=False)
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
print(json.dumps({
    "nodes": [r.metrics["node"] for r in results], "gpus": [r.metrics["gpus"] for r in results],
    "head": heads, "first": first.node_id, "joined": joined.node_id,
    "workers": [e for e in results.state.incarnations],
}))
ray.shutdown()
cluster.shutdown()
"""


def test_trials_go_to_the_nodes_with_gpus_and_a_node_that_joins_is_used(tmp_path: Path) -> None:
    # Cluster writes down its address where later ray.init() calls would find it: give it a place of its own.
    with tempfile.TemporaryDirectory(prefix="rt") as ray_directory:
        (Path(ray_directory) / "ray").mkdir()
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_TMPDIR": ray_directory}
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(tmp_path)],
            env=environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert len(found["nodes"]) == 30
    assert not set(found["nodes"]) & set(found["head"]), "the head has no GPU"
    assert set(found["nodes"]) == {found["first"], found["joined"]}
    assert set(found["gpus"]) <= {"0", "1"}
    assert len(found["workers"]) == 6, "two trials on each of three GPUs"
