"""A Python environment as a value: what is installed in it, and where a node keeps it.

This loads little but the standard library: a process that Ray starts looks here for its interpreter.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from raytune_gp.errors import SpecError
from raytune_gp.secrets import without_secrets

__all__ = ["PythonEnv", "code_folder", "environments_root", "is_whole", "python_of"]

_HERE = f"{sys.version_info.major}.{sys.version_info.minor}"
"""The version that runs this."""

_VERSION = re.compile(r"\d+\.\d+(\.\d+)?")
_NUMPY_1 = re.compile(r"numpy\s*(==|<=|<|~=)\s*([01]\.|2(\.0)*$)")


@dataclass(frozen=True)
class PythonEnv:
    """Packages in a virtual environment of their own, beside those of the cluster.

    Each node makes it where it first needs it, and keeps it: equal values share one. Keeps lists as tuples.

    Args:
        requirements: as pip takes them, such as `mxnet==1.9.1`.
        python: a version, such as `"3.11"`, which is looked for on the node, or the path of an interpreter;
            None for the version that runs this.
        pip_options: of `pip install`, such as `["--index-url", "https://…"]`.

    Raises:
        SpecError: no requirement, one that is an option, a python that is neither version nor path, or a URL
            with a secret in it.
    """

    requirements: tuple[str, ...] | list[str]
    python: str | None = None
    pip_options: tuple[str, ...] | list[str] = ()
    imports: tuple[str, ...] | list[str] = ()
    """Modules that must be importable there, or it is not made."""

    def __post_init__(self) -> None:
        for name in ("requirements", "pip_options", "imports"):
            object.__setattr__(self, name, _words(name, getattr(self, name)))
        if not self.requirements:
            raise SpecError('requirements is empty; name what to install, such as ["mxnet==1.9.1"]')
        option = next((r for r in self.requirements if r.startswith("-") or not r.strip()), None)
        if option is not None:
            raise SpecError(f"the requirement {option!r} is none; options of pip go into pip_options")
        python = _HERE if self.python is None else self.python
        python = str(python) if isinstance(python, Path) else python
        if not isinstance(python, str) or not (os.sep in python or _VERSION.fullmatch(python)):
            raise SpecError(
                f'python is {self.python!r}; it must be a version such as "{_HERE}", in quotes, or the path '
                f"of an interpreter"
            )
        object.__setattr__(self, "python", python)
        secret = next((w for w in (*self.requirements, *self.pip_options) if without_secrets(w) != w), None)
        if secret is not None:
            raise SpecError(
                f"{without_secrets(secret)!r} has a secret in it, which would be stored with the run: give "
                f"it to every node by PIP_INDEX_URL, PIP_EXTRA_INDEX_URL or ~/.netrc"
            )

    def __str__(self) -> str:
        return f"{', '.join(self.requirements)} for Python {self.python}"

    @property
    def digest(self) -> str:
        """Sixteen hexadecimal digits that say what is in it."""
        content = [sorted(self.requirements), self.python, self.pip_options, self.imports]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]

    def for_workers(self, ray_version: str) -> PythonEnv:
        """The same with what a worker of this package imports, so that a Ray actor can run in it.

        Raises SpecError where its Python is another one than this: functions travel as byte code.
        """
        if _VERSION.fullmatch(str(self.python)) and not f"{self.python}.".startswith(f"{_HERE}."):
            raise SpecError(
                f"python is {self.python!r} and the cluster's is {_HERE}: a function runs in a Ray worker, "
                f"which needs the cluster's version. Leave python out, or run a tune.Script there"
            )
        old = any(_NUMPY_1.match(r.strip()) for r in self.requirements)
        own = (f"ray=={ray_version}", "pyarrow<20" if old else "pyarrow", "psutil", "regex", "numpy")
        named = {re.split(r"[^\w-]", r.strip(), maxsplit=1)[0].lower() for r in self.requirements}
        added = [r for r in own if re.split(r"[^\w-]", r, maxsplit=1)[0] not in named]
        return replace(
            self,
            requirements=(*self.requirements, *added),
            imports=("ray", "raytune_gp.execution.worker", *self.imports),
        )


def _words(name: str, words: object) -> tuple[str, ...]:
    if not isinstance(words, list | tuple) or not all(isinstance(w, str) for w in words):
        raise SpecError(f'{name} is {words!r}; it must be a list of texts, such as ["numpy==1.23.5"]')
    return tuple(words)


def environments_root() -> Path:
    """Where this node keeps its environments: $RAYTUNE_ENVS, else `~/.raytune_gp/envs`."""
    return Path(os.environ.get("RAYTUNE_ENVS") or "~/.raytune_gp/envs").expanduser()


def python_of(digest: str) -> Path:
    """The interpreter of the environment with this digest; it need not be there."""
    return environments_root() / digest / "bin" / "python"


def is_whole(digest: str) -> bool:
    """Whether this node has the environment, and its interpreter too: what is half made has no such name."""
    return os.access(python_of(digest), os.X_OK)


def code_folder() -> Path:
    """A folder with this package and nothing else, for another environment's path of imports."""
    package = Path(__file__).resolve().parents[1]
    folder = environments_root() / f"code-{hashlib.sha256(str(package).encode()).hexdigest()[:16]}"
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        (folder / package.name).symlink_to(package, target_is_directory=True)
    return folder
