"""Runs on a real Ray cluster: what a user does, and what goes wrong."""

from __future__ import annotations

import math
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray

from raytune_gp import events as ev
from raytune_gp import tune
from raytune_gp.errors import (
    RunExistsError,
    RunFailedError,
    RunNotFoundError,
    SpecError,
    TrainableError,
    TrialFailedError,
)
from raytune_gp.execution import driver
from raytune_gp.execution.coordinator import RunPlan
from raytune_gp.execution.searcher_gpu import check_share
from raytune_gp.execution.worker import NAMESPACE
from raytune_gp.protocols import SuggestionBatch, SuggestionRequest
from raytune_gp.storage.journal import SQLJournal
from raytune_gp.trial import Observation, Suggestion
from tests.execution.trainables import counting, quick, raising
from tests.execution.watching import events_of, of
from tests.patience import HANGS_S, wait_until

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]

SPACE = {"x": tune.uniform(0, 1)}


def go(trainable: Any, settings: dict[str, Any], **more: Any) -> Any:
    arguments = {
        "config": SPACE,
        "metric": "score",
        "mode": "max",
        "search_alg": "random",
        **settings,
        **more,
    }
    return tune.run(trainable, **arguments)


def actors_alive() -> list[str]:
    return [a["name"] for a in ray.util.list_named_actors(all_namespaces=True) if a["namespace"] == NAMESPACE]


def test_a_function_is_tuned_and_nothing_stays_behind(run_settings: dict[str, Any], tmp_path: Path) -> None:
    space = {**SPACE, "ledger": str(tmp_path / "ledger"), "steps": 3, "seconds": 0.01}
    results = go(counting, run_settings, config=space, num_samples=5, name="first", max_concurrent_trials=2)
    assert len(results) == 5
    best = results.get_best_result()
    assert best.metrics["score"] == max(r.metrics["score"] for r in results) == 3 * best.config["x"]
    assert best.metrics["training_iteration"] == 3
    with best.checkpoint.as_directory() as directory:
        assert (Path(directory) / "step").read_text() == "3"
    ledger = Counter((tmp_path / "ledger").read_text().split("\n"))
    assert all(count == 1 for line, count in ledger.items() if line.startswith("step"))
    journalled = [e for e in events_of(run_settings["journal"], "first") if isinstance(e, ev.Reported)]
    assert len(journalled) == 15
    assert len({e.worker for e in journalled}) <= 2, "workers are reused"
    assert actors_alive() == []


def test_output_is_kept_as_the_trials_log(run_settings: dict[str, Any]) -> None:
    def chatty(config: dict[str, Any]) -> None:
        print("to stdout", config["x"])
        os.system("echo from a child")
        tune.report({"score": 1.0})

    go(chatty, run_settings, name="chatty")
    log = (Path(run_settings["storage_path"]) / "chatty" / "trial_00000" / "log.txt").read_text()
    assert "to stdout" in log
    assert "from a child" in log


def test_a_failing_trial_is_kept_with_its_traceback_and_the_run_goes_on(run_settings: dict[str, Any]) -> None:
    results = go(raising, run_settings, num_samples=8, name="failing")
    failed = [r for r in results if r.error]
    assert 0 < len(failed) < 8
    assert results.num_errors == len(failed)
    assert all("ValueError: x is" in str(r.error) for r in failed)
    assert results.get_best_result().config["x"] <= 0.5


def test_retries_and_fail_fast(run_settings: dict[str, Any]) -> None:
    def always(config: dict[str, Any]) -> None:
        raise RuntimeError("never works")

    go(always, run_settings, num_samples=1, name="retry", max_failures=2)
    attempts = [e for e in events_of(run_settings["journal"], "retry") if isinstance(e, ev.AttemptAssigned)]
    assert [e.attempt for e in attempts] == [1, 2, 3]
    with pytest.raises(RunFailedError, match="fail_fast"):
        go(always, run_settings, num_samples=10, name="fast", fail_fast=True)
    with pytest.raises(TrialFailedError, match="1 of 1 trials failed"):
        go(always, run_settings, name="raise", raise_on_failed_trial=True)


