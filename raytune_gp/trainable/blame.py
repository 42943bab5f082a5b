"""Of which kind an exception is that ended an attempt, by its type, its error number, or what it says.

No framework is imported for it: PyTorch's and others' errors are told by their names and words. Of a program
there are only its last lines, where the same words stand.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator

from raytune_gp.errors import CheckpointError, MetricMissingError, ReportError
from raytune_gp.failures import FailureKind

__all__ = ["kind_of"]

_FULL = (errno.ENOSPC, errno.EDQUOT)

_WORDS = (
    (
        FailureKind.GPU_MEMORY,
        re.compile(
            r"(CUDA|HIP) out of memory|CUDA error: out of memory|(CUBLAS|CUDNN)_STATUS_ALLOC_FAILED"
            r"|cudaMalloc retry failed|cudaErrorMemoryAllocation|RESOURCE_EXHAUSTED: Out of memory"
        ),
    ),
    (FailureKind.DISK_FULL, re.compile(r"No space left on device|Disk quota exceeded")),
    (
        FailureKind.HOST_MEMORY,
        re.compile(
            r"^(\w+\.)*(\w*MemoryError|_ArrayMemoryError)\b|std::bad_alloc"
            r"|DefaultCPUAllocator: (can't|not enough)|Cannot allocate memory",
            re.MULTILINE,
        ),
    ),
)

_KILLED = re.compile(r"the program was ended by SIGKILL\Z|the program exited with code 137\Z")
"""Nobody but the kernel kills a program so, for its memory."""


def kind_of(error: BaseException) -> FailureKind:
    """The kind of failure; that of the first of the exceptions it was raised from which tells one."""
    kinds = (_kind_of_one(e) for e in _causes(error))
    return next((kind for kind in kinds if kind is not None), FailureKind.ERROR)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The exception and what it was raised from, the origin first."""
    chain = [error]
    while (cause := chain[-1].__cause__) is not None and len(chain) < 20:
        chain.append(cause)
    return reversed(chain)


def _kind_of_one(error: BaseException) -> FailureKind | None:
    if isinstance(error, OSError) and error.errno in _FULL:
        return FailureKind.DISK_FULL
    if isinstance(error, CheckpointError):
        return FailureKind.STORAGE
    if isinstance(error, MetricMissingError):
        return FailureKind.METRIC_MISSING
    if isinstance(error, ReportError):
        return FailureKind.UNREPORTABLE
    module, name = type(error).__module__ or "", type(error).__name__
    if name == "OutOfMemoryError" and module.partition(".")[0] == "torch":
        return FailureKind.GPU_MEMORY
    if isinstance(error, MemoryError):
        return FailureKind.HOST_MEMORY
    try:
        return _kind_of_text(f"{name}: {error}")
    except Exception:  # an exception that cannot be shown
        return None


def _kind_of_text(text: str) -> FailureKind | None:
    """The kind that the words of an error message, or of a program's last lines, tell; None for none."""
    for kind, words in _WORDS:
        if words.search(text):
            return kind
    return FailureKind.HOST_MEMORY if _KILLED.search(text) else None
