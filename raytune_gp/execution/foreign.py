"""Workers whose trials have packages of their own: which, made where, and how a worker comes to run in them.

Nobody knows on which node Ray will place a worker before it is there. So the worker is started by
`launcher.py`, in the environment where its node has it and in the cluster's Python where it has not. There it
makes the environment before it says hello, and its coordinator has it started again.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from raytune_gp.errors import SpecError
from raytune_gp.execution.launcher import INSIDE
from raytune_gp.trainable.env_building import interpreter
from raytune_gp.trainable.parameters import python_env_of
from raytune_gp.trainable.python_env import PythonEnv, is_whole

__all__ = ["Foreign", "check_python_env"]

_PYTHONS_OF_RAY = ("pip", "uv", "conda", "py_executable", "container", "image_uri")


@dataclass(frozen=True)
class Foreign:
    """The packages that a run's trials have of their own, and whether the worker itself is to have them."""

    env: PythonEnv | None = None
    inside: bool = False

    @classmethod
    def of(cls, trainable: Any) -> Foreign:
        """Those of `trainable`. Raises SpecError where a worker cannot run in that Python."""
        env, inside = python_env_of(trainable)
        return cls(env.for_workers(version("ray")) if env is not None and inside else env, inside)

    @property
    def at_home(self) -> bool:
        """Whether this process is one that the worker can stay in."""
        return not self.inside or os.environ.get(INSIDE) == (self.env and self.env.digest)

    @property
    def is_missing_here(self) -> bool:
        """Whether it has yet to be made on this node."""
        return self.env is not None and not is_whole(self.env.digest)

    def prepare(self) -> None:
        """Make the environment unless this node has it. Raises PythonEnvError."""
        if self.env is not None:
            interpreter(self.env)

    def runtime_env(self, others: Mapping[str, Any]) -> dict[str, Any]:
        """Ray's runtime environment for the worker: `others`, and how it is started."""
        if self.env is None or not self.inside:
            return dict(others)
        words = [sys.executable, "-m", "raytune_gp.execution.launcher", self.env.digest]
        return {**others, "py_executable": shlex.join(words)}


def check_python_env(trainable: Any, runtime_env: Mapping[str, Any], executor: str) -> None:
    """Raise SpecError where the trainable's `python_env` cannot go with the rest of the run."""
    foreign = Foreign.of(trainable)
    if not foreign.inside:
        return
    if executor != "ray":
        raise SpecError(
            f'the trainable has a python_env, and executor="{executor}" runs it in this very process: leave '
            f"one of them out, or run a tune.Script, which is a process of its own"
        )
    beside = next((name for name in _PYTHONS_OF_RAY if name in runtime_env), None)
    if beside is not None:
        raise SpecError(
            f"the trainable has a python_env, and runtime_env has {beside!r}: leave one of them out"
        )
