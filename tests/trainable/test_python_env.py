"""Environments: made once and whole, in bounded time, and what is said where they cannot be made."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from raytune_gp import tune
from raytune_gp.errors import PythonEnvError, SpecError, TrialInterrupted
from raytune_gp.trainable import env_building
from raytune_gp.trainable.env_building import interpreter
from raytune_gp.trainable.parameters import python_env_of
from raytune_gp.trainable.python_env import PythonEnv, is_whole
from raytune_gp.trainable.run import Outcome, run_attempt
from raytune_gp.trainable.script import Script
from tests.patience import HANGS_S
from tests.trainable.support import Bench
from tests.trainable.wheels import probe

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The environments of this test."""
    monkeypatch.setenv("RAYTUNE_ENVS", str(tmp_path / "envs"))
    return tmp_path / "envs"


def ask(python: str, code: str) -> str:
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True, timeout=HANGS_S)
    return done.stdout.strip()


# --- the value ---


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([],), "requirements is empty"),
        (("mxnet",), "requirements is 'mxnet'; it must be a list"),
        ((["mxnet", "-r x.txt"],), "the requirement '-r x.txt' is none; options of pip go into pip_options"),
        ((["mxnet"], 3.11), "python is 3.11; it must be a version such as .*, in quotes"),
        ((["mxnet"], "three"), "python is 'three'"),
        ((["mxnet"], None, "--pre"), "pip_options is '--pre'; it must be a list"),
        (
            (["mxnet"], None, ["--index-url", "https://me:pw@host/x"]),
            r"https://me:\*\*\*@host/x' has a secret",
        ),
    ],
)
def test_what_cannot_be_an_environment(arguments: Any, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        PythonEnv(*arguments)


def test_equal_environments_have_one_digest_in_every_process(tmp_path: Path) -> None:
    env = PythonEnv(["b==2", "a==1"])
    assert env.digest == PythonEnv(("a==1", "b==2"), HERE).digest
    assert len({env.digest, PythonEnv(("a==1",)).digest, PythonEnv(("b==2", "a==1"), "3.99").digest}) == 3
    code = "from raytune_gp import tune; print(tune.PythonEnv(['a==1', 'b==2']).digest)"
    assert ask(sys.executable, code) == env.digest


def test_a_worker_s_environment_has_what_a_worker_imports() -> None:
    old = PythonEnv(("numpy==1.23.5", "psutil>5")).for_workers("2.60.0")
    assert old.requirements == ("numpy==1.23.5", "psutil>5", "ray==2.60.0", "pyarrow<20", "regex")
    assert "pyarrow" in PythonEnv(("numpy>=2",)).for_workers("2.60.0").requirements
    with pytest.raises(SpecError, match=f"python is '3.99' and the cluster's is {HERE}"):
        PythonEnv(("numpy",), "3.99").for_workers("2.60.0")


def test_a_trainable_s_environment_is_found_through_what_wraps_it(tmp_path: Path) -> None:
    env = PythonEnv(("a",))
    script = Script(["python"], {"x": "(x)"}, python_env=env)
    assert python_env_of(tune.with_resources(script, {"cpu": 2})) == (env, False)
    assert python_env_of(tune.with_resources(tune.with_python_env(print, env), {"cpu": 2})) == (env, True)
    assert python_env_of(print) == (None, False)


# --- made ---


def test_it_is_made_once_with_what_was_asked_for(tmp_path: Path) -> None:
    env = probe(tmp_path / "wheels")
    python = interpreter(env)
    assert ask(python, "import raytune_probe, sys; print(raytune_probe.ANSWER, sys.prefix)").startswith("42 ")
    shutil.rmtree(tmp_path / "wheels")
    assert interpreter(env) == python


def test_of_several_at_once_one_makes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    env, made, install = probe(tmp_path / "wheels"), [], env_building._install

    def counted(*arguments: Any) -> None:
        made.append(1)
        install(*arguments)

    monkeypatch.setattr(env_building, "_install", counted)
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(interpreter(env))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert (len(made), len(set(found)), len(found)) == (1, 1, 3)


KILLED = """
import os, signal, sys
from pathlib import Path
from raytune_gp.trainable import env_building
from tests.trainable.wheels import probe
run = env_building._run
def then_die(env, what, *arguments):
    if what == "pip":
        os.kill(os.getpid(), signal.SIGKILL)
    run(env, what, *arguments)
env_building._run = then_die
env_building.interpreter(probe(Path(sys.argv[1])))
"""


def test_what_a_killed_builder_leaves_is_not_believed_and_removed(tmp_path: Path, root: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "wheels")], timeout=HANGS_S)
    assert done.returncode == -signal.SIGKILL
    env = probe(tmp_path / "wheels")
    [half] = root.glob(f"{env.digest}.*/bin/python")
    assert not is_whole(env.digest)
    assert ask(interpreter(env), "import raytune_probe; print(raytune_probe.ANSWER)") == "42"
    assert not half.exists()


