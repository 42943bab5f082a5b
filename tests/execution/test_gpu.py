"""Whether a trial has left memory on its GPU: the decision, and the measuring with a stand-in for PyTorch.

There is no GPU in CI: what drivers and PyTorch would say is put in, what is made of it is the real code.
"""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from raytune_gp.execution import gpu
from raytune_gp.execution.gpu import CONTEXT_B, TENSORS_B, GPUMemory, measure, memory_left

GIB = 1 << 30


@pytest.mark.parametrize(
    ("held", "left"),
    [
        (GPUMemory(False), None),
        (GPUMemory(True, 0, CONTEXT_B), None),
        (GPUMemory(True, TENSORS_B, None), None),
        (GPUMemory(True, None, CONTEXT_B // 2), None),
        (GPUMemory(True, 3 * GIB, CONTEXT_B), "3072 MiB of tensors on its GPU"),
        (GPUMemory(True, 0, 2 * GIB), "2048 MiB on its GPU"),
        (GPUMemory(True, None, 2 * GIB), "2048 MiB on its GPU"),
        (GPUMemory(True), "a GPU whose memory cannot be measured"),
    ],
)
def test_a_worker_is_used_again_only_with_a_gpu_that_is_free(held: GPUMemory, left: str | None) -> None:
    assert memory_left(lambda: held) == left


def test_an_error_of_cuda_spoils_the_process() -> None:
    def broken() -> GPUMemory:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    assert memory_left(broken) == (
        "its GPU in doubt: RuntimeError: CUDA error: an illegal memory access was encountered"
    )


class StandInForTorch:
    """PyTorch's caching allocator on two GPUs: what is cached is given back, what lives is not."""

    def __init__(self, alive: list[int], cached: int):
        self.cuda = self
        self.alive = alive
        self.cached = cached

    def is_initialized(self) -> bool:
        return True

    def device_count(self) -> int:
        return len(self.alive)

    def empty_cache(self) -> None:
        self.cached = 0

    def memory_allocated(self, device: int) -> int:
        return self.alive[device] + self.cached


def test_caches_are_given_back_before_live_tensors_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "_driver_is_loaded", lambda: True)
    monkeypatch.setitem(sys.modules, "torch", StandInForTorch([100, 20], cached=GIB))
    assert measure().tensors == 120


def test_a_process_without_a_driver_holds_nothing_and_torch_is_not_loaded_to_see() -> None:
    program = (
        "import sys; from raytune_gp.execution.gpu import memory_left; left = memory_left(); "
        "assert left is None, left; assert 'torch' not in sys.modules and 'ray' not in sys.modules"
    )
    done: Any = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
