"""A run file is read as YAML 1.2 into a plan, or refused with line, key, value and what is allowed."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raytune_gp import tune
from raytune_gp.errors import SpaceError, SpecError, TrainableError
from raytune_gp.runfile.document import parse
from raytune_gp.runfile.domains import DOMAINS, SpellingError, read_space
from raytune_gp.runfile.model import RunFile
from raytune_gp.runfile.plan import read_plan
from raytune_gp.space import SearchSpace
from raytune_gp.trainable.parameters import python_env_of
from tests.cli.conftest import RUN_FILE

SCRIPT = """
    command: [python, program.py, --epochs, 3]
    metrics: {loss: 'loss=([0-9.]+)'}
    metric: loss
    mode: min
    space: {x: {uniform: [0, 1]}}
"""


def values(text: str) -> dict[str, Any]:
    return parse(textwrap.dedent(text), "run.yaml").values


# --- the document ---


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1.5E+2", 150.0),
        (".5", 0.5),
        ("-.inf", float("-inf")),
        ("12", 12),
        ("0x1F", 31),
        ("no", "no"),
        ("on", "on"),
        ("true", True),
        ("1:30", "1:30"),
        ("010", 10),
        ("-7", -7),
        ("1_000", "1_000"),
        ("2024-01-01", "2024-01-01"),
        ("null", None),
        ("", None),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: Any) -> None:
    found = values(f"key: {text}")["key"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3", r"run.yaml:3: the key 'a' stands twice"),
        ("a: {b: 1, c: 2, b: 3}", r"run.yaml:1: the key 'b' stands twice"),
        ("a: [1, 2", r"run.yaml:1: "),
        ("a:\n\tb: 1", r"run.yaml:2: .*; indent with spaces"),
        ("a: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
        ("- 1", "holds a list"),
        ("", "holds nothing"),
        ("1: 2", "the key 1, which is no text"),
        ("a: 1\n---\na: 2", "expected a single document"),
        ("a: &x {b: *x}", "would never end"),
        ("a: " + "[" * 5000 + "]" * 5000, "nested too deeply"),
    ],
)
def test_other_documents_are_refused(text: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        parse(text, "run.yaml")


def test_merge_keys_may_be_overridden() -> None:
    assert values("base: &b {x: 1, y: 2}\nmore: {<<: *b, y: 3}")["more"] == {"x": 1, "y": 3}


def test_every_value_has_its_line() -> None:
    document = parse("a: 1\nb:\n  c: 2\n  d:\n  - 3\n  - e: 4\n", "run.yaml")
    assert [document.line(p) for p in (["a"], ["b"], ["b", "c"], ["b", "d", 1, "e"])] == [1, 2, 3, 6]
    assert document.line(["b", "absent"]) == 2


# --- the space ---


def test_domains_are_spelled_by_their_names() -> None:
    space = values(
        """
        rate: {loguniform: [1e-4, 0.5]}
        named: {uniform: {lower: 0, upper: 2}}
        count: {randint: [1, 9]}
        steps: {qrandint: [0, 100, 10]}
        noise: {randn: [0, 1]}
        model:
          kind: {choice: [mlp, cnn]}
          layers: {when: {parent: model/kind, values: [mlp], then: {randint: [1, 4]}}}
        fold: {grid_search: [0, 1, 2]}
        epochs: 5
        sizes: [16, 32]
        """
    )
    expected = {
        "rate": tune.loguniform(1e-4, 0.5),
        "named": tune.uniform(0, 2),
        "count": tune.randint(1, 9),
        "steps": tune.qrandint(0, 100, 10),
        "noise": tune.randn(0, 1),
        "model": {
            "kind": tune.choice(["mlp", "cnn"]),
            "layers": tune.when("model/kind", ["mlp"], tune.randint(1, 4)),
        },
        "fold": tune.grid_search([0, 1, 2]),
        "epochs": 5,
        "sizes": [16, 32],
    }
    assert SearchSpace(read_space(space)).describe() == SearchSpace(expected).describe()


def test_every_domain_of_tune_can_be_spelled() -> None:
    named = {"choice", "grid_search", "when", "sample_from"}  # sample_from needs a function
    public = {n for n in tune.__all__ if n.islower() and hasattr(tune, n)}
    makers = {n for n in public if getattr(tune, n).__module__ == "raytune_gp.space.domains"}
    assert makers == set(DOMAINS) | named


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        ("x: {loguniform: [0, 1]}", ("x",), "must start above 0"),
        ("x: {uniform: [1, 0]}", ("x",), "cannot be"),
        ("x: {uniform: 3}", ("x",), "must be a list"),
        ("x: [1, {uniform: [0, 1]}]", ("x",), "inside of a list, where nothing would draw"),
        ("x: [{a: {choice: [1, 2]}, b: 1}]", ("x",), "inside of a list, where nothing would draw"),
        ("x: {choice: [1, {y: {randint: [0, 9]}}]}", ("x",), "inside of a list, where nothing would draw"),
        ("x: {uniform: [1]}", ("x",), "upper"),
        ("x: {uniform: ['0', 1]}", ("x",), "cannot be"),
        ("x: {uniform: {low: 0, upper: 1}}", ("x",), "low"),
        ("x: {choice: []}", ("x",), "nothing to choose"),
        ("m: {y: {loguniformm: [1, 2]}}", ("m", "y"), "did you mean 'loguniform'"),
        ("m: {uniform: [0, 1], z: 3}", ("m",), "beside 'z'"),
        ("x: uniform", ("x",), r"is the text 'uniform'; a domain is a map, .* write {choice: \['uniform'\]}"),
        ("m: {y: 'tune.loguniform(1e-3, 1)'}", ("m", "y"), "is the text 'tune.logunif.*; a domain is a map"),
        ("x: {y: uniform(0, 1)}", ("x", "y"), r"is the text 'uniform\(0'; a domain is a map"),
        ("x: {tune.uniform: [0, 1]}", ("x",), "is 'tune.uniform' of .* did you mean 'uniform'"),
        ("uniform: [0, 1]", ("uniform",), "is a domain without the name of a hyperparameter"),
        ("x: {sample_from: 'lambda: 3'}", ("x",), "is sample_from, a function in Python: compute it in"),
        ("x: {when: {parent: a, then: 1}}", ("x",), "parent, values, then"),
        ("x: {when: {parent: a, values: [], then: 1}}", ("x",), "could never hold"),
        ("x: {when: {parent: a, values: [1], then: {unifrom: [0, 1]}}}", ("x", "when", "then"), "uniform"),
    ],
)
def test_a_domain_that_cannot_be_is_refused_with_its_path(text: str, path: Any, message: str) -> None:
    with pytest.raises(SpellingError, match=message) as caught:
        read_space(values(text))
    assert caught.value.path == path


# --- the fields ---


def test_a_file_becomes_the_arguments_of_tune_run(write: Callable[..., Path]) -> None:
    path = write()
    arguments = read_plan(path).arguments()
    assert arguments["metric"] == "score"
    assert arguments["num_samples"] == 3
    assert arguments["storage_path"] == str(path.parent / "results")
    assert arguments["name"].startswith("mine_20")
    assert arguments["run_file"]["path"] == str(path)
    assert len(arguments["run_file"]["sha256"]) == 64
    assert arguments["trainable"].env == {"MARK": "7"}
    assert arguments["trainable"].directory == str(path.parent)


def test_every_field_reaches_tune_run_under_its_default(write: Callable[..., Path]) -> None:
    parameters = inspect.signature(tune.run).parameters
    assert set(read_plan(write()).arguments()) <= set(parameters)
    for name, field in RunFile.model_fields.items():
        required = field.is_required() or name == "trainable"
        if name in parameters and not required and field.default not in ({}, []):
            assert field.default == parameters[name].default, name


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("num_sample: 3", "'num_sample' is no key of a run file; did you mean 'num_samples'"),
        ("xyzzy: 3", "'xyzzy' is no key of a run file; there are trainable, command"),
        ("checkpoint: {num_keep: 1}", "'checkpoint.num_keep' is no key of a run file; did you mean 'num_to"),
        (
            "python_env: {requirement: [a]}",
            "'python_env.requirement' is no key .*; did you mean 'requirements'",
        ),
        ("python_env: {requirements: [a], python: 3.11}", "python_env.python is 3.11; it must be text"),
        ("python_env: {requirements: []}", r"python_env.requirements is \[\]; it must"),
        ("num_samples: 0", "num_samples is 0; it must be at least 1, or -1 for no bound"),
        ("num_samples: 2.5", "num_samples is 2.5; it must be a whole number"),
        ("num_samples: '3'", "num_samples is '3'; it must be a whole number"),
        ("fail_fast: 1", "fail_fast is 1; it must be true or false"),
        ("scope: best", "scope is 'best'; it must be 'last', 'all'"),
        ("stop: {score: high}", "stop.score is 'high'; it must be a number"),
        ("time_budget_s: 0", "time_budget_s is 0; it must be greater than 0"),
        ("search_alg: 7", "search_alg is 7; it must be text or a map"),
        ("name: a/b", "name is 'a/b'; it must be 1 to 200 letters"),
        ("command: python x.py", "command is 'python x.py'; it must be a list, such as"),
        ("metrics: {score: s}", "metrics are for a command"),
        ("command: [python]", "either trainable .* or command, and not both"),
    ],
)
def test_a_field_that_cannot_be_is_refused(write: Callable[..., Path], line: str, message: str) -> None:
    text = textwrap.dedent(write().read_text())
    key = line.partition(":")[0]
    text = "\n".join(each for each in text.splitlines() if not each.startswith(f"{key}:"))
    with pytest.raises(SpecError, match=message):
        read_plan(write(f"{text}\n{line}\n"))


def test_what_is_sent_to_the_nodes_is_relative_to_the_file(write: Callable[..., Path]) -> None:
    path = write(RUN_FILE + "    runtime_env: {working_dir: ., py_modules: [lib, 's3://b/m.zip']}\n")
    plan = read_plan(path)
    assert plan.arguments()["runtime_env"] == {
        "working_dir": str(path.parent),
        "py_modules": [str(path.parent / "lib"), "s3://b/m.zip"],
    }
    assert plan.trainable.sent
    with pytest.raises(SpecError, match=r"names '.*lib', and there is no such directory"):
        plan.check()


def test_packages_of_its_own_go_to_the_function_or_the_program(write: Callable[..., Path]) -> None:
    line = "    python_env: {requirements: [a==1, b], pip_options: [--pre], python: ./python}\n"
    path = write(RUN_FILE + line)
    env = tune.PythonEnv(("a==1", "b"), str(path.parent / "python"), ("--pre",))
    assert python_env_of(read_plan(path).arguments()["trainable"]) == (env, True)
    program = RUN_FILE.replace(
        "trainable: MODULE:train", "command: [python, x.py]\n    metrics: {score: '(.)'}"
    )
    assert python_env_of(read_plan(write(program + line)).trainable) == (env, False)
    with pytest.raises(SpecError, match=r"python is '2\.7' and the cluster's is"):
        read_plan(write(RUN_FILE + '    python_env: {requirements: [a], python: "2.7"}\n')).check()


def test_a_working_directory_is_given_once(write: Callable[..., Path]) -> None:
    path = write(RUN_FILE + "    working_dir: .\n    runtime_env: {working_dir: .}\n")
    with pytest.raises(
        SpecError, match=r"working_dir is given twice: leave out the one outside of runtime_env"
    ):
        read_plan(path)


def test_all_problems_are_told_at_once_in_the_order_of_the_file(write: Callable[..., Path]) -> None:
    path = write("metric: 3\nspace: {x: 1}\ncommand: [a]\nseed: -1\n")
    with pytest.raises(SpecError) as caught:
        read_plan(path)
    lines = str(caught.value).splitlines()
    assert lines[0] == "3 things are wrong:"
    assert [line.split(": ")[0] for line in lines[1:]] == ["mine.yaml:1", "mine.yaml:1", "mine.yaml:4"]


def test_a_bad_domain_has_its_line(write: Callable[..., Path]) -> None:
    path = write()
    path.write_text(path.read_text().replace("x: {uniform: [0, 1]}", "x: {uniform: [1, 0]}"))
    with pytest.raises(SpecError, match=r"mine.yaml:10: space.x cannot be: uniform"):
        read_plan(path)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="cannot be read"):
        read_plan(tmp_path / "none.yaml")


# --- the plan ---


def test_check_makes_everything(write: Callable[..., Path]) -> None:
    checked = read_plan(write()).check()
    assert checked.trials == 3
    assert checked.searcher == {"name": "random"}
    assert checked.resources == {"cpu": 1}


@pytest.mark.parametrize(
    ("old", "new", "error", "message"),
    [
        ("MODULE:train", "MODULE:trian", TrainableError, "has no 'trian'"),
        ("MODULE:train", "no_such_module:train", TrainableError, "No module named 'no_such_module'"),
        ("random", "bayes", SpecError, "search_alg is 'bayes'"),
        ("seed: 0", "scheduler: hyper", SpecError, "scheduler is 'hyper'"),
        ("seed: 0", "working_dir: nowhere", SpecError, "which is no directory"),
        ("seed: 0", "resources_per_trial: {gpu: 1.5}", SpecError, "whole number"),
        ("seed: 0", "points_to_evaluate: [{x: 2}]", SpaceError, "2 is not in"),
        ("seed: 0", "points_to_evaluate: [{y: 2}]", SpaceError, "'y' is not in the search space"),
    ],
)
def test_check_finds_what_run_would_find(
    write: Callable[..., Path], old: str, new: str, error: type[Exception], message: str
) -> None:
    text = textwrap.dedent(RUN_FILE) + "seed: 0\n"
    plan = read_plan(write(text.replace(old, new)))
    with pytest.raises(error, match=message):
        plan.check()
    with pytest.raises(error, match=message):
        tune.run(**plan.arguments(), executor="inline")


def test_the_program_of_a_command_must_be_there(write: Callable[..., Path]) -> None:
    path = write(SCRIPT)
    with pytest.raises(SpecError, match=r"the script 'program.py' of command is not found"):
        read_plan(path).check()
    (path.parent / "program.py").touch()
    assert read_plan(path).check().trials == 1
    with pytest.raises(SpecError, match="the program 'no-such-program'"):
        read_plan(write(SCRIPT.replace("python", "no-such-program"))).check()


@pytest.mark.parametrize(
    ("more", "total", "samples"),
    [
        ("num_samples: 3", 3, 3),
        ("num_samples: 3", 12, 6),  # two cells of a grid
        ("num_samples: 3", -1, -1),
        ("num_samples: -1", 12, -1),
        ("seed: 0", 8, 4),
    ],
)
def test_a_resumed_run_never_wants_fewer_trials(
    write: Callable[..., Path], more: str, total: int, samples: int
) -> None:
    text = textwrap.dedent(SCRIPT).replace("x: {", "g: {grid_search: [1, 2]}, x: {")
    path = write(f"{text}{more}\n")
    (path.parent / "program.py").touch()
    assert read_plan(path).samples_to_resume(total) == samples


def test_changes_are_checked_as_the_file_is(write: Callable[..., Path]) -> None:
    assert read_plan(write(), {"name": "other", "num_samples": None}).name == "other"
    with pytest.raises(SpecError, match="num_samples is 0; it must be at least 1"):
        read_plan(write(), {"num_samples": 0})
