"""A round as it is played: its files, its driver, and the moments at which something strikes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from benchmarks.chaos.cluster.ledger import Ledger
from benchmarks.chaos.cluster.nodes import Nodes

__all__ = ["BOUND_S", "RUN", "STEPS", "TRIALS", "WORKERS", "HungError", "Scene"]

RUN = "chaos"
TRIALS, STEPS, WORKERS = 8, 6, 3
EPOCH_S = (0.05, 0.3)

BOUND_S = 120.0
"""A round that is not over by then hangs."""

GONE_S = 20.0
"""So long the coordinator of a driver that was killed may take to go, before the run is resumed."""

ROOT = Path(__file__).parent.parent.parent.parent


class HungError(Exception):
    """The round was not over in time."""


class Scene:
    """One round. `journal` is its URL; `settings` of `tune.run` may be added to until it starts.

    `server` is what holds the journal, if it is PostgreSQL; `lost` are clusters that were given up.
    Faults that change the nodes hold `changing_nodes`: none can join while the head is killed.
    """

    def __init__(self, directory: Path, nodes: Nodes, server: Any = None):
        self.directory = directory
        self.nodes = nodes
        self.server = server
        self.journal = f"sqlite:///{directory / 'journal.db'}" if server is None else server.database()
        self.ledger = Ledger(directory / "ledger")
        self.results = directory / "results.json"
        self.orders = directory / "orders"
        self.orders.mkdir()
        self.settings: dict[str, Any] = {}
        self.lost: list[Nodes] = []
        self.changing_nodes = threading.Lock()
        self.struck: list[str] = []
        self.resumes = 0
        self._ended_by_us = False
        self._may_resume = threading.Event()
        self._may_resume.set()
        self._over = False
        self._deadline = time.monotonic() + BOUND_S
        self._driver: subprocess.Popen[str] | None = None

    # --- the driver ---

    def play(self) -> str | None:
        """Run the driver to the run's end, and again where a strike has ended it; why it failed, or None.

        Raises HungError.
        """
        while True:
            self._start()
            error = self._wait()
            if not self._ended_by_us:
                self._over = True
                return error
            self._may_resume.wait()
            self._ended_by_us = False
            self.resumes += 1
            self._await_coordinator_s_end()

    def _start(self) -> None:
        space = {
            "ledger": str(self.ledger.path),
            "orders": str(self.orders),
            "steps": STEPS,
            "epoch_s": list(EPOCH_S),
        }
        settings = {
            "metric": "score",
            "mode": "max",
            "search_alg": "random",
            "num_samples": TRIALS,
            "max_concurrent_trials": WORKERS,
            "max_failures": 3,
            "name": RUN,
            "journal": self.journal,
            "storage_path": str(self.directory / "storage"),
            **self.settings,
        }
        plan = {"address": self.nodes.address, "space": space, "settings": settings}
        file = self.directory / "plan.json"
        file.write_text(json.dumps({**plan, "results": str(self.results)}))
        command = [sys.executable, "-m", "benchmarks.chaos.cluster.driver", str(file)]
        self._driver = subprocess.Popen(
            [*command, "resume"] if self.resumes else command,
            stdout=subprocess.DEVNULL,
            stderr=(self.directory / f"driver-{self.resumes}.txt").open("w"),
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            start_new_session=True,
        )

    def _wait(self) -> str | None:
        assert self._driver is not None
        try:
            code = self._driver.wait(max(0.0, self._deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._over = True
            raise HungError(f"not over after {BOUND_S:g} s; {self.said()[-2000:]}") from None
        return f"the driver ended with {code}: {self.said()[-2000:]}" if code else None

    def said(self) -> str:
        """What the driver wrote to its standard error."""
        return (self.directory / f"driver-{self.resumes}.txt").read_text()

    def _await_coordinator_s_end(self) -> None:
        deadline = time.monotonic() + GONE_S
        while self.nodes.coordinators() and time.monotonic() < deadline:
            time.sleep(0.1)

    # --- for faults ---

    def order(self, trial: int, step: int, kind: str) -> None:
        """Have a trial make trouble at a step."""
        (self.orders / f"{trial:05d}-{step}-{kind}").touch()

    def await_reports(self, count: int) -> bool:
        """Wait until so many reports have been made; False where the run is over before."""
        while self.ledger.reports() < count:
            if self._over:
                return False
            time.sleep(0.02)
        return not self._over

    def strike(self, fault: str, pids: Sequence[int] = ()) -> None:
        """Note that a fault comes now, and whom it kills."""
        self.struck.append(fault)
        self.ledger.write("strike", fault=fault, pids=list(pids))

    def running(self) -> list[int]:
        """The processes whose trials are running, by the ledger."""
        lives = [life for lives in self.ledger.lives().values() for life in lives]
        found = [life.pid for life in lives if not life.returned and life.died is None]
        return [pid for pid in dict.fromkeys(found) if psutil.pid_exists(pid)]

    @contextmanager
    def ending_driver(self, fault: str, how: signal.Signals) -> Iterator[None]:
        """Send a signal to the driver, which ends it; the run is resumed once the context is left."""
        assert self._driver is not None
        self._may_resume.clear()
        self.strike(fault)
        self._ended_by_us = True
        self._driver.send_signal(how)
        try:
            yield
        finally:
            self._may_resume.set()

    def close(self) -> None:
        """End the driver, if it is there still."""
        self._over = True
        if self._driver is not None:
            self._driver.kill()
            self._driver.wait()
