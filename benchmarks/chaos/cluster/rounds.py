"""Rounds on a cluster that is kept as long as it is whole: drawn from a seed, played, judged."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from benchmarks.chaos.cluster.faults import FAULTS, Fault, NotFinite
from benchmarks.chaos.cluster.judge import delays, differences, journalled, leftovers, violations
from benchmarks.chaos.cluster.nodes import Nodes
from benchmarks.chaos.cluster.scene import STEPS, TRIALS, HungError, Scene

__all__ = ["RANDOM", "Player"]

RANDOM = "random"
"""Rounds of several faults at once."""

MOST_AT_ONCE = 4
SERVER_SHARE = 0.25
"""So many of the random rounds have their journal in PostgreSQL."""


def draw(name: str, rng: random.Random) -> list[Fault]:
    """The fault `name`, or several at random, for a trial each; at most one of them ends the driver."""
    trials = rng.sample(range(TRIALS), MOST_AT_ONCE)
    if name != RANDOM:
        return [FAULTS[name](rng, trials[0])]
    count, at_server = rng.randint(1, MOST_AT_ONCE), rng.random() < SERVER_SHARE
    drawn: list[Fault] = []
    for fault in rng.sample(list(FAULTS.values()), len(FAULTS)):
        taken = fault.ends_driver and any(other.ends_driver for other in drawn)
        if len(drawn) < count and not taken and (at_server or not fault.needs_server):
            drawn.append(fault(rng, trials[len(drawn)]))
    return drawn


class Player:
    """Plays rounds of `seed`. Close it; `keep` is where the files of rounds that break a rule go."""

    def __init__(self, seed: int, keep: Path | None = None):
        self._seed = seed
        self._keep = keep
        self._nodes: Nodes | None = None
        self._servers: Iterator[Any] | None = None
        self._server: Any = None

    def play(self, name: str, number: int) -> dict[str, Any]:
        """Play one round, and return its record."""
        if self._nodes is None or not self._nodes.is_whole:
            self._renew()
        assert self._nodes is not None
        faults = draw(name, random.Random(f"{self._seed}/{name}/{number}"))
        with tempfile.TemporaryDirectory(prefix="chaos") as directory:
            server = self._postgres() if any(fault.needs_server for fault in faults) else None
            scene = Scene(Path(directory), self._nodes, server)
            began = time.monotonic()
            found, away = _play(scene, faults)
            reports = scene.ledger.reports()
            missed = [fault.name for fault in faults if not fault.has_struck(scene)]
            self._nodes = scene.nodes
            if found and self._keep is not None:
                shutil.copytree(directory, self._keep / f"{name}-{number}", dirs_exist_ok=True)
        for lost in scene.lost:
            lost.close()
        if any(kind == "hung" for kind, _ in found):
            self._renew()
        return {
            "fault": name,
            "number": number,
            "seed": self._seed,
            "faults": [fault.name for fault in faults],
            "missed": missed,
            "server": server is not None,
            "resumes": scene.resumes,
            "trials": TRIALS,
            "reports": reports,
            "reports_made_again": max(0, reports - TRIALS * STEPS),
            "load": round(os.getloadavg()[0], 1),
            "seconds": round(time.monotonic() - began, 2),
            "violations": found,
            "delays": away,
        }

    def _renew(self) -> None:
        if self._nodes is not None:
            self._nodes.close()
        self._nodes = Nodes()

    def _postgres(self) -> Any:
        if self._servers is None:
            from tests.postgres import serve

            self._servers = serve()
            self._server = next(self._servers)
        return self._server

    def close(self) -> None:
        """End the cluster and the server."""
        if self._nodes is not None:
            self._nodes.close()
        if self._servers is not None:
            next(self._servers, None)


def _play(scene: Scene, faults: list[Fault]) -> tuple[list[tuple[str, str]], list[dict[str, Any]]]:
    """What is wrong with the round, and how long its trials were away."""
    for fault in faults:
        scene.settings.update(fault.settings)
        fault.prepare(scene)
    try:
        with _striking(scene, faults) as failures:
            error = scene.play()
        failures += [error] if error is not None else []
    except HungError as error:
        return [("hung", str(error)), *_orphans(scene)], []
    found = [("wrong", text) for text in failures]
    try:
        orphans = _orphans(scene)
        events = journalled(scene)
        not_finite = {f"{fault.trial:05d}" for fault in faults if isinstance(fault, NotFinite)}
        if scene.results.exists():
            found += [*violations(scene, events, not_finite), *differences(scene, events)]
        return [*found, *orphans], delays(scene, events)
    except Exception:
        return [*found, ("wrong", traceback.format_exc())], []


def _orphans(scene: Scene) -> list[tuple[str, str]]:
    return [("orphan", text) for text in leftovers(scene)]


@contextmanager
def _striking(scene: Scene, faults: list[Fault]) -> Iterator[list[str]]:
    """Meanwhile each fault waits for its moment and strikes; what is given are the faults that failed."""
    failures: list[str] = []

    def strike(fault: Fault) -> None:
        try:
            if scene.await_reports(fault.after_reports):
                with scene.changing_nodes if fault.changes_nodes else nullcontext():
                    fault.strike(scene)
        except Exception:
            failures.append(f"{fault.name}: {traceback.format_exc()}")

    threads = [threading.Thread(target=strike, args=(fault,)) for fault in faults]
    for thread in threads:
        thread.start()
    try:
        yield failures
    finally:
        scene.close()
        for thread in threads:
            thread.join()
