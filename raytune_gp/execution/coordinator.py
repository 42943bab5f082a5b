"""The coordinator: the actor that holds a run's experiment, searcher, scheduler and journal.

Its asyncio only moves messages in and out; the loop around the experiment is synchronous and has a thread
of its own. Ray restarts the actor when it dies: its constructor takes the run over from the journal.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import threading
import time
import traceback
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import ray

from raytune_gp.errors import JournalError, JournalGivenUpError, RaytuneError
from raytune_gp.events import Event
from raytune_gp.execution.gpu import hide_gpus
from raytune_gp.execution.loop import Loop
from raytune_gp.execution.parts import Parts
from raytune_gp.execution.payload import Payload
from raytune_gp.execution.ray_executor import RayExecutor
from raytune_gp.execution.worker import NAMESPACE
from raytune_gp.execution.worker_settings import WorkerSettings
from raytune_gp.messages import StopRun
from raytune_gp.storage.artifacts import Storage
from raytune_gp.storage.backup import Backup
from raytune_gp.storage.journal import SQLJournal

__all__ = ["FAILURE_FILE", "Coordinator", "News", "RunPlan"]

FAILURE_FILE = "failure.json"
"""Why a detached coordinator failed, in the run's directory: `error`, and `at` in seconds since the epoch."""

GATHER_S = 0.1
"""So long the events of a poll are gathered."""

LISTENER_S = 3.0
"""Whoever has polled within so many seconds is listening: a detached coordinator tells of the end first."""

MAX_EVENTS_KEPT = 20_000
"""Events kept in memory for readers; older ones are read from the journal."""


@dataclass(frozen=True)
class RunPlan:
    """The coordinator's constructor arguments; small, since they must outlive the driver.

    `started` is how many workers the driver makes ahead, under the names that a new run gives its first.
    `gpus` is the share of a GPU that is reserved for a searcher that computes on one.
    `journal` is the journal's URL and `environment` what the driver's environment adds to it, perhaps with a
    password: no representation shows them. A `detached` coordinator outlives its driver, and ends itself.
    """

    run: str
    run_id: str
    journal: str = field(repr=False)
    seed: int
    parts: Payload
    worker: WorkerSettings
    started: int = 0
    gpus: float = 0.0
    detached: bool = False
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class News:
    """An answer to `poll`: the events behind the index asked for, and whether there will be more.

    `trouble` is what pauses the run at the moment, if anything; `warning` what keeps its journal from being
    backed up; `error` what ended it; `given_up` says that
    it was ended as the user wished, and why the journal does not know of that.
    """

    first_index: int
    events: Sequence[Event] = field(default_factory=list)
    over: bool = False
    error: str | None = None
    trouble: str | None = None
    warning: str | None = None
    given_up: str | None = None


