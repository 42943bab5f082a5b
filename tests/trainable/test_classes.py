"""Class trainables: their steps, when they are saved, and how they go on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from raytune_gp import tune
from raytune_gp.errors import SpecError, TrainableError
from raytune_gp.trainable.classes import WhenToSave
from raytune_gp.trainable.run import Outcome, check_trainable, run_attempt
from tests.trainable.support import Bench


class Counter(tune.Trainable):
    """Adds `rate` at each step, `steps` times; a file is its state."""

    def setup(self, config: Any) -> None:
        self.told: list[str] = config.get("told", [])
        self.told.append("setup")
        self.total = 0.0

    def step(self) -> Any:
        self.total += self.config["rate"]
        last = self.iteration + 1 == self.config["steps"]
        return {"total": self.total, "done": last, "should_checkpoint": self.iteration == 0}

    def save_checkpoint(self, checkpoint_dir: str) -> Any:
        self.told.append(f"save {self.iteration}")
        (Path(checkpoint_dir) / "total").write_text(str(self.total))

    def load_checkpoint(self, checkpoint: Any) -> None:
        self.total = float((Path(checkpoint) / "total").read_text())
        self.told.append(f"load {self.iteration}")

    def cleanup(self) -> None:
        self.told.append("cleanup")


class InWords(Counter):
    """Its state is a dictionary."""

    def save_checkpoint(self, checkpoint_dir: str) -> Any:
        return {"total": self.total}

    def load_checkpoint(self, checkpoint: Any) -> None:
        self.total = checkpoint["total"]


class Stateless(tune.Trainable):
    """Has nothing to save."""

    def step(self) -> Any:
        return {"total": 1.0}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def ended(bench: Bench, cls: Any, when: WhenToSave | None = None, **config: Any) -> Outcome:
    return run_attempt(cls, {"rate": 2.0, "steps": 3, **config}, bench.session, when)


def stored(bench: Bench) -> list[int]:
    return [body["step"] for kind, body in bench.said if kind == "checkpoint"]


def test_it_steps_until_it_is_done_and_cleans_up(bench: Bench) -> None:
    told: list[str] = []

    class Noting(Counter):
        def setup(self, config: Any) -> None:
            super().setup(config)
            self.told = told
            told.append(f"setup {self.trial_id} {self.trial_name} {self.trial_resources} {self.iteration}")

    assert ended(bench, Noting) == Outcome("completed")
    assert [r["total"] for r in bench.reports] == [2.0, 4.0, 6.0]
    assert not any({"done", "should_checkpoint"} & r.keys() for r in bench.reports)
    assert told == ["setup 00000 trial_00000 {'cpu': 1} 0", "save 1", "cleanup"]


@pytest.mark.parametrize(
    ("when", "steps"),
    [
        (WhenToSave(), [1]),
        (WhenToSave(2), [1, 2, 4]),
        (WhenToSave(0, at_end=True), [1, 5]),
    ],
)
def test_when_it_is_saved(bench: Bench, when: WhenToSave, steps: list[int]) -> None:
    ended(bench, Counter, when, steps=5)
    assert stored(bench) == steps


@pytest.mark.parametrize("cls", [Counter, InWords])
def test_it_goes_on_from_its_checkpoint(cls: Any, bench: Bench, tmp_path: Path) -> None:
    ended(bench, cls, WhenToSave(2), steps=2)
    path = [body["path"] for kind, body in bench.said if kind == "checkpoint"][-1]
    again = Bench(tmp_path, attempt=2, start_step=2, resume_from=path)
    ended(again, cls, WhenToSave(2), steps=4)
    assert [(r["training_iteration"], r["total"]) for r in again.reports] == [(3, 6.0), (4, 8.0)]


@pytest.mark.parametrize(
    ("mode", "when", "saved"),
    [
        ("stop", WhenToSave(), [1]),
        ("stop", WhenToSave(0, at_end=True), [1, 2]),
        ("pause", WhenToSave(), [1, 2]),
        ("evict", WhenToSave(), [1, 2]),
    ],
)
def test_one_that_is_told_to_end_is_saved_where_it_is_to_go_on(
    bench: Bench, mode: str, when: WhenToSave, saved: list[int]
) -> None:
    class Told(Counter):
        def step(self) -> Any:
            if self.iteration == 1:
                bench.session.interrupt(mode)
            return super().step()

    assert ended(bench, Told, when, steps=100) == Outcome("interrupted")
    assert stored(bench) == saved
    assert len(bench.reports) == 2


def test_one_that_is_done_when_it_is_told_to_pause_is_completed(bench: Bench) -> None:
    class Told(Counter):
        def step(self) -> Any:
            bench.session.interrupt("pause")
            return {**super().step(), "done": True}

    assert ended(bench, Told) == Outcome("completed")


def test_one_without_a_state_to_save_can_be_evicted(bench: Bench) -> None:
    class Told(Stateless):
        def step(self) -> Any:
            bench.session.interrupt("evict")
            return super().step()

    assert ended(bench, Told) == Outcome("interrupted")
    assert bench.kinds == ["report"]


def test_it_cleans_up_after_a_failure_of_which_its_own_frames_tell(bench: Bench) -> None:
    told: list[str] = []

    class Failing(Counter):
        def step(self) -> Any:
            raise ValueError("too far")

        def cleanup(self) -> None:
            told.append("cleanup")

    outcome = ended(bench, Failing)
    assert outcome.kind == "failed"
    assert told == ["cleanup"]
    assert outcome.error is not None
    assert outcome.error.endswith("ValueError: too far")
    assert "run_steps" not in outcome.error


class ReturnsNothing(Counter):
    def step(self) -> Any:
        return None


class SavesElsewhere(Counter):
    def save_checkpoint(self, checkpoint_dir: str) -> Any:
        return "/somewhere/else"


class SavesObjects(Counter):
    def save_checkpoint(self, checkpoint_dir: str) -> Any:
        return {"weights": object()}


@pytest.mark.parametrize(
    ("cls", "message"),
    [
        (ReturnsNothing, r"step\(\) of ReturnsNothing returned None; it must return a dictionary of metrics"),
        (SavesElsewhere, "returned '/somewhere/else', which is not in checkpoint_dir: write there"),
        (SavesObjects, r"no JSON \(Object of type object .*\): write what it holds into checkpoint_dir"),
    ],
)
def test_what_cannot_be_is_said(bench: Bench, cls: Any, message: str) -> None:
    outcome = ended(bench, cls)
    assert outcome.kind == "failed"
    assert re.search(message, str(outcome.error)), outcome.error


def test_objects_come_to_setup(bench: Bench) -> None:
    class Reader(Stateless):
        def setup(self, config: Any, data: Any = None) -> None:
            self.data = data

        def step(self) -> Any:
            return {"total": sum(self.data) * self.config["rate"], "done": True}

    made = tune.with_resources(tune.with_parameters(Reader, data=[1, 2]), {"cpu": 2})
    check_trainable(made)
    assert ended(bench, made) == Outcome("completed")
    assert bench.reports[0]["total"] == 6.0


def test_a_subclass_of_rays_own_is_driven_too(bench: Bench) -> None:
    pytest.importorskip("ray.tune")
    from ray.tune import Trainable as Theirs

    class Their(Theirs):
        def setup(self, config: Any) -> None:
            self.total = 0.0

        def step(self) -> Any:
            self.total += self.config["rate"]
            return {"total": self.total, "done": self.iteration == 2}

        def save_checkpoint(self, checkpoint_dir: str) -> Any:
            return {"total": self.total}

        def load_checkpoint(self, checkpoint: Any) -> None:
            self.total = checkpoint["total"]

    check_trainable(Their)
    assert ended(bench, Their, WhenToSave(1)) == Outcome("completed")
    assert [r["total"] for r in bench.reports] == [2.0, 4.0, 6.0]
    assert stored(bench) == [1, 2, 3]


@pytest.mark.parametrize(
    ("trainable", "settings", "message"),
    [
        (lambda config: None, {"checkpoint_frequency": 2}, "checkpoint_frequency is set, which is for class"),
        (lambda config: None, {"checkpoint_at_end": True}, "checkpoint_at_end is set, which is for class"),
        (Stateless, {"checkpoint_frequency": 1}, r"and Stateless has no save_checkpoint\(\): write one"),
        (
            Counter,
            {"checkpoint_frequency": -1},
            "checkpoint_frequency is -1; it must be 0, for never, or more",
        ),
        (Counter, {"checkpoint_at_end": "yes"}, "checkpoint_at_end is 'yes'; it must be True or False"),
    ],
)
def test_settings_of_checkpoints_that_cannot_be(trainable: Any, settings: Any, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        tune.run(
            trainable,
            metric="total",
            mode="max",
            executor="inline",
            checkpoint_config=tune.CheckpointConfig(**settings),
        )


def test_another_class_is_no_trainable() -> None:
    class Model:
        def __init__(self, config: Any) -> None:
            pass

    with pytest.raises(TrainableError, match=r"Model is a class without step\(\): derive it from tune.Train"):
        check_trainable(Model)


def test_a_run_of_a_class_stops_by_its_criteria(run_settings: Any) -> None:
    results = tune.run(
        Counter,
        config={"rate": tune.grid_search([1.0, 3.0]), "steps": 100},
        metric="total",
        mode="max",
        search_alg="random",
        stop={"training_iteration": 4},
        executor="inline",
        checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=True, num_to_keep=1),
        **run_settings,
    )
    best = results.get_best_result()
    assert (best.config["rate"], best.metrics["total"]) == (3.0, 12.0)
    assert best.checkpoint is not None
    assert (Path(best.checkpoint.path) / "total").read_text() == "12.0"
