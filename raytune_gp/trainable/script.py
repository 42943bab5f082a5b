"""Any program as a trainable: hyperparameters on its command line, metrics scraped from what it prints.

This is SageMaker's contract for training jobs: `--name value` arguments and `SM_` variables, directories for
checkpoints and the model, and a regular expression a metric. docs/scripts.md has all of it in one table.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from raytune_gp.errors import MetricMissingError, SpecError, TrainableError
from raytune_gp.naming import suggestion
from raytune_gp.trainable.env_building import interpreter
from raytune_gp.trainable.folders import Folders
from raytune_gp.trainable.patterns import Definitions, metric_definitions
from raytune_gp.trainable.program import POLL_S, Program, is_variable
from raytune_gp.trainable.python_env import PythonEnv
from raytune_gp.trainable.sagemaker_env import flat, sagemaker_environment
from raytune_gp.trainable.scraper import Scraper
from raytune_gp.trainable.session import Session, current_session
from raytune_gp.trial import Config
from raytune_gp.unreported import AUTOMATIC

__all__ = ["METRIC_TIMEOUT_S", "Script", "check_channels", "check_program_metric"]

METRIC_TIMEOUT_S = 3600.0
"""So long the first trials of a run may take to their first metric, in seconds. An epoch of a large model may
take most of an hour; a pattern that matches nothing is better found by `raytune-gp check`."""

ERROR_LINES = 20
LONGEST_ERROR_LINE = 500
"""Characters of each of these lines that go into the error."""

ENDED_WELL = (0, 128 + signal.SIGTERM)
"""Exit codes of a program that has saved what it had to; the second one is that of a handler of SIGTERM."""

_VARIABLE = re.compile(r"\$(?:\{(SM_[\w.-]+)\}|(SM_\w+))")
_CHANNEL = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Script:
    """A trainable that runs a program.

    Args:
        command: the program and its fixed arguments, as a list; never a shell string. `$SM_MODEL_DIR` and the
            other variables of SageMaker's are filled in.
        metrics: metric name to a regular expression whose one group is the number, or with `{float}` in its
            place; or a list of SageMaker's definitions, `{"Name": …, "Regex": …}`.
        env: environment variables to add.
        data: the directories of the input data by channel, for SM_CHANNEL_TRAIN and its like; one directory
            alone is the channel `training`. Every node must see them.
        python_env: packages of its own: the command's `python` is that of this environment, whose programs
            are found first, too. Each node makes it once, before its first trial.
        metric_timeout_s: so many seconds a trial may take to print its first metric, as long as no trial of
            the run has; None for no limit.

    Hyperparameters follow as `--name value`; an underscore stays one, a nested name is joined by dots, True
    and False are written `true` and `false`. Output goes to the trial's log. The program runs in a process
    group of its own, and whatever it has started is ended with the trial. A non-zero exit code is a failure.
    """

    def __init__(
        self,
        command: Sequence[str],
        metrics: Definitions,
        env: Mapping[str, str] | None = None,
        data: str | Mapping[str, str] | None = None,
        metric_timeout_s: float | None = METRIC_TIMEOUT_S,
        python_env: PythonEnv | None = None,
    ):
        if isinstance(command, str) or not command:
            raise SpecError(
                f'command is {command!r}; it must be a list such as ["python", "train.py"]: a string would '
                f"need a shell"
            )
        Scraper(metrics)
        if metric_timeout_s is not None and not metric_timeout_s > 0:
            raise SpecError(f"metric_timeout_s is {metric_timeout_s!r}; it must be above 0, or None")
        self.command = [str(part) for part in command]
        self.metrics = metric_definitions(metrics)
        for name in env or {}:
            if not is_variable(name):
                raise SpecError(
                    f"env has {name!r}; it must be the name of an environment variable, without = (MARK)"
                )
        self.env = {name: str(value) for name, value in (env or {}).items()}
        self.data = check_channels(data)
        self.metric_timeout_s = metric_timeout_s
        if python_env is not None and not isinstance(python_env, PythonEnv):
            raise SpecError(f"python_env is {python_env!r}; it must be a tune.PythonEnv")
        self.python_env = python_env

    def __repr__(self) -> str:
        return f"Script({' '.join(self.command)})"

    def arguments(self, config: Config) -> list[str]:
        """The command-line arguments for `config`."""
        pairs = flat(config).items()
        return [part for name, value in pairs for part in (f"--{name}", _text(value))]

    def __call__(self, config: Config) -> None:
        """Run the program to its end, and report what it prints.

        Raises TrainableError where it cannot be started or ends badly, MetricMissingError where it prints no
        metric.
        """
        session = current_session()
        with Folders(session) as folders:
            variables = self._variables(config, session, folders)
            name, *fixed = (_filled_in(part, variables) for part in self.command)
            python, found_first = self._python(session)
            command = [python if name == "python" else name, *fixed, *self.arguments(config)]
            program = Program(command, {**variables, **found_first, **self.env})
            watch = _Watch(self, session, folders)
            try:
                watch.follow(program.output(watch.check))
            finally:
                code = program.end(watch.log, terminate_s=session.grace_s / 2)
                folders.finish(ended_well=code in ENDED_WELL)
            if code != 0:
                raise TrainableError(watch.with_last_lines("TrainableError", _ended(code)))
            watch.require_metric()

    def _python(self, session: Session) -> tuple[str, dict[str, str]]:
        """The interpreter that `python` stands for, and the variables by which its programs are found."""
        if self.python_env is None:
            return sys.executable, {}
        python = interpreter(self.python_env, session.check)
        programs = os.path.dirname(python)
        path = os.pathsep.join([programs, os.environ.get("PATH", os.defpath)])
        return python, {"PATH": path, "VIRTUAL_ENV": os.path.dirname(programs), "PYTHONHOME": ""}

    def _variables(self, config: Config, session: Session, folders: Folders) -> dict[str, str]:
        directories = {
            "model_dir": folders.model,
            "checkpoint_dir": folders.checkpoints,
            "output_dir": folders.output,
            "output_data_dir": folders.output_data,
        }
        channels = {name: Path(path).expanduser().absolute() for name, path in self.data.items()}
        for name, path in channels.items():
            if not path.exists():
                raise TrainableError(
                    f"the channel {name!r} of data is {str(path)!r}, which is not on {socket.gethostname()}: "
                    f"every node must see it under this path"
                )
        return sagemaker_environment(config, self.arguments(config), session.context, directories, channels)


class _Watch:
    """Follows what a program prints: logs it, reports the metrics in it, and sees that there are any."""

    def __init__(self, script: Script, session: Session, folders: Folders):
        self._session = session
        self._folders = folders
        self._metrics = script.metrics
        self._limit_s = script.metric_timeout_s
        self._scraper = Scraper(script.metrics)
        self._tail: deque[str] = deque(maxlen=ERROR_LINES)
        self._began = time.monotonic()

    def follow(self, output: Iterable[list[str]]) -> None:
        """Log and report the lines of `output` as they come."""
        for lines in output:
            self.log(lines)
            for line in lines:
                self._report(self._scraper.feed(line))
                if self._scraper.took_s > POLL_S:
                    self.check()
        self._report(self._scraper.finish())

    def _report(self, reports: list[dict[str, float]]) -> None:
        for report in reports:
            self._session.report(report, trains_on=True)

    def log(self, lines: list[str]) -> None:
        """Write lines of output to the trial's log, and remember the last ones."""
        if lines:
            print("\n".join(lines), flush=True)
            self._tail.extend(lines[-ERROR_LINES:])

    def check(self) -> None:
        """Called again and again: raises where the trial is to end, and keeps what the program has saved."""
        self._session.check()
        if self._folders.look():
            self._session.check(saved=True)
        if self._limit_s is None or not self._session.is_first or self._scraper.has_found:
            return
        seconds = time.monotonic() - self._began
        if seconds > self._limit_s:
            raise self._missing(
                f"within {self._limit_s:g} s, metric_timeout_s, the program printed no metric"
            )

    def require_metric(self) -> None:
        """Raise MetricMissingError where the trial has ended without any report."""
        if not self._session.has_reported:
            raise self._missing("the program ended and had printed no metric")

    def _missing(self, what: str) -> MetricMissingError:
        patterns = ", ".join(
            f"{name} is looked for by {pattern!r}" for name, pattern in self._metrics.items()
        )
        hint = (
            "try them by `raytune-gp check RUN.yaml --log` and the trial's log"
            if self._tail
            else ("it printed nothing at all: have it flush its output")
        )
        return MetricMissingError(self.with_last_lines("MetricMissingError", f"{what}: {patterns}; {hint}"))

    def with_last_lines(self, kind: str, what: str) -> str:
        """An error's message, with what was printed last, and `what` once more in the last line."""
        last = "\n".join(line[:LONGEST_ERROR_LINE] for line in self._tail)
        return f"{what}. Its last lines:\n{last}\n{kind}: {what}"


