"""A worker's GPUs: none are seen by a trial that reserves none, and none is left with memory in use.

Nothing is imported for it that the trial has not imported: a worker without PyTorch stays without.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from collections.abc import Callable, Container
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raytune_gp.execution import nvml

__all__ = ["GPUMemory", "hide_gpus", "measure", "memory_left"]

_VISIBLE = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")

TENSORS_B = 16 << 20
"""PyTorch may keep so many bytes of tensors: workspaces of its libraries."""

CONTEXT_B = 1 << 30
"""A process that has used CUDA holds so many bytes at most as long as it lives, for context and libraries."""


def hide_gpus(kept: Container[str] = ()) -> None:
    """Let this process and its children see no GPU of NVIDIA's or AMD's, but by the variables in `kept`.

    For an actor that reserves none: Ray 2.60 leaves to it all that its node has.
    """
    for name in _VISIBLE:
        if name not in kept:
            os.environ[name] = ""


@dataclass(frozen=True)
class GPUMemory:
    """What this process holds, in bytes: in `tensors` of PyTorch's, and in all as the driver sees it.

    None where it is not known. `used` says whether the process has used a GPU at all.
    """

    used: bool
    tensors: int | None = None
    process: int | None = None


def memory_left(measured: Callable[[], GPUMemory] | None = None) -> str | None:
    """What the process holds that a trial at its end should not, or None; `measured` tells the amounts.

    Where that cannot be told, that is said too: another process is cheaper than a trial without memory.
    """
    try:
        held = (measured or measure)()
    except Exception as error:  # CUDA's errors stay for the rest of a process's life
        return f"its GPU in doubt: {type(error).__name__}: {error}"
    if not held.used:
        return None
    if held.tensors is not None and held.tensors > TENSORS_B:
        return f"{held.tensors >> 20} MiB of tensors on its GPU"
    if held.process is not None and held.process > CONTEXT_B:
        return f"{held.process >> 20} MiB on its GPU"
    if held.tensors is None and held.process is None:
        return "a GPU whose memory cannot be measured"
    return None


def measure() -> GPUMemory:
    """What this process holds of GPU memory once everything that can be is given back."""
    if not _driver_is_loaded():
        return GPUMemory(used=False)
    gc.collect()
    tensors = None
    torch: Any = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
        tensors = sum(torch.cuda.memory_allocated(device) for device in range(torch.cuda.device_count()))
    return GPUMemory(True, tensors, _seen_by_driver())


def _driver_is_loaded() -> bool:
    """Whether this process has loaded NVIDIA's or AMD's driver library."""
    try:
        loaded = Path("/proc/self/maps").read_text()
    except OSError:
        return True
    return "libcuda.so" in loaded or "libamdhip64.so" in loaded


def _seen_by_driver() -> int | None:
    """What NVIDIA's driver says of this process in bytes; None where it does not know it (in a container)."""
    with contextlib.suppress(Exception):
        held = nvml.everybody()
        if held is not None:
            return held.get(os.getpid()) if held else 0
    return None
