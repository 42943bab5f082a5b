"""One attempt: how it ends, what is kept of its output, and which trainables can be called at all."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from raytune_gp import tune
from raytune_gp.errors import TrainableError, TrialInterrupted
from raytune_gp.failures import FailureKind
from raytune_gp.trainable.run import (
    Outcome,
    captured_output,
    check_trainable,
    run_attempt,
    trainable_name,
)
from tests.trainable.support import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def ended(bench: Bench, trainable: Any, config: Any = None) -> Outcome:
    outcome = run_attempt(trainable, config or {}, bench.session)
    with pytest.raises(TrainableError, match="no trial in this process"):
        tune.get_context()
    return outcome


def test_a_function_that_returns_is_completed(bench: Bench) -> None:
    assert ended(bench, lambda config: tune.report({"x": config["x"]}), {"x": 3}) == Outcome("completed")
    assert bench.reports[0]["x"] == 3


def test_a_returned_dictionary_is_the_last_report(bench: Bench) -> None:
    assert ended(bench, lambda config: {"x": 4}) == Outcome("completed")
    assert bench.reports[0]["x"] == 4


@pytest.mark.parametrize("result", [0.5, "ok", [1]])
def test_what_is_returned_instead_of_a_dictionary_is_told(bench: Bench, result: Any) -> None:
    outcome = ended(bench, lambda config: result)
    assert outcome.failure is FailureKind.METRIC_MISSING
    assert outcome.error is not None
    assert f"the trainable returned {result!r} and reported nothing: return a dictionary" in outcome.error


def test_what_is_returned_beside_reports_is_the_users_affair(bench: Bench) -> None:
    def train(config: Any) -> float:
        tune.report({"x": 1})
        return 0.5

    assert ended(bench, train) == Outcome("completed")


def test_a_failure_has_the_traceback_from_the_users_own_frames_on(bench: Bench) -> None:
    def inner() -> None:
        raise ValueError("too deep")

    def train(config: Any) -> None:
        inner()

    outcome = ended(bench, train)
    assert outcome.kind == "failed"
    assert outcome.error is not None
    assert outcome.error.endswith("ValueError: too deep")
    assert "in inner" in outcome.error
    assert "run_attempt" not in outcome.error


def test_an_exception_that_cannot_be_shown_fails_the_trial_alone(bench: Bench) -> None:
    class Odd(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no words")

    def train(config: Any) -> None:
        raise Odd

    outcome = ended(bench, train)
    assert outcome.kind == "failed"
    assert "Odd" in str(outcome.error)


@pytest.mark.parametrize("code", [0, None])
def test_a_program_that_exits_well_is_completed(bench: Bench, code: Any) -> None:
    assert ended(bench, lambda config: sys.exit(code)) == Outcome("completed")


@pytest.mark.parametrize("code", [3, "bad luck"])
def test_a_program_that_exits_badly_has_failed(bench: Bench, code: Any) -> None:
    assert ended(bench, lambda config: sys.exit(code)) == Outcome(
        "failed", f"the trainable exited with {code}", FailureKind.ERROR
    )


def test_an_interruption_is_no_failure(bench: Bench) -> None:
    bench.session.interrupt("stop")
    assert ended(bench, lambda config: tune.report({})) == Outcome("interrupted")


def test_a_user_who_cleans_up_after_an_interruption_is_heard_out(bench: Bench) -> None:
    cleaned = []

    def train(config: Any) -> None:
        try:
            tune.report({})
        finally:
            cleaned.append(True)

    bench.session.interrupt("pause")
    assert ended(bench, train) == Outcome("interrupted")
    assert cleaned


def test_an_upload_that_fails_fails_a_completed_trial(bench: Bench, monkeypatch: Any, tmp_path: Path) -> None:
    def upload(*_: Any) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(bench.storage, "upload", upload)
    outcome = ended(bench, lambda config: tune.report({}, checkpoint=tmp_path))
    message = "a checkpoint could not be stored: the disk is full"
    assert outcome == Outcome("failed", message, FailureKind.STORAGE)


def test_control_c_passes_through_in_the_main_thread_and_is_a_failure_in_others(bench: Bench) -> None:
    def train(config: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_attempt(train, {}, bench.session)
    with pytest.raises(TrainableError, match="no trial in this process"):
        tune.get_context()
    outcomes: list[Outcome] = []
    thread = threading.Thread(target=lambda: outcomes.append(run_attempt(train, {}, bench.session)))
    thread.start()
    thread.join()
    assert outcomes[0].kind == "failed"


def test_an_interruption_that_is_raised_again_elsewhere_still_counts(bench: Bench) -> None:
    def train(config: Any) -> None:
        raise TrialInterrupted("stop")

    assert ended(bench, train).kind == "interrupted"


# --- output ---


def test_the_output_of_python_native_code_and_children_is_kept_and_given_back(tmp_path: Path) -> None:
    program = f"""
