"""Any program as a trainable: hyperparameters on its command line, metrics scraped from what it prints.

This is SageMaker's contract for training jobs: `--name value` arguments, and a regular expression a metric.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import queue
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import psutil

from raytune_gp.errors import SpecError, TrainableError
from raytune_gp.trainable.session import Session, current_session
from raytune_gp.trial import Config

__all__ = ["Scraper", "Script"]

POLL_S = 0.1
TERMINATE_S = 5.0
"""So long a program may take to end after SIGTERM, before SIGKILL."""

ERROR_LINES = 20


class Scraper:
    """Finds metrics in lines and gathers them into reports.

    A report is complete when every metric was seen, or when one is seen again: a program may print the
    metrics of an epoch in several lines, and some of them not each time.
    """

    def __init__(self, metrics: Mapping[str, str]):
        self._patterns = {name: _compile(name, pattern) for name, pattern in metrics.items()}
        self._found: dict[str, float] = {}

    def feed(self, line: str) -> list[dict[str, float]]:
        """The reports that `line` completes, in order."""
        reports = []
        for name, pattern in self._patterns.items():
            for match in pattern.finditer(line):
                try:
                    value = float(match.group(1))
                except ValueError:
                    continue
                if name in self._found:
                    reports.append(self._take())
                self._found[name] = value
                if len(self._found) == len(self._patterns):
                    reports.append(self._take())
        return reports

    def finish(self) -> list[dict[str, float]]:
        """What is left at the end of the output."""
        return [self._take()] if self._found else []

    def _take(self) -> dict[str, float]:
        found, self._found = self._found, {}
        return found


def _compile(name: str, pattern: str) -> re.Pattern[str]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise SpecError(
            f"the pattern of metric {name!r} is {pattern!r}, no regular expression: {error}"
        ) from None
    if compiled.groups != 1:
        raise SpecError(
            f"the pattern of metric {name!r} is {pattern!r}, with {compiled.groups} groups; it must have "
            f"one, around the number, as in accuracy=([0-9.eE+-]+)"
        )
    return compiled


class Script:
    """A trainable that runs a program.

    Args:
        command: the program and its fixed arguments, as a list; never a shell string.
        metrics: metric name to a regular expression whose one group is the number.
        env: environment variables to add.

    Hyperparameters follow as `--name value`; an underscore stays one, a nested name is joined by dots, True
    and False are written `true` and `false`. Output goes to the trial's log. The program runs in a process
    group of its own, and whatever it has started is ended with the trial. A non-zero exit code is a failure.
    """

    def __init__(
        self, command: Sequence[str], metrics: Mapping[str, str], env: Mapping[str, str] | None = None
    ):
        if isinstance(command, str) or not command:
            raise SpecError(
                f'command is {command!r}; it must be a list such as ["python", "train.py"]: a string would '
                f"need a shell"
            )
        if not metrics:
            raise SpecError("metrics is empty; it must have at least the metric to optimise")
        Scraper(metrics)
        self.command = [str(part) for part in command]
        self.metrics = dict(metrics)
        self.env = dict(env or {})

    def __repr__(self) -> str:
        return f"Script({' '.join(self.command)})"

    def arguments(self, config: Config, prefix: str = "") -> list[str]:
        """The command-line arguments for `config`."""
        arguments: list[str] = []
        for name, value in config.items():
            if isinstance(value, Mapping):
                arguments += self.arguments(dict(value), f"{prefix}{name}.")
            else:
                arguments += [f"--{prefix}{name}", _text(value)]
        return arguments

    def __call__(self, config: Config) -> None:
        """Run the program to its end, and report what it prints. Raises TrainableError on a bad exit code."""
        session = current_session()
        command = [sys.executable if self.command[0] == "python" else self.command[0], *self.command[1:]]
        try:
            process = subprocess.Popen(
                command + self.arguments(config),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **self.env},
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )
        except OSError as error:
            raise TrainableError(f"the program {command[0]!r} cannot be started: {error}") from error
        try:
            tail = self._follow(process, session)
        finally:
            _end_all(process)
        session.check()
        if process.returncode != 0:
            raise TrainableError(_exit_message(process.returncode, tail))

    def _follow(self, process: subprocess.Popen[bytes], session: Session) -> list[str]:
        """Report as lines come, until the program ends or the trial is interrupted; the last lines."""
        scraper = Scraper(self.metrics)
        lines: queue.Queue[str | None] = queue.Queue(maxsize=10_000)
        threading.Thread(target=_pump, args=(process, lines), daemon=True).start()
        tail: list[str] = []
        while True:
            session.check()
            try:
                line = lines.get(timeout=POLL_S)
            except queue.Empty:
                continue
            if line is None:
                break
            print(line, flush=True)
            tail = [*tail[1 - ERROR_LINES :], line]
            for report in scraper.feed(line):
                session.report(report)
        for report in scraper.finish():
            session.report(report)
        process.wait()
        return tail


def _pump(process: subprocess.Popen[bytes], lines: queue.Queue[str | None]) -> None:
    """Hand on each line of the program's output; a carriage return ends one too (progress bars)."""
    assert process.stdout is not None
    with process.stdout as stream:
        for raw in stream:
            for line in raw.decode("utf-8", "replace").rstrip("\r\n").split("\r"):
                lines.put(line)
    lines.put(None)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value) if isinstance(value, float) else str(value)


def _exit_message(code: int, tail: Sequence[str]) -> str:
    how = f"exited with code {code}" if code > 0 else f"was ended by {signal.Signals(-code).name}"
    last = "\n".join(tail)
    return f"the program {how}. Its last lines:\n{last}\nTrainableError: the program {how}"


def _end_all(process: subprocess.Popen[bytes]) -> None:
    """End the program and everything that it has started: SIGTERM, then SIGKILL."""
    family: list[psutil.Process] = []
    with contextlib.suppress(psutil.Error):
        root = psutil.Process(process.pid)
        family = [root, *root.children(recursive=True)]
    for signal_number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal_number)
        for member in family:
            with contextlib.suppress(psutil.Error):
                member.send_signal(signal_number)
        if not psutil.wait_procs(family, timeout=TERMINATE_S)[1]:
            break
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=TERMINATE_S)


_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
_PR_SET_PDEATHSIG = 1


def _die_with_parent() -> None:
    """In the child: die by SIGKILL when the thread that started it ends, as when its worker is killed."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
