"""`executor="inline"`: whole runs in this very process, from `tune.run` to the results."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any, cast

import pytest

from raytune_gp import events as ev
from raytune_gp import messages as msg
from raytune_gp import tune
from raytune_gp.errors import (
    JournalLostError,
    RunExistsError,
    RunFailedError,
    RunNotFoundError,
    SpecError,
    TrainableError,
    TrialFailedError,
)
from raytune_gp.execution.inline import InlineExecutor
from raytune_gp.execution.loop import Loop
from raytune_gp.failures import POLICIES, FailureKind
from raytune_gp.space import SearchSpace
from raytune_gp.storage.artifacts import Storage
from raytune_gp.storage.journal import SQLJournal
from raytune_gp.trainable.classes import WhenToSave
from tests.execution.watching import events_of
from tests.patience import HANGS_S
from trainables import data
from trainables.cifar10 import train as train_cifar

SPACE = {"x": tune.uniform(0, 1)}


@pytest.fixture
def run(run_settings: dict[str, Any]) -> Any:
    """`tune.run` in this process, with a short list of defaults."""

    def go(trainable: Any, **given: Any) -> Any:
        settings = {
            "config": SPACE,
            "metric": "score",
            "mode": "max",
            "search_alg": "random",
            "executor": "inline",
            "name": "run",
            **run_settings,
            **given,
        }
        return tune.run(trainable, **settings)

    return go


def quick(config: dict[str, Any]) -> None:
    tune.report({"score": config["x"]})


def test_a_run_within_a_trial_leaves_the_trial_its_reports(run: Any) -> None:
    def tunes_within(config: dict[str, Any]) -> None:
        inner = run(quick, num_samples=2, name="inner", resume="auto")
        tune.report({"score": 10 + inner.best_result.metrics["score"]})

    outer = run(tunes_within)
    assert outer.best_result.metrics["score"] > 10


def test_runs_in_several_threads_keep_their_reports_apart(run: Any) -> None:
    both, results = threading.Barrier(2, timeout=HANGS_S), {}

    def training(config: dict[str, Any], share: float) -> None:
        for step in range(3):
            both.wait()
            tune.report({"score": share + step})

    def tuning(share: float) -> None:
        results[share] = run(tune.with_parameters(training, share=share), name=f"run-{share}")

    threads = [threading.Thread(target=tuning, args=(share,)) for share in (0.25, 0.5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for share, grid in results.items():
        assert grid[0].metrics_dataframe["score"].tolist() == [share, share + 1, share + 2]


def test_a_thread_that_may_be_of_either_of_two_trials_has_to_leave_reporting_to_them(run: Any) -> None:
    both, messages = threading.Barrier(2, timeout=HANGS_S), []

    def reporting() -> None:
        with pytest.raises(TrainableError) as caught:
            tune.report({"score": 1.0})
        messages.append(str(caught.value))

    def training(config: dict[str, Any]) -> None:
        both.wait()
        thread = threading.Thread(target=reporting)
        thread.start()
        thread.join()
        both.wait()
        tune.report({"score": config["x"]})

    threads = [threading.Thread(target=run, args=(training,), kwargs={"name": f"run-{k}"}) for k in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(messages) == 2
    assert "several runs have a trial in this process" in messages[0]


def test_a_callback_that_exits_ends_the_program_and_the_run_goes_on_later(run: Any) -> None:
    class Leaver(tune.Callback):
        def on_trial_result(self, *_: Any, **info: Any) -> None:
            sys.exit(3)

    def train(config: Any) -> None:
        for step in range(3):
            tune.report({"score": config["x"] + step})

    settings = {"config": {"x": tune.uniform(0, 1)}, "num_samples": 2, "name": "left"}
    with pytest.raises(SystemExit, match="3"):
        run(train, callbacks=[Leaver()], **settings)
    results = run(train, resume=True, **settings)
    assert [result.status for result in results] == ["COMPLETED", "COMPLETED"]


def test_what_a_trial_does_to_its_config_is_its_own_affair(run: Any) -> None:
    def greedy(config: dict[str, Any]) -> None:
        tune.report({"score": len(config["layers"]) + len(config["fixed"]["of"])})
        config["layers"].append(1)
        config["fixed"]["of"].append(1)

    space = {"layers": tune.choice([[8, 8]]), "fixed": {"of": [1, 2, 3]}, "x": tune.uniform(0, 1)}
    grid = run(greedy, config=space, num_samples=3)
    assert [result.metrics["score"] for result in grid] == [5, 5, 5]
    grid[0].config["layers"].append(2)
    assert grid[0].config["layers"] == grid[1].config["layers"] == [8, 8]


def resuming(config: dict[str, Any], steps: int = 4, seen: list[Any] | None = None) -> None:
    """Count to `steps` from the checkpoint on, with a checkpoint each step."""
    checkpoint, first = tune.get_checkpoint(), 0
    if checkpoint is not None:
        with checkpoint.as_directory() as directory:
            first = int((Path(directory) / "step").read_text())
    for step in range(first + 1, steps + 1):
        if seen is not None:
            seen.append((tune.get_context().get_trial_id(), step))
        with tempfile.TemporaryDirectory() as directory:
            (Path(directory) / "step").write_text(str(step))
            tune.report({"score": config["x"] * step}, checkpoint=directory)


# --- the way of a run ---


def test_a_run_is_of_this_process_and_thread_and_ends_with_its_results(run: Any) -> None:
    places = set()

    def train(config: dict[str, Any]) -> dict[str, Any]:
        places.add((os.getpid(), threading.current_thread()))
        return {"score": config["x"]}

    results = run(train, num_samples=5)
    assert places == {(os.getpid(), threading.main_thread())}
    assert len(results) == 5
    assert results.best_config["x"] == max(r.config["x"] for r in results)
    assert results.get_best_result().metrics["training_iteration"] == 1
    assert not [t.name for t in threading.enumerate() if t.name.startswith("raytune")]


def test_the_gp_learns_from_trials_here_too(run: Any) -> None:
    results = run(
        lambda config: {"score": -((config["x"] - 0.3) ** 2)}, search_alg="gp", num_samples=12, seed=1
    )
    assert results.best_config["x"] == pytest.approx(0.3, abs=0.03)
    assert [t.provenance["method"] for t in results.state.trials.values()].count("gp") == 8


def test_a_decision_comes_before_the_next_step(run: Any) -> None:
    steps: Counter[str] = Counter()

    def train(config: dict[str, Any]) -> None:
        for step in range(1, 100):
            steps[tune.get_context().get_trial_id()] += 1
            tune.report({"score": float(step)})

    results = run(train, num_samples=3, stop={"score": 4})
    assert dict(steps) == {"00000": 4, "00001": 4, "00002": 4}
    assert [r.metrics["score"] for r in results] == [4.0] * 3
    assert {r.status.value for r in results} == {"COMPLETED"}


def test_the_median_rule_stops_what_lags_behind(run: Any) -> None:
    values = [3, 4, 5, 1, 9, 2]

    def train(config: dict[str, Any]) -> None:
        for step in range(1, 5):
            tune.report({"score": config["value"] * step})

    results = run(train, config={"value": tune.grid_search(values)}, scheduler="median")
    outcome = {r.config["value"]: (r.status.value, r.metrics["training_iteration"]) for r in results}
    assert outcome[1] == outcome[2] == ("STOPPED", 2), "at the first step past the grace period"
    assert {outcome[v] for v in (3, 4, 5, 9)} == {("COMPLETED", 4)}


def test_checkpoints_are_kept_by_rank_and_read_back(run: Any, tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> None:
        for step, score in enumerate([1.0, 9.0, 3.0, 8.0, 2.0], start=1):
            folder = tmp_path / "mine"
            folder.mkdir(exist_ok=True)
            (folder / "step").write_text(str(step))
            tune.report({"score": score}, checkpoint=tune.Checkpoint.from_directory(folder))

    keep = tune.CheckpointConfig(num_to_keep=3, checkpoint_score_attribute="score")
    result = run(train, checkpoint_config=keep)[0]
    kept = [Path(c.path, "step").read_text() for c, _ in result.best_checkpoints]
    assert kept == ["2", "4", "5"], "the two best, and the newest"
    assert sorted(p.name for p in Path(result.path).iterdir()) == [
        f"checkpoint_001_00000{k}" for k in kept
    ], "the rest is deleted"
    assert Path(result.checkpoint.path, "step").read_text() == "5"


def test_a_failure_is_tried_again_from_the_last_checkpoint(run: Any, run_settings: dict[str, Any]) -> None:
    seen: list[Any] = []

    def train(config: dict[str, Any]) -> None:
        resuming(config, steps=2 if not seen else 4, seen=seen)
        if len(seen) == 2:
            raise ValueError("the first time")

    [result] = run(train, max_failures=1)
    assert seen == [("00000", k) for k in (1, 2, 3, 4)], "no step twice"
    assert result.status.value == "COMPLETED"
    assert result.metrics["training_iteration"] == 4
    attempts = [e.attempt for e in events_of(run_settings["journal"]) if isinstance(e, ev.AttemptAssigned)]
    assert attempts == [1, 2]
    times = [
        e.metrics["time_total_s"] for e in events_of(run_settings["journal"]) if isinstance(e, ev.Reported)
    ]
    assert times == sorted(times)


def test_failures_are_kept_and_the_run_goes_on_unless_it_is_told_otherwise(run: Any) -> None:
    def train(config: dict[str, Any]) -> None:
        tune.report({"score": config["k"]})
        if config["k"] == 1:
            raise ValueError("k is one")

    grid = {"k": tune.grid_search([0, 1, 2])}
    results = run(train, config=grid)
    assert results.num_errors == 1
    assert "ValueError: k is one" in str(results[1].error)
    assert results.get_best_result().config["k"] == 2
    with pytest.raises(TrialFailedError, match=r"1 of 3 trials failed \(00001\)"):
        run(train, config=grid, name="strict", raise_on_failed_trial=True)
    with pytest.raises(RunFailedError, match="trial 00001 failed and fail_fast is set: ValueError: k is one"):
        run(train, config=grid, name="fast", fail_fast=True)


def test_a_searcher_that_raises_ends_the_run_with_its_reason(run: Any) -> None:
    class Broken:
        uses_results = True

        def update(self, completed: Any, pending: Any) -> None:
            """Learns nothing."""

        def suggest(self, request: Any) -> Any:
            raise ZeroDivisionError("on purpose")

    with pytest.raises(RunFailedError, match=r"(?s)the searcher raised.*ZeroDivisionError: on purpose"):
        run(quick, search_alg=Broken())


# --- spaces ---


def test_grid_axes_are_outermost_and_samples_repeat_them(run: Any) -> None:
    space = {"axis": tune.grid_search(["u", "v"]), "deep": {"k": tune.grid_search([1, 2])}, "x": SPACE["x"]}
    for alg in ("random", "gp"):
        results = run(quick, config=space, num_samples=2, search_alg=alg, name=alg)
        cells = [(r.config["axis"], r.config["deep"]["k"]) for r in results]
        assert cells == [("u", 1), ("u", 2), ("v", 1), ("v", 2)] * 2
        distinct = {(*cell, r.config["x"]) for cell, r in zip(cells, results, strict=True)}
        assert len(distinct) == 8, "a cell's second sample is another one"


def test_a_whole_grid_is_gone_through_and_no_more(run: Any) -> None:
    space = {"a": tune.choice(["u", "v"]), "b": tune.randint(0, 3)}
    results = run(lambda config: {"score": config["b"]}, config=space, search_alg="grid")
    assert len({(r.config["a"], r.config["b"]) for r in results}) == len(results) == 6
    results = run(lambda config: {"score": 1}, config=space, search_alg="grid", num_samples=99, name="more")
    assert len(results) == 6


def test_conditions_computed_values_constants_and_objects(run: Any) -> None:
    space = {
        "kind": tune.choice([len, max]),
        "depth": tune.when("kind", [len], tune.randint(1, 9)),
        "twice": tune.sample_from(lambda config: 2 * config["x"]),
        "chance": tune.sample_from(lambda rng: float(rng.random())),
        "x": tune.uniform(0, 1),
        "constant": {"epochs": 3, "call": print},
    }
    heard: list[dict[str, Any]] = []

    def train(config: dict[str, Any]) -> dict[str, Any]:
        heard.append(config)
        return {"score": config["x"]}

    results = run(train, config=space, num_samples=10)
    assert [r.config for r in results] == heard
    for config in heard:
        assert ("depth" in config) == (config["kind"] is len)
        assert config["twice"] == 2 * config["x"]
        assert config["constant"] == {"epochs": 3, "call": print}
    assert len({c["chance"] for c in heard}) == 10
    assert {c["kind"] for c in heard} == {len, max}


def test_guesses_come_first(run: Any) -> None:
    space = {"x": tune.uniform(0, 1), "k": tune.choice(["a", "b"])}
    guesses = [{"x": 0.125, "k": "b"}, {"k": "a"}]
    results = run(quick, config=space, points_to_evaluate=guesses, num_samples=4, search_alg="gp")
    assert results[0].config == guesses[0]
    assert results[1].config["k"] == "a"
    methods = [t.provenance["method"] for t in results.state.trials.values()]
    assert methods == ["guess", "guess", "initial", "initial"]


WITHOUT_RAY = """
import sys
from raytune_gp import tune

