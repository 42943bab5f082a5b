"""Interpreters of a version on this node."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from raytune_gp.errors import PythonEnvError

__all__ = ["find_python"]

ASK_S = 20.0
"""So long an interpreter may take to say its version."""

_SAY = "import sys; print('.'.join(map(str, sys.version_info[:3])))"


def find_python(wanted: str) -> str:
    """The interpreter for `wanted`, a version such as "3.11" or a path.

    This process's own comes first, then those on the PATH and pyenv's. Raises PythonEnvError, which says
    what was looked at.
    """
    if os.sep in wanted:
        path = str(Path(wanted).expanduser())
        found = _version(path)
        if found is None:
            raise PythonEnvError(f"{wanted!r} is no Python that runs here: give another path, or a version")
        return path
    seen = []
    for candidate in _candidates(wanted):
        found = _version(candidate)
        if found is not None and f"{found}.".startswith(f"{wanted}."):
            return candidate
        seen.append(f"{candidate} ({found or 'does not run'})")
    raise PythonEnvError(
        f"there is no Python {wanted} on this node; looked at {', '.join(seen)}, python{wanted} on the PATH "
        f"and ~/.pyenv/versions. Install it, or give its path as python="
    )


def _candidates(wanted: str) -> Iterator[str]:
    yield sys.executable
    minor = ".".join(wanted.split(".")[:2])
    for name in (f"python{wanted}", f"python{minor}", "python3"):
        path = shutil.which(name)
        if path is not None:
            yield path
    for folder in sorted(Path("~/.pyenv/versions").expanduser().glob(f"{wanted}*"), reverse=True):
        yield str(folder / "bin" / "python")


def _version(path: str) -> str | None:
    """What the interpreter at `path` says; None where it does not run."""
    if path == sys.executable:
        return ".".join(map(str, sys.version_info[:3]))
    try:
        done = subprocess.run(
            [path, "-I", "-c", _SAY], capture_output=True, text=True, timeout=ASK_S, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