import os, sys
from raytune_gp.trainable.run import captured_output
print("before")
with captured_output({str(tmp_path / "a" / "log.txt")!r}):
    print("from print")
    print("from stderr", file=sys.stderr)
    os.write(1, b"from native code\\n")
    os.system("echo from a child")
print("between")
with captured_output({str(tmp_path / "a" / "log.txt")!r}):
    print("once more")
print("after")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["before", "between", "after"]
    assert done.stderr == ""
    log = (tmp_path / "a" / "log.txt").read_text().splitlines()
    assert sorted(log[:4]) == ["from a child", "from native code", "from print", "from stderr"]
    assert log[4:] == ["once more"]


def test_output_is_given_back_after_an_exception_and_no_descriptor_is_lost(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with pytest.raises(KeyError), captured_output(str(tmp_path / "log")):
            raise KeyError("x")
    assert len(os.listdir("/proc/self/fd")) == before


def test_without_a_path_output_goes_where_it_went(capfd: pytest.CaptureFixture[str]) -> None:
    with captured_output(None):
        print("shown")
    assert capfd.readouterr().out == "shown\n"


# --- trainables ---


class Trainer:
    def __call__(self, config: Any) -> None:
        """Trains."""

    def method(self, config: Any, extra: int = 3) -> None:
        """Trains too."""


class Yielding:
    def __call__(self, config: Any) -> Any:
        yield {"x": 1}


async def later(config: Any) -> None:
    """Trains one day."""


SCRIPT = tune.Script(["python", "train.py"], {"x": "x=(.*)"})


@pytest.mark.parametrize(
    "trainable",
    [
        lambda config: None,
        Trainer(),
        Trainer().method,
        functools.partial(Trainer.method, Trainer()),
        print,
        SCRIPT,
    ],
)
def test_what_can_be_called_with_a_config_serves(trainable: Any) -> None:
    check_trainable(trainable)


@pytest.mark.parametrize(
    ("trainable", "message"),
    [
        (
            "train.py",
            "the trainable is 'train.py'; it must be a function of one config, a subclass of tune.T",
        ),
        (None, "the trainable is None"),
        (
            Yielding().__call__,
            "Yielding.__call__ yields, so that a call runs none of it: have it call",
        ),
        (Yielding(), "yields, so that a call runs none of it"),
        (functools.partial(later), "is async, so that a call runs none of it: call asyncio.run"),
        (lambda: None, "cannot be called with one config: too many positional"),
        (lambda config, data: None, "cannot be called with one config: missing a required argument: 'data'"),
    ],
)
def test_what_cannot_be_called_is_refused(trainable: Any, message: str) -> None:
    with pytest.raises(TrainableError, match=message):
        check_trainable(trainable)


def test_names() -> None:
    assert trainable_name(test_names) == "tests.trainable.test_run:test_names"
    assert trainable_name(SCRIPT) == "Script(python train.py)"
    assert trainable_name(tune.with_parameters(ended, bench=1)) == "tests.trainable.test_run:ended"
