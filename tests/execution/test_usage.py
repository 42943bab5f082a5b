"""What trials used, on Ray: functions and programs, with a driver of GPUs that a file speaks for."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from raytune_gp import events as ev
from raytune_gp import tune
from raytune_gp.errors import SpecError
from tests.execution.watching import events_of, of

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
    lines = set(open({held!r}).read().splitlines())
    rows = (tuple(map(int, line.split())) for line in lines)
    return [SimpleNamespace(pid=pid, usedGpuMemory=used) for where, pid, used in rows if where == device]

def nvmlDeviceGetMemoryInfo(device):
    return SimpleNamespace(total={total_b})

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
    bytearray(300 * MIB)
    with open(config["held"], "a") as held:
        held.write(f"{os.environ['CUDA_VISIBLE_DEVICES']} {os.getpid()} {5 * GIB}\n")
    tune.report({"score": 1.0})


def stand_in(tmp_path: Path, total_b: int) -> tuple[Path, Path]:
    """The file that says who holds what, and the package that reads it, of GPUs of `total_b` bytes."""
    held, library = tmp_path / "held", tmp_path / "pynvml"
    held.touch()
    library.mkdir()
    (library / "__init__.py").write_text(PYNVML.format(held=str(held), total_b=total_b))
    return held, library


@pytest.mark.parametrize(("kind", "held_b"), [("function", 5 * GIB), ("program", 7 * GIB)])
def test_what_trials_use_is_in_their_results(
    kind: str, held_b: int, tmp_path: Path, run_settings: dict[str, Any]
) -> None:
    held, library = stand_in(tmp_path, 80 * GIB)
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


def share(config: dict[str, Any]) -> None:
    import ray

    of_gpu = ray.get_runtime_context().get_assigned_resources()["GPU"]
    assert tune.get_context().get_trial_resources() == {"cpu": 1, "gpu": of_gpu}
    with open(config["held"], "a") as held:
        held.write(f"{os.environ['CUDA_VISIBLE_DEVICES']} {os.getpid()} {9 * GIB}\n")
    if tune.get_context().get_trial_id() == "00008" and of_gpu < 1:
        raise RuntimeError("CUDA out of memory. Tried to allocate 12.00 GiB")
    tune.report({"score": 1.0, "of_gpu": of_gpu})


def test_trials_share_gpus_by_their_memory_until_it_runs_out(
    tmp_path: Path, run_settings: dict[str, Any]
) -> None:
    held, library = stand_in(tmp_path, 22 * GIB)
    results = tune.run(
        share,
        config={"x": tune.uniform(0, 1), "held": str(held)},
        metric="score",
        mode="max",
        num_samples=12,
        max_concurrent_trials=2,
        search_alg="random",
        name="shared",
        resources_per_trial={"cpu": 1, "gpu": "auto"},
        runtime_env={"py_modules": [str(library)]},
        **run_settings,
    )
    assert results.num_terminated == 12
    shares = [result.metrics["of_gpu"] for result in results]
    assert shares[:4] == [1.0] * 4
    assert 0.5 in shares[4:8]
    assert shares[8] == 1.0
    assert shares[-1] == 1.0, "after one without memory they share none"
    events = events_of(run_settings["journal"], "shared")
    assert [e.trials_per_gpu for e in of(events, ev.PackingChanged)] == [2, 1]
    failures = [e.failure for e in events if isinstance(e, ev.AttemptEnded) and e.failure]
    assert failures[0] == "out of shared GPU memory"
    assert set(failures) == {"out of shared GPU memory"}
    assert not results.state.trials["00008"].failures


def test_no_share_of_a_gpu_where_no_node_has_one(run_settings: dict[str, Any]) -> None:
    with pytest.raises(SpecError, match=r'gpu is "auto": a whole one at first.*no node can hold it'):
        tune.run(
            share,
            config={"x": tune.uniform(0, 1)},
            metric="score",
            mode="max",
            search_alg="random",
            resources_per_trial={"gpu": "auto", "accelerator_type": "H999"},
            **run_settings,
        )
