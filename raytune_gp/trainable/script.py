"""Any program as a trainable: hyperparameters on its command line, metrics scraped from what it prints.

This is SageMaker's contract for training jobs: `--name value` arguments, and a regular expression a metric.
"""

from __future__ import annotations

import signal
import sys
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from raytune_gp.errors import SpecError, TrainableError
from raytune_gp.trainable.program import Program
from raytune_gp.trainable.scraper import Scraper
from raytune_gp.trainable.session import Session, current_session
from raytune_gp.trial import Config

__all__ = ["Script"]

ERROR_LINES = 20
LONGEST_ERROR_LINE = 500
"""Characters of each of these lines that go into the error."""


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
        self.env = {name: str(value) for name, value in (env or {}).items()}

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
        name, *fixed = self.command
        command = [sys.executable if name == "python" else name, *fixed, *self.arguments(config)]
        program = Program(command, self.env)
        try:
            tail = self._follow(program.lines(session.check), session)
        finally:
            code = program.end()
        if code != 0:
            raise TrainableError(_exit_message(code, tail))

    def _follow(self, lines: Iterable[str], session: Session) -> Sequence[str]:
        """Log and report `lines` as they come; returns the last ones."""
        scraper = Scraper(self.metrics)
        tail: deque[str] = deque(maxlen=ERROR_LINES)
        for line in lines:
            print(line, flush=True)
            tail.append(line)
            for report in scraper.feed(line):
                session.report(report)
        for report in scraper.finish():
            session.report(report)
        return tail


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value) if isinstance(value, float) else str(value)


def _exit_message(code: int, tail: Iterable[str]) -> str:
    how = f"exited with code {code}" if code > 0 else f"was ended by {_signal_name(-code)}"
    last = "\n".join(line[:LONGEST_ERROR_LINE] for line in tail)
    return f"the program {how}. Its last lines:\n{last}\nTrainableError: the program {how}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