settings = {"metric": "score", "mode": "max", "search_alg": "random", "executor": "inline", "verbose": 0}
space = {"x": tune.uniform(0, 1)}
journal = f"sqlite:///{sys.argv[1]}/j.db"
tune.run(lambda c: {"score": c["x"]}, config=space, storage_path=sys.argv[1], journal=journal, **settings)
print("ray" in sys.modules, "torch" in sys.modules)
"""


def test_neither_ray_nor_torch_is_loaded_where_nothing_needs_them(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WITHOUT_RAY, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=HANGS_S)
    assert (done.stdout, done.returncode) == ("False False\n", 0), done.stderr


# --- what cannot break a run ---


def test_a_locked_journal_is_told_of_and_waited_for(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("raytune_gp.storage.sqlite.BUSY_S", 0.05)
    others = []

    def train(config: dict[str, Any]) -> None:
        other = sqlite3.connect(tmp_path / "journal.db", isolation_level=None, check_same_thread=False)
        other.execute("BEGIN IMMEDIATE")
        others.append(other)
        threading.Timer(0.5, other.rollback).start()
        tune.report({"score": config["x"]})

    [result] = run(train)
    err = capsys.readouterr().err
    assert result.status.value == "COMPLETED"
    assert err.count("run 'run' is paused") == err.count("run 'run' goes on") == 1
    others[0].close()


def test_a_journal_deleted_under_a_trial_ends_the_run(run: Any, tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> None:
        (tmp_path / "journal.db").unlink()
        for step in range(3):
            with contextlib.suppress(Exception):
                tune.report({"score": float(step)})

    with pytest.raises(JournalLostError, match="was deleted or moved away while a run used it"):
        run(train)


def test_a_table_that_cannot_be_drawn_breaks_no_run(
    run: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("raytune_gp.progress.Progress.update", lambda *_: 1 / 0)
    assert len(run(quick, num_samples=3)) == 3
    assert capsys.readouterr().err.count("ZeroDivisionError") == 1


def test_a_journal_on_a_network_file_system_is_warned_of(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raytune_gp.storage.urls.network_file_system", lambda path: "nfs4")
    with pytest.warns(UserWarning, match=r"journal\.db lies on a network file system \(nfs4\).*Give a local"):
        run(quick)


# --- resuming ---


def test_a_finished_run_goes_on_with_more_samples(run: Any, run_settings: dict[str, Any]) -> None:
    first = run(quick, num_samples=3)
    more = run(quick, num_samples=5, resume=True)
    assert [r.config for r in more][:3] == [r.config for r in first]
    assert [r.config for r in more] == [r.config for r in run(quick, num_samples=5, name="at-once")]
    again = run(quick, num_samples=5, resume=True)
    assert len(again) == 5
    assert sum(isinstance(e, ev.RunResumed) for e in events_of(run_settings["journal"])) == 1, (
        "nothing was left to do"
    )


def test_what_cannot_be_resumed(run: Any) -> None:
    run(quick, num_samples=3)
    with pytest.raises(RunExistsError, match="run"):
        run(quick)
    with pytest.raises(RunNotFoundError, match=r"no run named 'other'.*resume=.auto. begins a run"):
        run(quick, name="other", resume=True)
    with pytest.raises(SpecError, match="the search space differs"):
        run(quick, resume=True, config={"x": tune.uniform(0, 2)})
    with pytest.raises(SpecError, match=r"num_samples is 2, and run 'run' has 3 trials already"):
        run(quick, resume=True, num_samples=2)
    assert len(run(quick, name="fresh", resume="auto")) == 1


def test_a_slip_in_the_metrics_name_ends_the_run_early_and_is_put_right_on_resumption(run: Any) -> None:
    with pytest.raises(RunFailedError, match=r"no trial reported 'scores'.* did you mean 'score'\?"):
        run(quick, metric="scores", num_samples=50)
    results = run(quick, metric="score", num_samples=50, resume=True)
    assert len(results) == 50
    assert results.num_errors == 0
    assert [r.metrics["score"] for r in results] == [r.config["x"] for r in results]
    assert results.get_best_result().config["x"] == max(r.config["x"] for r in results)
    with pytest.raises(SpecError, match="metrics is "):
        run(quick, metric="scores", num_samples=60, resume=True)


def test_a_retry_is_waited_for_asleep(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    short = dataclasses.replace(POLICIES[FailureKind.HOST_MEMORY], delays_s=(1.0,))
    monkeypatch.setitem(POLICIES, FailureKind.HOST_MEMORY, short)
    turns: list[Loop] = []
    began: list[float] = []
    turn = Loop.turn

    def noted(loop: Loop) -> None:
        turns.append(loop)
        turn(loop)

    monkeypatch.setattr(Loop, "turn", noted)

    def train(config: dict[str, Any]) -> None:
        began.append(time.monotonic())
        if len(began) == 1:
            raise MemoryError
        tune.report({"score": 1.0})

    [result] = run(train)
    assert result.status.value == "COMPLETED"
    assert began[1] - began[0] >= 0.9
    assert len(turns) < 50, "each second that is waited for takes a turn or two"


def test_a_storage_that_cannot_be_leaves_no_run_behind(
    run: Any, run_settings: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("no directory")
    with pytest.raises(SpecError, match=r"storage_path '.*' cannot be used"):
        run(quick, storage_path=str(tmp_path / "file" / "runs"))
    assert SQLJournal(run_settings["journal"]).runs() == []


def test_a_changed_trainable_is_told_of(run: Any) -> None:
    run(quick)

    def changed(config: dict[str, Any]) -> None:
        tune.report({"score": 2 * config["x"]})

    with pytest.warns(UserWarning, match="the trainable of run 'run' has changed"):
        run(changed, resume=True, num_samples=2)


def test_control_c_passes_through_and_the_run_goes_on_where_it_was(
    run: Any, run_settings: dict[str, Any]
) -> None:
    steps: list[Any] = []
    interrupts = [True]

    def train(config: dict[str, Any]) -> None:
        resuming(config, steps=2, seen=steps)
        if tune.get_context().get_trial_id() == "00001" and interrupts:
            interrupts.pop()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(train, num_samples=3)
    ended = [e.trial for e in events_of(run_settings["journal"]) if isinstance(e, ev.TrialEnded)]
    assert ended == ["00000"]
    results = run(train, num_samples=3, resume=True)
    assert {r.status.value for r in results} == {"COMPLETED"}
    assert [r.metrics["training_iteration"] for r in results] == [2, 2, 2]
    assert [s for s in steps if s[0] != "00001"] == [(t, k) for t in ("00000", "00002") for k in (1, 2)]
    assert {s for s in steps if s[0] == "00001"} == {("00001", 1), ("00001", 2)}
    ends = Counter(e.trial for e in events_of(run_settings["journal"]) if isinstance(e, ev.TrialEnded))
    assert set(ends.values()) == {1}


def test_callbacks_and_stoppers_of_the_user(run: Any) -> None:
    heard: list[Any] = []

    class Listener(tune.Callback):
        def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: Any, **info: Any) -> None:
            heard.append((iteration, trial.id, result["score"]))

    def train(config: dict[str, Any]) -> None:
        for step in range(1, 9):
            tune.report({"score": step})

    run(train, num_samples=2, callbacks=[Listener()], stop=lambda trial_id, result: result["score"] >= 2)
    assert heard == [(1, "00000", 1), (2, "00000", 2), (3, "00001", 1), (4, "00001", 2)]


def test_another_thread_may_report(run: Any) -> None:
    def train(config: dict[str, Any]) -> None:
        def work() -> None:
            for step in (1, 2, 3):
                tune.report({"score": step})

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()

    [result] = run(train)
    assert result.metrics["score"] == 3


def test_a_trial_that_is_told_to_end_as_it_is_started_does_so_at_its_first_report(run: Any) -> None:
    def train(config: dict[str, Any]) -> None:
        for step in range(8):
            tune.report({"score": step})
        time.sleep(0.6)  # here the budget is used up: the next trial is created and told to end in one turn

    first, second = run(train, num_samples=5, time_budget_s=0.5)
    assert (first.status, first.metrics["training_iteration"]) == ("COMPLETED", 8)
    assert (second.status, second.metrics["training_iteration"]) == ("PENDING", 1)


def test_a_time_budget_ends_a_run_that_has_no_other_bound(run: Any) -> None:
    def train(config: dict[str, Any]) -> None:
        tune.report({"score": config["x"]})

    results = run(train, num_samples=-1, time_budget_s=2.0)
    assert results.state.status.value == "STOPPED"
    assert "the time budget of 2 s is used up" in results.state.reason
    assert len(results) > 1


# --- the CIFAR-10 trainable, as a function and as a program ---


def test_cifar_gives_one_table_as_function_and_as_script(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("CIFAR10_DIR", raising=False)
    monkeypatch.setattr(data, "URL", (tmp_path / "no-such-site").as_uri())
    small = {"data": "digits", "model": "resnet8_v2", "width": 4, "batch_size": 64, "epochs": 1}
    small |= {"train_size": 200, "device": "cpu"}
    rates = tune.loguniform(0.01, 1.0)
    settings = {"metric": "accuracy", "num_samples": 2, "seed": 3}
    as_function = run(train_cifar, config={**small, "learning_rate": rates}, name="function", **settings)
    program = tune.Script(
        ["python", "-m", "trainables.cifar10", "--threads", "1"],
        metrics={"accuracy": r"validation: accuracy=([0-9.]+)", "loss": r"validation: .* loss=([0-9.]+)"},
        env={"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    as_script = run(program, config={**small, "learning_rate": rates}, name="script", **settings)
    assert as_script.num_errors == 0, as_script.errors
    for one, other in zip(as_function, as_script, strict=True):
        assert one.config == other.config
        for metric in ("accuracy", "loss"):
            assert one.metrics[metric] == pytest.approx(other.metrics[metric], abs=2e-6)


def test_a_trial_that_waits_for_its_turn_hears_that_it_is_to_end(tmp_path: Path) -> None:
    """At its first report, as on Ray; an interrupt of another attempt is not its own."""

    def train(config: dict[str, Any]) -> None:
        for step in range(5):
            tune.report({"score": step})

    storage = Storage(str(tmp_path), "run")
    space = SearchSpace(SPACE)
    executor = InlineExecutor(
        "run", train, space, cast(Any, None), storage, lambda *_: None, {"cpu": 1}, WhenToSave()
    )
    executor.send(msg.Connect("w0/1", 0, True, 0))
    executor.send(msg.Start("w0/1", "00000", 2, {"x": 0.5}, None, 0.0))
    executor.send(msg.Interrupt("w0/1", "00000", 1, "stop", 1.0))
    executor.send(msg.Interrupt("w0/1", "00000", 2, "pause", 1.0))
    items = [i for i in executor.next(None) if isinstance(i, msg.Item)]
    assert [i.kind for i in items] == ["started", "report", "ended"]
    assert items[-1].body["outcome"] == "interrupted"


# --- programs ---

SAVING = """
import os, pathlib, sys
state = pathlib.Path(os.environ["SM_CHECKPOINT_DIR"], "epoch")
done = int(state.read_text()) if state.exists() else 0
for epoch in range(done + 1, 5):
    state.write_text(str(epoch))
    print(f"score={epoch}", flush=True)
    if epoch == 2 and not done:
        import time
        while not list(pathlib.Path(os.environ["TRIAL"]).glob("checkpoint_*_000002")):
            time.sleep(0.05)  # what has rested for a while is kept, whatever comes
        os._exit(1)
