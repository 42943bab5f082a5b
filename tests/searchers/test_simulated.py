"""The GP in a run of four workers whose answers come late and out of order: nothing depends on the timing.

What the journal says a suggestion was based on is all that it was based on: each is derived here once more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raytune_gp import events as ev
from raytune_gp import messages as msg
from raytune_gp.execution.simulated_cluster import Network
from raytune_gp.experiment import Experiment
from raytune_gp.schedulers import FIFOScheduler
from raytune_gp.searchers.asking import Asker
from raytune_gp.searchers.gp import GPSearcher
from raytune_gp.space import SearchSpace, choice, loguniform, randint, uniform, when
from raytune_gp.spec import ExperimentSpec
from raytune_gp.state import RunState
from raytune_gp.storage.journal import SQLJournal
from raytune_gp.trial import Config
from tests.support import Simulation, make_spec, replayed

SPACE = SearchSpace(
    {
        "rate": loguniform(1e-4, 1.0),
        "depth": randint(1, 8),
        "optimizer": choice(["sgd", "adam"]),
        "momentum": when("optimizer", ["sgd"], uniform(0.0, 1.0)),
    }
)
SEED = 5
TRIALS = 24
ALLOWED = 1
"""So many completions a suggestion may have missed."""


class Journal(SQLJournal):
    """The real one, which the simulation may create a run in."""

    def create(self, spec: ExperimentSpec) -> None:
        self.create_run(spec.name, ev.RunCreated(0.0, spec.to_json()))


def curve(config: Config, first: int) -> Iterator[tuple[float, Mapping[str, Any]]]:
    """Two steps of a length that follows from the config; some configs fail."""
    score = -((np.log10(config["rate"]) + 2) ** 2) - abs(config["depth"] - 3) + config.get("momentum", 0.5)
    for step in (1, 2):
        yield 0.2 + 3 * ((1000 * config["rate"] + config["depth"]) % 1), {"score": float(score) * step / 2}
    if config["depth"] == 7:
        raise ValueError("too deep")


def new_asker() -> Asker:
    return Asker(GPSearcher(SPACE, seed=SEED), SPACE, seed=SEED, guesses=[{"depth": 2}])


@dataclass
class Finished:
    """A run that is over: its journal's events, and its state as the coordinator had it."""

    events: list[ev.Event]
    experiment: Experiment


@pytest.fixture(scope="module", params=[0.02, 1.5], ids=["a quick searcher", "a searcher slower than trials"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder: Path = tmp_path_factory.mktemp("simulated")
    journal = Journal(f"sqlite:///{folder / 'journal.db'}")
    network = Network(
        jitter=0.9,
        suggest_s=request.param,
        latency_s=0.05,
        start_worker_s=8.0,  # some workers come late, and what was suggested for them goes stale
        loss=0.05,
        duplication=0.05,
    )
    simulation = Simulation(
        make_spec(num_samples=TRIALS, seed=SEED),
        curve,
        slots=4,
        asker=new_asker(),
        network=network,
        journal=journal,
        seed=1,
    )
    simulation.start().run()
    events = [event for _, event in journal.read("run")]
    journal.close()
    return Finished(events, simulation.loop.experiment)


def test_the_journal_replays_to_the_very_state(run: Finished) -> None:
    assert len(run.experiment.state.observations) == TRIALS
    assert replayed(run.events).state == run.experiment.state


def test_each_suggestion_is_derived_again_from_what_it_was_based_on(run: Finished) -> None:
    experiment = Experiment(FIFOScheduler())
    answers = {e.request: e for e in run.events if isinstance(e, ev.SuggestionsReady)}
    derived = by_model = 0
    for event in run.events:
        experiment.apply(event)
        commands = experiment.commands()
        if not isinstance(event, ev.SuggestionsRequested) or event.request not in answers:
            continue  # a request that counted on suggestions withdrawn since is dropped with them
        [command] = [c for c in commands if isinstance(c, msg.Suggest)]
        assert len(command.completed) == event.completed
        again = new_asker().ask(command)
        assert isinstance(again, msg.Suggested), again
        answer = answers[event.request]
        assert [s["config"] for s in again.suggestions] == [s["config"] for s in answer.suggestions]
        assert again.memory == answer.memory
        derived += len(again.suggestions)
        by_model += sum(s["provenance"]["method"] == "gp" for s in answer.suggestions)
    assert derived >= TRIALS
    assert by_model > TRIALS / 3, "most were the surrogate's"


def test_no_suggestion_missed_more_than_one_completion_but_while_it_was_worked_out(run: Finished) -> None:
    finished = 0
    based_on: dict[int, int] = {}
    waiting: list[tuple[int, int]] = []
    missed = []
    for event in run.events:
        match event:
            case ev.SuggestionsRequested():
                assert event.completed == finished
                based_on[event.request] = finished
            case ev.SuggestionsReady():
                waiting += [(based_on[event.request], finished)] * len(event.suggestions)
            case ev.SuggestionsWithdrawn():
                asked, arrived = waiting[0]
                assert finished - asked > ALLOWED
                assert finished > arrived
                assert event.count == len(waiting)
                waiting = []
            case ev.TrialCreated():
                asked, arrived = waiting.pop(0)
                assert event.missed == finished - asked
                assert event.missed <= ALLOWED or finished == arrived
                missed.append(event.missed)
            case ev.TrialEnded():
                finished += 1
    assert len(missed) == TRIALS
    assert max(missed) >= 1, "or this test has nothing to say"
    assert any(isinstance(event, ev.SuggestionsWithdrawn) for event in run.events), "nor of what went stale"


def test_suggestions_know_the_pending_and_repeat_nothing(run: Finished) -> None:
    keys = [SPACE.key(trial.config) for trial in run.experiment.state.trials.values()]
    assert len(set(keys)) == TRIALS
    state, pending = RunState(), []
    for event in run.events:
        state.apply(event)
        if isinstance(event, ev.SuggestionsRequested):
            due = state.due["suggest"]
            assert isinstance(due, msg.Suggest)
            pending.append(len(due.pending))
    assert max(pending) >= 3