def test_what_cannot_be_sent_is_refused_by_name_and_no_run_is_begun(run_settings: dict[str, Any]) -> None:
    lock = threading.Lock()

    def locked(config: dict[str, Any]) -> None:
        with lock:
            tune.report({"score": 1.0})

    class Locked(tune.Trainable):
        shared = lock

        def step(self) -> dict[str, Any]:
            return {"score": 1.0}

    def given(config: dict[str, Any], data: Any) -> None:
        tune.report({"score": config["x"]})

    for trainable, message in (
        (locked, r"trainable .*locked cannot be sent to the cluster: .*It holds lock \(lock\)"),
        (Locked, r"trainable .*Locked cannot be sent to the cluster: .*It holds shared \(lock\)"),
        (tune.with_parameters(given, data=lock), r"the parameter 'data' of .*given cannot be sent"),
    ):
        with pytest.raises(SpecError, match=message):
            go(trainable, run_settings, name="locked")
    with pytest.raises(SpecError, match="the stop function cannot be sent to the cluster"):
        go(quick, run_settings, name="locked", stop=lambda trial, result: lock.locked())
    assert not SQLJournal(run_settings["journal"]).exists("locked"), "its name is free"
    assert len(go(quick, run_settings, name="locked")) == 1


def test_odd_exceptions_and_reports_fail_the_trial_alone(run_settings: dict[str, Any]) -> None:
    class Odd(Exception):
        def __init__(self, a: int, b: int):
            super().__init__(a)

        def __reduce__(self) -> Any:
            raise TypeError("cannot be pickled")

    def odd(config: dict[str, Any]) -> None:
        match config["case"]:
            case "exception":
                raise Odd(1, 2)
            case "report":
                tune.report({"score": object()})
            case "exit":
                raise SystemExit(3)
            case "nothing":
                return
            case "nan":
                tune.report({"score": math.nan})
            case "numpy":
                tune.report({"score": np.float32(0.5), "nested": {"a": np.int64(2)}})

    cases = ["exception", "report", "exit", "nothing", "nan", "numpy"]
    results = go(odd, run_settings, config={"case": tune.grid_search(cases)}, name="odd")
    by_case = {r.config["case"]: r for r in results}
    assert "Odd" in str(by_case["exception"].error)
    assert "cannot be journalled" in str(by_case["report"].error)
    assert "exited with 3" in str(by_case["exit"].error)
    assert "without reporting score" in str(by_case["nothing"].error)
    assert by_case["nan"].error is None
    assert math.isnan(by_case["nan"].metrics["score"])
    assert by_case["numpy"].metrics["nested/a"] == 2
    assert results.get_best_result().config["case"] == "numpy"


def test_a_killed_worker_costs_its_trial_only_the_last_steps(
    run_settings: dict[str, Any], tmp_path: Path
) -> None:
    ledger = str(tmp_path / "ledger")

    def dying(config: dict[str, Any]) -> None:
        if not Path(ledger + ".died").exists():
            counting({**config, "steps": 2})
            Path(ledger + ".died").touch()
            time.sleep(1.0)
            os.kill(os.getpid(), signal.SIGKILL)
        counting(config)

    space = {"x": 1.0, "ledger": ledger, "steps": 4, "seconds": 0.01}
    results = go(dying, run_settings, config=space, name="dying")
    assert results[0].status == "COMPLETED"
    steps = [line for line in Path(ledger).read_text().splitlines() if line.startswith("step")]
    assert steps == [f"step 00000 {i}" for i in (1, 2, 3, 4)], "went on from its checkpoint"
    events = events_of(run_settings["journal"], "dying")
    lost = next(e for e in events if isinstance(e, ev.WorkerLost))
    again = next(e for e in events if isinstance(e, ev.AttemptAssigned) and e.attempt == 2)
    assert again.resume_from is not None
    assert again.resume_from["step"] == 2
    assert again.at - lost.at < 60


