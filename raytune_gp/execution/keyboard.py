"""Ctrl-C as a flag: the first one is noted and interrupts nothing, the second one raises at once.

An exception that Python raises wherever the main thread is at that moment could leave an event half applied,
or end a callback of the user's in its middle; the flag is read where it does no harm.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

__all__ = ["Keyboard"]


class Keyboard:
    """A context manager; `pressed` says whether Ctrl-C was pressed in it.

    Where Ctrl-C is not Python's own affair (another thread, a handler of the user's, SIGINT ignored by a
    shell's background job), it is left as it is.
    """

    def __init__(self) -> None:
        self.pressed = False
        self._before: Any = None

    def press(self, number: int = signal.SIGINT, frame: FrameType | None = None) -> None:
        """Note the first Ctrl-C; raise KeyboardInterrupt at the next."""
        if self.pressed:
            raise KeyboardInterrupt
        self.pressed = True

    def __enter__(self) -> Keyboard:
        ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if ours and threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self.press)
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
