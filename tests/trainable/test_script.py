"""Programs as trainables: real ones, as Python and the shell start them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
import threading
import time
import tracemalloc
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from raytune_gp.errors import SpecError
from raytune_gp.failures import FailureKind
from raytune_gp.patience import Patience
from raytune_gp.trainable.run import Outcome, run_attempt
from raytune_gp.trainable.script import Script
from tests.execution.watching import is_there
from tests.patience import HANGS_S, wait_until
from tests.trainable.support import Bench, in_background

ACCURACY = {"accuracy": r"acc=([0-9.a-z+-]+)"}


class Runner(Bench):
    """Runs programs as a trial; `log` is what they printed."""

    def __init__(self, tmp_path: Path, **options: Any):
        super().__init__(tmp_path, **options)
        self.path = tmp_path / "log.txt"

    def run(self, code: str, config: Mapping[str, Any] | None = None, **options: Any) -> Outcome:
        """Python `code` as a program, to its end."""
        return self.run_command(["python", "-c", code], config, **options)

    def run_command(
        self, command: list[str], config: Mapping[str, Any] | None = None, **options: Any
    ) -> Outcome:
        script = Script(command, **{"metrics": ACCURACY, **options})
        with self.path.open("a", encoding="utf-8", newline="") as log, contextlib.redirect_stdout(log):
            return run_attempt(script, dict(config or {}), self.session)

    def wait_for_log(self, text: str) -> None:
        """Until it has printed `text`."""
        assert wait_until(lambda: self.path.exists() and text in self.log), self.log

    def values(self, name: str = "accuracy") -> list[float]:
        return [r[name] for r in self.reports]

    @property
    def log(self) -> str:
        return self.path.read_text("utf-8")


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    return Runner(tmp_path)


def gone(path: Path, seconds: float = 30.0) -> bool:
    """Whether the process whose id is in the file at `path` ends within so many seconds."""
    pid = int(path.read_text())
    if wait_until(lambda: not is_there(pid), seconds):
        return True
    os.kill(pid, signal.SIGKILL)
    return False


# --- what it is made of ---


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("python train.py", ACCURACY), r"command is 'python train.py'; it must be a list"),
        (([], ACCURACY), r"command is \[\]"),
        ((["python"], {}), "metrics is empty; it must have at least the metric to optimise"),
        ((["python"], {"m": "acc=[0-9"}), "the pattern of metric 'm' is .*, no regular expression"),
        ((["python"], {"m": "acc=.*"}), "with 0 groups; it must have one, around the number"),
        ((["python"], {"m": "(a)(b)"}), "with 2 groups"),
        ((["python"], ACCURACY, {}, {"a b": "/x"}), "data has the channel 'a b'; its name must be letters"),
        (
            (["python"], ACCURACY, {}, "s3://x/y"),
            "channel 'training' of data is 's3://x/y'; it must be a dir",
        ),
        ((["python"], ACCURACY, {}, None, 0), "metric_timeout_s is 0; it must be above 0, or None"),
    ],
)
def test_what_cannot_be_a_script(arguments: Any, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        Script(*arguments)


# --- a program's output ---


def test_lines_become_reports_in_order_and_are_kept(runner: Runner) -> None:
    outcome = runner.run("for e in range(3): print(f'epoch {e}: acc={e / 4}')")
    assert outcome == Outcome("completed")
    assert runner.values() == [0.0, 0.25, 0.5]
    assert runner.log == "epoch 0: acc=0.0\nepoch 1: acc=0.25\nepoch 2: acc=0.5\n"


def test_both_streams_are_heard_as_they_are_written_and_blank_lines_kept(runner: Runner) -> None:
    runner.run("import sys; print('acc=1'); print(); print('acc=2', file=sys.stderr); print('end', end='')")
    assert runner.values() == [1.0, 2.0]
    assert runner.log == "acc=1\n\nacc=2\nend\n"


def test_reports_come_while_the_program_runs_also_at_carriage_returns(runner: Runner) -> None:
    code = "import time\nfor e in range(2): print(f'acc={e}', end='\\r'); time.sleep(.5)\ntime.sleep(100)"
    with in_background(lambda: runner.run(code)):
        began = time.monotonic()
        runner.wait(2)
        assert time.monotonic() - began < 50, "before it ends"
        runner.session.interrupt("stop")
    assert runner.values() == [0.0, 1.0]


def in_two_writes(first: bytes, second: bytes) -> str:
    """A program that writes these, with a pause between."""
    return f"import os, time; os.write(1, {first!r}); time.sleep(.3); os.write(1, {second!r})"


def test_line_ends_of_other_systems_end_one_line(runner: Runner) -> None:
    runner.run(in_two_writes(b"acc=1\r", b"\nacc=2\r\n50%\rdone\n"))
    assert runner.log == "acc=1\nacc=2\n50%\ndone\n"


def test_bytes_that_are_no_text_are_replaced_and_letters_cut_in_two_put_together(runner: Runner) -> None:
    assert runner.run(in_two_writes(b"\xff\xfe acc=0.5\n\xc3", b"\xa9 \xc3")) == Outcome("completed")
    assert runner.values() == [0.5]
    assert runner.log == "\ufffd\ufffd acc=0.5\né \ufffd\n"


@pytest.mark.parametrize(
    "code",
    [
        "line = 'x' * 999\nfor _ in range(100_000): print(line)",
        "for _ in range(1000): print('x' * 100_000, end='')\nprint()",
        "for i in range(5_000): print((f'\\r{i / 50:.0f}%|' + '#' * 995) * 20, end='')\nprint()",
    ],
    ids=["lines", "one line", "a progress bar"],
)
def test_a_hundred_megabytes_take_little_memory_and_time(runner: Runner, code: str) -> None:
    tracemalloc.start()
    began = time.process_time()
    try:
        outcome = runner.run(f"{code}\nprint('acc=1')", env={"PYTHONUNBUFFERED": ""})
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert outcome == Outcome("completed"), outcome.error
    assert runner.values() == [1.0]
    assert runner.path.stat().st_size > 95_000_000
    runner.path.unlink()
    assert peak < 32_000_000
    assert time.process_time() - began < 90


@pytest.mark.parametrize("pattern", ["(a+)+$", "(?:a|aa)+$({float})?"])
def test_a_pattern_without_end_cannot_hang_the_trial(runner: Runner, pattern: str) -> None:
    """The program, which would go on for ever, is ended too."""
    began = time.monotonic()
    code = "import time; print('a' * 9000 + 'b'); time.sleep(1000)"
    outcome = runner.run(code, metrics={"accuracy": pattern})
    assert outcome.kind == "failed"
    assert "takes more than 2 s for a line of 9001 characters" in str(outcome.error)
    assert time.monotonic() - began < HANGS_S


def test_a_trial_is_interrupted_while_its_patterns_are_slow(runner: Runner) -> None:
    code = "print('acc=1')\nfor _ in range(500): print('a' * 27 + '!')"
    metrics = {"accuracy": "acc={float}", "other": "(?:a|aa)+$(.)?"}
    with in_background(lambda: runner.run(code, metrics=metrics)) as outcomes:
        runner.wait_for_log("acc=1")
        runner.session.interrupt("stop")
    assert outcomes == [Outcome("interrupted")]


# --- the metrics that it owes ---


def test_a_first_trial_that_prints_no_metric_in_time_is_ended(runner: Runner) -> None:
    code = "import time; print('accuracy: 0.5'); time.sleep(1000)"
    began = time.monotonic()
    outcome = runner.run(code, metric_timeout_s=1.5)
    assert (outcome.kind, outcome.failure) == ("failed", FailureKind.METRIC_MISSING)
    assert time.monotonic() - began < HANGS_S
    assert "Its last lines:\naccuracy: 0.5\n" in str(outcome.error)
    assert str(outcome.error).splitlines()[-1] == (
        "MetricMissingError: within 1.5 s, metric_timeout_s, the program printed no metric: accuracy is "
        "looked for by 'acc=([0-9.a-z+-]+)'; try them by `raytune-gp check RUN.yaml --log` and the "
        "trial's log"
    )


def test_a_program_that_ends_without_a_metric_is_told_so(runner: Runner) -> None:
    outcome = runner.run("pass")
    assert (outcome.kind, outcome.failure) == ("failed", FailureKind.METRIC_MISSING)
    assert str(outcome.error).splitlines()[-1] == (
        "MetricMissingError: the program ended and had printed no metric: accuracy is looked for by "
        "'acc=([0-9.a-z+-]+)'; it printed nothing at all: have it flush its output"
    )


@pytest.mark.parametrize(
    ("session", "script"),
    [
        ({"patience": Patience(None, known_s=3.0)}, {}),
        ({"start_step": 3}, {}),
        ({}, {"metric_timeout_s": None}),
    ],
    ids=["another trial has reported", "it has reported before", "no limit"],
)
def test_who_may_take_its_time(tmp_path: Path, session: Any, script: Any) -> None:
    runner = Runner(tmp_path, **session)
    options = {"metric_timeout_s": 0.2, **script}
    assert runner.run("import time; time.sleep(1); print('acc=1')", **options) == Outcome("completed")


def test_a_metric_in_time_is_enough(runner: Runner) -> None:
    metrics = {**ACCURACY, "loss": "loss={float}"}
    code = "import time; print('acc=1'); time.sleep(4.5); print('acc=2 loss=1')"
    assert runner.run(code, metrics=metrics, metric_timeout_s=4) == Outcome("completed")


def test_a_trial_that_is_through_may_end_again_without_a_word(tmp_path: Path) -> None:
    assert Runner(tmp_path, attempt=2, start_step=5).run("pass") == Outcome("completed")


# --- its arguments ---


def test_a_config_becomes_arguments(runner: Runner) -> None:
    config = {
        "learning_rate": 1e-05,
        "epochs": 3,
        "flag": True,
        "off": False,
        "name": "a b; $HOME '\"",
        "negative": -1.5,
        "none": None,
        "model": {"depth": 4, "inner": {"width": 0.1}},
    }
    runner.run("import sys, json; print(json.dumps(sys.argv[1:])); print('acc=1')", config)
    expected = (
        '["--learning_rate", "1e-05", "--epochs", "3", "--flag", "true", "--off", "false", "--name", '
        '"a b; $HOME \'\\"", "--negative", "-1.5", "--none", "None", "--model.depth", "4", '
        '"--model.inner.width", "0.1"]'
    )
    assert runner.log.splitlines()[0] == expected


def test_floats_arrive_to_the_bit(runner: Runner) -> None:
    value = 0.1 + 0.2
    runner.run("import sys; print('acc=' + repr(float(sys.argv[2])))", {"x": value})
    assert runner.values() == [value]


def test_the_environment_is_the_workers_with_additions(runner: Runner, monkeypatch: Any) -> None:
    monkeypatch.setenv("FROM_WORKER", "yes")
    code = "import os; print(os.environ['FROM_WORKER'], os.environ['MINE'], os.environ['N']); print('acc=1')"
    assert runner.run(code, env={"MINE": "here", "N": 3}).kind == "completed"
    assert runner.log.splitlines()[0] == "yes here 3"


def test_hyperparameters_and_directories_are_told_as_sagemaker_does(
    runner: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images").mkdir()
    config = {
        "batch-size": 256,
        "lr": 1e-05,
        "kind": "sgd",
        "flag": True,
        "none": None,
        "model": {"depth": 4},
    }
    code = """
