"""A trainable of a run file runs in its directory, and leaves the process as it was."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cloudpickle
import pytest

from raytune_gp.errors import TrainableError
from raytune_gp.runfile.placed import Named, Placed
from raytune_gp.settings import fingerprints
from raytune_gp.space import SearchSpace
from raytune_gp.trainable.run import run_attempt, trainable_name
from raytune_gp.trainable.script import Script
from tests.patience import HANGS_S
from tests.trainable.support import Bench


@pytest.fixture(autouse=True)
def own_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])


def place(directory: Path, module: str, body: str, env: dict[str, str] | None = None) -> Placed:
    (directory / f"{module}.py").write_text(body)
    return Placed(Named(f"{module}:train"), str(directory), env or {})


def test_it_runs_in_its_place_and_puts_it_back(tmp_path: Path) -> None:
    body = "import os\ndef train(config):\n    return os.getcwd(), dict(os.environ)\n"
    before = os.getcwd(), dict(os.environ)
    where, environment = place(tmp_path, "placed_here", body, {"MARK": "x"})({})
    assert (where, environment["MARK"]) == (str(tmp_path), "x")
    assert environment["PYTHONPATH"].split(os.pathsep)[0] == str(tmp_path)
    assert (os.getcwd(), dict(os.environ)) == before


STEPPED = """
import os
from raytune_gp import tune
class train(tune.Trainable):
    def step(self):
        return {"here": os.getcwd(), "mark": os.environ["MARK"], "done": True}
"""


def test_a_class_stays_in_its_place_for_its_steps(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    trainable = place(tmp_path, "placed_class", STEPPED, {"MARK": "x"})
    assert run_attempt(trainable, {}, bench.session).kind == "completed"
    assert (bench.reports[0]["here"], bench.reports[0]["mark"]) == (str(tmp_path), "x")


def test_one_that_is_sent_runs_where_the_process_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "placed_sent.py").write_text("def train(config):\n    return __file__\n")
    monkeypatch.chdir(tmp_path / "copy")
    sent = Placed(Named("placed_sent:train"), str(tmp_path / "not here"), sent=True)
    assert sent({}) == str(tmp_path / "copy" / "placed_sent.py")


def test_it_puts_it_back_after_an_error_too(tmp_path: Path) -> None:
    before = os.getcwd(), dict(os.environ)
    trainable = place(tmp_path, "placed_raising", "def train(config):\n    raise SystemExit(3)\n", {"A": "b"})
    with pytest.raises(SystemExit):
        trainable({})
    assert (os.getcwd(), dict(os.environ)) == before


def test_it_travels_by_name_alone(tmp_path: Path) -> None:
    """A process that has never seen the module finds it, and loads no YAML and no pydantic for that."""
    trainable = place(tmp_path, "placed_far", "def train(config):\n    return config['x'] + 1\n")
    pickled = tmp_path / "pickled"
    pickled.write_bytes(cloudpickle.dumps(trainable))
    code = (
        f"import pickle, sys; t = pickle.load(open({str(pickled)!r}, 'rb')); "
        "print(t({'x': 1}), *{'yaml', 'pydantic', 'torch', 'ray'} & set(sys.modules))"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd="/",
        env=environment,
        timeout=HANGS_S,
    )
    assert done.stdout.split() == ["2"], done.stderr


def test_its_name_and_fingerprint_are_those_of_what_it_runs(tmp_path: Path) -> None:
    space = SearchSpace({})
    one = place(tmp_path, "placed_one", "def train(config):\n    return 1\n")
    two = place(tmp_path, "placed_two", "def train(config):\n    return 2\n")
    assert trainable_name(one) == "placed_one:train"
    assert fingerprints(one, space) != fingerprints(two, space)
    script = Script(["python", "a.py"], {"loss": "(.)"})
    assert fingerprints(Placed(script, "/"), space) == fingerprints(script, space)


def test_a_function_inside_a_class_or_object_is_found(tmp_path: Path) -> None:
    (tmp_path / "placed_nested.py").write_text("class A:\n    @staticmethod\n    def train(c): return 5\n")
    assert Placed(Named("placed_nested:A.train"), str(tmp_path))({}) == 5


@pytest.mark.parametrize(
    ("target", "message"),
    [("placed_absent:train", "looked for in .*working_dir"), ("json:no_such", "has no 'no_such'")],
)
def test_what_is_not_there_is_told(tmp_path: Path, target: str, message: str) -> None:
    with pytest.raises(TrainableError, match=message):
        _ = Placed(Named(target), str(tmp_path)).function


@pytest.mark.parametrize(
    ("name", "body", "said"),
    [
        ("placed_broken", "1 / 0", r"raised ZeroDivisionError: division by zero \(at .*placed_broken.py:1\)"),
        ("placed_exits", "import sys\nsys.exit()", r"exited with None \(at .*placed_exits.py:2\)"),
        ("placed_parses", "import argparse\nargparse.ArgumentParser().parse_args(['-x'])", "exited with 2"),
        ("placed_odd", "def train(:", r"raised SyntaxError: .*placed_odd.py, line 1"),
        ("placed_gone", "from json import no_such", "raised ImportError: cannot import name 'no_such'"),
    ],
)
def test_an_error_of_the_module_names_it_and_the_fix(tmp_path: Path, name: str, body: str, said: str) -> None:
    trainable = place(tmp_path, name, body + "\n")
    with pytest.raises(TrainableError, match=f"its module '{name}' {said}.*put what runs .* `if __name__"):
        _ = trainable.function
    bench = Bench(tmp_path)
    assert run_attempt(trainable, {}, bench.session).kind == "failed"


def test_an_interrupt_during_the_import_is_the_users(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        _ = place(tmp_path, "placed_interrupted", "raise KeyboardInterrupt\n").function
