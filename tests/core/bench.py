"""An experiment on the bench: stimuli in short words, and what must hold of its state at any time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from raytune_gp import events as ev
from raytune_gp import messages as msg
from raytune_gp.codec import event_from_json, event_to_json
from raytune_gp.crew import WorkerStatus
from raytune_gp.experiment import Experiment
from raytune_gp.protocols import Scheduler
from raytune_gp.retention import needed_checkpoints
from raytune_gp.schedulers import FIFOScheduler
from raytune_gp.state import RunState
from raytune_gp.trial import TrialStatus
from tests.support import make_spec


class Bench:
    """One experiment, its clock at `now`, and every event so far.

    The searcher's suggestion k is `{"x": k}`; workers speak with the next sequence number, of the attempt
    that they were given.
    """

    def __init__(
        self,
        *,
        slots: int = 1,
        scheduler: Scheduler | None = None,
        uses_results: bool = False,
        stopper: Any = None,
        **settings: Any,
    ):
        self.now = 0.0
        self.experiment = Experiment(scheduler or FIFOScheduler(), uses_results=uses_results, stopper=stopper)
        created = ev.RunCreated(0.0, make_spec(**settings).to_json())
        self.experiment.apply(created)
        self.events: list[ev.Event] = [created]
        self.tell(msg.SlotsOffered(slots))

    @property
    def state(self) -> RunState:
        return self.experiment.state

    def tell(self, *inputs: msg.Input) -> list[ev.Event]:
        """The events that `inputs` cause."""
        events = []
        for input in inputs:
            events += self.experiment.advance(input, self.now)
            check_state(self.state)
        self.events += events
        return events

    def commands(self, kind: type[msg.Command] = msg.Command) -> list[Any]:
        """The commands since the last call, all of them, or shown only those of `kind`."""
        return [c for c in self.experiment.commands() if isinstance(c, kind)]

    def running(self) -> Bench:
        """Every requested worker has arrived, and the open request is answered."""
        self.arrive(*[w.id for w in self.state.workers.values() if w.status is WorkerStatus.REQUESTED])
        if self.state.request:
            self.answer()
        return self

    def arrive(self, *workers: str) -> list[ev.Event]:
        return self.tell(*[msg.WorkerArrived(w, "node", 7) for w in workers])

    def answer(self, *, exhausted: bool = False) -> list[ev.Event]:
        """The searcher answers the open request in full, or with nothing where it is exhausted."""
        assert self.state.request is not None
        request = self.state.request
        numbers = [] if exhausted else range(request.start, request.start + request.count)
        suggestions = [{"config": {"x": k}, "provenance": {}} for k in numbers]
        return self.tell(msg.Suggested(request.request, suggestions, None, exhausted))

    def say(self, worker: str, kind: str, **body: Any) -> list[ev.Event]:
        return self.tell(self.item(worker, kind, **body))

    def item(self, worker: str, kind: str, **body: Any) -> msg.Item:
        w = self.state.workers[worker]
        assert w.trial is not None
        return msg.Item(worker, w.seq + 1, w.trial, w.attempt, kind, self.now, body)

    def report(
        self, worker: str, step: int, score: Any = None, checkpoint: bool = False, **more: Any
    ) -> list[ev.Event]:
        metrics = {"training_iteration": step, **({} if score is None else {"score": score}), **more}
        events = self.say(worker, "report", step=step, metrics=metrics, checkpoint=checkpoint)
        return events + (self.checkpoint(worker, step) if checkpoint else [])

    def checkpoint(self, worker: str, step: int) -> list[ev.Event]:
        w = self.state.workers[worker]
        return self.say(worker, "checkpoint", step=step, path=f"{w.trial}/{w.attempt}/{step}")

    def end(
        self, worker: str, outcome: str = "completed", error: str | None = None, left: str | None = None
    ) -> list[ev.Event]:
        return self.say(worker, "ended", outcome=outcome, error=error, left=left)

    def run_trial(self, worker: str, *scores: Any) -> list[ev.Event]:
        """The worker's trial starts, reports `scores`, and returns."""
        events = self.say(worker, "started")
        for step, score in enumerate(scores, start=1):
            events += self.report(worker, step, score)
        return events + self.end(worker)

    def vanish(self, *workers: str, reason: str = "killed") -> list[ev.Event]:
        return self.tell(*[msg.WorkerVanished(w, reason) for w in workers])

    def of(self, kind: type[ev.Event]) -> list[Any]:
        return [e for e in self.events if isinstance(e, kind)]


def kinds(events: Sequence[ev.Event]) -> list[str]:
    """The events' types, to compare where their bodies are of no interest."""
    return [type(e).__name__ for e in events]


def through_json(events: Sequence[ev.Event]) -> list[ev.Event]:
    return [event_from_json(type(e).__name__, event_to_json(e)) for e in events]


def check_state(state: RunState) -> None:
    """What holds after every input, whatever happened."""
    unfinished = {t.id for t in state.trials.values() if not t.status.is_finished}
    waiting = [*state.queue, *state.running, *state.paused]
    assert sorted(waiting) == sorted(unfinished), "an unfinished trial is in exactly one of three places"
    assert [o.trial_id for o in state.observations] == list(
        dict.fromkeys(o.trial_id for o in state.observations)
    ), "a trial finishes once"
    assert len(state.observations) == len(state.trials) - len(unfinished)
    valued = [t for o in state.observations if (t := state.trials[o.trial_id]).objective is not None]
    sign = 1.0 if state.spec.metric.mode == "max" else -1.0
    first = max(valued, key=lambda t: sign * t.objective[0], default=None)  # type: ignore[index]
    assert state.best() is first, "the best is the earliest among equals"
    for name, status in (("queue", TrialStatus.PENDING), ("running", TrialStatus.RUNNING)):
        assert all(state.trials[t].status is status for t in getattr(state, name)), name
    for trial_id in state.running:
        worker_id = state.trials[trial_id].worker
        assert worker_id is not None, f"{trial_id} runs nowhere"
        assert state.workers[worker_id].trial == trial_id
    for worker in state.workers.values():
        idle = worker.status is WorkerStatus.UP and worker.trial is None
        assert (worker.id in state.crew.idle) == idle, f"{worker} is idle or not"
        if worker.status is not WorkerStatus.RELEASED:
            assert state.crew.slots[worker.slot] == worker.id
    assert len(state.crew.slots) == sum(w.status is not WorkerStatus.RELEASED for w in state.workers.values())
    needed = {t.id: paths for t in state.trials.values() if (paths := needed_checkpoints(t))}
    assert state.loans.paths == needed, "what trials go on from is held, and nothing else"
    there = {c.path for t in state.trials.values() for c in t.checkpoints}
    assert set(state.loans.borrowers) == set().union(*needed.values()) <= there
    if state.spec.num_samples >= 0 and not state.status.is_ended:
        assert len(state.trials) + len(state.ready) <= state.spec.num_samples or state.budget == 0
