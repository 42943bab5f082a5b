"""What docs/security.md says, held to the sources and tried out."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import raytune_gp
from raytune_gp import tune
from raytune_gp.analysis.report import write_report
from raytune_gp.errors import SpecError
from raytune_gp.execution.coordinator import RunPlan
from raytune_gp.secrets import refuse_secrets, without_secrets
from raytune_gp.state import RunState
from raytune_gp.storage.journal import SQLJournal
from tests.patience import HANGS_S

ROOT = Path(raytune_gp.__file__).parent
SOURCES = sorted(ROOT.rglob("*.py"))
SECRET = "hunter2sesame"


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    """Every call in a source, by the name it is made under."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def test_nothing_is_unpickled_but_a_payload_whose_digest_agrees() -> None:
    found = {
        (path.relative_to(ROOT).as_posix(), name)
        for path in SOURCES
        for name, _ in calls(path)
        if name.rpartition(".")[2] in ("loads", "load", "Unpickler", "read_pickle")
        and not name.startswith("json.")
    }
    loads_objects = {f for f in found if "pickle" in f[1]}
    assert loads_objects == {
        ("execution/payload.py", "cloudpickle.loads"),
        ("execution/ray_train.py", "cloudpickle.loads"),  # a part of the payload: a copy of a trainer
    }
    assert {f for f in found if f not in loads_objects} == {
        ("execution/coordinator.py", "plan.parts.load"),
        ("execution/attempts.py", "self._settings.trainable.load"),
        ("runfile/plan.py", "load"),
    }, "each is a Payload's, or reads a run file"
    imports = {
        path.relative_to(ROOT).as_posix()
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        and any("pickle" in part for part in ast.unparse(node).replace(",", " ").split())
    }
    assert imports == {
        "execution/payload.py",
        "execution/ray_train.py",
        "execution/cargo.py",  # it writes, and reads nothing
    }


def test_no_shell_and_no_evaluation_of_text() -> None:
    for path in SOURCES:
        for name, call in calls(path):
            assert name not in ("eval", "exec", "os.system", "os.popen", "compile"), path
            assert not name.startswith("subprocess.getoutput"), path
            assert all(keyword.arg != "shell" for keyword in call.keywords), path


def test_yaml_makes_plain_values_alone(tmp_path: Path) -> None:
    for path in SOURCES:
        for name, _ in calls(path):
            assert name not in ("yaml.load", "yaml.unsafe_load", "yaml.full_load"), path
    from raytune_gp.runfile.document import _Loader, parse

    assert issubclass(_Loader, __import__("yaml").SafeLoader)
    with pytest.raises(SpecError, match="could not determine a constructor"):
        parse(f"a: !!python/object/apply:os.mkdir ['{tmp_path / 'made'}']", "run.yaml")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"s3://key:{SECRET}@bucket/x", "s3://key:***@bucket/x"),
        (f"s3://key:{SECRET}/4+d@bucket", "s3://key:***@bucket"),
        (f"abfs://a@b/c?sas_token={SECRET}&x=1", "abfs://a@b/c?sas_token=***&x=1"),
        (f"s3://b?region=eu&secret_key={SECRET}", "s3://b?region=eu&secret_key=***"),
        (f"to postgresql://me:{SECRET}@host:5432/db failed", "to postgresql://me:***@host:5432/db failed"),
        ("hdfs://host:8020/user@home/x", "hdfs://host:8020/user@home/x"),
        ("s3://bucket/runs?region=eu-west-1", "s3://bucket/runs?region=eu-west-1"),
        ("postgresql://me@host/db", "postgresql://me@host/db"),
        ("/a/path:with@signs", "/a/path:with@signs"),
    ],
)
def test_secrets_of_urls_are_hidden(text: str, shown: str) -> None:
    assert without_secrets(text) == shown
    if SECRET in text:
        with pytest.raises(SpecError) as caught:
            refuse_secrets(text)
        assert SECRET not in str(caught.value)
    else:
        assert refuse_secrets(text) == text


