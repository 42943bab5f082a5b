"""`raytune-gp submit` on a cluster with a job server and a token, where no bare `python` is the right one."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from raytune_gp import events as ev
from raytune_gp.errors import ClusterError, RunExistsError, SpecError
from raytune_gp.execution.jobs import Job, JobServer, entrypoint
from tests.execution.watching import events_of, of
from tests.patience import HANGS_S, wait_until

ROOT = Path(__file__).parents[2]

HEAD = """
import sys
from ray.cluster_utils import Cluster
port, agent = map(int, sys.argv[1:])
head = {"num_cpus": 2, "include_dashboard": True, "dashboard_port": port}
head["dashboard_agent_listen_port"] = agent
cluster = Cluster(initialize_head=True, head_node_args=head)
print("ready", flush=True)
sys.stdin.read()
cluster.shutdown()
"""
"""Unlike `ray.init`, this leaves its address where a job's driver looks, whatever other clusters are here.

The ports are free ones: a job agent whose port is taken, by another cluster of the machine, takes no jobs.
"""

RUN = """
    trainable: MODULE:train
    metric: score
    mode: max
    num_samples: 3
    max_concurrent_trials: 2
    search_alg: random
    name: NAME
    storage_path: STORAGE
    env: {MARK: 7}
    space: {x: {uniform: [0, 1]}, steps: STEPS}
