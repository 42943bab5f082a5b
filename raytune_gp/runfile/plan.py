"""From a run file to a run: the arguments of `tune.run`, and every check that needs no training."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raytune_gp.errors import SpecError
from raytune_gp.execution.foreign import check_python_env
from raytune_gp.execution.resources import check_demand
from raytune_gp.execution.shipping import check_runtime_env
from raytune_gp.runfile.model import RunFile, changed, load
from raytune_gp.runfile.placed import Named, Placed
from raytune_gp.schedulers import resolve_scheduler
from raytune_gp.searchers import resolve_searcher
from raytune_gp.searchers.asking import make_guesses
from raytune_gp.secrets import refuse_secrets
from raytune_gp.settings import (
    CheckpointConfig,
    check_name,
    default_storage_path,
    total_trials,
)
from raytune_gp.space import SearchSpace
from raytune_gp.spec import UNLIMITED
from raytune_gp.trainable.parameters import resources_of
from raytune_gp.trainable.python_env import PythonEnv
from raytune_gp.trainable.run import check_trainable
from raytune_gp.trainable.script import Script, check_channels
from raytune_gp.trial import Metric

__all__ = ["Checked", "Plan", "read_plan"]


@dataclass(frozen=True)
class Checked:
    """What would run, once all of it was found to be in order. `trials` may be `UNLIMITED`."""

    space: SearchSpace
    trials: int
    searcher: Mapping[str, Any]
    scheduler: Mapping[str, Any]
    resources: Mapping[str, Any]


@dataclass(frozen=True)
class Plan:
    """A run file that was read, with what belongs to its place on the disk."""

    path: Path
    file: RunFile
    space: Mapping[str, Any]
    sha256: str

    @property
    def directory(self) -> Path:
        """Where the trainable runs. Raises SpecError where there is no such directory."""
        directory = self._near(self._sent or self.file.working_dir)
        if not directory.is_dir():
            raise SpecError(f"working_dir is {str(directory)!r}, which is no directory: create or correct it")
        return directory

    @property
    def _sent(self) -> str | None:
        """The directory here that is sent to every node, for the trainable to run in its copy."""
        directory = (self.file.runtime_env or {}).get("working_dir")
        return directory if isinstance(directory, str) and "://" not in directory else None

    @property
    def runtime_env(self) -> dict[str, Any] | None:
        """Ray's runtime environment, with the paths in it in full. Raises SpecError."""
        if self.file.runtime_env is None:
            return None
        found = dict(self.file.runtime_env)
        if self._sent is not None:
            found["working_dir"] = str(self.directory)
        if isinstance(found.get("py_modules"), list):
            modules = map(str, found["py_modules"])
            found["py_modules"] = [m if "://" in m else str(self._near(m)) for m in modules]
        return found

    def _near(self, path: str) -> Path:
        """A path of the run file as an absolute one; it is relative to the file's directory."""
        try:
            return (self.path.parent / Path(path).expanduser()).resolve()
        except (RuntimeError, OSError) as error:  # "~nobody", a loop of links
            raise SpecError(f"{path!r} in {self.path.name} leads nowhere: {error}") from None

    @property
    def trainable(self) -> Placed:
        """The function or the program, in its directory. Raises SpecError for a bad regular expression."""
        directory = str(self.directory)
        env = {name: str(value) for name, value in self.file.env.items()}
        sent = "working_dir" in (self.file.runtime_env or {})
        if self.file.trainable is not None:
            return Placed(Named(self.file.trainable), directory, env, sent, self.python_env)
        file = self.file
        data = {name: str(self._near(path)) for name, path in check_channels(file.data).items()}
        command = [str(part) for part in file.command or ()]
        script = Script(
            command,
            file.definitions,
            data=data,
            metric_timeout_s=file.metric_timeout_s,
            python_env=self.python_env,
        )
        return Placed(script, directory, env, sent)

    @property
    def python_env(self) -> PythonEnv | None:
        """The packages that the trainable has of its own. Raises SpecError."""
        given = self.file.python_env
        if given is None:
            return None
        python = given.python
        if python is not None and os.sep in python:
            python = str(self._near(python))
        return PythonEnv(tuple(given.requirements), python, tuple(given.pip_options))

    @property
    def name(self) -> str:
        """The run's name; one of the file's name and the time where it says none."""
        if self.file.name is not None:
            return self.file.name
        stem = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in self.path.stem)
        return check_name(f"{stem.lstrip('._-') or 'run'}_{time.strftime('%Y-%m-%d_%H-%M-%S')}")

    @property
    def storage_path(self) -> str:
        """The directory or URI below which the run's files go."""
        path = self.file.storage_path
        if path is None:
            return default_storage_path()
        return refuse_secrets(path) if "://" in path else str(self._near(path))

    @property
    def origin(self) -> dict[str, str]:
        """What the journal keeps, for `raytune-gp resume NAME`."""
        return {"path": str(self.path), "sha256": self.sha256}

    def arguments(self) -> dict[str, Any]:
        """The arguments of `tune.run`; the journal is the caller's affair."""
        file = self.file
        same = ("metric", "mode", "num_samples", "max_concurrent_trials", "search_alg", "scheduler", "scope")
        more = ("points_to_evaluate", "stop", "time_budget_s", "seed", "max_failures", "fail_fast")
        times = ("trial_timeout_s", "report_timeout_s", "grace_period_s")
        trainable = self.trainable
        return {
            **{name: getattr(file, name) for name in (*same, *more, *times, "detached")},
            "trainable": trainable,
            "config": self.space,
            "name": self.name,
            "resources_per_trial": resources_of(trainable.function, file.resources_per_trial),
            "runtime_env": self.runtime_env,
            "storage_path": self.storage_path,
            "checkpoint_config": CheckpointConfig(**file.checkpoint.model_dump()),
            "run_file": self.origin,
        }

    def check(self) -> Checked:
        """Import the trainable and make every part of the run, but start nothing.

        Raises:
            SpecError, SpaceError, TrainableError: as `tune.run` would before it starts anything.
        """
        file = self.file
        function = self.trainable.function
        check_trainable(function)
        self._check_program()
        space = SearchSpace(self.space)
        metric = Metric(file.metric, file.mode)
        CheckpointConfig(**file.checkpoint.model_dump()).when_to_save(function)
        searcher, searcher_about = resolve_searcher(file.search_alg, space, metric, file.seed)
        _, scheduler_about = resolve_scheduler(file.scheduler, metric)
        guesses = make_guesses(file.points_to_evaluate, space)
        check_runtime_env(self.runtime_env or {}, "ray")
        check_python_env(self.trainable, self.runtime_env or {}, "ray")
        resources = check_demand(resources_of(function, file.resources_per_trial)).resources
        trials = total_trials(file.num_samples, space, searcher, len(guesses))
        return Checked(space, trials, searcher_about, scheduler_about, resources)

    def _check_program(self) -> None:
        """Raise SpecError where the program of `command`, its script in Python, or its data is not there."""
        if self.file.command is None:
            return
        for name, path in check_channels(self.file.data).items():
            if not self._near(path).exists():
                raise SpecError(
                    f"the channel {name!r} of data is {str(self._near(path))!r}, which is not there"
                )
        program, *rest = map(str, self.file.command)
        with contextlib.chdir(self.directory):
            if program != "python" and shutil.which(program) is None:
                raise SpecError(f"the program {program!r} of command is not found from {self.directory}")
            script = rest[0] if rest and "python" in Path(program).name else ""
            if script.endswith(".py") and not Path(script).is_file():
                raise SpecError(f"the script {script!r} of command is not found from {self.directory}")

    def samples_to_resume(self, total: int) -> int | None:
        """`num_samples` to go on with a run of `total` trials: the file's, but for no fewer than that."""
        trials = self.check().trials
        if trials == UNLIMITED or 0 <= total <= trials:
            return self.file.num_samples
        trials_a_sample = trials // (self.file.num_samples or 1)
        return UNLIMITED if total == UNLIMITED else total // trials_a_sample


def read_plan(path: str | Path, changes: Mapping[str, Any] | None = None) -> Plan:
    """The run file at `path`, with `changes` (name, num_samples) made to it.

    Raises:
        SpecError: see `load`.
    """
    absolute = Path(path).expanduser().resolve()
    file, space, sha256 = load(absolute)
    made = {name: value for name, value in (changes or {}).items() if value is not None}
    return Plan(absolute, changed(file, made) if made else file, space, sha256)