def test_a_trial_that_ignores_its_stop_is_killed_after_the_grace_period(run_settings: dict[str, Any]) -> None:
    def stubborn(config: dict[str, Any]) -> None:
        tune.report({"score": 1.0})
        time.sleep(2 * HANGS_S)

    began = time.monotonic()
    results = go(stubborn, run_settings, name="stubborn", stop={"training_iteration": 1}, grace_period_s=0.5)
    assert time.monotonic() - began < HANGS_S
    assert results[0].status == "COMPLETED"
    assert results[0].metrics["score"] == 1.0


def test_stop_criteria_and_stopper(run_settings: dict[str, Any], tmp_path: Path) -> None:
    space = {"x": 1.0, "ledger": str(tmp_path / "l"), "steps": 50, "seconds": 0.05}
    results = go(counting, run_settings, config=space, name="stops", stop={"score": 2.0})
    assert 2 <= results[0].metrics["training_iteration"] < 50
    results = go(counting, run_settings, config=space, name="stopper", stop=lambda i, r: r["score"] >= 3)
    assert 3 <= results[0].metrics["training_iteration"] < 50
    assert results[0].metrics["score"] >= 3


def test_a_stopped_trial_trains_no_further_and_leaves_its_worker_to_the_next(
    run_settings: dict[str, Any],
) -> None:
    def epochs(config: dict[str, Any]) -> None:
        from raytune_gp.trainable import session

        session.AWAIT_SHARE = session.AWAIT_S = 60.0  # this machine may be busy
        for epoch in range(5):
            time.sleep(1.0)
            tune.report({"score": float(epoch), "pid": os.getpid()})

    def stop(trial: str, result: dict[str, Any]) -> bool:
        return result["training_iteration"] == 2

    more = {"num_samples": 3, "max_concurrent_trials": 1, "grace_period_s": 60.0}
    results = go(epochs, run_settings, name="no_further", stop=stop, **more)
    assert [r.metrics["training_iteration"] for r in results] == [2, 2, 2]
    assert len({r.metrics["pid"] for r in results}) == 1


def test_a_time_budget_ends_the_run(run_settings: dict[str, Any]) -> None:
    def slow(config: dict[str, Any]) -> None:
        for _ in range(1000):
            time.sleep(0.1)
            tune.report({"score": config["x"]})

    began = time.monotonic()
    limits = {"num_samples": -1, "max_concurrent_trials": 1, "time_budget_s": 12.0}  # a start may take ten
    results = go(slow, run_settings, name="budget", **limits)
    assert time.monotonic() - began < HANGS_S
    assert len(results) >= 1


def test_gpus_are_reserved_and_seen(run_settings: dict[str, Any], tmp_path: Path) -> None:
    (there := tmp_path / "there").mkdir()

    def which(config: dict[str, Any]) -> None:
        gpus = os.environ.get("CUDA_VISIBLE_DEVICES", "none")
        (there / tune.get_context().get_trial_id()).touch()
        assert wait_until(lambda: len(list(there.iterdir())) == 4), "they do not run side by side"
        tune.report({"score": 1.0, "gpus": gpus})

    resources = {"cpu": 0.5, "gpu": 1}
    results = go(which, run_settings, num_samples=4, name="gpus", resources_per_trial=resources)
    assert sorted(r.metrics["gpus"] for r in results) == ["0", "1", "2", "3"]
    with pytest.raises(SpecError, match="asks for CPU 1, GPU 64, and no node can hold it"):
        go(which, run_settings, name="too-many", resources_per_trial={"gpu": 64})
    with pytest.raises(SpecError, match="whole number"):
        go(which, run_settings, name="fraction", resources_per_trial={"gpu": 1.5})


