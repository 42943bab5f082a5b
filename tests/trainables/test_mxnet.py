"""SageMaker's demo under MXNet 1.9.1, in an environment made for it: it trains, goes on, and is tuned."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from raytune_gp.errors import PythonEnvError
from raytune_gp.runfile.plan import read_plan
from raytune_gp.trainable.env_building import interpreter
from tests.patience import HANGS_S
from tests.trainables.conftest import TEST, TRAIN
from trainables.cifar10_mxnet.images import batches, draw_digits, open_images

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "cifar10_mxnet.yaml"
WHEELS = sys.platform == "linux" and platform.machine() == "x86_64" and sys.version_info[:2] == (3, 11)
needs_mxnet = pytest.mark.skipif(
    not WHEELS, reason="MXNet 1.9.1 has wheels for Linux on x86-64 and Python 3.11"
)
SMALL = [*("--data", "digits", "--model", "small", "--train_size", "320", "--batch_size", "32")]


# --- its images, which need no MXNet ---


def test_batches_are_pixels_as_they_are_and_the_last_one_is_filled_up() -> None:
    images, labels = draw_digits(10, 0)
    found = list(batches(images, labels, 4, fill=True))
    assert [len(b) for b, _ in found] == [4, 4, 4]
    data, truth = (np.concatenate(parts) for parts in zip(*found, strict=True))
    expected = [*range(10), 0, 1]
    assert truth.tolist() == labels[expected].tolist()
    assert np.array_equal(data, images[expected].transpose(0, 3, 1, 2))
    assert data.dtype == np.float32
    assert [len(b) for b, _ in batches(images, labels, 4, fill=False)] == [4, 4, 2]


def test_half_of_the_images_are_mirrored() -> None:
    images, labels = draw_digits(200, 0)
    [(data, _)] = batches(images, labels, 200, np.random.default_rng(0), fill=True)
    straight = images.transpose(0, 3, 1, 2)
    mirrored = [np.array_equal(d, s[..., ::-1]) for d, s in zip(data, straight, strict=True)]
    assert 70 < sum(mirrored) < 130
    assert all(m or np.array_equal(d, s) for m, d, s in zip(mirrored, data, straight, strict=True))


def test_cifar10_is_validated_on_the_test_images_or_on_some_held_out(official: Path) -> None:
    as_demo = open_images("cifar10", str(official), "test", None)
    assert (len(as_demo.train[1]), len(as_demo.validation[1]), as_demo.mirrors) == (TRAIN, TEST, True)
    assert as_demo.train[1].tolist() == open_images("cifar10", str(official), "test", None).train[1].tolist()
    held_out = open_images("cifar10", str(official), "held_out", 50)
    assert (len(held_out.train[1]), len(held_out.validation[1])) == (50, TRAIN // 10)


def test_without_a_copy_and_a_network_digits_are_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    images = open_images("auto", None, "test", 100)
    assert (images.name, images.mirrors, len(images.train[1])) == ("digits", False, 100)
    assert "drawn DIGITS instead" in capsys.readouterr().err


def test_the_run_file_is_the_demo_s_space() -> None:
    plan = read_plan(EXAMPLE)
    plan.check()
    bounds = {
        name: (plan.space[name].lower, plan.space[name].upper) for name in ("learning_rate", "momentum", "wd")
    }
    assert bounds == {"learning_rate": (0.001, 0.5), "momentum": (0, 0.99), "wd": (0, 0.001)}


# --- under MXNet ---


@pytest.fixture(scope="module")
def environments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the run file's environment is made, once for these tests."""
    root = tmp_path_factory.mktemp("envs")
    before = os.environ.get("RAYTUNE_ENVS")
    os.environ["RAYTUNE_ENVS"] = str(root)
    try:
        env = read_plan(EXAMPLE).python_env
        assert env is not None
        interpreter(env)
    except PythonEnvError as error:
        if "reach no package index" in str(error):
            pytest.skip(str(error))
        raise
    finally:
        os.environ.pop("RAYTUNE_ENVS") if before is None else os.environ.update(RAYTUNE_ENVS=before)
    return root


def train(environments: Path, *options: Any) -> subprocess.CompletedProcess[str]:
    """The program, alone."""
    [python] = environments.glob("*.*/bin/python")
    command = [str(python), "-m", "trainables.cifar10_mxnet", *SMALL, *map(str, options)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=HANGS_S)


def accuracies(output: str) -> list[tuple[int, float]]:
    return [
        (int(e), float(a))
        for e, a in re.findall(r"^\[Epoch (\d+)\] validation: accuracy=([0-9.]+)$", output, re.M)
    ]


@needs_mxnet
@pytest.mark.timeout(900)
def test_it_learns_and_goes_on_from_its_checkpoint_as_if_never_ended(
    environments: Path, tmp_path: Path
) -> None:
    options = ("--learning_rate", 0.05, "--model_dir", tmp_path / "model")
    whole = train(environments, *options, "--epochs", 4)
    assert whole.returncode == 0, whole.stderr[-2000:]
    found = accuracies(whole.stdout)
    assert [epoch for epoch, _ in found] == [0, 1, 2, 3]
    training = [float(a) for a in re.findall(r"training: accuracy=([0-9.]+)", whole.stdout)]
    assert training[-1] > training[0] + 0.15
    assert (tmp_path / "model" / "model.params").stat().st_size > 10_000
    kept = ("--checkpoint-dir", tmp_path / "kept")
    train(environments, *options, *kept, "--epochs", 2)
    assert sorted(p.name for p in (tmp_path / "kept").iterdir()) == [
        "0001.params",
        "0001.states",
        "checkpoint.json",
    ]
    assert accuracies(train(environments, *options, *kept, "--epochs", 4).stdout) == found[2:]


@needs_mxnet
@pytest.mark.timeout(900)
def test_the_demo_s_network_takes_a_step(environments: Path) -> None:
    done = train(
        environments, "--model", "resnet34_v2", "--epochs", 1, "--train_size", 16, "--batch_size", 16
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(accuracies(done.stdout)) == 1


@needs_mxnet
def test_options_that_cannot_be_are_explained(environments: Path) -> None:
    done = train(environments, "--momentum", 2)
    assert (done.returncode, done.stderr.strip()) == (2, "error: momentum=2.0: must be in [0, 1)")
    assert "num_gpus=9: must be 0 to" in train(environments, "--num_gpus", 9).stderr


@needs_mxnet
@pytest.mark.ray
@pytest.mark.timeout(900)
def test_its_run_file_tunes_it(environments: Path, tmp_path: Path) -> None:
    values = yaml.safe_load(EXAMPLE.read_text())
    values.update(working_dir=str(ROOT), storage_path=str(tmp_path / "results"), num_samples=2)
    values["space"].update(epochs=2, data="digits", train_size=160)
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(values))
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "RAYTUNE_ENVS": str(environments),
        "RAYTUNE_JOURNAL": str(tmp_path / "journal.db"),
        "RAY_ADDRESS": "local",
    }
    command = [sys.executable, "-m", "raytune_gp.cli"]

    def shell(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, *words], env=environment, cwd="/", capture_output=True, text=True, timeout=600
        )

    done = shell("run", str(tmp_path / "run.yaml"), "--name", "demo")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    trials = json.loads(shell("show", "demo", "--json").stdout)
    assert [t["status"] for t in trials] == ["COMPLETED"] * 2
    assert all(0 <= t["metrics"]["accuracy"] <= 1 for t in trials)
