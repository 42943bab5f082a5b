"""Those who hear of a run as it goes, in the process that started it: the terminal and the user's callbacks.

Neither can break the run: what goes wrong in them is told once, on the standard error.
"""

from __future__ import annotations

import contextlib
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from raytune_gp.advice import warnings_of
from raytune_gp.callbacks import CallbackList
from raytune_gp.events import Event
from raytune_gp.progress import Progress
from raytune_gp.state import RunState

__all__ = ["Audience"]


class Audience:
    """A context manager, which gives the terminal back.

    `run` is the run's name; `verbose` = 0 keeps the terminal quiet, but for troubles.
    """

    def __init__(self, run: str, callbacks: CallbackList, verbose: int):
        self._run = run
        self._progress = Progress(verbose=verbose)
        self._callbacks = callbacks
        self._blamed: set[str] = set()
        self._told: set[str] = set()
        self._warned: set[str] = set()

    def begin(self, state: RunState) -> None:
        """Before the run."""
        self._safely(self._callbacks.setup, state)

    def hear(self, state: RunState, events: Sequence[Event]) -> None:
        """Tell of `events`, which `state` holds already. Never raises an Exception."""
        self._show(self._progress.update, state, events)
        self._safely(self._callbacks.tell, state, events)
        self._safely(self._advise, state)

    def _advise(self, state: RunState) -> None:
        """Say once what is amiss."""
        for about, warning in warnings_of(state, self._warned).items():
            if about not in self._warned:
                self._warned.add(about)
                _say(f"run {self._run!r}: {warning}")

    def pause(self, trouble: str | None) -> None:
        """Say what pauses the run, once for each kind of trouble, or (None) that it goes on."""
        if trouble is None:
            self._told.clear()
            _say(f"run {self._run!r} goes on: its journal can be written again, and nothing is lost")
        elif trouble not in self._told:
            self._told.add(trouble)
            _say(
                f"run {self._run!r} is paused: {trouble}. It goes on by itself once that is mended, and what "
                f"trials report meanwhile waits; Ctrl-C ends the run, which resume=True can take up again"
            )

    def warn(self, warning: str | None) -> None:
        """Say what keeps the run's journal from being backed up, or (None) that it is again."""
        if warning is None:
            _say(f"the journal of run {self._run!r} is backed up again")
        else:
            _say(
                f"the journal of run {self._run!r} could not be backed up: {warning}. The run goes on, "
                f"and this is tried again; until then the loss of its disk would cost what comes meanwhile"
            )

    def end(self, state: RunState, *, ran: bool = True) -> None:
        """After the run; it may not have run at all, being finished before."""
        if ran:
            self._show(self._progress.close, state)
        self._safely(self._callbacks.end, state)

    def __enter__(self) -> Audience:
        return self

    def __exit__(self, *_: object) -> None:
        self._show(self._progress.close)

    def _show(self, draw: Callable[..., None], *arguments: Any) -> None:
        """Call one of the terminal's functions; rich exits the program where a pipe such as `| head` ends."""
        try:
            self._safely(draw, *arguments)
        except SystemExit:
            self._blame(draw, "the terminal is gone")

    def _safely(self, call: Callable[..., None], *arguments: Any) -> None:
        try:
            call(*arguments)
        except Exception:
            self._blame(call, traceback.format_exc())

    def _blame(self, call: Callable[..., None], error: str) -> None:
        if call.__name__ not in self._blamed:
            self._blamed.add(call.__name__)
            _say(f"what shows run {self._run!r} has failed, and the run goes on: {error}")


def _say(line: str) -> None:
    """A line on the standard error, at any verbosity; a table that is drawn there makes way for it."""
    with contextlib.suppress(OSError, ValueError):
        print(line, file=sys.stderr, flush=True)
