"""What NVIDIA's driver says of the GPUs that this process may use, and of who uses them.

By `pynvml` where the user has it, else by Ray's copy where Ray is loaded; nothing where there is no driver.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import sys
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from typing import Any

__all__ = ["Reading", "everybody", "read"]


@dataclass(frozen=True)
class Reading:
    """Of some GPUs together: bytes in use by processes that were asked for, bytes in all, utilisation 0 to 1.

    None where the driver does not say; `used` too where it knows none of the processes.
    """

    used: int | None = None
    total: int | None = None
    utilisation: float | None = None


def read(pids: Collection[int]) -> Reading:
    """A reading of the GPUs on which the processes `pids` are, else of those that this process may see.

    Where it may see all of the machine's, as nothing says otherwise, only the former count.
    """
    nvml = _library()
    if nvml is None:
        return Reading()
    used: int | None = None
    theirs, visible = [], _visible(nvml)
    for handle in visible:
        held = _held(nvml, handle, pids)
        if held is not None:
            used = (used or 0) + held
            theirs.append(handle)
    devices = theirs or ([] if os.environ.get("CUDA_VISIBLE_DEVICES") is None else visible)
    totals, loads = [], []
    for handle in devices:
        with contextlib.suppress(Exception):
            totals.append(int(nvml.nvmlDeviceGetMemoryInfo(handle).total))
        with contextlib.suppress(Exception):  # parts of a GPU (MIG) have none
            loads.append(float(nvml.nvmlDeviceGetUtilizationRates(handle).gpu) / 100)
    return Reading(used, sum(totals) if totals else None, sum(loads) / len(loads) if loads else None)


def everybody() -> dict[int, int | None] | None:
    """The processes on all GPUs of the machine, and the bytes that each holds; None without a driver."""
    nvml = _library()
    if nvml is None:
        return None
    found: dict[int, int | None] = {}
    for index in range(nvml.nvmlDeviceGetCount()):
        for process in _processes(nvml, nvml.nvmlDeviceGetHandleByIndex(index)):
            held, more = found.get(process.pid, 0), process.usedGpuMemory
            found[process.pid] = None if held is None or more is None else held + more
    return found


@cache
def _library() -> Any:
    """The library, at work; None where there is none, or no driver. It is asked for once in a process."""
    with contextlib.suppress(Exception):
        nvml: Any = None
        if importlib.util.find_spec("pynvml") is not None:
            nvml = importlib.import_module("pynvml")
        elif "ray" in sys.modules:
            nvml = importlib.import_module("ray._private.thirdparty.pynvml")
        if nvml is not None:
            nvml.nvmlInit()
            return nvml
    return None


def _visible(nvml: Any) -> list[Any]:
    """The devices that CUDA_VISIBLE_DEVICES names, by their numbers or names; all where it is not set."""
    said = os.environ.get("CUDA_VISIBLE_DEVICES")
    found = []
    with contextlib.suppress(Exception):
        if said is None:
            return [nvml.nvmlDeviceGetHandleByIndex(i) for i in range(nvml.nvmlDeviceGetCount())]
        for name in filter(None, (part.strip() for part in said.split(","))):
            number = name.isdigit()
            by = nvml.nvmlDeviceGetHandleByIndex if number else nvml.nvmlDeviceGetHandleByUUID
            found.append(by(int(name) if number else name))
    return found


def _processes(nvml: Any, handle: Any) -> list[Any]:
    found: list[Any] = []
    with contextlib.suppress(Exception):
        found = list(nvml.nvmlDeviceGetComputeRunningProcesses(handle))
    return found


def _held(nvml: Any, handle: Any, pids: Collection[int]) -> int | None:
    held = [p.usedGpuMemory for p in _processes(nvml, handle) if p.pid in pids]
    known = [amount for amount in held if amount is not None]
    return sum(known) if known else None
