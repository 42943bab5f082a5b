"""Runs as jobs of a cluster that is elsewhere: Ray's job server takes them, and its head runs them.

A job is `raytune-gp run` (or `resume`) in a copy of a directory. The interpreter is the one that the head's
Ray runs its workers with: a bare `python` may be another, or none at all.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import socket
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from raytune_gp.errors import ClusterError, RunExistsError, SpecError

__all__ = ["ADDRESS", "FAILED", "STOPPED", "Job", "JobServer", "entrypoint"]

ADDRESS = "http://127.0.0.1:8265"
"""Where Ray's job server listens on a head, and where `ray dashboard` brings that of a cluster elsewhere."""

FAILED, STOPPED = 3, 130
"""Exit codes of a job that ended without one: it never ran or was killed; somebody stopped it."""

ANSWER_S = 5.0
LOOK_S = 0.2
_PORTS = {"http": 80, "https": 443}
_RUN = "raytune_gp_run"
"""The entry of a job's metadata that names its run."""

_GENTLY = {"RAY_JOB_STOP_SIGNAL": "SIGINT", "RAY_JOB_STOP_WAIT_TIME_S": "60"}
"""`ray job stop` then does what Ctrl-C does: trials end at their next report, within so many seconds."""

_RAYLET = "$(sed -n 's/^PPid:[^0-9]*//p' /proc/$PPID/status)"
"""The process that has started the one that starts the job."""

_OF_RAYLET = (
    f"$(tr '\\0' '\\n' </proc/{_RAYLET}/cmdline | sed -n 's/^--python_worker_command=\\([^ ]*\\) .*/\\1/p')"
)
_HAS_BOTH = "from importlib.util import find_spec as f; raise SystemExit(not (f('ray') and f('raytune_gp')))"


@dataclass(frozen=True)
class Job:
    """A run to submit: `run_file` is relative to `directory`, whose files go to the cluster.

    `env` is the environment of the job and of its workers. `resume` goes on with the run of this name.
    """

    run: str
    run_file: str
    directory: str
    env: Mapping[str, str] = field(default_factory=dict)
    resume: bool = False


def entrypoint(job: Job) -> str:
    """The shell command that runs `job` in its directory on the head.

    It looks for an interpreter with ray and raytune-gp: the one of the head's workers, which its raylet's
    command line tells, then what is called python3 or python.
    """
    command = ["resume" if job.resume else "run", job.run_file, "--name", job.run]
    return (
        f"for python in {_OF_RAYLET} python3 python; do "
        f'"$python" -c "{_HAS_BOTH}" 2>/dev/null && exec "$python" -m raytune_gp.cli {shlex.join(command)}; '
        "done; echo 'raytune-gp: it is not installed where the head runs Ray: install it on every node, with "
        "the same versions' >&2; exit 127"
    )


class JobServer:
    """Ray's job server at `address`, such as `http://head:8265`.

    Raises SpecError for an address that cannot be one, ClusterError where no job server answers there, or
    where it does not know this process's token.
    """

    def __init__(self, address: str):
        self.address = address
        _check_answers(address)
        with self._said("it"):
            self._client = _connect(address)

    def submit(self, job: Job) -> str:
        """Start a job; returns its id: the run's name, with a number behind it where that is taken.

        Raises RunExistsError where a job of this run is going on, ClusterError where the server refuses it.
        """
        with self._said(f"job {job.run!r}"):
            jobs = self._client.list_jobs()
        for other in jobs:
            if (other.metadata or {}).get(_RUN) == job.run and not other.status.is_terminal():
                raise RunExistsError(
                    f"the run {job.run!r} is going on in this cluster, as job {other.submission_id}: "
                    f"{self.how_to_follow(other.submission_id)}, or take another name"
                )
        taken = {other.submission_id for other in jobs}
        numbers = (job.run if n == 1 else f"{job.run}.{n}" for n in range(1, len(taken) + 2))
        with self._said(f"job {job.run!r}"):
            submitted: str = self._client.submit_job(
                entrypoint=entrypoint(job),
                submission_id=next(name for name in numbers if name not in taken),
                runtime_env={"working_dir": job.directory, "env_vars": {**_GENTLY, **job.env}},
                metadata={_RUN: job.run},
            )
        return submitted

    def follow(self, job_id: str, write: Callable[[str], Any]) -> int:
        """Hand on what a job prints until it ends; returns its exit code. KeyboardInterrupt leaves it alone.

        Raises ClusterError where the server cannot be reached any more; the job may well go on.
        """
        with self._said(f"job {job_id!r}"):
            job = asyncio.run(self._tail(job_id, write))
        if job.status == "STOPPED":
            return STOPPED
        if job.driver_exit_code is None and job.status != "SUCCEEDED":
            write(f"{job.message}\n")
            return FAILED
        return int(job.driver_exit_code or 0)

    async def _tail(self, job_id: str, write: Callable[[str], Any]) -> Any:
        async for lines in self._client.tail_job_logs(job_id):
            write(lines)
        while True:
            job = await asyncio.to_thread(self._client.get_job_info, job_id)
            if job.status.is_terminal():
                return job
            await asyncio.sleep(LOOK_S)

    def how_to_follow(self, job_id: str) -> str:
        """What to type to follow a job, and to stop it."""
        where = f"--address {self.address} {shlex.quote(job_id)}"
        return f"follow it by `ray job logs --follow {where}`, stop it by `ray job stop {where}`"

    @contextmanager
    def _said(self, what: str) -> Any:
        """Turn what goes wrong between here and the server into a ClusterError that says what to do."""
        from ray.exceptions import AuthenticationError

        try:
            yield
        except AuthenticationError:
            raise ClusterError(
                f"the job server at {self.address} wants the token of its cluster: set RAY_AUTH_MODE=token, "
                f"and have that token in ~/.ray/auth_token, or in the file that RAY_AUTH_TOKEN_PATH names"
            ) from None
        except (OSError, RuntimeError, ValueError) as error:
            reason = str(error).strip().splitlines()
            raise ClusterError(
                f"{what} met an error at the job server {self.address}: {reason[-1] if reason else error!r}"
            ) from error


def _check_answers(address: str) -> None:
    """Raise SpecError or ClusterError where nobody listens at `address`; Ray would wait for minutes."""
    parts = urlsplit(address)
    try:
        usual = _PORTS[parts.scheme]
        host, port = parts.hostname or "", parts.port or usual
    except (KeyError, ValueError):
        host = ""
    if not host:
        raise SpecError(
            f"the address is {address!r}; it must be that of the head's job server, such as {ADDRESS}: not "
            f"the one for ray.init, and with http:// or https:// before it"
        )
    try:
        socket.create_connection((host, port), ANSWER_S).close()
    except OSError as error:
        raise ClusterError(
            f"nobody answers at {address} ({error}): is the cluster up, and its port brought here (`ray "
            f"dashboard cluster.yaml`, `kubectl port-forward`)? A head without ray[default] has no job "
            f"server: install raytune-gp[cluster] there"
        ) from None


def _connect(address: str) -> Any:
    """Ray's client, for `address`; Ray would put what is in $RAY_ADDRESS before it."""
    name = "RAY_API_SERVER_ADDRESS"
    before = os.environ.get(name)
    os.environ[name] = address
    try:
        import aiohttp  # noqa: F401  (Ray imports without it, and fails later)
        from ray.job_submission import JobSubmissionClient

        return JobSubmissionClient(address)
    except ImportError as error:
        raise ClusterError(
            f"jobs need more of Ray than is installed here ({error}): pip install 'raytune-gp[cluster]'"
        ) from None
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