class WhereItRuns:
    """A searcher that says which GPUs its process sees."""

    uses_results = False

    def __init__(self, device: str = "cpu"):
        self.device = device

    def update(self, completed: Sequence[Observation], pending: Sequence[dict[str, Any]]) -> None:
        pass

    def suggest(self, request: SuggestionRequest) -> SuggestionBatch:
        seen = {"gpus": os.environ.get("CUDA_VISIBLE_DEVICES", "all")}
        return SuggestionBatch([Suggestion({"x": 0.5}, seen) for _ in range(request.count)])


def test_a_searcher_that_computes_on_a_gpu_has_a_share_of_one(run_settings: dict[str, Any]) -> None:
    whole = {"cpu": 0.5, "gpu": 1}
    for name, device in (("share", "cuda"), ("none", "cpu")):
        searcher = WhereItRuns(device)
        go(quick, run_settings, name=name, num_samples=4, search_alg=searcher, resources_per_trial=whole)
    answers = {
        name: [
            e.suggestions
            for e in events_of(run_settings["journal"], name)
            if isinstance(e, ev.SuggestionsReady)
        ]
        for name in ("share", "none")
    }
    seen = {name: {s["provenance"]["gpus"] for a in all for s in a} for name, all in answers.items()}
    assert seen["none"] == {""}
    assert len(seen["share"]) == 1
    assert seen["share"] < {"0", "1", "2", "3"}
    with pytest.raises(SpecError, match=r"no node can hold it beside the searcher, which takes 0.1 GPU"):
        go(quick, run_settings, name="all", search_alg=WhereItRuns("cuda"), resources_per_trial={"gpu": 4})
    with pytest.raises(SpecError, match="device is 'cuda:1', and Ray chooses the coordinator"):
        go(quick, run_settings, name="one", search_alg=WhereItRuns("cuda:1"))
    with pytest.raises(SpecError, match="this node, where the coordinator runs, has 4 GPUs"):
        check_share(64)


def test_what_ray_cannot_run_uses_up_no_name(run_settings: dict[str, Any]) -> None:
    with pytest.raises(SpecError, match="no node can hold it"):
        go(quick, run_settings, name="name", resources_per_trial={"gpu": 64})
    assert len(go(quick, run_settings, name="name")) == 1


def test_a_gpu_is_not_used_again_by_a_process_that_failed(run_settings: dict[str, Any]) -> None:
    def fails_once(config: dict[str, Any]) -> None:
        tune.report({"score": 1.0, "pid": os.getpid()})
        if tune.get_context().get_trial_id() == "00000":
            raise RuntimeError("CUDA error: device-side assert triggered")

    settings = {"num_samples": 3, "max_concurrent_trials": 1, "resources_per_trial": {"gpu": 1}}
    first, second, third = (r.metrics["pid"] for r in go(fails_once, run_settings, name="spoilt", **settings))
    assert first != second == third


