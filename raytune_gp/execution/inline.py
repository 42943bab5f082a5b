"""The executor that runs trials in this very process, one at a time: for a debugger and for notebooks.

`next` runs the trainable itself. Its reports re-enter the loop, so that a decision comes before the next
step; breakpoints, prints and exceptions are where the user expects them.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from raytune_gp import messages as msg
from raytune_gp.execution.meter import Meter
from raytune_gp.execution.outbox import Outbox
from raytune_gp.searchers.asking import Asker
from raytune_gp.space import SearchSpace
from raytune_gp.storage.artifacts import Storage
from raytune_gp.trainable.classes import WhenToSave
from raytune_gp.trainable.run import Trainable, run_attempt
from raytune_gp.trainable.session import Session

__all__ = ["InlineExecutor"]


class InlineExecutor:
    """One worker, which is this process. `turn` is the loop's, called again while a trainable reports.

    `retain` deletes checkpoints, as `Storage.retain` and `Backup.retain` do.
    """

    def __init__(
        self,
        run: str,
        trainable: Trainable,
        space: SearchSpace,
        asker: Asker,
        storage: Storage,
        retain: Callable[[str, Sequence[str], bool], None],
        resources: Mapping[str, Any],
        when_to_save: WhenToSave,
    ):
        self._run = run
        self._trainable = trainable
        self._space = space
        self._asker = asker
        self._storage = storage
        self._retain = retain
        self._resources = resources
        self._when_to_save = when_to_save
        self._outboxes: dict[str, Outbox] = {}
        self._cursors: dict[str, int] = {}
        self._inputs: deque[msg.Input] = deque([msg.SlotsOffered(1)])
        self._waiting: msg.Start | None = None
        self._current: tuple[str, int] | None = None
        self._session: Session | None = None
        self._interrupts: dict[tuple[str, int], msg.Interrupt] = {}
        self.turn: Callable[[], None] = lambda: None

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def next(self, deadline: float | None) -> list[msg.Input]:
        """What waits; else run the trial that was started, whose reports turn the loop themselves.

        Where there is neither, nothing comes until the deadline; a trial that reports does not wait for it.
        """
        if self._waiting is not None and self._session is None:
            self._train(self._waiting)
        inputs = list(self._inputs)
        self._inputs.clear()
        for worker, outbox in self._outboxes.items():
            items = outbox.read(self._cursors[worker])
            if items:
                self._cursors[worker] = items[-1].seq
                inputs += items
        if not inputs and self._session is None and deadline is not None:
            time.sleep(max(0.0, deadline - self.now()))
        return inputs

    def close(self) -> None:
        """Nothing is held."""

    def send(self, command: msg.Command) -> None:
        """Carry out `command`; a trial to start waits for `next`."""
        match command:
            case msg.Connect():
                self._connect(command)
            case msg.Start():
                self._waiting = command
            case msg.Interrupt():
                self._interrupt(command)
            case msg.Suggest():
                self._inputs.append(self._asker.ask(command))
            case msg.Release():
                self._outboxes.pop(command.worker, None)
                self._inputs.append(msg.WorkerVanished(command.worker, "it was released"))
            case msg.Acknowledge():
                if command.worker in self._outboxes:
                    self._outboxes[command.worker].acknowledge(command.seq)
            case msg.Retain():
                self._retain(f"trial_{command.trial}", command.paths, command.is_finished)

    def _connect(self, command: msg.Connect) -> None:
        if command.create:
            self._outboxes.setdefault(command.worker, Outbox(command.worker))
        if command.worker not in self._outboxes:
            self._inputs.append(msg.WorkerVanished(command.worker, "its process has ended"))
            return
        self._cursors[command.worker] = command.after_seq
        self._inputs.append(msg.WorkerArrived(command.worker, "local", 0))

    def _interrupt(self, command: msg.Interrupt) -> None:
        """End the attempt at its next report; it may be waiting for its turn still."""
        key, waiting = (command.trial, command.attempt), self._waiting
        if self._session is not None and self._current == key:
            self._session.interrupt(command.mode, command.grace_s)
        elif waiting is not None and (waiting.trial, waiting.attempt) == key:
            self._interrupts[key] = command

    def _train(self, command: msg.Start) -> None:
        self._waiting = None
        outbox = self._outboxes.get(command.worker)
        if outbox is None:
            return  # a worker of an earlier process: its connection says that it is gone

        left: list[SystemExit] = []

        def emit(kind: str, body: Mapping[str, Any]) -> int:
            item = outbox.append(command.trial, command.attempt, kind, time.time(), body)
            if kind == "report":
                try:
                    self.turn()
                except SystemExit as error:  # of a callback: it ends the program, and not the trial alone
                    left.append(error)
                    raise
            return item.seq

        session = self._session = Session.of(command, emit, self._run, self._storage, self._resources)
        self._current = (command.trial, command.attempt)
        early = self._interrupts.pop(self._current, None)
        if early is not None:
            session.interrupt(early.mode, early.grace_s)
        emit("started", {})
        config = self._space.from_json(command.config)
        meter = Meter()
        try:
            outcome = run_attempt(self._trainable, config, session, self._when_to_save)
        finally:
            usage = meter.stop()  # Ctrl-C passes through
        self._session = None
        if left:
            raise left[0]
        emit("ended", outcome.to_body(usage=usage))
