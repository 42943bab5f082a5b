"""Which kind of failure an exception is: told by what frameworks really raise and programs really print."""

from __future__ import annotations

import errno
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raytune_gp import tune
from raytune_gp.errors import TrainableError
from raytune_gp.failures import FailureKind
from raytune_gp.trainable.blame import kind_of
from raytune_gp.trainable.run import run_attempt
from tests.trainable.support import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def raised(action: Any) -> BaseException:
    try:
        action()
    except BaseException as error:
        return error
    raise AssertionError("it raised nothing")


def chained(origin: BaseException) -> BaseException:
    def action() -> None:
        raise RuntimeError("training failed") from origin

    return raised(action)


class OddlyShown(Exception):
    def __str__(self) -> str:
        raise TypeError("no words")


class MXNetError(Exception):
    """What MXNet raises has this name, and these words."""


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ValueError("no"), FailureKind.ERROR),
        (OddlyShown(), FailureKind.ERROR),
        (SystemExit(3), FailureKind.ERROR),
        (MemoryError(), FailureKind.HOST_MEMORY),
        (chained(MemoryError()), FailureKind.HOST_MEMORY),
        (OSError(errno.ENOSPC, "No space left on device"), FailureKind.DISK_FULL),
        (chained(OSError(errno.EDQUOT, "Disk quota exceeded")), FailureKind.DISK_FULL),
        (OSError(errno.EACCES, "Permission denied"), FailureKind.ERROR),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), FailureKind.HOST_MEMORY),
        (RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB"), FailureKind.GPU_MEMORY),
        (RuntimeError("CUDA error: device-side assert triggered"), FailureKind.ERROR),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"), FailureKind.GPU_MEMORY),
        (MXNetError("cudaMalloc retry failed: out of memory"), FailureKind.GPU_MEMORY),
    ],
    ids=lambda value: str(value) if isinstance(value, FailureKind) else type(value).__name__,
)
def test_an_exception_tells_its_kind(error: BaseException, kind: FailureKind) -> None:
    assert kind_of(error) is kind


def test_pytorchs_and_numpys_own_errors() -> None:
    torch = pytest.importorskip("torch")
    assert kind_of(torch.cuda.OutOfMemoryError("CUDA out of memory.")) is FailureKind.GPU_MEMORY
    assert kind_of(torch.OutOfMemoryError()) is FailureKind.GPU_MEMORY
    too_much = raised(lambda: np.empty(2**60, dtype=np.uint8))
    assert kind_of(too_much) is FailureKind.HOST_MEMORY
    too_much = raised(lambda: torch.empty(2**60, dtype=torch.uint8))
    assert kind_of(too_much) is FailureKind.HOST_MEMORY


@pytest.mark.parametrize(
    ("program", "kind"),
    [
        ("raise ValueError('no')", FailureKind.ERROR),
        ("raise MemoryError", FailureKind.HOST_MEMORY),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", FailureKind.HOST_MEMORY),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", FailureKind.ERROR),
        ("print('RuntimeError: CUDA out of memory.'); raise SystemExit(1)", FailureKind.GPU_MEMORY),
        ("raise OSError(28, 'No space left on device')", FailureKind.DISK_FULL),
    ],
)
def test_a_programs_last_lines_and_its_end_tell_the_kind(
    bench: Bench, program: str, kind: FailureKind
) -> None:
    script = tune.Script([sys.executable, "-c", program], metrics={"score": "score=(.*)"})
    outcome = run_attempt(script, {}, bench.session)
    assert (outcome.kind, outcome.failure) == ("failed", kind)


def test_what_cannot_be_reported_and_what_cannot_be_stored(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    error = raised(lambda: bench.session.report({"score": object()}))
    assert isinstance(error, TrainableError)
    assert kind_of(error) is FailureKind.UNREPORTABLE

    def upload(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(bench.storage, "upload", upload)
    outcome = run_attempt(lambda config: tune.report({}, checkpoint=tmp_path), {}, bench.session)
    assert outcome.failure is FailureKind.DISK_FULL, "whoever stores it, it is the disk"
