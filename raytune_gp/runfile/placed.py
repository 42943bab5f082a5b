"""Trainables of a run file: known by name, and run where the run file says."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from raytune_gp.errors import TrainableError
from raytune_gp.trainable.python_env import PythonEnv
from raytune_gp.trial import Config

__all__ = ["Named", "Placed"]


@dataclass(frozen=True)
class Named:
    """The function that `target` names, `module:function`: imported where it is called, never pickled."""

    target: str

    @property
    def function(self) -> Any:
        """The function itself. Raises TrainableError where there is none, or its import fails."""
        module, _, name = self.target.partition(":")
        try:
            found: Any = importlib.import_module(module)
        except ModuleNotFoundError as error:
            raise TrainableError(
                f"the trainable {self.target!r} cannot be imported: {error}; it is looked for in "
                f"{os.getcwd()} (working_dir) and among the installed packages"
            ) from error
        except (Exception, SystemExit) as error:
            raise TrainableError(
                f"the trainable {self.target!r} cannot be imported: its module {module!r} {_raised(error)}; "
                f"an import must only define things, so put what runs as a program below "
                f'`if __name__ == "__main__":`'
            ) from error
        for part in name.split("."):
            if not hasattr(found, part):
                raise TrainableError(f"the trainable {self.target!r} is not there: {found} has no {part!r}")
            found = getattr(found, part)
        return found

    def __call__(self, config: Config) -> Any:
        return self.function(config)

    def __str__(self) -> str:
        return self.target


def _raised(error: BaseException) -> str:
    """What a module did instead of being imported, with the line of the user's that it happened in."""
    if isinstance(error, SystemExit):
        what = f"exited with {error.code!r}"
    else:
        what = f"raised {type(error).__name__}: {error}"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith("<frozen")]
    own = next((f for f in frames if f.filename != __file__ and f.filename != importlib.__file__), None)
    return what if own is None else f"{what} (at {own.filename}:{own.lineno})"


@dataclass(frozen=True)
class Placed:
    """A trainable that runs in `directory`, with that first on the path of imports, and with `env` added.

    Where the directory is `sent` to the workers, it is their working directory that it runs in. The packages
    of `python_env` are a function's; a script has its own field for them.
    """

    trainable: Any
    directory: str
    env: Mapping[str, str] = field(default_factory=dict)
    sent: bool = False
    python_env: PythonEnv | None = None

    @property
    def function(self) -> Any:
        """What runs in the end: the function that is named, or the script."""
        with self._in(self.directory):
            return getattr(self.trainable, "function", self.trainable)

    def __call__(self, config: Config) -> Any:
        with self.in_place():
            return self.trainable(config)

    def __str__(self) -> str:
        return str(self.trainable)

    def in_place(self) -> contextlib.AbstractContextManager[None]:
        """This process where the trainable runs, for what a call of it gives: an object with steps."""
        return self._in(os.getcwd() if self.sent else self.directory)

    @contextlib.contextmanager
    def _in(self, directory: str) -> Iterator[None]:
        """This process in the directory and with the environment, and as it was afterwards.

        The path of imports stays, for what the trainable imports later, in threads of its own.
        """
        before = dict(os.environ)
        if directory not in sys.path:
            sys.path.insert(0, directory)
        inherited = [p for p in (before.get("PYTHONPATH"),) if p]
        os.environ.update({"PYTHONPATH": os.pathsep.join([directory, *inherited]), **self.env})
        try:
            with contextlib.chdir(directory):
                yield
        finally:
            os.environ.clear()
            os.environ.update(before)
