"""The loop around an experiment: decide, commit, act. The same for every executor.

One turn takes the inputs that wait, lets the experiment decide, commits the events in one transaction,
and only then tells the world: acknowledgements, commands, and readers of the run's progress. Inputs that
come during the commit wait for the next turn, so that a transaction grows with the load.
"""

from __future__ import annotations

import platform
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version

from raytune_gp import events as ev
from raytune_gp import messages as msg
from raytune_gp.errors import JournalError, StaleTermError
from raytune_gp.experiment import Experiment
from raytune_gp.protocols import Executor, Journal, UserRequest
from raytune_gp.state import RunStatus

__all__ = ["Loop", "software_versions"]

IDLE_S = 1.0
"""The longest a turn waits for inputs, in seconds: requests from other shells are looked at so often."""

RETRY_S = (0.1, 0.5, 2.0, 5.0)
"""Pauses before a failed commit is tried again, in seconds; the last one repeats."""


class Loop:
    """Runs one experiment to its end.

    `make_experiment` makes an empty one: after an exception in a decision the events of that turn are
    thrown away and the state is built from the journal again. `on_commit` is called with the events of
    each turn once they are safe. Raises StaleTermError where another coordinator took the run over.
    """

    def __init__(
        self,
        run: str,
        make_experiment: Callable[[], Experiment],
        journal: Journal,
        executor: Executor,
        *,
        on_commit: Callable[[Sequence[ev.Event]], None] = lambda events: None,
        sleep: Callable[[float], None] = time.sleep,
    ):
        self._run = run
        self._make_experiment = make_experiment
        self._journal = journal
        self._executor = executor
        self._on_commit = on_commit
        self._sleep = sleep
        self._polled_at = -IDLE_S
        self.experiment = make_experiment()
        self.term = 0

    def take_over(self) -> int:
        """Raise the run's term, so that an earlier coordinator can write no more. Returns the new term."""
        self.term = self._journal.raise_term(self._run)
        return self.term

    def open(self, first: Sequence[msg.Input] = ()) -> None:
        """Take the run over (unless that is done), replay its journal, and call for what is outstanding.

        `first` are inputs to begin with.
        """
        if not self.term:
            self.take_over()
        self._rebuild()
        first_index = self.experiment.state.index + 1
        began = ev.TermStarted(self._now(), self.term, software_versions())
        self.experiment.apply(began)
        self._commit([began], first_index)
        self._turn(first)

    def run(self) -> None:
        """Turn until the run is over and its workers are gone."""
        while not self.experiment.is_over:
            self.turn()
        self._executor.close()

    def turn(self) -> None:
        """Wait for inputs and deal with them."""
        now = self._executor.now()
        deadline = now + IDLE_S
        if self.experiment.deadline is not None:
            deadline = min(deadline, self.experiment.deadline)
        inputs = list(self._executor.next(deadline))
        now = self._now()
        if self.experiment.deadline is not None and now >= self.experiment.deadline:
            inputs.append(msg.Tick())
        requests = self._requests(now)
        inputs += map(_input_of, requests)
        if inputs:
            self._turn(inputs, requests)

    def _requests(self, now: float) -> Sequence[UserRequest]:
        """What other shells ask for, looked up once in IDLE_S; nothing while the journal cannot be read."""
        if now - self._polled_at < IDLE_S:
            return ()
        self._polled_at = now
        with suppress(JournalError):
            return self._journal.open_requests(self._run)
        return ()

    def _turn(self, inputs: Sequence[msg.Input], requests: Sequence[UserRequest] = ()) -> None:
        first_index = self.experiment.state.index + 1
        now = self._now()
        events: list[ev.Event] = []
        try:
            for input in inputs or (msg.Tick(),):
                events += self.experiment.advance(input, now)
            if events or requests:
                self._commit(events, first_index, requests)
        except StaleTermError:
            raise
        except Exception:
            self._give_up(traceback.format_exc(), requests)
            return
        for command in self.experiment.commands():
            self._executor.send(command)

    def _commit(
        self, events: Sequence[ev.Event], first_index: int, requests: Sequence[UserRequest] = ()
    ) -> None:
        """Write `events`; while the database fails hold them, take no input, and try again."""
        tries = 0
        while True:
            try:
                self._journal.append(self._run, self.term, first_index, events, requests)
                break
            except StaleTermError:
                self._executor.close()
                raise
            except JournalError:
                self._sleep(RETRY_S[min(tries, len(RETRY_S) - 1)])
                tries += 1
        self._on_commit(events)

    def _give_up(self, error: str, requests: Sequence[UserRequest]) -> None:
        """A decision raised: nothing of this turn is written; the run ends as failed and can be resumed."""
        self._rebuild()
        state = self.experiment.state
        if state.status.is_ended:
            raise RuntimeError(error)
        first_index = state.index + 1
        failed = ev.RunEnded(self._now(), RunStatus.FAILED.value, f"a decision raised: {error}")
        self.experiment.apply(failed)
        self._commit([failed], first_index, requests)
        self._turn(())

    def _rebuild(self) -> None:
        self.experiment = self._make_experiment()
        self.experiment.replay(event for _, event in self._journal.read(self._run))

    def _now(self) -> float:
        return max(self._executor.now(), self.experiment.state.now)


def _input_of(request: UserRequest) -> msg.Input:
    """The input that a row of the requests table stands for."""
    match request.kind:
        case "stop":
            return msg.StopRun(request.body.get("reason", "asked to stop"))
        case "stop_trial":
            return msg.StopTrial(request.body.get("trial", ""), request.body.get("reason", "asked to stop"))
        case "resume":
            return msg.Resume(request.body)
        case _:
            return msg.Tick()


@cache
def software_versions() -> dict[str, str]:
    """Versions that suggestions depend on, for the journal."""
    found = {"python": platform.python_version()}
    for package in ("raytune-gp", "numpy", "scipy", "torch", "gpytorch", "ray"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
