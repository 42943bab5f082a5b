"""The reaper: a small process beside each worker that outlives it, and ends whatever the worker has started.

A worker that is killed by force cannot end its children: data loaders, programs, what they have started, in
sessions of their own perhaps. This file is run as a program of its own, by its path, with nothing but the
standard library. It holds the reading end of a pipe, on which the worker says each second how many seconds of
silence from it are to be borne; and it looks at the worker's descendants again and again, for afterwards
nobody can tell whose they were. Once the worker is dead, or silent for too long, it kills them all.

Linux alone has what is needed; `start` does nothing elsewhere.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time
from pathlib import Path

STACKS: int = signal.SIGRTMIN + 7 if sys.platform == "linux" else 0
"""To this signal a worker answers by writing the stacks of its threads, whoever holds its interpreter. Of the
real-time signals, which no library uses; 0 where there are none."""

LOOK_S = 1.0
KILL_S = 5.0
STACKS_S = 0.5

Process = tuple[int, int]
"""A process id and when it was started: ids come again."""


def start(mark: str, silence_s: float) -> int | None:
    """Start the reaper of this process and return the pipe to it; None where there cannot be one.

    `mark` is the name of an environment variable that this process and what it starts have, and nothing else;
    `silence_s` is what is borne as long as nothing else was said.
    """
    import subprocess

    if sys.platform != "linux":
        return None
    reading, writing = os.pipe()
    arguments = [str(os.getpid()), str(reading), mark, str(silence_s)]
    try:
        # It forks at once, so that its parent here can be waited for, and it is nobody's child.
        subprocess.run(
            [sys.executable, "-I", "-S", __file__, *arguments],
            pass_fds=(reading,),
            stdin=subprocess.DEVNULL,
            env={name: value for name, value in os.environ.items() if name != mark},
            check=True,
            timeout=60,
        )
    except (OSError, subprocess.SubprocessError):
        os.close(writing)
        return None
    finally:
        os.close(reading)
    os.set_blocking(writing, False)
    return writing


def stat(pid: int) -> tuple[str, int, int] | None:
    """The state, process group and start of a process; None where it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text[text.rindex(")") + 2 :].split()
    return fields[0], int(fields[2]), int(fields[19])


def children(pid: int) -> list[int]:
    """The children of all threads of a process, zombies among them."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError):
                found += map(int, Path(f"/proc/{pid}/task/{task}/children").read_text().split())
    return found


def descendants(pid: int) -> set[Process]:
    """What a process has started, and what that has started, as far as it lives."""
    found: set[Process] = set()
    waiting = children(pid)
    while waiting:
        child = waiting.pop()
        facts = stat(child)
        if facts is not None and (child, facts[2]) not in found:
            waiting += children(child)
            if facts[0] != "Z":
                found.add((child, facts[2]))
    return found


def alive(process: Process) -> bool:
    """Whether it is the same process still, and no zombie."""
    facts = stat(process[0])
    return facts is not None and facts[0] != "Z" and facts[2] == process[1]


def of_the_worker(worker: int, mark: str) -> set[Process]:
    """The processes that are of the worker's group, or have its mark in their environment."""
    found: set[Process] = set()
    wanted = mark.encode() + b"="
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) in (os.getpid(), worker):
            continue
        facts = stat(int(name))
        if facts is None or facts[0] == "Z":
            continue
        belongs = facts[1] == worker
        if not belongs:
            with contextlib.suppress(OSError):
                belongs = wanted in Path(f"/proc/{name}/environ").read_bytes()
        if belongs:
            found.add((int(name), facts[2]))
    return found


def kill(processes: set[Process]) -> None:
    """Send SIGKILL to those that live."""
    for process in processes:
        if alive(process):
            with contextlib.suppress(OSError):
                os.kill(process[0], signal.SIGKILL)


def end_all(worker: int, mark: str, known: set[Process]) -> None:
    """Kill what is left of the worker's, until there is nothing any more."""
    deadline = time.monotonic() + KILL_S
    while time.monotonic() < deadline:
        known = {p for p in known if alive(p)} | of_the_worker(worker, mark)
        for process in list(known):
            known |= descendants(process[0])
        if not known:
            return
        kill(known)
        time.sleep(0.02)


def watch(worker: int, pipe: int, mark: str, silence_s: float) -> None:
    """Wait for the worker's end, or end it where it is silent for too long; then end all that it started."""
    facts = stat(worker)
    known: set[Process] = set()
    heard, next_look = time.monotonic(), 0.0
    with contextlib.ExitStack() as open_files:
        listening: list[int] = [pipe]
        with contextlib.suppress(OSError):  # tells of the end at once, though children may hold the pipe
            listening.append(os.pidfd_open(worker))
            open_files.callback(os.close, listening[-1])
        while facts is not None and alive((worker, facts[2])):
            if time.monotonic() >= next_look:
                known = {p for p in known if alive(p)} | descendants(worker)
                next_look = time.monotonic() + LOOK_S
            ready, _, _ = select.select(listening, (), (), max(0.0, next_look - time.monotonic()))
            if pipe in ready:
                words = os.read(pipe, 1 << 16).split()
                if not words:
                    listening.remove(pipe)
                elif words[-1].endswith(b";"):
                    silence_s = float(words[-1][:-1])
                heard = time.monotonic()
            if time.monotonic() - heard > silence_s:
                with contextlib.suppress(OSError):
                    os.kill(worker, STACKS)
                    time.sleep(STACKS_S)
                    os.kill(worker, signal.SIGKILL)
    end_all(worker, mark, known)


def main(arguments: list[str]) -> None:
    """The program."""
    if os.fork():
        os._exit(0)
    os.setsid()
    worker, pipe, mark, silence_s = arguments
    watch(int(worker), int(pipe), mark, float(silence_s))


if __name__ == "__main__":
    main(sys.argv[1:])
