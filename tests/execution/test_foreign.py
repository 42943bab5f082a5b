"""On Ray: workers with packages of their own, made where Ray puts them; what is said if they cannot be."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from raytune_gp import tune
from raytune_gp.errors import RunFailedError, SpecError
from raytune_gp.trainable.python_env import PythonEnv
from tests.execution.old_numpy import train
from tests.trainable.wheels import probe

pytestmark = pytest.mark.ray

SPACE = {"x": tune.uniform(0, 1)}


def settings_of(run_settings: dict[str, Any], root: Path) -> dict[str, Any]:
    return {
        **run_settings,
        "metric": "loss",
        "mode": "min",
        "runtime_env": {"env_vars": {"RAYTUNE_ENVS": str(root)}},
        "resources_per_trial": {"cpu": 1},
    }


def test_a_script_s_packages_are_made_before_its_first_trial(
    ray_cluster: None, tmp_path: Path, run_settings: dict[str, Any]
) -> None:
    code = "import raytune_probe; print(f'loss={raytune_probe.ANSWER}')"
    env = probe(tmp_path / "wheels")
    script = tune.Script(["python", "-c", code], {"loss": "loss={float}"}, python_env=env)
    settings = settings_of(run_settings, tmp_path / "envs")
    results = tune.run(script, config=SPACE, num_samples=3, max_concurrent_trials=2, **settings)
    assert [r.metrics["loss"] for r in results] == [42.0] * 3
    assert len(list((tmp_path / "envs").glob(f"{env.digest}.*/bin"))) == 1


NO_PACKAGE = PythonEnv(("no-such-thing==9",), pip_options=("--no-index",))
NO_PYTHON = PythonEnv(("anything",), "3.99")


@pytest.mark.parametrize(
    ("trainable", "words"),
    [
        (
            tune.with_python_env(lambda config: {"loss": 1.0}, NO_PACKAGE),
            "pip ended with code 1.*No matching distribution found for no-such-thing==9",
        ),
        (
            tune.Script(["python", "-c", ""], {"loss": "loss={float}"}, python_env=NO_PYTHON),
            "there is no Python 3.99 on this node",
        ),
    ],
    ids=["package", "python"],
)
def test_a_run_whose_environment_cannot_be_made_ends_and_tells_why(
    ray_cluster: None, tmp_path: Path, run_settings: dict[str, Any], trainable: Any, words: str
) -> None:
    settings = settings_of(run_settings, tmp_path / "envs")
    with pytest.raises(RunFailedError, match=rf"without a trial started.*PythonEnvError.*{words}"):
        tune.run(trainable, config=SPACE, num_samples=2, **settings)


def test_two_ways_to_name_a_python_are_one_too_many(
    ray_cluster: None, tmp_path: Path, run_settings: dict[str, Any]
) -> None:
    settings = {**settings_of(run_settings, tmp_path), "runtime_env": {"pip": ["x"]}}
    with pytest.raises(SpecError, match="the trainable has a python_env, and runtime_env has 'pip'"):
        tune.run(tune.with_python_env(print, probe(tmp_path)), config=SPACE, num_samples=1, **settings)


@pytest.mark.timeout(900)
@pytest.mark.skipif(sys.version_info >= (3, 12), reason="NumPy 1.23 has no wheels for this Python")
def test_a_function_s_worker_runs_in_it_and_its_next_one_too(
    ray_cluster: None, tmp_path: Path, run_settings: dict[str, Any]
) -> None:
    trainable = tune.with_python_env(train, PythonEnv(("numpy==1.23.5",)))
    settings = settings_of(run_settings, tmp_path / "envs")
    [result] = tune.run(trainable, config=SPACE, num_samples=1, **settings)
    assert result.error is None, result.error
    assert result.metrics["numpy"] == "1.23.5"
    assert result.metrics["loss"] < 1
    assert result.metrics["training_iteration"] == 2
    assert str(tmp_path / "envs") in result.metrics["python"]
