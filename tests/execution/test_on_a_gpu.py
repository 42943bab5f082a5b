"""Trials on a real GPU: the device that they see, its memory, and what happens where that is short."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.cluster.scripts import said

pytestmark = [
    pytest.mark.ray,
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no GPU"),
]

GIB = 1 << 30

ON_ONE = """
import json, os, sys
import ray
from raytune_gp import tune

place = sys.argv[1]
ray.init(address="local", num_cpus=2, num_gpus=1, include_dashboard=False, log_to_driver=False)

def devices(config):
    import torch
    tune.report({"score": torch.cuda.device_count()})

def memory(config):
    import torch
    free, _ = torch.cuda.mem_get_info()
    block = torch.ones(2 << 30, dtype=torch.uint8, device="cuda")
    if config["what"] == "kept":
        sys.kept = block
    tune.report({"score": int(block[-1]), "free": free, "pid": os.getpid()})

def too_much(config):
    import torch
    size = 1 << (50 if config["what"] == "too much" else 10)
    tune.report({"score": torch.ones(size, dtype=torch.uint8, device="cuda").sum().item()})

def tuning(name, train, gpu, **more):
    return tune.run(
        train, metric="score", mode="max", search_alg="random", name=name, verbose=0,
        resources_per_trial={"cpu": 1, "gpu": gpu}, raise_on_failed_trial=False,
        storage_path=f"{place}/results", journal=f"sqlite:///{place}/journal.db", **more,
    )

def held(config):
    import torch
    block = torch.ones(3 << 30, dtype=torch.uint8, device="cuda")
    assigned = ray.get_runtime_context().get_assigned_resources()["GPU"]
    tune.report({"score": int(block[-1]), "of_gpu": assigned})

X = tune.uniform(0, 1)
said = {"devices": {}}
for gpu in (0, 0.5, 1):
    results = tuning(f"devices-{gpu}", devices, gpu, config={"x": X})
    said["devices"][str(gpu)] = results[0].metrics["score"]
for what in ("kept", "freed"):
    results = tuning(what, memory, 1, config={"x": X, "what": what}, num_samples=3)
    pids = {r.metrics["pid"] for r in results}
    said[what] = {"free": [r.metrics["free"] for r in results], "pids": len(pids)}
results = tuning("short", too_much, 1, config={"x": X, "what": tune.grid_search(["too much", "enough"])})
trials = results.state.trials.values()
said["short"] = {t.config["what"]: [t.status.value, dict(t.tally)] for t in trials}
results = tuning("held", held, "auto", config={"x": X}, num_samples=8, max_concurrent_trials=2)
said["held"] = [[r.metrics["of_gpu"], r.usage] for r in results]
print(json.dumps(said))
ray.shutdown()
"""


def test_trials_on_one_gpu(tmp_path: Path) -> None:
    found = said(ON_ONE, str(tmp_path), limit_s=240)
    assert found["devices"] == {"0": 0, "0.5": 1, "1": 1}
    assert found["kept"]["pids"] == 3, "one that keeps memory is the last of its process"
    assert found["freed"]["pids"] == 1
    for case in ("kept", "freed"):
        free = found[case]["free"]
        assert max(free) - min(free) < GIB, "each trial finds the memory that the first one found"
    assert found["short"]["enough"] == ["COMPLETED", {}]
    total = torch.cuda.get_device_properties(0).total_memory
    for _, usage in found["held"]:
        assert 3 * GIB <= usage["gpu_peak_b"] < 5 * GIB, "three in a tensor, and the context by the driver"
        assert usage["gpu_total_b"] == pytest.approx(total, rel=0.05)
    shares = [of_gpu for of_gpu, _ in found["held"]]
    assert shares[:4] == [1.0] * 4
    assert total < 12 * GIB or shares[-1] < 1, "two trials of three GiB fit on a card of twelve"
    status, failures = found["short"]["too much"]
    assert status == "FAILED"
    assert set(failures) == {"out of GPU memory"}
