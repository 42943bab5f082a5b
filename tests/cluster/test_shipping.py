"""Code and variables on their way to the nodes: per run and per trainable, and no secret on paper."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from raytune_gp import tune
from raytune_gp.errors import RunFailedError, SpecError
from raytune_gp.execution.shipping import Freight, check_runtime_env, pack
from raytune_gp.storage.artifacts import Storage
from tests.cluster.scripts import said

SECRET = "hunter2-and-more"


def told(config: Any) -> dict[str, Any]:
    return {"score": 1.0, "a": os.environ.get("RT_A", ""), "b": os.environ.get("RT_B", "")}


def go(trainable: Any, settings: Any, **more: Any) -> Any:
    return tune.run(trainable, metric="score", mode="max", search_alg="random", **settings, **more)


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ({"working_dir": "/not/there"}, "names '/not/there', and there is no such directory"),
        ({"py_modules": ["/not/there"]}, "names '/not/there', and there is no such directory"),
        ({"env_vars": {"KEY": 1, "OTHER": SECRET}}, "runtime_env cannot be: "),
        ({"pip": 1}, "runtime_env cannot be: "),
        ({"pips": ["a"]}, "runtime_env has no 'pips'; did you mean 'pip'?"),
    ],
)
def test_what_cannot_be_is_refused_at_once(env: Any, message: str) -> None:
    with pytest.raises(SpecError, match=message) as raised:
        check_runtime_env(env, "ray")
    assert SECRET not in str(raised.value)


def test_a_runtime_env_is_a_dictionary(run_settings: Any) -> None:
    with pytest.raises(SpecError, match=r"runtime_env is of type str; it must be a dictionary such as"):
        go(told, run_settings, runtime_env="here")


def test_inline_has_no_use_for_one(run_settings: Any) -> None:
    with pytest.raises(SpecError, match='executor="inline" runs trials in this very process: leave it out'):
        go(told, run_settings, runtime_env={"env_vars": {"A": "1"}}, executor="inline")


def test_values_of_variables_are_hidden() -> None:
    freight = Freight({"env_vars": {"KEY": SECRET, "N": "1"}})
    assert freight.hidden(f"1 of {SECRET} failed") == "1 of *** failed"
    assert SECRET not in repr(freight)


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_variables_of_the_run_go_before_those_of_the_trainable(run_settings: Any, tmp_path: Path) -> None:
    trainable = tune.with_runtime_env(told, {"env_vars": {"RT_A": "its own", "RT_B": SECRET}})
    results = go(trainable, run_settings, runtime_env={"env_vars": {"RT_A": "the run's"}})
    assert (results[0].metrics["a"], results[0].metrics["b"]) == ("the run's", SECRET)


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_variables_are_written_nowhere(run_settings: Any, tmp_path: Path) -> None:
    def silent(config: Any) -> dict[str, Any]:
        return {"score": float(os.environ["RT_KEY"] == SECRET)}

    env = {"env_vars": {"RT_KEY": SECRET}}
    results = go(tune.with_runtime_env(silent, env), run_settings)
    assert results[0].metrics["score"] == 1.0
    written = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert {"journal.db", "log.txt"} <= {p.name for p in written}
    assert [p.name for p in written if SECRET.encode() in p.read_bytes()] == []


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_packages_that_ray_has_forgotten_are_handed_in_again(tmp_path: Path) -> None:
    from ray._private.runtime_env.packaging import package_exists
    from ray.experimental.internal_kv import _internal_kv_del

    code = tmp_path / "code"
    code.mkdir()
    (code / "helper_of_mine.py").write_text("VALUE = 1")
    storage = Storage(str(tmp_path / "results"), "run")
    freight = pack({"working_dir": str(code), "excludes": ["*.txt"]}, storage)
    (uri,) = freight.packages
    assert freight.env["working_dir"] == uri
    _internal_kv_del(uri)
    assert not package_exists(uri)
    freight.hand_in(storage)
    assert package_exists(uri)


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_an_environment_that_cannot_be_made_ends_the_run_in_its_words(run_settings: Any) -> None:
    env = {"working_dir": "file:///not/there/at_all.zip", "env_vars": {"KEY": SECRET}}
    with pytest.raises(RunFailedError, match=r"at_all\.zip") as raised:
        go(told, run_settings, runtime_env=env, raise_on_failed_trial=True)
    assert SECRET not in str(raised.value)


TWO_NODES = """
import os, sys
from raytune_gp import tune
from raytune_gp.execution import growth
from tests.cluster.scripts import finish, start

storage, code, how = sys.argv[1:]
sys.path.insert(0, code)
import helper_of_mine

def train(config):
    import helper_of_mine
    return {"score": float(helper_of_mine.VALUE), "file": helper_of_mine.__file__, "cwd": os.getcwd()}

cluster = start(1)
cluster.add_node(num_cpus=1, resources={"second": 1})
cluster.wait_for_nodes()
env = {"working_dir": {"working_dir": code}, "py_modules": {"py_modules": [code + "/helper_of_mine.py"]}}
results = tune.run(
    helper_of_mine.by_reference if how == "by reference" else train, metric="score", mode="max",
    search_alg="random", runtime_env=env.get(how, {}), resources_per_trial={"second": 1}, verbose=0,
    storage_path=storage, journal=f"sqlite:///{storage}/journal.db", name="ships",
)
r = results[0]
finish(cluster, {"score": r.metrics.get("score"), "file": r.metrics.get("file"),
                 "error": str(r.error) if r.error else None})
"""

HELPER = """
VALUE = 7

def by_reference(config):
    return {"score": 1.0}
"""


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """A directory with a module, for the driver alone."""
    path = tmp_path / "code"
    path.mkdir()
    (path / "helper_of_mine.py").write_text(HELPER)
    return path


@pytest.mark.ray
@pytest.mark.parametrize("how", ["working_dir", "py_modules"])
def test_code_reaches_the_second_node(how: str, code: Path, tmp_path: Path) -> None:
    answer = said(TWO_NODES, str(tmp_path / "results"), str(code), how)
    assert answer["error"] is None
    assert answer["score"] == 7.0
    assert not answer["file"].startswith(str(code))


@pytest.mark.ray
@pytest.mark.parametrize("how", ["none", "by reference"])
def test_a_module_that_the_driver_alone_has_is_told_with_node_and_fix(
    how: str, code: Path, tmp_path: Path
) -> None:
    error = said(TWO_NODES, str(tmp_path / "results"), str(code), how)["error"]
    assert f"the module 'helper_of_mine' is not on node {os.uname().nodename} (" in error
    assert 'runtime_env={"working_dir": "."}' in error
