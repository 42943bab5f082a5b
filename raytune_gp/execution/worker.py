"""The worker: a Ray actor that reserves a trial's resources and runs one attempt at a time.

It is detached, so that a coordinator's death does not end training. The attempt is a thread beside the
actor's event loop (attempts.py); what it says waits in an outbox that any coordinator can read again. A
watchdog ends the worker when its coordinator is gone for good.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import ray

from raytune_gp.execution.attempts import Attempts
from raytune_gp.execution.family import Family
from raytune_gp.execution.feed import Feed
from raytune_gp.execution.gpu import hide_gpus
from raytune_gp.execution.leftovers import Surroundings
from raytune_gp.execution.outbox import Outbox
from raytune_gp.execution.resources import actor_options
from raytune_gp.execution.sigterm import on_sigterm
from raytune_gp.execution.vigil import Silence
from raytune_gp.execution.worker_settings import WorkerSettings
from raytune_gp.messages import Interrupt, Item, Start
from raytune_gp.storage.staging import remove_abandoned

__all__ = ["NAMESPACE", "ORPHAN_S", "Worker", "make_worker"]

NAMESPACE = "raytune_gp"

PING_S = 1.0

SWITCH_S = 0.0002
"""How long a thread may hold the interpreter while another waits (Python's default: 5 ms). Messages and the
trial share one process; a report must not wait for a message, nor a message for the trial."""

ORPHAN_S = 600.0
"""So long a worker trains on while its coordinator cannot be reached, but is not known to be dead."""

FAREWELL_S = 10.0
"""So long a worker looks for a new coordinator once the old one is known to be dead, and so long its trial
may then take to its next report; checkpoints that are on their way are stored first."""

DEPART_S = 120.0
"""So long a worker that gets a SIGTERM lets its trial go on to its next checkpoint; whoever sent it may well
kill it sooner."""

BUSY_S = 86_400.0
"""So long a trial that may be silent for ever may hold the interpreter at a stretch: then its worker is ended
by the reaper."""


class Worker:
    """The actor. Its methods are the messages of a coordinator; lower terms are refused."""

    def __init__(self, run_id: str, worker_id: str, settings: WorkerSettings):
        if not settings.demand.resources.get("gpu"):
            hide_gpus(kept=settings.freight.env.get("env_vars") or {})
        self._run_id = run_id
        self._id = worker_id
        self._settings = settings
        self._outbox = Outbox(worker_id)
        self._feed = Feed(self._outbox)
        self._term = 0
        self._reached = time.monotonic()
        # Trial and watchdog have threads of their own: ray.get there does not block the event loop.
        os.environ["RAY_WARN_BLOCKING_GET_INSIDE_ASYNC"] = "0"
        sys.setswitchinterval(SWITCH_S)
        self._family = Family(ORPHAN_S)
        self._attempts = Attempts(settings, self._outbox, Surroundings(self._family), self._feed.said)
        on_sigterm(self._depart)
        threading.Thread(target=self._watch, name="raytune-watchdog", daemon=True).start()
        threading.Thread(target=self._keep_vigil, name="raytune-vigil", daemon=True).start()
        threading.Thread(target=remove_abandoned, name="raytune-tidy", daemon=True).start()

    # --- messages ---

    async def hello(self, term: int) -> dict[str, Any]:
        """Who the worker is, and what it does; once its node has the packages of its trials.

        Where it is not `at_home`, it is to be ended and made again. Raises PythonEnvError.
        """
        self._term = max(self._term, term)
        self._feed.look_up()  # a stream of a lower term ends
        await asyncio.to_thread(self._settings.foreign.prepare)
        return {
            "node": ray.get_runtime_context().get_node_id(),
            "pid": os.getpid(),
            "current": self._attempts.current,
            "at_home": self._settings.foreign.at_home,
        }

    async def alone(self) -> tuple[str, float]:
        """The coordinator's name, and for how many seconds it has not been reached."""
        return self._settings.coordinator, time.monotonic() - self._reached

    async def stream(self, after_seq: int, term: int) -> AsyncIterator[list[Item]]:
        """Batches of items behind `after_seq`, as they come. A higher term ends it, and so does a later
        stream."""
        async with aclosing(self._feed.read(after_seq, lambda: term >= self._term)) as batches:
            async for items in batches:
                yield items

    async def acknowledge(self, seq: int, term: int) -> None:
        """Items up to `seq` are in the journal."""
        if term >= self._term:
            self._reached = time.monotonic()
            self._outbox.acknowledge(seq)
            self._attempts.heard(seq)

    async def start(self, command: Start, term: int) -> None:
        """Run an attempt, unless it was ever started here, or another one is running."""
        if term >= self._term:
            self._attempts.begin(command)

    async def interrupt(self, command: Interrupt, term: int) -> None:
        """End the attempt at its next report; it may not have been started yet."""
        if term >= self._term:
            self._attempts.interrupt(command)

    async def grace_left(self, command: Interrupt, term: int) -> float:
        """Tell it again, and say how many seconds it has; 0 or less where it is to be ended by force."""
        await self.interrupt(command, term)
        return self._attempts.grace_left_s(command)

    async def relay(
        self, attempt: tuple[str, int], metrics: Mapping[str, Any], checkpoint: Any, controller: Any
    ) -> None:
        """A report of the Ray Train run that `attempt` waits for; the run ends with its controller."""
        session = self._attempts.session if attempt == self._attempts.current else None
        if session is None or not await asyncio.to_thread(session.relay, metrics, checkpoint):
            controller.abort.remote()

    # --- the watchdog ---

    def _watch(self) -> None:
        """Ping the coordinator unless it has just been heard of; leave once it is dead and none takes its
        place, or silent for too long."""
        coordinator: Any = None
        dead_since: float | None = None
        while True:
            time.sleep(PING_S)
            if time.monotonic() - self._reached < PING_S:
                dead_since = None
                continue
            try:
                if coordinator is None:
                    coordinator = ray.get_actor(self._settings.coordinator, NAMESPACE)
                hello = ray.get(coordinator.hello.remote(), timeout=5 * PING_S)
                if hello["run_id"] == self._run_id:
                    self._reached, dead_since = time.monotonic(), None
                else:  # another run has taken the name: that of this worker has nobody any more
                    coordinator, dead_since = None, dead_since or time.monotonic()
            except (ray.exceptions.ActorDiedError, ValueError):
                coordinator = None  # another one may take its name
                dead_since = dead_since or time.monotonic()
            except Exception:
                dead_since = None
            now = time.monotonic()
            if (dead_since is not None and now - dead_since > FAREWELL_S) or now - self._reached > ORPHAN_S:
                self._leave()

    def _leave(self) -> None:
        """Let a running trial reach its next report and store its checkpoint, then end this process."""
        session = self._attempts.session
        if session is not None:
            session.interrupt("pause")
            while self._attempts.current is not None and session.grace_left_s(FAREWELL_S) > 0:
                time.sleep(0.1)
        self._exit()

    def _depart(self) -> None:
        """Somebody takes this process away: save the trial, and go."""
        self._attempts.evict(DEPART_S)
        deadline = time.monotonic() + DEPART_S
        while self._attempts.current is not None and time.monotonic() < deadline:
            time.sleep(0.05)
        self._wait_until_heard()
        self._exit()

    def _exit(self) -> None:
        """End this process, and with it what it has started."""
        try:
            self._family.leave_none()
        finally:
            os._exit(0)

    def _wait_until_heard(self) -> None:
        """Until all that this worker has said is in the journal, for a while."""
        deadline = time.monotonic() + FAREWELL_S
        while not self._outbox.is_empty and time.monotonic() < deadline:
            time.sleep(0.05)

    # --- a trial that hangs ---

    def _keep_vigil(self) -> None:
        """See each second how long the trial has been silent, and tell the reaper that this process lives."""
        silence = Silence()
        while True:
            time.sleep(PING_S)
            session, command = self._attempts.session, self._attempts.command
            seconds = silence.look(session, time.monotonic())
            limit = None if session is None else session.patience_s
            idle_or_learned = ORPHAN_S if session is None else max(ORPHAN_S, limit or BUSY_S)
            self._family.tell_reaper(idle_or_learned)
            if limit is not None and command is not None and seconds > limit:
                self._attempts.give_up(command, seconds, limit)


def make_worker(run_id: str, worker: str, settings: WorkerSettings, trials_per_gpu: int = 1) -> Any:
    """The actor of the worker called `worker`: the one that is there, else a new one.

    It is one of `trials_per_gpu` that share a GPU, where that is left to the run: its trials are told of the
    share that they have. Its freight must be with Ray (`Freight.hand_in`).
    """
    settings = replace(settings, demand=settings.demand.sharing(trials_per_gpu))
    options = {
        "name": f"{run_id}/{worker}",
        "namespace": NAMESPACE,
        "lifetime": "detached",
        "get_if_exists": True,
        "max_restarts": 0,
        **actor_options(settings.demand.resources),
    }
    runtime_env = settings.foreign.runtime_env(settings.freight.env)
    if runtime_env:
        options["runtime_env"] = runtime_env
    return ray.remote(Worker).options(**options).remote(run_id, worker, settings)