"""


@dataclass
class Cluster:
    """A cluster that listens, and whoever knows its token."""

    address: str
    environment: dict[str, str]

    def call(self, *arguments: Any, **changes: str) -> subprocess.Popen[str]:
        """`raytune-gp` in a process that knows the token."""
        command = [sys.executable, "-m", "raytune_gp.cli", *map(str, arguments)]
        return subprocess.Popen(
            command,
            cwd="/",
            env={**self.environment, "PATH": os.environ["PATH"], **changes},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """One of 2 CPUs, with its job server on a free port; its processes find no Python by PATH."""
    with (
        tempfile.TemporaryDirectory(prefix="rt", ignore_cleanup_errors=True) as place,
        socket.socket() as free,
        socket.socket() as another,
    ):
        ports = []
        for one in (free, another):
            one.bind(("127.0.0.1", 0))
            ports.append(one.getsockname()[1])
        free.close()
        another.close()
        (Path(place) / "token").write_text("b" * 64)
        (Path(place) / "ray").mkdir()
        (Path(place) / "bin").mkdir()
        for program in ("sh", "sed", "tr", "bash", "ps"):
            found = next((p for p in (Path("/bin"), Path("/usr/bin")) if (p / program).exists()), None)
            if found is not None:
                (Path(place) / "bin" / program).symlink_to(found / program)
        environment = {
            **os.environ,
            "PATH": f"{place}/bin",
            "PYTHONPATH": str(ROOT),
            "RAY_TMPDIR": place,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": f"{place}/token",
        }
        command = [sys.executable, "-c", HEAD, *map(str, ports)]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True) as head:
            assert head.stdout is not None
            for line in head.stdout:
                if line.startswith("ready"):
                    break
            yield Cluster(f"http://127.0.0.1:{ports[0]}", environment)
            head.communicate(timeout=HANGS_S)


def run_file(write: Callable[..., Path], name: str, storage: Path, steps: int = 2) -> Path:
    """A run of `steps` steps a trial, at once in the presence of a file called `gate`, else of .2 s each."""
    path = write(RUN.replace("NAME", name).replace("STORAGE", str(storage)).replace("STEPS", str(steps)))
    module = next(path.parent.glob("*.py"))
    gate = f"os.path.exists({str(storage.parent / 'gate')!r}) or time.sleep(0.2)"
    module.write_text("import time\n" + module.read_text().replace("score =", f"{gate}\n        score ="))
    return path


@pytest.mark.ray
def test_a_job_is_followed_to_its_end_and_ends_as_its_run(
    cluster: Cluster, write: Callable[..., Path], tmp_path: Path
) -> None:
    journal = f"sqlite:///{tmp_path}/journal.db"
    path = run_file(write, "jobbed", tmp_path / "results")
    submit = ("submit", path, "--address", cluster.address, "--env", f"RAYTUNE_JOURNAL={journal}")
    output, errors = (done := cluster.call(*submit)).communicate(timeout=HANGS_S)
    assert done.returncode == 0, output + errors
    assert "jobbed" in output
    events = events_of(journal, "jobbed")
    assert [e.status for e in of(events, ev.TrialEnded)] == ["COMPLETED"] * 3
    reports = of(events, ev.Reported)
    assert {e.metrics["mark"] for e in reports} == {"7"}
    assert not any(e.metrics["where"].startswith(str(path.parent)) for e in reports), "it is a copy that runs"

    again = cluster.call(*submit)
    output, errors = again.communicate(timeout=HANGS_S)
    assert again.returncode == 1, output + errors
    assert "raytune-gp resume jobbed" in output


@pytest.mark.ray
def test_ctrl_c_leaves_a_job_alone_and_a_stopped_one_is_resumed(
    cluster: Cluster, write: Callable[..., Path], tmp_path: Path
) -> None:
    journal = f"sqlite:///{tmp_path}/journal.db"
    path = run_file(write, "slow", tmp_path / "results", steps=500)
    submit = ("submit", path, "--address", cluster.address, "--env", f"RAYTUNE_JOURNAL={journal}")
    follower = cluster.call(*submit)
    assert follower.stdout is not None
    follower.stdout.readline()
    follower.send_signal(signal.SIGINT)
    _, errors = follower.communicate(timeout=HANGS_S)
    assert follower.returncode == 130
    assert "job slow goes on: follow it by `ray job logs --follow" in errors

    assert wait_until(lambda: _has(journal, "slow", ev.Reported))
    refused = cluster.call(*submit)
    assert (
        "the run 'slow' is going on in this cluster, as job slow" in refused.communicate(timeout=HANGS_S)[1]
    )
    assert refused.returncode == 1

    stop = [sys.executable, "-m", "ray.scripts.scripts", "job", "stop", "--address", cluster.address, "slow"]
    done = subprocess.run(stop, env=cluster.environment, capture_output=True, text=True, timeout=HANGS_S)
    assert done.returncode == 0, done.stdout + done.stderr
    [ended] = of(events_of(journal, "slow"), ev.RunEnded)
    assert ended.status == "STOPPED", "gently, as Ctrl-C"

    (tmp_path / "gate").touch()
    path.write_text(path.read_text().replace("num_samples: 3", "num_samples: 4"))
    resumed = cluster.call(*submit, "--resume")
    output, errors = resumed.communicate(timeout=HANGS_S)
    assert resumed.returncode == 0, output + errors
    statuses = [e.status for e in of(events_of(journal, "slow"), ev.TrialEnded)]
    assert statuses.count("COMPLETED") == 4


def _has(journal: str, run: str, kind: type[ev.Event]) -> bool:
    try:
        return bool(of(events_of(journal, run), kind))
    except Exception:  # it is only about to be made
        return False


@pytest.mark.ray
def test_the_server_refuses_whoever_lacks_the_token(
    cluster: Cluster, write: Callable[..., Path], tmp_path: Path
) -> None:
    path = run_file(write, "secret", tmp_path / "results")
    for changes in ({"RAY_AUTH_TOKEN": "c" * 64}, {"RAY_AUTH_MODE": "disabled"}):
        refused = cluster.call("submit", path, "--address", cluster.address, **changes)
        _, errors = refused.communicate(timeout=HANGS_S)
        assert refused.returncode == 1
        assert "wants the token of its cluster" in errors


# --- without a cluster ---


def test_no_job_server_answers(command: Callable[..., Any], write: Callable[..., Path]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(ClusterError, match=r"nobody answers at .* without ray\[default\] has no job server"):
        JobServer(address)


@pytest.mark.parametrize("address", ["head:6379", "ray://head:10001", "auto", "http://", "http://head:x"])
def test_what_is_no_address_of_a_job_server(address: str) -> None:
    with pytest.raises(SpecError, match=r"such as http://127\.0\.0\.1:8265"):
        JobServer(address)


@pytest.mark.parametrize(
    ("line", "options", "message"),
    [
        ("storage_path: results", (), "storage_path is 'results', which is beside the run file"),
        ("journal: my.db", (), "journal is 'my.db', which is beside the run file"),
        ("journal: 'sqlite:///my.db'", (), "journal is 'sqlite:///my.db', which is beside"),
        ("seed: 1", ("--env", "A"), "--env is 'A'; it must be NAME=VALUE"),
        ("seed: 1", ("--resume",), "say which run to go on with"),
        ("seed: 1", ("--working-dir", "/usr"), "--working-dir is '/usr'; it must be a directory with"),
        ("seed: 1", ("--name", "a b"), "name is 'a b'"),
    ],
)
def test_what_cannot_be_submitted(
    line: str, options: tuple[str, ...], message: str, command: Callable[..., Any], write: Callable[..., Path]
) -> None:
    text = f"{{trainable: MODULE:train, metric: score, mode: max, space: {{}}, {line}}}"
    result = command("submit", write(text), *options, "--address", "http://127.0.0.1:1")
    assert result.exit_code == 1
    assert message in result.stderr


def test_the_interpreter_is_the_one_of_the_heads_workers(tmp_path: Path) -> None:
    """Where neither the raylet's command line nor PATH has one with raytune-gp, the job says so and fails."""
    shell = entrypoint(Job("a run", "it's.yaml", str(tmp_path)))
    assert shell.endswith("exit 127")
    done = subprocess.run(
        ["/bin/sh", "-c", shell], env={"PATH": str(tmp_path)}, capture_output=True, text=True, timeout=30
    )
    assert (done.returncode, done.stdout) == (127, "")
    assert "it is not installed where the head runs Ray" in done.stderr
    (tmp_path / "python3").write_text('#!/bin/sh\n[ "$1" = -c ] || echo "$@"\n')
    (tmp_path / "python3").chmod(0o755)
    done = subprocess.run(
        ["/bin/sh", "-c", shell], env={"PATH": str(tmp_path)}, capture_output=True, text=True, timeout=30
    )
    assert done.stdout == "-m raytune_gp.cli run it's.yaml --name a run\n"


