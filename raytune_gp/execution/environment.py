"""What a suggestion hangs on besides the journal: versions of the software, the CPU, threads and kernels."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from threadpoolctl import threadpool_info, threadpool_limits

__all__ = ["cpu", "machine", "software_versions", "threads_as"]

_THREADS = "threads"


@cache
def software_versions() -> dict[str, str]:
    """Versions that suggestions depend on, for the journal."""
    found = {"python": platform.python_version()}
    for package in ("raytune-gp", "numpy", "scipy", "torch", "gpytorch", "ray"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def machine() -> dict[str, str]:
    """The CPU, and of the libraries of linear algebra loaded here the threads and the kernels that they use.

    Call it once a searcher is made, which loads them.
    """
    pools = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    kernels = sorted(
        {f"{p['internal_api']} {p['version']} {p.get('architecture', '')}".strip() for p in pools}
    )
    threads = sorted({pool["num_threads"] for pool in pools})
    return {
        "cpu": cpu(),
        "linear algebra": ", ".join(kernels),
        _THREADS: " and ".join(map(str, threads)),
    }


@contextmanager
def threads_as(machine: Mapping[str, str]) -> Iterator[None]:
    """Linear algebra with as many threads as `machine` says, where it says one number."""
    said = machine.get(_THREADS, "")
    if not said.isdecimal():
        yield
        return
    with threadpool_limits(int(said), user_api="blas"):
        yield


@cache
def cpu() -> str:
    """The CPU's name where Linux says it, else the kind of machine."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()
