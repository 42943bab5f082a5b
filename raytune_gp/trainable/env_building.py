"""Makes a `PythonEnv` on this node, once: under a lock, in bounded time, its failure in pip's words."""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import json
import os
import shutil
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from raytune_gp.errors import PythonEnvError
from raytune_gp.secrets import without_secrets
from raytune_gp.trainable.program import Program
from raytune_gp.trainable.python_env import (
    MARKER,
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
    """Make the environment. What a builder that was killed has left is removed first."""
    folder = environments_root() / env.digest
    began = time.monotonic()

    def run(what: str, command: Sequence[str], more: dict[str, str] | None = None) -> None:
        def in_time() -> None:
            check()
            if time.monotonic() - began > timeout_s:
                raise PythonEnvError(
                    f"{_failed(env)}: {what} was not done {timeout_s:g} s after it was begun, and was ended"
                )

        _run(env, what, command, more or {}, in_time)

    print(f"making the environment of {env}, once on this node, in {folder}", flush=True)
    base = find_python(str(env.python))
    try:
        shutil.rmtree(folder, ignore_errors=True)
        own_pip = importlib.util.find_spec("pip") is not None
        run("venv", [base, "-m", "venv", *(["--without-pip"] if own_pip else []), str(folder)])
        target = str(python_of(env.digest))
        pip = [sys.executable, "-m", "pip", "--python", target] if own_pip else [target, "-m", "pip"]
        quiet = ["--disable-pip-version-check", "--no-input", "--progress-bar", "off"]
        run("pip", [*pip, "install", *quiet, *env.pip_options, *env.requirements])
        if env.imports:
            statement = f"import {', '.join(env.imports)}"
            run(f"{statement!r}", [target, "-c", statement], {"PYTHONPATH": str(code_folder())})
        partial = folder / f"{MARKER}.partial"
        partial.write_text(
            json.dumps({"requirements": env.requirements, "seconds": time.monotonic() - began})
        )
        partial.replace(folder / MARKER)
    except OSError as error:
        raise PythonEnvError(f"{_failed(env)}: {error}; $RAYTUNE_ENVS may name another place") from error
    print(f"made in {time.monotonic() - began:.0f} s", flush=True)


def _run(
    env: PythonEnv, what: str, command: Sequence[str], more: dict[str, str], check: Callable[[], None]
) -> None:
    """Run a step to its end, with what it has started. Raises PythonEnvError with its last lines."""
    # What stands in PYTHONPATH would pass for installed already.
    program = Program(command, {"PYTHONPATH": "", "PYTHONHOME": "", "PIP_USER": "0", **more})
    last: deque[str] = deque(maxlen=LAST_LINES)
    try:
        for line in program.lines(check):
            print(without_secrets(line), flush=True)
            last.append(without_secrets(line)[:LONGEST_LINE])
    finally:
        code = program.end()
    if code:
        words = "\n".join(last)
        hint = f"\n{_NO_NETWORK_HINT}" if any(w in words for w in _NO_NETWORK) else ""
        raise PythonEnvError(f"{_failed(env)}: {what} ended with code {code}. Its last lines:\n{words}{hint}")


def _failed(env: PythonEnv) -> str:
    return f"the Python environment of {env} could not be made on {socket.gethostname()}"


@contextlib.contextmanager
def _lock(digest: str, env: PythonEnv, check: Callable[[], None]) -> Iterator[None]:
    """Nobody else on this node makes the environment meanwhile; the lock of a process that dies is free."""
    path = environments_root() / f"{digest}.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+")
    except OSError as error:
        raise PythonEnvError(f"{_failed(env)}: {error}; $RAYTUNE_ENVS may name another place") from error
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