def check_program_metric(trainable: Any, metric: str) -> None:
    """Raise SpecError where `trainable` is a program, and no pattern of it gives the metric to optimise."""
    program = getattr(trainable, "function", trainable)
    if isinstance(program, Script) and metric not in {*program.metrics, *AUTOMATIC}:
        raise SpecError(
            f"metric is {metric!r}, for which the program has no pattern{suggestion(metric, program.metrics)}"
        )


def check_channels(data: Any) -> dict[str, str]:
    """Channel to directory. Raises SpecError for what no channel can be."""
    channels = {"training": data} if isinstance(data, str | Path) else dict(data or {})
    for name, path in channels.items():
        if not isinstance(name, str) or not _CHANNEL.fullmatch(name):
            raise SpecError(f"data has the channel {name!r}; its name must be letters, digits, . - or _")
        if not isinstance(path, str | Path) or not str(path) or "://" in str(path):
            raise SpecError(
                f"the channel {name!r} of data is {path!r}; it must be a directory that every node sees: "
                f"mount it, or copy it there"
            )
    return {name: str(path) for name, path in channels.items()}


def _filled_in(part: str, variables: Mapping[str, str]) -> str:
    """`part` with SageMaker's variables filled in. Raises TrainableError for one that there is not."""

    def value(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if name not in variables:
            known = ", ".join(name for name in variables if not name.startswith("SM_HP_"))
            raise TrainableError(f"the command has {match[0]!r}, and there is no {name}; there are {known}")
        return variables[name]

    return _VARIABLE.sub(value, part)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value) if isinstance(value, float) else str(value)


def _ended(code: int) -> str:
    return f"the program exited with code {code}" if code > 0 else f"the program was ended by {_name(-code)}"


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
