"""The trainable of a round: short epochs with checkpoints, noted in the ledger, and trouble where ordered.

An order is an empty file called `trial-step-kind`. Whoever deletes it carries it out, so that each is carried
out once, whatever becomes of the process.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.chaos.cluster.ledger import Ledger
from raytune_gp import tune
from raytune_gp.trainable.session import current_session

__all__ = ["KINDS", "lesson"]

HANG_S = 300.0

TOLD_S = 60.0
"""So long a trial waits to be told to end."""


class TwoArgumentsError(Exception):
    """An exception that cannot be unpickled."""

    def __init__(self, first: str, second: str):
        super().__init__(first)
        self.second = second


def lesson(config: Mapping[str, Any]) -> None:
    """Train `config["steps"]` epochs, from a checkpoint if there is one."""
    ledger, trial = Ledger(config["ledger"]), tune.get_context().get_trial_id()
    rng = random.Random()
    life, after = rng.getrandbits(48), _last_step()
    ledger.write("start", trial=trial, life=life, after=after)
    try:
        _train(config, ledger, trial, life, after, rng)
    except tune.TrialInterrupted:
        ledger.write("interrupted", life=life)
        raise
    ledger.write("end", life=life)


def _train(
    config: Mapping[str, Any], ledger: Ledger, trial: str, life: int, after: int, rng: random.Random
) -> None:
    for step in range(after + 1, config["steps"] + 1):
        time.sleep(rng.uniform(*config["epoch_s"]))
        kind = _ordered(Path(config["orders"]), trial, step)
        value = float("nan") if kind == "nan" else config["x"] * step
        ledger.write("report", life=life, step=step, value=value)
        with tempfile.TemporaryDirectory() as directory:
            (Path(directory) / "step").write_text(str(step))
            tune.report({"score": value, "step": step, "life": life}, checkpoint=directory)
        ledger.write("told", life=life, step=step)
        if kind is not None and kind in KINDS:
            ledger.write("trouble", life=life, kind=kind, deadly=kind not in LIVES_ON)
            KINDS[kind](ledger)


def _last_step() -> int:
    checkpoint = tune.get_checkpoint()
    if checkpoint is None:
        return 0
    with checkpoint.as_directory() as directory:
        return int((Path(directory) / "step").read_text())


def _ordered(orders: Path, trial: str, step: int) -> str | None:
    for order in orders.glob(f"{trial}-{step}-*"):
        with contextlib.suppress(FileNotFoundError):
            order.unlink()
            return order.name.split("-", 2)[2]
    return None


def _raise(ledger: Ledger) -> None:
    raise ValueError("as ordered")


def _raise_odd(ledger: Ledger) -> None:
    raise TwoArgumentsError("cannot be", "unpickled")


def _report_odd(ledger: Ledger) -> None:
    tune.report({"score": 1.0, "lock": object()})


def _gpu_memory(ledger: Ledger) -> None:
    raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB")


def _host_memory(ledger: Ledger) -> None:
    raise MemoryError


def _kill(ledger: Ledger) -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(HANG_S)


def _crash(ledger: Ledger) -> None:
    ctypes.string_at(0)


def _exit(ledger: Ledger) -> None:
    os._exit(3)


def _hang(ledger: Ledger) -> None:
    """Native code that lets other threads run."""
    ctypes.CDLL(None).sleep(int(HANG_S))


def _hold(ledger: Ledger) -> None:
    """Native code that holds the interpreter, once the trial has been told to end.

    Before that, nobody but the reaper would see that it hangs, ten minutes later.
    """
    deadline = time.monotonic() + TOLD_S
    while current_session().mode is None and time.monotonic() < deadline:
        time.sleep(0.01)
    ctypes.PyDLL(None).sleep(int(HANG_S))


def _leave_children(ledger: Ledger) -> None:
    """One in this process's session, one in a session of its own."""
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    pids = [subprocess.Popen(["sleep", "300"], start_new_session=new, **quiet).pid for new in (False, True)]
    ledger.write("child", pids=pids)


def _leave_orphans(ledger: Ledger) -> None:
    """Children, seen by the reaper, of a process that is then killed."""
    _leave_children(ledger)
    time.sleep(0.7)
    _kill(ledger)


LIVES_ON = ("leave children",)

KINDS: Mapping[str, Callable[[Ledger], None]] = {
    "raise": _raise,
    "raise odd": _raise_odd,
    "report odd": _report_odd,
    "gpu memory": _gpu_memory,
    "host memory": _host_memory,
    "kill": _kill,
    "segfault": _crash,
    "exit": _exit,
    "hang": _hang,
    "hold": _hold,
    "leave children": _leave_children,
    "leave orphans": _leave_orphans,
}
"""What may be ordered beside `nan`, which is a value to report."""