def test_a_secret_reaches_neither_journal_nor_report_nor_messages(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    url = f"postgresql://me:{SECRET}@nowhere.invalid/db"
    settings: dict[str, Any] = {
        "config": {"x": tune.uniform(0, 1)},
        "metric": "score",
        "mode": "max",
        "executor": "inline",
        "name": "secret",
        "journal": str(tmp_path / "journal.db"),
    }

    def train(config: dict[str, Any]) -> None:
        raise ConnectionError(f"cannot connect to {url}")

    with pytest.raises(SpecError, match=r"key:\*\*\*@bucket"):
        tune.run(train, storage_path=f"s3://key:{SECRET}@bucket", **settings)
    results = tune.run(train, storage_path=str(tmp_path / "results"), **settings)
    assert "cannot connect to postgresql://me:***@nowhere.invalid/db" in str(results.errors[0])
    results.write_report(tmp_path / "report.html")
    for file in tmp_path.rglob("*"):
        if file.is_file() and "trial_" not in str(file):  # the log is the trainable's own
            assert SECRET.encode() not in file.read_bytes(), file
    assert SECRET not in "".join(capfd.readouterr())
    plan = RunPlan("run", "id", url, 0, None, None, environment={"PGPASSWORD": SECRET})  # type: ignore[arg-type]
    assert SECRET not in repr(plan)


def test_markup_in_a_run_is_text_in_its_report(tmp_path: Path) -> None:
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"

    def train(config: dict[str, Any]) -> None:
        if config["kind"] != evil:
            raise ValueError(evil)
        tune.report({"score": 1.0, evil: 2.0, "text": evil})

    tune.run(
        train,
        config={"kind": tune.choice([evil, "b"]), evil: tune.uniform(0, 1), "fixed": evil},
        metric="score",
        mode="max",
        num_samples=6,
        name="markup",
        search_alg="random",
        executor="inline",
        verbose=0,
        journal=str(tmp_path / "journal.db"),
        storage_path=str(tmp_path),
    )
    journal = SQLJournal(f"sqlite:///{tmp_path / 'journal.db'}")
    state = RunState.of(event for _, event in journal.read("markup"))
    journal.close()
    assert {t.status.value for t in state.trials.values()} == {"COMPLETED", "FAILED"}
    write_report(state, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "alert(1)" in page
    assert "<script>alert" not in page
    assert "<img src=x" not in page


PORTS = """
import os, psutil, ray
from raytune_gp.execution.cluster import init_ray

init_ray()

@ray.remote
def pid():
    return os.getpid()

ray.get(pid.remote())
me = psutil.Process()
for process in (me, *me.children(recursive=True)):
    for connection in process.net_connections(kind="inet"):
        if connection.status == psutil.CONN_LISTEN:
            print("listens", connection.laddr.ip)
print("mode", os.environ.get("RAY_AUTH_MODE"))
ray.shutdown()
"""


@pytest.mark.ray
def test_a_cluster_that_is_started_here_listens_to_this_machine_alone(tmp_path: Path) -> None:
    environment = {**os.environ, "RAY_ADDRESS": "local", "PYTHONPATH": str(ROOT.parent)}
    environment.pop("RAY_AUTH_MODE", None)
    done = subprocess.run(
        [sys.executable, "-c", PORTS], env=environment, capture_output=True, text=True, timeout=HANGS_S
    )
    assert done.returncode == 0, done.stderr
    places = {line.split()[1] for line in done.stdout.splitlines() if line.startswith("listens")}
    assert places
    assert places <= {"127.0.0.1", "::ffff:127.0.0.1", "::1"}
    assert "mode disabled" not in done.stdout


def test_nothing_turns_rays_authentication_off() -> None:
    for path in (*SOURCES, ROOT.parent / "cluster.yaml"):
        if path.exists():
            assert "RAY_AUTH_MODE=disabled" not in path.read_text(), path
            assert not any(
                "RAY_AUTH_MODE" in ast.unparse(node).replace("RAY_AUTH_MODE=token", "")
                for node in (ast.walk(ast.parse(path.read_text())) if path.suffix == ".py" else ())
                if isinstance(node, ast.Assign | ast.Call)
            ), path
