"""Some inputs of each kind that benchmarks/fuzz tries by the thousand; hypothesis makes a crash small."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.fuzz import attempts
from benchmarks.fuzz.__main__ import TARGETS
from benchmarks.fuzz.attempts import CrashError, attempt
from benchmarks.fuzz.journals import sample_journal


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning", "ignore::SyntaxWarning")
@pytest.mark.parametrize("target", TARGETS)
@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32))
def test_an_input_is_taken_or_refused_by_an_error_of_our_own(target: str, seed: int) -> None:
    sample_journal()
    attempt(TARGETS[target], Random(seed))


def test_a_crash_is_a_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    def crashing(rng: Random) -> None:
        raise KeyError(rng.random())

    def sleeping(rng: Random) -> None:
        while True:
            pass

    monkeypatch.setattr(attempts, "LIMIT_S", 0.1)
    for target in (crashing, sleeping):
        with pytest.raises(CrashError):
            attempt(target, Random(0))
