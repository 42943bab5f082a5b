"""Makes a `PythonEnv` on this node, once: under a lock, in bounded time, its failure in pip's words."""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import shutil
import socket
import sys
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from raytune_gp.errors import PythonEnvError
from raytune_gp.secrets import without_secrets
from raytune_gp.trainable.program import Program
from raytune_gp.trainable.python_env import (
    PythonEnv,
    code_folder,
    environments_root,
    is_whole,
    python_of,
)
from raytune_gp.trainable.pythons import find_python

__all__ = ["BUILD_S", "interpreter"]

BUILD_S = 600.0
"""So long an environment may take to be made, in seconds."""

WAIT_S = BUILD_S + 60.0
"""So long one process waits for another one that makes it."""

LOOK_S = 0.1
LAST_LINES = 12
LONGEST_LINE = 400
"""Lines of the installer that an error quotes, and the characters of each."""

_NO_NETWORK = ("Temporary failure in name resolution", "Network is unreachable", "NewConnectionError")
_NO_NETWORK_HINT = (
    "This node seems to reach no package index: name one that it reaches by PIP_INDEX_URL, or wheels by "
    'pip_options=["--no-index", "--find-links", "/a/folder"]'
)


def interpreter(env: PythonEnv, check: Callable[[], None] = lambda: None, timeout_s: float = BUILD_S) -> str:
    """The path of the interpreter of `env` on this node, which makes it first where it is not there.

    `check` is called now and then, and what it raises ends the making. One that was left half made, or has
    lost the Python below it, is made anew.

    Raises:
        PythonEnvError: no such Python, the installer failed or was not done in `timeout_s`, or another
            process has been at it for longer than WAIT_S.
    """
    digest = env.digest
    if not is_whole(digest):
        with _lock(digest, env, check):
            if not is_whole(digest):
                _make(env, check, timeout_s)
    return str(python_of(digest))


def _make(env: PythonEnv, check: Callable[[], None], timeout_s: float) -> None:
    """Make the environment in a folder of its own, which gets the name it is looked for by when it is whole.

    So what a killed builder has left, or still writes to, is never taken for it.
    """
    root, digest = environments_root(), env.digest
    began = time.monotonic()

    def in_time() -> None:
        check()
        if time.monotonic() - began > timeout_s:
            raise PythonEnvError(f"{_failed(env)}: it was not done after {timeout_s:g} s, and was ended")

    for old in root.glob(f"{digest}.*"):
        if old.is_dir():
            shutil.rmtree(old, ignore_errors=True)
    folder = root / f"{digest}.{uuid.uuid4().hex[:8]}"
    print(f"making the environment of {env}, once on this node, in {root / digest}", flush=True)
    try:
        _install(env, folder, in_time)
        link = root / f"{digest}.link"
        link.unlink(missing_ok=True)
        link.symlink_to(folder.name, target_is_directory=True)
        link.replace(root / digest)
    except OSError as error:
        raise PythonEnvError(f"{_failed(env)}: {error}{_ELSEWHERE}") from error
    finally:
        if not is_whole(digest):
            shutil.rmtree(folder, ignore_errors=True)
    print(f"made in {time.monotonic() - began:.0f} s", flush=True)


def _install(env: PythonEnv, folder: Path, check: Callable[[], None]) -> None:
    """The virtual environment at `folder`, by this process's pip if it has one, which saves installing it."""
    own_pip = importlib.util.find_spec("pip") is not None
    base, target = find_python(str(env.python)), str(folder / "bin" / "python")
    _run(env, "venv", [base, "-m", "venv", *(["--without-pip"] if own_pip else []), str(folder)], check)
    pip = [sys.executable, "-m", "pip", "--python", target] if own_pip else [target, "-m", "pip"]
    quiet = ["--disable-pip-version-check", "--no-input", "--progress-bar", "off"]
    _run(env, "pip", [*pip, "install", *quiet, *env.pip_options, *env.requirements], check)
    if env.imports:
        statement = f"import {', '.join(env.imports)}"
        _run(env, repr(statement), [target, "-c", statement], check, {"PYTHONPATH": str(code_folder())})


def _run(
    env: PythonEnv,
    what: str,
    command: Sequence[str],
    check: Callable[[], None],
    more: Mapping[str, str] | None = None,
) -> None:
    """Run a step to its end, with what it has started. Raises PythonEnvError with its last lines."""
    last: deque[str] = deque(maxlen=LAST_LINES)

    def hear(lines: list[str]) -> None:
        last.extend(without_secrets(line)[:LONGEST_LINE] for line in lines)

    # What stands in PYTHONPATH would pass for installed already.
    program = Program(command, {"PYTHONPATH": "", "PYTHONHOME": "", "PIP_USER": "0", **(more or {})})
    try:
        for lines in program.output(check):
            hear(lines)
    finally:
        code = program.end(hear)
    if code:
        errors = [line for line in last if line.startswith("ERROR")]
        words = "\n".join(errors or last)
        hint = f"\n{_NO_NETWORK_HINT}" if any(w in line for line in last for w in _NO_NETWORK) else ""
        raise PythonEnvError(f"{_failed(env)}: {what} ended with code {code}. Its last lines:\n{words}{hint}")


def _failed(env: PythonEnv) -> str:
    return f"the Python environment of {env} could not be made on {socket.gethostname()}"


_ELSEWHERE = "; $RAYTUNE_ENVS may name another place for environments"


@contextlib.contextmanager
def _lock(digest: str, env: PythonEnv, check: Callable[[], None]) -> Iterator[None]:
    """Nobody else on this node makes the environment meanwhile; the lock of a process that dies is free."""
    path = environments_root() / f"{digest}.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+")
    except OSError as error:
        raise PythonEnvError(f"{_failed(env)}: {error}{_ELSEWHERE}") from error
    with file:
        deadline = time.monotonic() + WAIT_S
        while not _taken(file.fileno()):
            check()
            if time.monotonic() > deadline:
                raise PythonEnvError(
                    f"{_failed(env)}: {path.read_text() or 'another process'} has been at it for more than "
                    f"{WAIT_S:g} s. End that process, and try again"
                )
            time.sleep(LOOK_S)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