class Listing:
    """Ray's client of a server that knows one job."""

    def __init__(self, status: str):
        from ray.job_submission import JobDetails, JobStatus, JobType

        self.job = JobDetails(
            type=JobType.SUBMISSION,
            submission_id="mine",
            status=JobStatus(status),
            entrypoint="",
            metadata={"raytune_gp_run": "mine"},
        )
        self.asked: dict[str, Any] = {}

    def list_jobs(self) -> list[Any]:
        return [self.job]

    def submit_job(self, **asked: Any) -> str:
        self.asked = asked
        return str(asked["submission_id"])


def test_a_run_that_has_ended_is_submitted_under_another_id(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Listing("FAILED")
    monkeypatch.setattr("raytune_gp.execution.jobs._connect", lambda address: client)
    monkeypatch.setattr("raytune_gp.execution.jobs._check_answers", lambda address: None)
    server = JobServer("http://head:8265")
    assert server.submit(Job("mine", "run.yaml", "/project", {"A": "b"}, resume=True)) == "mine.2"
    assert " resume run.yaml --name mine; done" in client.asked["entrypoint"]
    assert client.asked["runtime_env"]["env_vars"]["A"] == "b"
    client.job.status = type(client.job.status)("RUNNING")
    with pytest.raises(
        RunExistsError, match=r"as job mine: follow it by `ray job logs --follow --address http"
    ):
        server.submit(Job("mine", "run.yaml", "/project"))
