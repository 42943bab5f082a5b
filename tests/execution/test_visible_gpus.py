"""Which GPUs a trial sees, on Ray with four logical ones: those that it has reserved, and no others."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from raytune_gp import tune

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]

NOTING = """
import os, sys, time, uuid
from pathlib import Path
place = Path(sys.argv[1])
(place / uuid.uuid4().hex).write_text(os.environ.get("CUDA_VISIBLE_DEVICES", "not set"))
while len(list(place.iterdir())) < 2:  # the other trial is there at the same time
    time.sleep(0.02)
print("score=1")
"""


def note(place: str) -> None:
    """NOTING in this very process."""
    before, sys.argv = sys.argv, ["note", place]
    try:
        exec(NOTING, {})
    finally:
        sys.argv = before


def function(config: dict[str, Any]) -> None:
    note(config["place"])
    tune.report({"score": 1.0})


class Class(tune.Trainable):
    def step(self) -> dict[str, Any]:
        note(self.config["place"])
        return {"score": 1.0, "done": True}


def seen(trainable: Any, place: Path, settings: dict[str, Any], **more: Any) -> list[list[str]]:
    """The devices that each of two trials at the same time sees."""
    place.mkdir()
    if trainable == "script":
        trainable = tune.Script(
            [sys.executable, "-c", NOTING, str(place)], metrics={"score": "score={float}"}
        )
    tune.run(
        trainable,
        config={"x": tune.uniform(0, 1), "place": str(place)},
        metric="score",
        mode="max",
        num_samples=2,
        search_alg="random",
        name="gpus",
        **settings,
        **more,
    )
    return [path.read_text().split(",") for path in place.iterdir()]


@pytest.mark.parametrize("trainable", [function, Class, "script"])
def test_the_gpus_that_a_trial_reserves_are_those_that_it_sees(
    trainable: Any, tmp_path: Path, run_settings: dict[str, Any]
) -> None:
    one, other = seen(trainable, tmp_path / "seen", run_settings, resources_per_trial={"cpu": 1, "gpu": 2})
    assert sorted(one + other) == ["0", "1", "2", "3"]
    assert len(one) == len(other) == 2


@pytest.mark.parametrize("trainable", [function, "script"])
def test_a_part_of_a_gpu_is_that_gpu(trainable: Any, tmp_path: Path, run_settings: dict[str, Any]) -> None:
    for devices in seen(trainable, tmp_path / "seen", run_settings, resources_per_trial={"gpu": 0.5}):
        assert len(devices) == 1
        assert devices[0] in {"0", "1", "2", "3"}


@pytest.mark.parametrize("trainable", [function, Class, "script"])
def test_a_trial_that_reserves_none_sees_none(
    trainable: Any, tmp_path: Path, run_settings: dict[str, Any]
) -> None:
    assert seen(trainable, tmp_path / "seen", run_settings, resources_per_trial={"cpu": 1}) == [[""], [""]]


def test_whoever_sets_the_variable_has_the_last_word(tmp_path: Path, run_settings: dict[str, Any]) -> None:
    env = {"env_vars": {"CUDA_VISIBLE_DEVICES": "3"}}
    assert seen(function, tmp_path / "seen", run_settings, runtime_env=env) == [["3"], ["3"]]