import json, os
print(json.dumps({n: value for n, value in os.environ.items() if n.startswith(("SM_", "TRAINING_"))}))
for name in ("MODEL", "CHECKPOINT", "OUTPUT", "OUTPUT_DATA"):
    assert os.path.isdir(os.environ[f"SM_{name}_DIR"]), name
print("acc=1")
"""
    outcome = runner.run(code, config, data={"train": "images"})
    assert outcome == Outcome("completed"), outcome.error
    told = json.loads(runner.log.splitlines()[0])
    assert json.loads(told["SM_HPS"]) == config
    hyperparameters = {n: value for n, value in told.items() if n.startswith("SM_HP_")}
    assert hyperparameters == {
        "SM_HP_BATCH-SIZE": "256",
        "SM_HP_LR": "1e-05",
        "SM_HP_KIND": "sgd",
        "SM_HP_FLAG": "true",
        "SM_HP_NONE": "",
        "SM_HP_MODEL.DEPTH": "4",
    }
    assert json.loads(told["SM_USER_ARGS"])[:4] == ["--batch-size", "256", "--lr", "1e-05"]
    assert (told["SM_NUM_CPUS"], told["SM_NUM_GPUS"], told["SM_CURRENT_HOST"]) == ("1", "0", "algo-1")
    assert json.loads(told["SM_HOSTS"]) == ["algo-1"]
    assert told["SM_CHANNEL_TRAIN"] == str(tmp_path / "images")
    assert json.loads(told["SM_CHANNELS"]) == ["train"]
    assert told["TRAINING_JOB_NAME"] == "run-00000"
    about = json.loads(told["SM_TRAINING_ENV"])
    assert about["hyperparameters"] == config
    assert about["channel_input_dirs"] == {"train": str(tmp_path / "images")}
    assert about["model_dir"] == told["SM_MODEL_DIR"]


def test_the_command_may_name_sagemakers_variables(runner: Runner) -> None:
    code = "import os, sys; assert sys.argv[1:] == [os.environ['SM_MODEL_DIR'], "
    code += "'x' + os.environ['SM_CHECKPOINT_DIR'] + '/a', '$HOME', '$$']; print('acc=1')"
    command = ["python", "-c", code, "$SM_MODEL_DIR", "x${SM_CHECKPOINT_DIR}/a", "$HOME", "$$"]
    outcome = runner.run_command(command)
    assert outcome == Outcome("completed"), outcome.error


def test_a_variable_that_there_is_not_is_told(runner: Runner) -> None:
    outcome = runner.run_command(["python", "-c", "print('acc=1')", "$SM_CHANNEL_TRAIN"], data="/")
    error = str(outcome.error)
    assert "the command has '$SM_CHANNEL_TRAIN', and there is no SM_CHANNEL_TRAIN; there are " in error
    assert "SM_CHANNEL_TRAINING" in error


def test_data_that_a_node_lacks_is_told(runner: Runner) -> None:
    outcome = runner.run("print('acc=1')", data={"train": "/no/such/place"})
    where = f"the channel 'train' of data is '/no/such/place', which is not on {socket.gethostname()}"
    assert where in str(outcome.error)


def test_what_the_user_sets_is_not_overwritten(runner: Runner) -> None:
    code = "import os; assert os.environ['SM_NUM_GPUS'] == '8'; print('acc=1')"
    assert runner.run(code, env={"SM_NUM_GPUS": 8}).kind == "completed"


def test_standard_input_is_empty(runner: Runner) -> None:
    assert runner.run("import sys; assert sys.stdin.read() == ''; print('acc=1')").kind == "completed"


def test_python_is_this_python(runner: Runner) -> None:
    runner.run("import sys; print(sys.executable); print('acc=1')")
    assert runner.log.splitlines()[0] == sys.executable


# --- its end ---


def test_an_exit_code_is_a_failure_with_the_last_lines(runner: Runner) -> None:
    outcome = runner.run("for i in range(40): print('line', i)\nraise SystemExit(7)")
    assert outcome.kind == "failed"
    error = str(outcome.error)
    assert "the program exited with code 7. Its last lines:\nline 20\n" in error
    assert "line 39\n" in error
    assert "line 19\n" not in error
    assert error.splitlines()[-1] == "TrainableError: the program exited with code 7"


@pytest.mark.parametrize(
    ("number", "name"), [(signal.SIGSEGV, "SIGSEGV"), (signal.SIGKILL, "SIGKILL"), (41, "signal 41")]
)
def test_a_signal_is_a_failure_by_its_name(runner: Runner, number: int, name: str) -> None:
    outcome = runner.run(f"import os; print('acc=1'); os.kill(os.getpid(), {int(number)})")
    assert outcome.kind == "failed"
    assert str(outcome.error).endswith(f"the program was ended by {name}")
    assert runner.values() == [1.0], "what it said before counts"


@pytest.mark.parametrize("command", ["no-such-program", "/etc/hostname"])
def test_a_program_that_cannot_be_started(runner: Runner, command: str) -> None:
    outcome = runner.run_command([command])
    assert outcome.kind == "failed"
    assert f"TrainableError: the program {command!r} cannot be started: [Errno " in str(outcome.error)


def test_an_interruption_ends_a_silent_program(runner: Runner, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    code = (
        f"import os, time; open({str(pid)!r}, 'w').write(str(os.getpid())); print('acc=1'); time.sleep(100)"
    )
    with in_background(lambda: runner.run(code)) as outcomes:
        runner.wait(1)
        began = time.monotonic()
        runner.session.interrupt("stop")
    assert outcomes == [Outcome("interrupted")]
    assert time.monotonic() - began < 50
    assert gone(pid)


def test_an_interruption_ends_a_program_that_has_closed_its_output(runner: Runner) -> None:
    code = "import os, time; print('acc=1'); os.close(1); os.close(2); time.sleep(100)"
    with in_background(lambda: runner.run(code)) as outcomes:
        runner.wait(1)
        time.sleep(0.3)
        runner.session.interrupt("stop")
    assert outcomes == [Outcome("interrupted")]


def test_a_program_may_save_itself_at_sigterm(runner: Runner, tmp_path: Path) -> None:
    saved = tmp_path / "saved"
    code = f"""
