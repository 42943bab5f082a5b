"""The attempts of a worker, one at a time: each in a thread, with its output kept and its end told once."""

from __future__ import annotations

import contextlib
import functools
import platform
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any

import ray

from raytune_gp.execution.gpu import memory_left
from raytune_gp.execution.leftovers import Surroundings
from raytune_gp.execution.meter import Meter
from raytune_gp.execution.outbox import Outbox
from raytune_gp.execution.vigil import answering, say_where_threads_are
from raytune_gp.execution.worker_settings import WorkerSettings
from raytune_gp.failures import FailureKind
from raytune_gp.messages import Interrupt, Start
from raytune_gp.space import SearchSpace
from raytune_gp.storage.artifacts import Storage
from raytune_gp.trainable.missing import explain_missing
from raytune_gp.trainable.run import Outcome, captured_output, run_attempt
from raytune_gp.trainable.session import Session

__all__ = ["Attempts"]

MESSAGE_S = 1.0
"""So long the message that an attempt has ended may take, before the worker is asked again."""


class Attempts:
    """What a worker runs, and has run; `current` is the trial and the number of the attempt that it is at.

    `session` is that attempt's, and `command` started it or the one before. What attempts say goes to
    `outbox`; `said` is called with the kind of each item that is in there.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        outbox: Outbox,
        surroundings: Surroundings,
        said: Callable[[str], None],
    ):
        self.current: tuple[str, int] | None = None
        self.session: Session | None = None
        self.command: Start | None = None
        self._settings = settings
        self._storage = Storage(settings.storage_path, settings.run)
        self._outbox = outbox
        self._surroundings = surroundings
        self._said = said
        self._begun: set[tuple[str, int]] = set()
        self._interrupts: dict[tuple[str, int], Interrupt] = {}
        self._meter: Meter | None = None
        self._log = ""
        self._loaded: tuple[Any, SearchSpace] | None = None
        self._leaving = False
        self._ending = threading.Lock()

    def begin(self, command: Start) -> None:
        """Begin an attempt, unless it was begun before, or another one runs."""
        key = (command.trial, command.attempt)
        if self.current is not None or key in self._begun or self._leaving:
            return
        self.current = key
        self._begun.add(key)
        settings = self._settings
        emit = functools.partial(self._emit, command)
        session = Session.of(
            command,
            emit,
            settings.run,
            self._storage,
            settings.demand.resources,
            is_decided_on=settings.stops_trials,
        )
        early = self._interrupts.pop(key, None)
        if early is not None:
            session.interrupt(early.mode, early.grace_s)
        self.session, self.command = session, command
        name = f"raytune-trial-{command.trial}"
        threading.Thread(target=self._attempt, args=(command, session), name=name, daemon=True).start()

    def interrupt(self, command: Interrupt) -> None:
        """End the attempt at its next report; it may not have begun yet."""
        key, session = (command.trial, command.attempt), self.session
        if self.current == key and session is not None:
            session.interrupt(command.mode, command.grace_s)
        elif key not in self._begun:
            self._interrupts[key] = command

    def heard(self, seq: int) -> None:
        """Items up to `seq` are acknowledged: a report among them need wait no longer."""
        session = self.session
        if session is not None:
            session.heard(seq)

    def grace_left_s(self, command: Interrupt) -> float:
        """How many seconds an attempt has that was told to end; 0 or less where it is to be ended by force.

        One that has ended has time: the message of it is in the outbox.
        """
        key, session = (command.trial, command.attempt), self.session
        if session is not None and self.current == key:
            return session.grace_left_s(command.grace_s)
        return MESSAGE_S if key in self._begun else 0.0

    def evict(self, grace_s: float) -> None:
        """Begin none any more, and have the one that runs save what it has, to go on elsewhere."""
        self._leaving = True
        session, command = self.session, self.command
        if session is not None and command is not None and session.mode is None:
            session.interrupt("evict", grace_s)
            self._emit(command, "leaving", {"grace_s": grace_s})

    def give_up(self, command: Start, silent_s: float, limit_s: float) -> None:
        """Tell that an attempt hangs, which was silent for so long; its thread is left behind."""
        why = f"It reported nothing for {silent_s:.0f} s, and {limit_s:.0f} s is what it may take"
        say_where_threads_are(why)
        if not self._storage.is_local:  # where the log is copied at the end, and this one has none
            with contextlib.suppress(Exception):
                self._storage.upload_file(self._log, _log_of(command))
        self._end(command, Outcome("failed", why, FailureKind.SILENT), "a trial that hangs")

    def _emit(self, command: Start, kind: str, body: Mapping[str, Any]) -> int:
        item = self._outbox.append(command.trial, command.attempt, kind, time.time(), body)
        self._said(kind)
        return item.seq

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
            if self.current != (command.trial, command.attempt):
                return
            self.session = None
            self.current = None
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


def _node() -> str:
    """What to call the node in messages: the machine's name, and the first digits of Ray's."""
    return f"{platform.node()} ({ray.get_runtime_context().get_node_id()[:8]})"


def _log_of(command: Start) -> str:
    return f"trial_{command.trial}/log.txt"