class Coordinator:
    """The actor of one run."""

    def __init__(self, plan: RunPlan):
        if not plan.gpus:
            # The searcher runs on the CPU. Not by a runtime_env, which the workers would inherit.
            hide_gpus()
        self._plan = plan
        os.environ.update(plan.environment)
        self._journal = SQLJournal(plan.journal, create=False)
        # The driver has made the run's directory. At a restart its file system may be away: not touched here.
        storage = self._storage = Storage(plan.worker.storage_path, plan.run, create=False)
        parts: Parts = plan.parts.load(storage)
        self._backup = Backup.of(self._journal, plan.journal, plan.run, storage, self._warn)
        retain = storage.retain if self._backup is None else self._backup.retain
        self._executor = RayExecutor(plan.run_id, plan.worker, parts.make_asker(plan.seed), retain)
        self._run = Loop(
            plan.run,
            parts.make_experiment,
            self._journal,
            self._executor,
            on_commit=self._committed,
            on_trouble=self._paused,
        )
        self._events: deque[Event] = deque(maxlen=MAX_EVENTS_KEPT)
        self._index = -1
        self._status = News(0)
        self._lock = threading.Lock()
        self._news = asyncio.Event()
        self._end = asyncio.Event()
        self._async: asyncio.AbstractEventLoop | None = None
        self._polled_at = -LISTENER_S
        threading.Thread(target=self._main, name="raytune-loop", daemon=True).start()

    async def hello(self) -> dict[str, Any]:
        """Which run this is of, and whether that is over: workers ask, to know that theirs lives."""
        return {"run_id": self._plan.run_id, "pid": os.getpid(), "over": self._status.over}

    async def stop(self, reason: str) -> None:
        """End the run gently: running trials stop at their next report."""
        self._executor.put(StopRun(reason))
        self._run.hurry()

    async def poll(self, after_index: int, timeout_s: float) -> News:
        """The events behind `after_index`; waits up to `timeout_s` seconds where there are none yet.

        Events are gathered for a moment before the answer, unless the run is over.
        """
        self._async = asyncio.get_running_loop()
        self._polled_at = time.monotonic()
        if self._index <= after_index:
            await self._wait(self._news, timeout_s)
        await self._wait(self._end, GATHER_S)
        self._polled_at = time.monotonic()
        with self._lock:
            status, index, kept = self._status, self._index, list(self._events)
        status = replace(status, first_index=after_index + 1)
        missing = max(0, index - after_index)
        if missing <= len(kept):
            return replace(status, events=kept[len(kept) - missing :])
        try:
            events = await asyncio.to_thread(self._read, after_index)
        except JournalError:
            if status.over:
                raise
            return status  # the loop says what is wrong, if it lasts
        return replace(status, events=events, over=status.over and after_index + len(events) >= index)

    async def _wait(self, event: asyncio.Event, timeout_s: float) -> None:
        event.clear()
        if not self._status.over:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(event.wait(), timeout_s)

    def _read(self, after_index: int) -> list[Event]:
        return [event for _, event in self._journal.read(self._plan.run, after_index)]

    def _committed(self, events: Sequence[Event]) -> None:
        with self._lock:
            self._events.extend(events)
            self._index = self._run.experiment.state.index
        self._notify()

    def _paused(self, trouble: str | None) -> None:
        self._publish(trouble=trouble)

    def _warn(self, warning: str | None) -> None:
        self._publish(warning=warning)

    def _publish(self, **changes: Any) -> None:
        with self._lock:
            self._status = replace(self._status, **changes)
        self._notify()

    def _main(self) -> None:
        ended: dict[str, str] = {}
        try:
            self._executor.term = self._run.take_over()
            if self._plan.started and not self._run.experiment.state.crew.incarnations:
                self._executor.offer(self._plan.started)
            self._run.open()
            gc.freeze()  # to look for garbage among 20,000 restored trials stops the loop for .1 s
            with self._backup or contextlib.nullcontext():
                self._run.run()
        except JournalGivenUpError as error:
            ended = {"given_up": str(error)}
        except RaytuneError as error:
            ended = {"error": str(error)}
        except BaseException:
            ended = {"error": traceback.format_exc()}
        if self._plan.detached and "error" in ended:
            self._note_failure(ended["error"])
        self._publish(over=True, **ended)
        if self._plan.detached:
            self._leave()

    def _note_failure(self, error: str) -> None:
        """Leave word beside the run's files: perhaps nobody listens, and the journal cannot tell."""
        with contextlib.suppress(Exception):  # the disk may be what has failed
            note = {"at": time.time(), "error": error}
            self._storage.write_bytes(FAILURE_FILE, json.dumps(note).encode())

    def _leave(self) -> None:
        """End this actor for good, once nobody listens. To end the process alone would have it restarted."""
        while time.monotonic() - self._polled_at < LISTENER_S:
            time.sleep(0.1)
        while True:
            with contextlib.suppress(Exception):  # the cluster's head may be away for a while
                ray.kill(ray.get_actor(self._plan.worker.coordinator, NAMESPACE))
            time.sleep(LISTENER_S)

    def _notify(self) -> None:
        if self._async is not None:
            self._async.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        self._news.set()
        if self._status.over:
            self._end.set()
