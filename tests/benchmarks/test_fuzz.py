"""Some inputs of each kind that benchmarks/fuzz.py tries by the thousand; hypothesis makes a crash small."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks import fuzz


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning", "ignore::SyntaxWarning")
@pytest.mark.parametrize("target", fuzz.TARGETS)
@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32))
def test_an_input_is_taken_or_refused_by_an_error_of_our_own(target: str, seed: int) -> None:
    fuzz.attempt(target, Random(seed))


def test_a_crash_is_a_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    def crashing(rng: Random) -> None:
        raise KeyError(rng.random())

    def sleeping(rng: Random) -> None:
        while True:
            pass

    monkeypatch.setattr(fuzz, "LIMIT_S", 0.1)
    monkeypatch.setattr(fuzz, "TARGETS", {"crashing": crashing, "sleeping": sleeping})
    for target in fuzz.TARGETS:
        with pytest.raises(fuzz.CrashError):
            fuzz.attempt(target, Random(0))
