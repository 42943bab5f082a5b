"""What an attempt used, as it is measured: of processes in earnest, of GPUs by stand-ins."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from raytune_gp.execution import meter as metering
from raytune_gp.execution import nvml
from raytune_gp.execution.meter import Meter
from tests.patience import wait_until

MIB = 1 << 20
GIB = 1 << 30


class StandInForNVML:
    """Two GPUs of 80 GiB. `held` has the processes of each: (process id, bytes)."""

    def __init__(self, *held: list[tuple[int, int | None]]):
        self.held = held

    def nvmlDeviceGetCount(self) -> int:
        return len(self.held)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return range(len(self.held))[index]

    def nvmlDeviceGetComputeRunningProcesses(self, handle: int) -> list[Any]:
        return [SimpleNamespace(pid=pid, usedGpuMemory=used) for pid, used in self.held[handle]]

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Any:
        return SimpleNamespace(total=80 * GIB)

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> Any:
        return SimpleNamespace(gpu=(60, 20)[handle])


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> StandInForNVML:
    found = StandInForNVML([(1, 5 * GIB), (2, GIB)], [(3, 7 * GIB), (4, None)])
    monkeypatch.setattr(nvml, "_library", lambda: found)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return found


@pytest.mark.parametrize(
    ("visible", "pids", "expected"),
    [
        (None, {1, 9}, (5 * GIB, 80 * GIB, 0.6)),
        (None, {1, 2, 3}, (13 * GIB, 160 * GIB, 0.4)),
        (None, {9}, (None, None, None)),
        (None, {4}, (None, None, None)),
        ("1", {9}, (None, 80 * GIB, 0.2)),
        ("0", {1, 3}, (5 * GIB, 80 * GIB, 0.6)),
        ("", {1}, (None, None, None)),
        ("7", {1}, (None, None, None)),
    ],
)
def test_the_driver_is_asked_for_the_processes_gpus(
    driver: StandInForNVML,
    monkeypatch: pytest.MonkeyPatch,
    visible: str | None,
    pids: set[int],
    expected: tuple[Any, Any, Any],
) -> None:
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    found = nvml.read(pids)
    assert (found.used, found.total, found.utilisation) == expected


def test_everybody_on_the_machine(driver: StandInForNVML) -> None:
    assert nvml.everybody() == {1: 5 * GIB, 2: GIB, 3: 7 * GIB, 4: None}


class StandInForTorch:
    """PyTorch on a GPU of 40 GiB, which has a peak of `reserved` bytes."""

    def __init__(self, reserved: int):
        self.cuda = self
        self.reserved = reserved

    def is_initialized(self) -> bool:
        return True

    def device_count(self) -> int:
        return 1

    def max_memory_reserved(self, device: int) -> int:
        return self.reserved

    def reset_peak_memory_stats(self, device: int) -> None:
        self.reserved = 2 * MIB

    def get_device_properties(self, device: int) -> Any:
        return SimpleNamespace(total_memory=40 * GIB)


def test_pytorchs_peak_is_that_of_this_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = StandInForTorch(30 * GIB)
    monkeypatch.setitem(sys.modules, "torch", torch)
    meter = Meter()
    torch.reserved = 3 * GIB
    usage = meter.stop()
    assert (usage["gpu_peak_b"], usage["gpu_total_b"]) == (3 * GIB, 40 * GIB)


def test_nothing_is_said_of_gpus_where_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvml, "_library", lambda: None)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    usage = Meter().stop()
    assert set(usage) == {"wall_s", "cpu_s", "host_peak_b"}


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux keeps such a mark")
def test_a_short_peak_of_this_process_is_not_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metering, "FIRST_LOOK_S", 60.0)  # the thread looks at none of it
    bytearray(600 * MIB)  # before, which does not count
    meter = Meter()
    before = meter._usage["host_peak_b"]
    bytearray(300 * MIB)
    peak = meter.stop()["host_peak_b"]
    assert 290 * MIB < peak - before < 400 * MIB


PROGRAM = """
import sys
block = bytearray(200 << 20)
sum(range(5_000_000))
print("ready", flush=True)
sys.stdin.read()
"""


def started() -> subprocess.Popen[str]:
    child = subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    return child


def test_what_an_attempt_starts_counts_and_what_was_there_does_not() -> None:
    elder = started()
    meter = Meter()
    alone = meter._usage["host_peak_b"]
    child = started()
    wait_until(lambda: meter._usage["host_peak_b"] >= alone + 190 * MIB)
    for process in (child, elder):
        process.communicate()
    usage = meter.stop()
    assert 190 * MIB < usage["host_peak_b"] - alone < 390 * MIB
    assert usage["cpu_s"] > 0.02, "the CPU time of a child that has ended counts"
    assert meter.stop() == usage