def test_a_module_that_exits_as_it_is_imported_fails_the_trial(
    run_settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It parses its command line at import: that of the driver is right, that of a worker is not."""

    class Exits:
        def __call__(self, config: dict[str, Any]) -> None: ...

        def __reduce__(self) -> Any:
            return sys.exit, (2,)

    results = go(Exits(), run_settings, name="exits")
    assert "SystemExit: 2" in str(results[0].error)


def test_a_run_that_is_going_on_is_not_ended_by_a_second_resume(run_settings: dict[str, Any]) -> None:
    def slow(config: dict[str, Any]) -> None:
        for step in range(12):
            tune.report({"score": float(step)})
            time.sleep(0.5)

    with ThreadPoolExecutor(1) as other:
        first = other.submit(go, slow, run_settings, name="twice")
        while not [a for a in actors_alive() if a == "twice"]:
            time.sleep(0.1)
        with pytest.raises(RunExistsError, match="is going on in this cluster already"):
            go(slow, run_settings, name="twice", resume=True)
        assert first.result()[0].metrics["score"] == 11.0
    assert [e.term for e in of(events_of(run_settings["journal"], "twice"), ev.TermStarted)] == [1]


def test_names_resume_and_more_samples(run_settings: dict[str, Any]) -> None:
    go(quick, run_settings, num_samples=3, name="again")
    with pytest.raises(RunExistsError, match="resume=True"):
        go(quick, run_settings, num_samples=3, name="again")
    with pytest.raises(RunNotFoundError, match="its newest runs are again"):
        go(quick, run_settings, num_samples=3, name="never", resume=True)
    with pytest.raises(SpecError, match="the search space differs"):
        go(quick, run_settings, num_samples=3, name="again", resume=True, config={"x": tune.uniform(0, 2)})
    same = go(quick, run_settings, num_samples=3, name="again", resume=True)
    assert len(same) == 3
    more = go(quick, run_settings, num_samples=5, name="again", resume=True)
    assert [r.config["x"] for r in more][:3] == [r.config["x"] for r in same]
    assert len(more) == 5
    attempts = [e for e in events_of(run_settings["journal"], "again") if isinstance(e, ev.AttemptAssigned)]
    assert [e.trial for e in attempts] == [f"{i:05d}" for i in range(5)], "finished trials are not run again"


def test_parameters_travel_through_the_object_store(run_settings: dict[str, Any]) -> None:
    data = np.arange(200_000.0)

    def total(config: dict[str, Any], data: Any) -> dict[str, float]:
        return {"score": float(data.sum())}

    results = go(tune.with_parameters(total, data=data), run_settings, num_samples=2, name="parameters")
    assert [r.metrics["score"] for r in results] == [data.sum()] * 2


def test_a_trainable_that_cannot_be_called_is_refused_before_anything_starts(
    run_settings: dict[str, Any],
) -> None:
    with pytest.raises(TrainableError, match="cannot be called with one config"):
        go(lambda: None, run_settings, name="uncallable")
    with pytest.raises(SpecError, match="say what to optimise"):
        go(quick, run_settings, name="nometric", metric=None)


def test_callbacks_hear_of_everything_and_cannot_break_the_run(run_settings: dict[str, Any]) -> None:
    heard: list[str] = []

    class Listener(tune.Callback):
        def on_trial_start(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            heard.append(f"start {trial.id}")

        def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: Any, **info: Any) -> None:
            heard.append(f"result {trial.id} {result['training_iteration']}")

        def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            heard.append(f"complete {trial.id}")

        def on_experiment_end(self, trials: Any, **info: Any) -> None:
            heard.append(f"end {len(trials)}")
            raise RuntimeError("a callback that fails")

    with pytest.warns(RuntimeWarning, match="a callback that fails"):
        go(quick, run_settings, name="callbacks", callbacks=[Listener()])
    assert heard == ["start 00000", "result 00000 1", "complete 00000", "end 1"]


def test_workers_made_ahead_serve_though_their_first_coordinator_died_before_it_wrote_anything(
    run_settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They hold all that is free: a successor that did not know of them would see room for one worker."""
    start = driver.start_coordinator

    def start_second(plan: RunPlan, ahead: float = 0) -> Any:
        journal = SQLJournal(plan.journal)
        journal.raise_term(plan.run)  # what the first one did, and no more
        journal.close()
        return start(plan, ahead)

    monkeypatch.setattr(driver, "start_coordinator", start_second)
    go(quick, run_settings, name="second", num_samples=8, resources_per_trial={"cpu": 1})
    events = events_of(run_settings["journal"], "second")
    assert next(e.term for e in events if isinstance(e, ev.TermStarted)) == 2
    assert next(e.slots for e in events if isinstance(e, ev.CapacityKnown)) == 4