def test_one_whose_python_is_gone_is_made_again(tmp_path: Path) -> None:
    env = probe(tmp_path / "wheels")
    python = Path(interpreter(env))
    python.unlink()
    python.symlink_to(tmp_path / "gone")
    assert ask(interpreter(env), "import raytune_probe; print(raytune_probe.ANSWER)") == "42"


# --- not made ---


def test_the_installer_s_words_are_told(tmp_path: Path) -> None:
    env = PythonEnv(("no-such-thing==9",), pip_options=("--no-index",))
    with pytest.raises(
        PythonEnvError, match=r"(?s)no-such-thing==9 for Python .* pip ended with code 1.*No match"
    ):
        interpreter(env)
    assert not is_whole(env.digest)


def test_it_must_import_what_it_has_to(tmp_path: Path) -> None:
    with pytest.raises(
        PythonEnvError, match=r"(?s)'import no_such_module' ended with code 1.*No module named"
    ):
        interpreter(probe(tmp_path / "wheels", imports=("no_such_module",)))


@pytest.mark.parametrize(
    ("python", "message"),
    [
        ("3.99", rf"there is no Python 3\.99 on this node; looked at {sys.executable} \({HERE}"),
        ("/etc/hostname", "'/etc/hostname' is no Python that runs here"),
    ],
)
def test_a_python_that_is_not_there_is_told(python: str, message: str) -> None:
    with pytest.raises(PythonEnvError, match=message):
        interpreter(PythonEnv(("a",), python))


def test_an_installer_that_hangs_is_ended_with_what_it_has_started() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        index = f"http://127.0.0.1:{silent.getsockname()[1]}/simple"
        env = PythonEnv(("anything",), pip_options=("--index-url", index))
        began = time.monotonic()
        with pytest.raises(PythonEnvError, match="it was not done after 4 s, and was ended"):
            interpreter(env, timeout_s=4.0)
    assert time.monotonic() - began < HANGS_S
    left = [p for p in psutil.Process().children(recursive=True) if "pip" in " ".join(p.cmdline())]
    assert not left


def test_a_place_that_cannot_be_written_is_told(root: Path) -> None:
    root.write_text("a file")
    with pytest.raises(PythonEnvError, match=r"\$RAYTUNE_ENVS may name another place"):
        interpreter(PythonEnv(("a",)))


def test_who_waits_can_be_told_to_stop(tmp_path: Path) -> None:
    env = probe(tmp_path / "wheels")
    waited: list[int] = []

    def stop() -> None:
        waited.append(1)
        raise TrialInterrupted("stop")

    with env_building._lock(env.digest, env, lambda: None), pytest.raises(TrialInterrupted):
        interpreter(env, stop)
    assert waited == [1]


def test_who_waits_for_too_long_is_told_for_whom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(env_building, "WAIT_S", 0.2)
    env = probe(tmp_path / "wheels")
    with (
        env_building._lock(env.digest, env, lambda: None),
        pytest.raises(
            PythonEnvError, match=f"process {os.getpid()} on .* has been at it for more than 0.2 s"
        ),
    ):
        interpreter(env)


# --- used ---


def test_a_script_runs_in_it(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    code = "import raytune_probe; print(f'acc={raytune_probe.ANSWER}')"
    env = probe(tmp_path / "wheels")
    script = Script(["python", "-c", code], {"acc": "acc={float}"}, python_env=env)
    assert run_attempt(script, {}, bench.session) == Outcome("completed")
    bench = Bench(tmp_path / "again")
    shell = Script(["sh", "-c", f'python -c "{code}"'], {"acc": "acc={float}"}, python_env=env)
    assert run_attempt(shell, {}, bench.session) == Outcome("completed")
    assert [r["acc"] for r in bench.reports] == [42.0]


def test_inline_it_is_for_scripts_alone(tmp_path: Path, run_settings: dict[str, Any]) -> None:
    env = probe(tmp_path / "wheels")
    settings = {**run_settings, "metric": "acc", "mode": "max", "executor": "inline", "verbose": 0}
    with pytest.raises(SpecError, match='the trainable has a python_env, and executor="inline"'):
        tune.run(tune.with_python_env(print, env), config={"x": tune.uniform(0, 1)}, **settings)
    code = "import raytune_probe; print(f'acc={raytune_probe.ANSWER}')"
    script = Script(["python", "-c", code], {"acc": "acc={float}"}, python_env=env)
    results = tune.run(script, config={"x": tune.uniform(0, 1)}, **settings)
    assert results[0].metrics["acc"] == 42
    assert results[0].metrics["time_total_s"] < 5, "making it is no part of the trial"
    with pytest.raises(SpecError, match=r"with_python_env is for functions and classes: tune\.Script"):
        tune.with_python_env(script, env)
