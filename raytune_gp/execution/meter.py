"""What an attempt uses, measured beside it: memory of the host and of GPUs, CPU and GPU time.

A thread looks twice a second, more often at first. Short peaks between its looks are not missed in the
process's own memory, whose mark the kernel keeps, nor in PyTorch's; they may be in that of other processes.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import psutil

from raytune_gp.execution import nvml, reaper
from raytune_gp.execution.family import has_children

__all__ = ["Meter"]

FIRST_LOOK_S = 0.05
LOOK_S = 0.5
"""How often the thread looks, in seconds: each time twice as late as the last time, up to this."""

_PROCESS = Path("/proc/self")


class Meter:
    """Measures from its making until `stop`.

    Counted are this process, whole as it is, and what it has started since: not what was there before.
    Resident memory of several processes is their sum, so that pages they share count for each.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._elder = _descendants()
        self._began = time.monotonic()
        self._cpu_s = _cpu_of_this_s()
        self._marked = _reset_mark()
        self._usage: dict[str, float] = {}
        self._loads: list[float] = []
        with contextlib.suppress(Exception):
            _each_of_torchs(lambda cuda, device: cuda.reset_peak_memory_stats(device))
        self._look()
        threading.Thread(target=self._go, name="raytune-meter", daemon=True).start()

    def stop(self) -> dict[str, float]:
        """The usage until now, as usage.py says; called again, the same."""
        if not self._stopped.is_set():
            self._stopped.set()
            self._look()
        with self._lock:
            return dict(self._usage)

    def _go(self) -> None:
        wait_s = FIRST_LOOK_S
        while not self._stopped.wait(wait_s):
            self._look()
            wait_s = min(LOOK_S, 2 * wait_s)

    def _look(self) -> None:
        """Take what is to be seen now into account; what goes wrong with it is not the attempt's affair."""
        with self._lock, contextlib.suppress(Exception):
            started = [pid for pid, _ in _descendants() - self._elder]
            self._look_at_host(started)
            self._look_at_gpus({os.getpid(), *started})
            self._look_at_torch()

    def _look_at_host(self, started: Collection[int]) -> None:
        resident = 0 if self._marked and not started else psutil.Process().memory_info().rss
        cpu_s = _cpu_of_this_s() - self._cpu_s
        for pid in started:
            with contextlib.suppress(psutil.Error):
                process = psutil.Process(pid)
                with process.oneshot():
                    resident += process.memory_info().rss
                    cpu_s += sum(process.cpu_times()[:4])  # its own, and of children that have ended
        self._usage["wall_s"] = time.monotonic() - self._began
        self._usage["cpu_s"] = max(cpu_s, self._usage.get("cpu_s", 0.0))
        self._raise("host_peak_b", max(resident, _mark() if self._marked else 0))

    def _look_at_torch(self) -> None:
        peaks = _each_of_torchs(lambda cuda, device: cuda.max_memory_reserved(device))
        totals = _each_of_torchs(lambda cuda, device: cuda.get_device_properties(device).total_memory)
        used = [(peak, total) for peak, total in zip(peaks, totals, strict=True) if peak]
        if used:
            self._raise("gpu_peak_b", sum(peak for peak, _ in used))
            self._raise("gpu_total_b", sum(total for _, total in used))

    def _look_at_gpus(self, family: Collection[int]) -> None:
        reading = nvml.read(family)
        if reading.used is not None:
            self._raise("gpu_peak_b", reading.used)
        if reading.total is not None:
            self._raise("gpu_total_b", reading.total)
        if reading.utilisation is not None:
            self._loads.append(reading.utilisation)
            self._usage["gpu_util"] = sum(self._loads) / len(self._loads)

    def _raise(self, name: str, value: float) -> None:
        self._usage[name] = max(value, self._usage.get(name, 0))


def _descendants() -> set[reaper.Process]:
    """What this process has started and what that has, as far as it lives."""
    if not has_children():
        return set()
    if Path("/proc/thread-self/children").exists():
        return reaper.descendants(os.getpid())
    return {(p.pid, int(1000 * p.create_time())) for p in psutil.Process().children(recursive=True)}


def _cpu_of_this_s() -> float:
    """CPU seconds of this process and of its children that have ended."""
    return sum(os.times()[:4])


def _reset_mark() -> bool:
    """Set the kernel's mark of this process's largest resident memory to the present; whether that worked."""
    try:
        (_PROCESS / "clear_refs").write_text("5")
        return _mark() > 0
    except (OSError, ValueError):
        return False


def _mark() -> int:
    """That mark, in bytes; 0 where there is none."""
    text = (_PROCESS / "status").read_text()
    _, found, rest = text.partition("VmHWM:")
    return 1024 * int(rest.split(maxsplit=1)[0]) if found else 0


def _each_of_torchs(ask: Callable[[Any, int], Any]) -> list[Any]:
    """What PyTorch answers for each GPU; nothing where the attempt has not used one by it."""
    torch: Any = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "cuda") or not torch.cuda.is_initialized():
        return []
    return [ask(torch.cuda, device) for device in range(torch.cuda.device_count())]
