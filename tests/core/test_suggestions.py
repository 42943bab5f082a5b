"""When the searcher is asked, what it is told, and how old its answers may become."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from raytune_gp import events as ev
from raytune_gp import messages as msg
from raytune_gp.crew import STARTING_S
from raytune_gp.execution.simulated_cluster import Network
from tests.core.bench import Bench, kinds
from tests.support import Numbers, Simulation, make_spec, noisy_curve

Make = Callable[..., Bench]


def test_one_batch_serves_every_idle_worker_and_one_ahead(make_bench: Make) -> None:
    bench = make_bench(slots=4, num_samples=20, uses_results=True)
    assert [c.count for c in bench.commands(msg.Suggest)] == [5]
    bench.running()
    assert len(bench.state.running) == 4
    assert len(bench.state.ready) == 1
    assert bench.state.request is None, "enough is waiting"


def test_a_request_says_what_is_finished_and_what_is_pending(make_bench: Make) -> None:
    bench = make_bench(slots=2, num_samples=20, uses_results=True).running()
    bench.commands()
    bench.run_trial("w0/1", 0.5)
    request = bench.of(ev.SuggestionsRequested)[-1]
    assert (request.completed, request.start) == (1, 3)
    (command,) = bench.commands(msg.Suggest)
    assert [(o.config, o.values) for o in command.completed] == [({"x": 0}, (0.5,))]
    assert list(command.pending) == [{"x": 1}, {"x": 2}]


def test_prefetched_suggestions_are_pending(make_bench: Make) -> None:
    bench = make_bench(slots=2, num_samples=20, uses_results=True).running()
    bench.tell(msg.SlotsOffered(3))
    assert list(bench.commands(msg.Suggest)[-1].pending) == [{"x": 0}, {"x": 1}, {"x": 2}]


def test_the_searchers_memory_goes_round(make_bench: Make) -> None:
    bench = make_bench(slots=1, num_samples=9, uses_results=True)
    suggestions = [{"config": {"x": k}, "provenance": {}} for k in range(2)]
    bench.tell(msg.Suggested(0, suggestions, {"lengthscale": 0.3}))
    bench.running()
    bench.run_trial("w0/1", 1.0)
    assert bench.commands(msg.Suggest)[-1].memory == {"lengthscale": 0.3}


def test_a_suggestion_that_missed_two_completions_is_withdrawn(make_bench: Make) -> None:
    bench = make_bench(slots=1, num_samples=9, uses_results=True).running()
    bench.say("w0/1", "started")
    bench.report("w0/1", 1, 1.0)
    bench.tell(msg.SlotsOffered(3))
    bench.answer()
    bench.arrive("w1/1", "w2/1")
    assert [t.provenance["missed"] for t in bench.state.trials.values()] == [0, 0, 0]
    (ready,) = bench.state.ready
    bench.tell(msg.SlotsOffered(1))
    first = bench.run_trial("w1/1", 1.0)
    assert "SuggestionsWithdrawn" not in kinds(first), "one completion may be missed"
    second = bench.run_trial("w2/1", 1.0)
    assert second[-3:-1] == [
        ev.SuggestionsWithdrawn(0.0, 1, "2 completions came since"),
        ev.SuggestionsRequested(0.0, bench.state.suggestions.requests - 1, 1, ready.config["x"], 2),
    ]


def test_an_answer_serves_whoever_waits_for_it_however_late_it_is(make_bench: Make) -> None:
    bench = make_bench(slots=3, num_samples=9, uses_results=True).running()
    for worker in ("w0/1", "w1/1", "w2/1"):
        bench.run_trial(worker, 1.0)
    bench.answer()
    assert [t.provenance["missed"] for t in bench.state.trials.values()][3:] == [1, 2]
    assert bench.of(ev.SuggestionsRequested)[-1].count == 2, "for the worker that still waits, and one ahead"
    bench.answer()
    assert [t.provenance["missed"] for t in bench.state.trials.values()][5:] == [0]


def test_nothing_is_suggested_for_workers_that_wait_for_a_node(make_bench: Make) -> None:
    """Under an autoscaler some workers are always on order, perhaps for minutes."""
    bench = make_bench(slots=6, num_samples=50, uses_results=True)
    bench.arrive("w0/1", "w1/1")
    bench.answer()
    bench.now = STARTING_S + 1
    for worker in ("w0/1", "w1/1") * 4:
        bench.run_trial(worker, 1.0)
        if bench.state.request:
            bench.answer()
    asked = [e.count for e in bench.of(ev.SuggestionsRequested)]
    assert asked[0] == 7, "they may come any moment"
    assert set(asked[1:]) <= {1, 2}
    assert len(bench.state.running) == 2
    bench.arrive("w2/1")
    bench.answer()
    assert len(bench.state.running) == 3, "once it has come, it is served"


def test_searchers_that_learn_nothing_are_asked_well_ahead(make_bench: Make) -> None:
    bench = make_bench(slots=2, num_samples=100).running()
    assert len(bench.state.ready) > 2
    assert bench.state.request is None
    for _ in range(8):
        bench.run_trial("w0/1", 1.0)
        assert bench.state.ready, "no worker ever waits"
        if bench.state.request:
            bench.answer()
    assert not bench.of(ev.SuggestionsWithdrawn)


@pytest.mark.parametrize("suggest_s", [0.01, 0.5, 5.0])
@pytest.mark.parametrize("slots", [1, 4])
@pytest.mark.parametrize("seed", range(4))
def test_no_stale_suggestion_is_ever_used(suggest_s: float, slots: int, seed: int) -> None:
    """A prefetched one missed one completion at most; one for which a worker waited, what it took to make."""
    asker = Numbers()
    run = Simulation(
        make_spec(num_samples=30),
        noisy_curve(steps=2, seed=seed),
        slots=slots,
        network=Network(suggest_s=suggest_s, jitter=0.5),
        asker=asker,
        seed=seed,
    )
    run.start().run()
    completions = arrived = 0
    for event in run.journal.events():
        match event:
            case ev.TrialEnded():
                completions += 1
            case ev.SuggestionsReady():
                arrived = completions
            case ev.TrialCreated():
                assert event.missed <= 1 or completions == arrived
    assert completions == 30
    assert [t.config["x"] for t in run.state.trials.values()] == list(range(30))
    assert all(len(c.completed) + len(c.pending) <= 30 for c in asker.asked)
