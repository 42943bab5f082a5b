"""A program in a process of its own: its lines as they come, and its end with everything it has started."""

from __future__ import annotations

import codecs
import contextlib
import ctypes
import os
import re
import selectors
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence

import psutil

from raytune_gp.errors import TrainableError

__all__ = ["Lines", "Program", "end_processes", "is_variable"]

POLL_S = 0.1
LISTEN_S = 0.01
TERMINATE_S = 5.0
"""So long a program may take to end after SIGTERM, before SIGKILL, where nothing else is said."""

LONGEST = 1 << 20
"""So many characters without an end are a line: a program that never ends one must not fill the memory."""

_CHUNK = 1 << 16
_PIPE_HOLDS = 1 << 20
"""The most bytes that wait in a pipe: what a program that has ended can have left there."""


class Program:
    """A program that runs in a session of its own, its standard output and error in one stream.

    Raises TrainableError where it cannot be started.
    """

    def __init__(self, command: Sequence[str], env: Mapping[str, str]):
        self._mark = f"RAYTUNE_PROGRAM_{uuid.uuid4().hex}"
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **env, self._mark: "1"},
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )
        except (OSError, ValueError) as error:  # a null character in an argument
            raise TrainableError(f"the program {command[0]!r} cannot be started: {error}") from error
        assert self._process.stdout is not None
        self._stream = self._process.stdout
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._stream, selectors.EVENT_READ)
        self._lines = Lines()

    def output(self, check: Callable[[], None]) -> Iterator[list[str]]:
        """The lines that the program writes, as they come, until it has ended.

        `check` is called before each batch of them, and every POLL_S or sooner. The output's end alone says
        nothing: a program may close it and go on, and a child that it has left behind may hold it open.
        """
        late = 0
        while True:
            check()
            ended = self._process.poll() is not None
            if self._stream.closed:
                if ended:
                    break
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(POLL_S)
            elif self._waits(0 if ended else POLL_S):
                size, lines = self._read()
                late += size if ended else 0
                if late > _PIPE_HOLDS:
                    self._close()
                yield lines
            elif ended:
                break
        yield self._lines.finish()

    def end(self, hear: Callable[[list[str]], None], terminate_s: float = TERMINATE_S) -> int:
        """End the program and everything that it has started: SIGTERM, then SIGKILL. Returns its exit code.

        It has `terminate_s` seconds after SIGTERM, and the lines that it prints meanwhile are heard: were its
        output closed, it would die of that instead of saving itself. The code is a signal's negative number
        where a signal ended it, as in `subprocess`.
        """

        def listen() -> None:
            if self._stream.closed:
                time.sleep(LISTEN_S)
            elif self._waits(LISTEN_S):
                hear(self._read()[1])

        try:
            end_processes(self._family, terminate_s, listen)
            code = self._process.wait(timeout=TERMINATE_S)
            late = 0
            while not self._stream.closed and late < _PIPE_HOLDS and self._waits(0):
                size, lines = self._read()
                late += size
                hear(lines)
        finally:
            self._close()
        hear(self._lines.finish())
        return code

    def _waits(self, seconds: float) -> bool:
        """Whether output, or its end, comes within so many seconds."""
        return bool(self._selector.select(seconds))

    def _read(self) -> tuple[int, list[str]]:
        """How many bytes came, and the lines that they end; at the end of the output, it is closed."""
        chunk = os.read(self._stream.fileno(), _CHUNK)
        if not chunk:
            self._close()
        return len(chunk), self._lines.feed(chunk)

    def _close(self) -> None:
        self._selector.close()
        self._stream.close()

    def _family(self) -> list[psutil.Process]:
        """What lives of the program and its descendants: its process group, and what has inherited its mark.

        A tree of parents and children would not do: whoever loses its parent is adopted.
        """
        return [p for p in psutil.process_iter() if _lives(p) and self._has(p)]

    def _has(self, member: psutil.Process) -> bool:
        try:
            return os.getpgid(member.pid) == self._process.pid or self._mark in member.environ()
        except (psutil.Error, OSError):
            return False


def _pause() -> None:
    time.sleep(LISTEN_S)


def end_processes(
    find: Callable[[], list[psutil.Process]], terminate_s: float, pause: Callable[[], None] = _pause
) -> None:
    """SIGTERM to the processes that `find` gives, then SIGKILL to those that it still gives.

    Each time they have `terminate_s` seconds to end, while `pause`, a short one, is called again and again.
    """
    for number in (signal.SIGTERM, signal.SIGKILL):
        living = find()
        for process in living:
            with contextlib.suppress(psutil.Error):
                process.send_signal(number)
        deadline = time.monotonic() + terminate_s
        while living and time.monotonic() < deadline:
            pause()
            living = [process for process in living if _lives(process)]


def is_variable(name: object) -> bool:
    """Whether an environment variable can have this name."""
    return isinstance(name, str) and name != "" and not {"=", "\0"} & set(name)


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


class Lines:
    """Bytes to lines. A carriage return ends one too, as progress bars use it; so do LONGEST characters."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""
        self._returned = False

    def feed(self, chunk: bytes) -> list[str]:
        """The lines that `chunk` ends."""
        text = self._decoder.decode(chunk)
        if not text:
            return []
        second_half = self._returned and text[0] == "\n"
        self._returned = text[-1] == "\r"
        first, *others = re.split(r"\r\n|\r|\n", text[second_half:])
        lines = [self._rest + first, *others]
        self._rest = lines.pop()
        if len(self._rest) > LONGEST:
            lines.append(self._rest)
            self._rest = ""
        return lines

    def finish(self) -> list[str]:
        """The last line, where nothing ends it."""
        rest, self._rest = self._rest + self._decoder.decode(b"", final=True), ""
        return [rest] if rest else []


_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
_PR_SET_PDEATHSIG = 1


def _die_with_parent() -> None:
    """In the child: die by SIGKILL when the thread that started it ends, as when its worker is killed."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
