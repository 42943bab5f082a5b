"""What runs that are dead have left behind, in the cluster and on this machine: `raytune-gp clean`.

Little should be found: workers leave by themselves once their coordinator is gone, directories are removed by
the next worker. What waits for resources that never come, or hangs, cannot.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import psutil
import ray
from ray.exceptions import RayError

from raytune_gp.execution.cluster import ANSWER_S, actor_names, connect, kill_actor
from raytune_gp.execution.strays import find_strays
from raytune_gp.execution.worker import NAMESPACE, ORPHAN_S
from raytune_gp.storage.staging import find_abandoned, remove

__all__ = ["Findings", "Leftover", "look"]


@dataclass(frozen=True)
class Leftover:
    """Something to remove, what it is, and why it is not needed."""

    what: str
    why: str
    remove: Callable[[], None]


@dataclass
class Findings:
    """What is to be removed, and what is not though it looks like it, with the reason."""

    leftovers: list[Leftover] = field(default_factory=list)
    left_alone: list[str] = field(default_factory=list)


def look() -> Findings:
    """Look for leftovers in the cluster that is there, if one is, and on this machine."""
    found = Findings()
    if connect():
        _look_at_cluster(found)
    else:
        found.left_alone.append(
            "Ray actors: no cluster was found (RAY_ADDRESS); only this machine was looked at"
        )
    for process in find_strays():
        what = f"process {process.pid}, {_command(process)}"
        found.leftovers.append(Leftover(what, "its worker and its reaper are gone", partial(_end, process)))
    for path in find_abandoned():
        found.leftovers.append(Leftover(f"directory {path}", "its process is gone", partial(remove, path)))
    return found


def _look_at_cluster(found: Findings) -> None:
    """Coordinators by the names of their runs, and workers, whose names begin with their run's id."""
    names = actor_names()
    coordinators = _ask([n for n in names if "/" not in n], "hello")
    going = {hello["run_id"] for hello in coordinators.values() if hello is not None and not hello["over"]}
    silent = [name for name, hello in coordinators.items() if hello is None]
    for name in silent:
        found.left_alone.append(
            f"coordinator {name}, which does not answer: Ray is restarting it, or it waits for a database"
        )
    for name, hello in coordinators.items():
        if hello is not None and hello["over"]:
            found.left_alone.append(
                f"coordinator {name}: its run is over, and it ends by itself or with its driver"
            )
    workers = [n for n in names if "/" in n and n.partition("/")[0] not in going]
    for name, alone in _ask(workers, "alone").items():
        if alone is None and silent:
            found.left_alone.append(f"worker {name}, which may be of {' or '.join(silent)}")
        elif alone is None:
            why = "it has no coordinator, and waits for resources or hangs"
            found.leftovers.append(Leftover(f"worker {name}", why, partial(kill_actor, name)))
        elif alone[0] in silent:
            found.left_alone.append(f"worker {name}, which is of {alone[0]}")
        elif alone[1] > ORPHAN_S:
            why = f"its coordinator {alone[0]} has been gone for {alone[1]:.0f} s"
            found.leftovers.append(Leftover(f"worker {name}", why, partial(kill_actor, name)))
        else:
            found.left_alone.append(f"worker {name}, which has lost {alone[0]} just now and leaves by itself")


def _ask(names: list[str], method: str) -> dict[str, Any]:
    """What the actors of these names answer to `method`; None of one that does not in time."""
    asked = {}
    for name in names:
        with contextlib.suppress(ValueError):  # it has just gone
            asked[name] = getattr(ray.get_actor(name, NAMESPACE), method).remote()
    if asked:
        ray.wait(list(asked.values()), num_returns=len(asked), timeout=ANSWER_S)
    answers: dict[str, Any] = {}
    for name, answer in asked.items():
        answers[name] = None
        with contextlib.suppress(RayError):
            answers[name] = ray.get(answer, timeout=0)
    return answers


def _command(process: psutil.Process) -> str:
    """What a process runs, cut short."""
    with contextlib.suppress(psutil.Error):
        return " ".join(process.cmdline())[:80]
    return "which has just ended"


def _end(process: psutil.Process) -> None:
    with contextlib.suppress(psutil.Error):
        process.kill()
