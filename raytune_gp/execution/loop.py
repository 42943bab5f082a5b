"""The loop around an experiment: decide, commit, act. The same for every executor.

One turn takes the inputs that wait, lets the experiment decide, commits the events in one transaction,
and only then tells the world: readers of the run's progress, commands, and acknowledgements. Inputs that
come during the commit wait for the next turn, so that a transaction grows with the load.

While the journal cannot be written the run is paused: trials train on, what they report waits, and the
write is tried again until it succeeds, or until the user ends the run.
"""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Sequence
from typing import TypeVar

from raytune_gp import events as ev
from raytune_gp import messages as msg
from raytune_gp.errors import FINAL, JournalError, JournalGivenUpError, JournalLostError, StaleTermError
from raytune_gp.execution.environment import machine, software_versions
from raytune_gp.experiment import Experiment
from raytune_gp.protocols import Executor, Journal, UserRequest
from raytune_gp.recovery import EVERY, Snapshots
from raytune_gp.status import RunStatus

__all__ = ["Loop"]

IDLE_S = 1.0
"""The longest a turn waits for inputs, in seconds: requests from other shells are looked at so often."""

RETRY_S = (0.1, 0.5, 2.0, 5.0)
"""Pauses before a failed commit is tried again, in seconds; the last one repeats."""

LAST_TRIES = 3
"""So often a commit may fail once the user has asked for the end of the run."""

T = TypeVar("T")


class Loop:
    """Runs one experiment to its end.

    `make_experiment` makes an empty one: after an exception in a decision the events of that turn are
    thrown away and the state is built from the journal again. `on_commit` is called with the events of
    each turn once they are safe, `on_trouble` with what keeps the journal from being written whenever that
    changes, None when it is over. A part of the state's snapshot is taken every `snapshot_every` events.

    Raises StaleTermError where another coordinator took the run over, JournalLostError where the journal
    is gone for good, and JournalGivenUpError after `hurry`, where it could not be written.
    """

    def __init__(
        self,
        run: str,
        make_experiment: Callable[[], Experiment],
        journal: Journal,
        executor: Executor,
        *,
        on_commit: Callable[[Sequence[ev.Event]], None] = lambda events: None,
        on_trouble: Callable[[str | None], None] = lambda trouble: None,
        sleep: Callable[[float], object] | None = None,
        snapshot_every: int = EVERY,
    ):
        self._run = run
        self._snapshots = Snapshots(journal, run, make_experiment, snapshot_every)
        self._journal = journal
        self._executor = executor
        self._on_commit = on_commit
        self._on_trouble = on_trouble
        self._hurried = threading.Event()
        self._sleep = sleep or self._hurried.wait
        self._trouble: str | None = None
        self._failure: JournalError | None = None
        self._polled_at = -IDLE_S
        self.experiment = make_experiment()
        self.term = 0

    def take_over(self) -> int:
        """Raise the run's term, so that an earlier coordinator can write no more. Returns the new term."""
        self.term = self._insist(lambda: self._journal.raise_term(self._run), 0)
        return self.term

    def hurry(self) -> None:
        """Wait no longer for a journal that cannot be written, now or later: for another thread to call."""
        self._hurried.set()

    def open(self, first: Sequence[msg.Input] = ()) -> None:
        """Take the run over (unless that is done), replay its journal, and call for what is outstanding.

        `first` are inputs to begin with.
        """
        if not self.term:
            self.take_over()
        self._insist(self._rebuild, 0)
        first_index = self.experiment.state.index + 1
        began = ev.TermStarted(self._now(), self.term, software_versions(), machine())
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
        latest, due = self._executor.now() + IDLE_S, self.experiment.deadline
        inputs = list(self._executor.next(latest if due is None else min(latest, due)))
        now, due = self._now(), self.experiment.deadline  # a trial in this process turns the loop in `next`
        if due is not None and now >= due:
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
        try:
            return self._journal.open_requests(self._run)
        except JournalLostError as error:
            raise self._part(error, 0) from error
        except JournalError:
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
        except JournalError:
            raise
        except Exception:
            self._give_up(traceback.format_exc(), requests)
            return
        for command in self.experiment.commands():
            self._executor.send(command)
        self._snapshots.take(self.experiment, self.term, events)

    def _commit(
        self, events: Sequence[ev.Event], first_index: int, requests: Sequence[UserRequest] = ()
    ) -> None:
        append = self._journal.append
        self._insist(lambda: append(self._run, self.term, first_index, events, requests), len(events))
        self._on_commit(events)

    def _insist(self, write: Callable[[], T], unwritten: int) -> T:
        """What `write` returns; while the database fails hold its `unwritten` events, and try again."""
        if self._failure is not None:
            raise self._failure  # a trainable in this process may have caught it
        tries = 0
        while True:
            try:
                result = write()
                break
            except StaleTermError:
                self._executor.close()
                raise
            except JournalError as error:
                tries += 1
                if isinstance(error, FINAL) or (self._hurried.is_set() and tries >= LAST_TRIES):
                    raise self._part(error, unwritten) from error
                self._tell(str(error))
                self._sleep(RETRY_S[min(tries, len(RETRY_S)) - 1])
        self._tell(None)
        return result

    def _tell(self, trouble: str | None) -> None:
        if trouble != self._trouble:
            self._trouble = trouble
            self._on_trouble(trouble)

    def _part(self, error: JournalError, unwritten: int) -> JournalError:
        """End the workers without the journal, running trials at their next report; returns what to raise."""
        kind = JournalLostError if isinstance(error, FINAL) else JournalGivenUpError
        missing = f"the last {unwritten} events, and what" if unwritten else "what"
        self._failure = kind(f"{error}. Not written: {missing} was reported since")
        state = self.experiment.state
        running = {}
        for trial in map(state.trials.__getitem__, state.running):
            if trial.worker is not None and ("start", trial.worker) not in state.due:
                grace_s = state.spec.grace_s
                running[trial.worker] = msg.Interrupt(trial.worker, trial.id, trial.attempt, "pause", grace_s)
        for interrupt in running.values():
            self._executor.send(interrupt)
        self._await_ends(set(running), max((i.grace_s for i in running.values()), default=0.0))
        for worker in state.workers:
            self._executor.send(msg.Release(worker))
        self._executor.close()
        return self._failure

    def _await_ends(self, workers: set[str], seconds: float) -> None:
        """Wait so long until the attempts of `workers` have ended; whatever else comes is let go."""
        deadline = self._executor.now() + seconds
        while workers and self._executor.now() < deadline:
            inputs = self._executor.next(deadline)
            if not inputs:
                return
            workers -= {i.worker for i in inputs if isinstance(i, msg.WorkerVanished)}
            workers -= {i.worker for i in inputs if isinstance(i, msg.Item) and i.kind == "ended"}

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
        self.experiment = self._snapshots.recover()

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