import signal, sys, time
def save(*_):
    time.sleep(.3)
    open({str(saved)!r}, "w").write("state")
    sys.exit(0)
signal.signal(signal.SIGTERM, save)
print("acc=1")
while True: time.sleep(.1)
"""
    with in_background(lambda: runner.run(code)) as outcomes:
        runner.wait(1)
        runner.session.interrupt("stop")
    assert outcomes == [Outcome("interrupted")]
    assert saved.read_text() == "state"


def test_a_program_that_will_not_end_is_killed(runner: Runner) -> None:
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('acc=1'); time.sleep(100)"
    )
    with in_background(lambda: runner.run(code)) as outcomes:
        runner.wait(1)
        began = time.monotonic()
        runner.session.interrupt("stop", grace_s=1.0)
    assert outcomes == [Outcome("interrupted")]
    assert 0.5 <= time.monotonic() - began < 50


@pytest.mark.parametrize("how", ["", "setsid ", "nohup ", "setsid nohup "])
def test_children_left_behind_are_ended_and_do_not_hold_the_trial(
    runner: Runner, tmp_path: Path, how: str
) -> None:
    pid = tmp_path / "pid"
    script = (
        f"{how}sh -c 'echo $$ > {pid}; exec sleep 100' & while [ ! -s {pid} ]; do sleep .05; done; echo acc=1"
    )
    began = time.monotonic()
    assert runner.run_command(["sh", "-c", script, "name"]) == Outcome("completed")
    assert time.monotonic() - began < 50
    assert gone(pid)
    assert runner.values() == [1.0]


def test_children_are_ended_with_an_interrupted_program(runner: Runner, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    script = f"setsid sh -c 'echo $$ > {pid}; exec sleep 100' & sleep .3; echo acc=1; sleep 100"
    with in_background(lambda: runner.run_command(["sh", "-c", script, "name"])):
        runner.wait(1)
        runner.session.interrupt("stop")
    assert gone(pid)


def test_a_child_that_goes_on_talking_cannot_hold_the_trial(runner: Runner) -> None:
    script = "setsid env -i sh -c 'i=0; while [ $i -lt 30000 ]; do echo noise; i=$((i+1)); done' & echo acc=1"
    began = time.monotonic()
    assert runner.run_command(["sh", "-c", script, "name"]) == Outcome("completed")
    assert time.monotonic() - began < 60


def test_nothing_of_a_program_stays_open(runner: Runner) -> None:
    runner.run("print('acc=1')")
    before = len(os.listdir("/proc/self/fd")), threading.active_count()
    for _ in range(3):
        runner.run("print('acc=1')")
    assert (len(os.listdir("/proc/self/fd")), threading.active_count()) == before


@pytest.mark.parametrize("name", ["", "A=B", "A\0", 3])
def test_a_variable_that_no_process_can_have_is_refused_at_once(name: Any) -> None:
    with pytest.raises(SpecError, match=r"env has .*; it must be the name of an environment"):
        Script(["true"], {"loss": "loss={float}"}, env={name: "1"})
