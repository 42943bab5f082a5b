"""The kinds of failure, and what a run makes of each: one table. Pure.

An attempt that fails is tried again or not by its kind's `Policy`; the searcher learns only from failures
that the config can be blamed for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["POLICIES", "FailureKind", "Policy", "counts_against", "policy_of"]


class FailureKind(StrEnum):
    """Why an attempt failed, or why a trial that is through has no objective; the words of the journal."""

    ERROR = "error"
    """The trainable raised, or its program ended with an error."""
    UNREPORTABLE = "unreportable"
    """It reported what cannot be journalled."""
    GPU_MEMORY = "out of GPU memory"
    GPU_SHARED = "out of shared GPU memory"
    """It ran out of memory on a GPU that the run had it share with other trials."""
    HOST_MEMORY = "out of host memory"
    DISK_FULL = "disk full"
    STORAGE = "storage"
    """A checkpoint could not be stored."""
    SILENT = "no report"
    """It reported nothing for so long that it must hang."""
    WORKER_LOST = "worker lost"
    """The process died while its node lived: killed, crashed in native code, exited."""
    NODE_LOST = "node lost"
    PREEMPTED = "preempted"
    """The node was taken away with notice, or the worker was told to go."""
    TIMEOUT = "timeout"
    """The trial used up its time and had reported no value."""
    NOT_FINITE = "not finite"
    """Its last value is NaN or an infinity."""
    METRIC_MISSING = "metric missing"
    """It ended well and never reported the metric."""
    STOPPED_EARLY = "stopped before a report"
    """A person or a scheduler stopped it before it had a value."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What follows from a kind of failure.

    `blamed` says that the failure counts towards `max_failures`; of another kind a trial may have `retries`
    attempts more, None for no bound. `delays_s` are the waits before the first, second, … retry in seconds,
    the last one repeats. `infeasible` says what a searcher learns from a trial that ended by it: that the
    config does not work, or nothing at all. A kind without `delays_s` ends trials and no attempts.
    """

    blamed: bool
    infeasible: bool
    retries: int | None = 0
    delays_s: tuple[float, ...] = (0.0,)

    def delay_s(self, retry: int) -> float:
        """The wait before the `retry`-th retry, counted from 1."""
        return self.delays_s[min(retry, len(self.delays_s)) - 1]


_K = FailureKind

POLICIES: Mapping[FailureKind, Policy] = {
    _K.ERROR: Policy(blamed=True, infeasible=True),
    _K.UNREPORTABLE: Policy(blamed=True, infeasible=True),
    _K.GPU_MEMORY: Policy(blamed=True, infeasible=True),
    _K.GPU_SHARED: Policy(blamed=False, infeasible=False, retries=None),
    _K.HOST_MEMORY: Policy(blamed=False, infeasible=True, retries=2, delays_s=(10.0, 60.0)),
    _K.DISK_FULL: Policy(blamed=False, infeasible=False, retries=5, delays_s=(30.0, 120.0, 600.0)),
    _K.STORAGE: Policy(blamed=False, infeasible=False, retries=5, delays_s=(30.0, 120.0, 600.0)),
    _K.SILENT: Policy(blamed=False, infeasible=True, retries=2),
    _K.WORKER_LOST: Policy(blamed=False, infeasible=True, retries=3, delays_s=(0.0, 5.0, 30.0)),
    _K.NODE_LOST: Policy(blamed=False, infeasible=False, retries=None),
    _K.PREEMPTED: Policy(blamed=False, infeasible=False, retries=None),
    _K.TIMEOUT: Policy(blamed=False, infeasible=True, delays_s=()),
    _K.NOT_FINITE: Policy(blamed=False, infeasible=True, delays_s=()),
    _K.METRIC_MISSING: Policy(blamed=False, infeasible=True, delays_s=()),
    _K.STOPPED_EARLY: Policy(blamed=False, infeasible=False, delays_s=()),
}
"""One retry after memory or a crash may have been the fault of what ran beside it; a second or third that
ends alike is the config's. A node's end never is."""


def policy_of(failure: str) -> Policy:
    """The policy for `failure`, a word of the journal; one that is not known counts as an error."""
    try:
        return POLICIES[FailureKind(failure)]
    except ValueError:
        return POLICIES[FailureKind.ERROR]


def counts_against(failure: str | None) -> bool:
    """Whether a searcher takes a config that ended without a value by `failure` for infeasible."""
    return failure is None or policy_of(failure).infeasible
