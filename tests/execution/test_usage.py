"""What trials used, on Ray: functions and programs, with a driver of GPUs that a file speaks for."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from raytune_gp import tune

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]

MIB = 1 << 20
GIB = 1 << 30

PYNVML = """
import os
from types import SimpleNamespace

def nvmlInit():
    pass

def nvmlDeviceGetCount():
    return 4

def nvmlDeviceGetHandleByIndex(index):
    return range(4)[index]

def nvmlDeviceGetComputeRunningProcesses(device):
    lines = open({held!r}).read().splitlines()
    rows = (tuple(map(int, line.split())) for line in lines)
    return [SimpleNamespace(pid=pid, usedGpuMemory=used) for where, pid, used in rows if where == device]

def nvmlDeviceGetMemoryInfo(device):
    return SimpleNamespace(total=80 << 30)

def nvmlDeviceGetUtilizationRates(device):
    return SimpleNamespace(gpu=50)
"""
"""Stands in for NVIDIA's library: lines of a file say which process holds how much on which device."""

PROGRAM = """
import os, sys, time
block = bytearray(300 << 20)
with open(sys.argv[1], "a") as held:
    held.write(f"{os.environ['CUDA_VISIBLE_DEVICES']} {os.getpid()} {7 << 30}\\n")
time.sleep(1.5)
print("score=1")
"""


def train(config: dict[str, Any]) -> None:
    import os

    bytearray(300 * MIB)
    with open(config["held"], "a") as held:
        held.write(f"{os.environ['CUDA_VISIBLE_DEVICES']} {os.getpid()} {5 * GIB}\n")
    tune.report({"score": 1.0})


@pytest.mark.parametrize(("kind", "held_b"), [("function", 5 * GIB), ("program", 7 * GIB)])
def test_what_trials_use_is_in_their_results(
    kind: str, held_b: int, tmp_path: Path, run_settings: dict[str, Any]
) -> None:
    held = tmp_path / "held"
    held.touch()
    library = tmp_path / "pynvml"
    library.mkdir()
    (library / "__init__.py").write_text(PYNVML.format(held=str(held)))
    program = tune.Script([sys.executable, "-c", PROGRAM, str(held)], metrics={"score": "score={float}"})
    results = tune.run(
        train if kind == "function" else program,
        config={"x": tune.uniform(0, 1), "held": str(held)},
        metric="score",
        mode="max",
        num_samples=2,
        search_alg="random",
        name="used",
        resources_per_trial={"cpu": 1, "gpu": 1},
        runtime_env={"py_modules": [str(library)]},
        **run_settings,
    )
    for result in results:
        usage = result.usage
        assert usage["host_peak_b"] > 350 * MIB
        assert (usage["gpu_peak_b"], usage["gpu_total_b"]) == (held_b, 80 * GIB)
        assert usage["gpu_util"] == pytest.approx(0.5)
        assert 0 < usage["cpu_cores"] < 16
    frame = results.get_dataframe()
    assert list(frame["usage/gpu_peak_b"]) == [held_b, held_b]