"""


def test_a_program_that_crashed_goes_on_from_its_checkpoint(run: Any, run_settings: Any) -> None:
    program = tune.Script(
        [sys.executable, "-c", SAVING],
        metrics={"score": "score={float}"},
        env={"TRIAL": f"{run_settings['storage_path']}/run/trial_00000"},
    )
    results = run(program, num_samples=1, max_failures=1)
    [trial] = results.state.trials.values()
    assert (trial.status.value, trial.attempt) == ("COMPLETED", 2), trial.error
    assert trial.history.columns["score"].tolist() == [1, 2, 3, 4]
    with results[0].checkpoint.as_directory() as directory:
        assert Path(directory, "checkpoints", "epoch").read_text() == "4"


def test_a_pattern_that_matches_nothing_ends_the_run_with_the_pattern(run: Any) -> None:
    program = tune.Script(
        [sys.executable, "-c", "import time; print('Score: 3', flush=True); time.sleep(1000)"],
        metrics={"score": "score={float}"},
        metric_timeout_s=1.0,
    )
    with pytest.raises(RunFailedError) as failed:
        run(program, num_samples=20)
    message = str(failed.value)
    assert "no trial reported 'score', the metric to optimise" in message
    assert (
        "The first 3 trials reported nothing. Trial 0: MetricMissingError: within 1 s, metric_ti" in message
    )
    assert "score is looked for by 'score={float}'; try them by `raytune-gp check" in message
