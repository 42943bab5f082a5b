"""The worker: a Ray actor that reserves a trial's resources and runs one attempt at a time.

It is detached, so that a coordinator's death does not end training. The attempt is a thread beside the
actor's event loop; what it says waits in an outbox that any coordinator can read again. A watchdog ends
the worker when its coordinator is gone for good.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import platform
import sys
import threading
import time
import traceback
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import ray

from raytune_gp.execution.family import Family
from raytune_gp.execution.foreign import Foreign
from raytune_gp.execution.gpu import hide_gpus, memory_left
from raytune_gp.execution.leftovers import Surroundings
from raytune_gp.execution.meter import Meter
from raytune_gp.execution.outbox import Outbox
from raytune_gp.execution.payload import Payload
from raytune_gp.execution.placement import Demand
from raytune_gp.execution.resources import actor_options
from raytune_gp.execution.shipping import NO_FREIGHT, Freight
from raytune_gp.execution.sigterm import on_sigterm
from raytune_gp.execution.vigil import Silence, answering, say_where_threads_are
from raytune_gp.failures import FailureKind
from raytune_gp.messages import Interrupt, Item, Start
from raytune_gp.space import SearchSpace
from raytune_gp.storage.artifacts import Storage
from raytune_gp.storage.staging import remove_abandoned
from raytune_gp.trainable.classes import WhenToSave
from raytune_gp.trainable.missing import explain_missing
from raytune_gp.trainable.run import Outcome, captured_output, run_attempt
from raytune_gp.trainable.session import Session

__all__ = ["NAMESPACE", "ORPHAN_S", "Worker", "WorkerSettings", "make_worker"]

NAMESPACE = "raytune_gp"

PING_S = 1.0

SWITCH_S = 0.0002
"""How long a thread may hold the interpreter while another waits (Python's default: 5 ms). Messages and the
trial share one process; a report must not wait for a message, nor a message for the trial."""

GATHER_S = 0.03
"""So often a stream looks for reports, which are sent together; the end of a trial is sent at once."""

GATHER_MOST_S = 0.25
"""So often it looks where the trial has been silent for long: each look is CPU time that training lacks."""

GATHER_SHARE = 1 / 8
"""A report waits for no more than this share of the time since the one before, up to that."""

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

MESSAGE_S = 1.0
"""So long the message that an attempt has ended may take, before the worker is asked again."""


@dataclass(frozen=True)
class WorkerSettings:
    """What every worker of a run is given.

    `trainable` holds the pickled (trainable, space), `parameters` references to the objects in Ray's object
    store that the trainable is called with beside its config.
    """

    run: str
    coordinator: str
    storage_path: str
    demand: Demand
    trainable: Payload
    parameters: Mapping[str, Any]
    when_to_save: WhenToSave = field(default_factory=WhenToSave)
    freight: Freight = NO_FREIGHT
    foreign: Foreign = field(default_factory=Foreign)


class Worker:
    """The actor. Its methods are the messages of a coordinator; lower terms are refused."""

    def __init__(self, run_id: str, worker_id: str, settings: WorkerSettings):
        if not settings.demand.resources.get("gpu"):
            hide_gpus(kept=settings.freight.env.get("env_vars") or {})
        self._run_id = run_id
        self._id = worker_id
        self._settings = settings
        self._storage = Storage(settings.storage_path, settings.run)
        self._outbox = Outbox(worker_id)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._news = asyncio.Event()
        self._term = 0
        self._current: tuple[str, int] | None = None
        self._begun: set[tuple[str, int]] = set()
        self._interrupts: dict[tuple[str, int], Interrupt] = {}
        self._reached = time.monotonic()
        self._session: Session | None = None
        self._command: Start | None = None
        self._meter: Meter | None = None
        self._log = ""
        self._loaded: tuple[Any, SearchSpace] | None = None
        # Trial and watchdog have threads of their own: ray.get there does not block the event loop.
        os.environ["RAY_WARN_BLOCKING_GET_INSIDE_ASYNC"] = "0"
        sys.setswitchinterval(SWITCH_S)
        self._family = Family(ORPHAN_S)
        self._surroundings = Surroundings(self._family)
        self._leaving = False
        self._ending = threading.Lock()
        on_sigterm(self._depart)
        threading.Thread(target=self._watch, name="raytune-watchdog", daemon=True).start()
        threading.Thread(target=self._keep_vigil, name="raytune-vigil", daemon=True).start()
        threading.Thread(target=remove_abandoned, name="raytune-tidy", daemon=True).start()

    # --- messages ---

    async def hello(self, term: int) -> dict[str, Any]:
        """Who the worker is, and what it does; once its node has the packages of its trials.

        Where it is not `at_home`, it is to be ended and made again. Raises PythonEnvError.
        """
        self._loop = asyncio.get_running_loop()
        self._term = max(self._term, term)
        await asyncio.to_thread(self._settings.foreign.prepare)
        return {
            "node": ray.get_runtime_context().get_node_id(),
            "pid": os.getpid(),
            "current": self._current,
            "at_home": self._settings.foreign.at_home,
        }

    async def alone(self) -> tuple[str, float]:
        """The coordinator's name, and for how many seconds it has not been reached."""
        return self._settings.coordinator, time.monotonic() - self._reached

    async def stream(self, after_seq: int, term: int) -> AsyncIterator[list[Item]]:
        """Batches of items behind `after_seq`, as they come; a coordinator of a higher term ends it."""
        cursor, spoke = after_seq, time.monotonic()
        while term >= self._term:
            self._news.clear()
            items = self._outbox.read(cursor)
            if items:
                cursor, spoke = items[-1].seq, time.monotonic()
                yield items
            if not items or items[-1].kind != "ended":
                look_s = GATHER_SHARE * (time.monotonic() - spoke)
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._news.wait(), min(max(look_s, GATHER_S), GATHER_MOST_S))
                    spoke = time.monotonic()  # an attempt begins, or has ended

    async def acknowledge(self, seq: int, term: int) -> None:
        """Items up to `seq` are in the journal."""
        if term >= self._term:
            self._outbox.acknowledge(seq)

    async def start(self, command: Start, term: int) -> None:
        """Run an attempt, unless it was ever started here, or another one is running."""
        key = (command.trial, command.attempt)
        if term < self._term or self._current is not None or key in self._begun or self._leaving:
            return
        self._current = key
        self._begun.add(key)
        settings = self._settings
        emit = functools.partial(self._emit, command)
        session = Session.of(command, emit, settings.run, self._storage, settings.demand.resources)
        early = self._interrupts.pop(key, None)
        if early is not None:
            session.interrupt(early.mode, early.grace_s)
        self._session, self._command = session, command
        name = f"raytune-trial-{command.trial}"
        threading.Thread(target=self._attempt, args=(command, session), name=name, daemon=True).start()
        self._news.set()

    async def interrupt(self, command: Interrupt, term: int) -> None:
        """End the attempt at its next report; it may not have been started yet."""
        if term < self._term:
            return
        key, session = (command.trial, command.attempt), self._session
        if self._current == key and session is not None:
            session.interrupt(command.mode, command.grace_s)
        elif key not in self._begun:
            self._interrupts[key] = command

    async def grace_left(self, command: Interrupt, term: int) -> float:
        """Tell it again, and say how many seconds it has; 0 or less where it is to be ended by force.

        One that has ended has time: the message of it is in the outbox.
        """
        await self.interrupt(command, term)
        key, session = (command.trial, command.attempt), self._session
        if session is not None and self._current == key:
            return session.grace_left_s(command.grace_s)
        return MESSAGE_S if key in self._begun else 0.0

    async def relay(
        self, attempt: tuple[str, int], metrics: Mapping[str, Any], checkpoint: Any, controller: Any
    ) -> None:
        """A report of the Ray Train run that `attempt` waits for; the run ends with its controller."""
        session = self._session if attempt == self._current else None
        if session is None or not await asyncio.to_thread(session.relay, metrics, checkpoint):
            controller.abort.remote()

    # --- an attempt ---

    def _emit(self, command: Start, kind: str, body: Mapping[str, Any]) -> None:
        """Add to the outbox. Only the end of an attempt wakes the stream: a report must cost nothing."""
        self._outbox.append(command.trial, command.attempt, kind, time.time(), body)
        if self._loop is not None and kind == "ended":
            self._loop.call_soon_threadsafe(self._news.set)

    def _attempt(self, command: Start, session: Session) -> None:
        self._emit(command, "started", {})
        threads = set(threading.enumerate())
        self._meter = Meter()
        outcome = self._call(command, session)
        self._meter.stop()  # before what it has started is ended
        left = self._surroundings.restore(threads)
        if left is None and session.is_storing:
            left = "a checkpoint whose upload hangs"
        if left is None and self._settings.demand.resources.get("gpu"):
            failed = "its GPU in doubt: an error of CUDA spoils it for the whole process"
            left = failed if outcome.kind == "failed" else memory_left()
        if left is None and self._leaving:
            left = "a worker that was told to end"
        self._end(command, outcome, left)

    def _end(self, command: Start, outcome: Outcome, left: str | None) -> None:
        """Tell that the attempt is over, once: it may come to itself after it was given up."""
        with self._ending:
            if self._current != (command.trial, command.attempt):
                return
            self._session = None
            self._current = None
            usage = self._meter.stop() if self._meter is not None else None
            self._emit(command, "ended", outcome.to_body(left=left, usage=usage))

    def _call(self, command: Start, session: Session) -> Outcome:
        """Run it with its output kept; what goes wrong around it fails the attempt.

        That may be a SystemExit: of a module that reads its command line as it is imported.
        """
        try:
            with self._storage.log_file(_log_of(command)) as log, captured_output(log), answering():
                self._log = log
                trainable, space = self._load()
                config = space.from_json(command.config)
                when = self._settings.when_to_save
                outcome = run_attempt(trainable, config, session, when, _node(), self._fit)
                if outcome.error:
                    print(outcome.error, flush=True)
            return outcome
        except BaseException as error:
            explain_missing(error, _node())
            return Outcome.failed(error, traceback.format_exc())

    def _fit(self, trainer: Any, session: Session) -> None:
        from raytune_gp.execution.ray_train import fit  # loads Ray Train

        fit(trainer, session, self._storage, len(self._settings.demand.bundles))

    def _load(self) -> tuple[Any, SearchSpace]:
        """The trainable and the search space, unpickled at the first attempt."""
        if self._loaded is None:
            trainable, space = self._settings.trainable.load(self._storage)
            if self._settings.parameters:
                objects = {name: ray.get(ref) for name, ref in self._settings.parameters.items()}
                trainable = trainable.given(objects)
            self._loaded = trainable, space
        return self._loaded

    # --- the watchdog ---

    def _watch(self) -> None:
        """Ping the coordinator; leave once it is dead and none takes its place, or silent for too long."""
        dead_since: float | None = None
        while True:
            time.sleep(PING_S)
            try:
                coordinator: Any = ray.get_actor(self._settings.coordinator, NAMESPACE)
                hello = ray.get(coordinator.hello.remote(), timeout=5 * PING_S)
                if hello["run_id"] == self._run_id:
                    self._reached, dead_since = time.monotonic(), None
                else:  # another run has taken the name: that of this worker has nobody any more
                    dead_since = dead_since or time.monotonic()
            except (ray.exceptions.ActorDiedError, ValueError):
                dead_since = dead_since or time.monotonic()
            except Exception:
                dead_since = None
            now = time.monotonic()
            if (dead_since is not None and now - dead_since > FAREWELL_S) or now - self._reached > ORPHAN_S:
                self._leave()

    def _leave(self) -> None:
        """Let a running trial reach its next report and store its checkpoint, then end this process."""
        session = self._session
        if session is not None:
            session.interrupt("pause")
            while self._current is not None and session.grace_left_s(FAREWELL_S) > 0:
                time.sleep(0.1)
        self._exit()

    def _depart(self) -> None:
        """Somebody takes this process away: save the trial, and go."""
        self._leaving = True
        session, command = self._session, self._command
        if session is not None and command is not None and session.mode is None:
            session.interrupt("evict", DEPART_S)
            self._emit(command, "leaving", {"grace_s": DEPART_S})
        deadline = time.monotonic() + DEPART_S
        while self._current is not None and time.monotonic() < deadline:
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
            session, command = self._session, self._command
            seconds = silence.look(session, time.monotonic())
            limit = None if session is None else session.patience_s
            idle_or_learned = ORPHAN_S if session is None else max(ORPHAN_S, limit or BUSY_S)
            self._family.tell_reaper(idle_or_learned)
            if limit is not None and command is not None and seconds > limit:
                why = f"It reported nothing for {seconds:.0f} s, and {limit:.0f} s is what it may take"
                say_where_threads_are(why)
                if not self._storage.is_local:  # where the log is copied at the end, and this one has none
                    with contextlib.suppress(Exception):
                        self._storage.upload_file(self._log, _log_of(command))
                left = "a trial that hangs"
                self._end(command, Outcome("failed", why, FailureKind.SILENT), left)


def _node() -> str:
    """What to call the node in messages: the machine's name, and the first digits of Ray's."""
    return f"{platform.node()} ({ray.get_runtime_context().get_node_id()[:8]})"


def _log_of(command: Start) -> str:
    return f"trial_{command.trial}/log.txt"


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
