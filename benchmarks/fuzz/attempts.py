"""One input tried: it is taken, refused by an error of raytune-gp's own, or a crash."""

from __future__ import annotations

import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

import raytune_gp.searchers.gp  # noqa: F401  loads torch, which is not to count against the first input's limit
from raytune_gp.errors import RaytuneError

__all__ = ["CrashError", "Target", "attempt"]

LIMIT_S = 5.0
"""What takes longer is a crash."""

Target = Callable[[Random], None]
"""Makes an input and hands it to whatever takes such; may see by what comes of it that it is a CrashError."""


class CrashError(Exception):
    """What must not happen."""


class _TooLongError(BaseException):
    """The alarm: no `except Exception` takes it."""


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    def ring(*_: Any) -> None:
        raise _TooLongError

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def attempt(target: Target, rng: Random) -> bool:
    """Try one input of `target`; whether it was taken. Raises CrashError."""
    try:
        with _limited(LIMIT_S):
            target(rng)
        return True
    except RaytuneError as error:
        if not str(error).strip():
            raise CrashError("an error without a word") from error
        return False
    except _TooLongError as error:
        raise CrashError(f"more than {LIMIT_S:g} s\n{traceback.format_exc()}") from error
    except CrashError:
        raise
    except Exception as error:
        raise CrashError(traceback.format_exc()) from error
