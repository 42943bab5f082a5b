"""Runs in processes of one thread each, their records written as they come."""

from __future__ import annotations

import os
import sys
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict
from functools import cache
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks.measure import machine
from benchmarks.race.engine import race
from benchmarks.race.peers import Entrant
from benchmarks.race.problems import PROBLEMS
from benchmarks.race.records import Key, append
from raytune_gp.space import SearchSpace

__all__ = ["Job", "perform", "run_all"]

Job = tuple[Key, Entrant]
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def perform(key: Key, entrant: Entrant) -> dict[str, Any]:
    """Make a run, and return its record."""
    _warm_up(entrant.peer)
    problem = PROBLEMS[key.problem]
    seed = zlib.crc32(f"{key.problem} {key.seed}".encode()) >> 1  # problems of one space start apart
    optimiser = entrant.make(SearchSpace(problem.task.space), seed, key.trials)
    outcome = race(problem, optimiser, seed=key.seed, trials=key.trials, workers=key.workers)
    return {
        **asdict(key),
        "peer": entrant.peer,
        "options": dict(entrant.options),
        "version": entrant.version,
        "best": problem.task.best,
        **asdict(outcome),
        "machine": _machine(),
    }


@cache
def _warm_up(peer: str) -> None:
    """A short run in each process, so that no later one is charged for imports and first calls."""
    problem = PROBLEMS["branin"]
    optimiser = Entrant(peer, peer, {}).make(SearchSpace(problem.task.space), 0, 12)
    race(problem, optimiser, seed=0, trials=12, workers=1)


@cache
def _machine() -> dict[str, Any]:
    return machine()


def run_all(waiting: list[Job], out: Path, processes: int, deadline: float) -> int:
    """Make the runs in `processes` processes until `deadline` (monotonic seconds); how many raised."""
    os.environ |= dict.fromkeys(_THREADS, "1")  # the processes inherit it before they load numpy
    queue: Iterator[Job] = iter(waiting)
    running: dict[Future[dict[str, Any]], Key] = {}
    raised = done = 0
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        while True:
            room = processes - len(running) if time.monotonic() < deadline else 0
            running |= {pool.submit(perform, *job): job[0] for job in islice(queue, room)}
            if not running:
                return raised
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                key = running.pop(future)
                done += 1
                error = future.exception()
                if error is not None:
                    raised += 1
                    print(f"{key}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
                    continue
                record = future.result()
                append(out, record)
                spent = sum(record["seconds"])
                print(
                    f"{done}/{len(waiting)} {key.problem} seed {key.seed} {key.optimiser}: "
                    f"{record['scores'][-1]} ({spent:.2f} CPU s)",
                    flush=True,
                )
