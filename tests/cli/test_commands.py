"""Every command but those that need Ray, as a shell calls them: output, streams and exit codes."""

from __future__ import annotations

import json
import re
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from raytune_gp import tune
from raytune_gp.events import RunCreated, RunEnded, RunResumed, StopRequested
from raytune_gp.spec import ExperimentSpec
from raytune_gp.storage.journal import SQLJournal
from raytune_gp.trial import Metric
from tests.cli.conftest import RUN_FILE, Command
from tests.postgres import QUOTED, Server

EXAMPLES = Path(__file__).parents[2] / "examples"


def strict(text: str) -> Any:
    """The JSON in `text`; NaN and infinities are none."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.fixture
def done(command: Command, write: Callable[..., Path]) -> Path:
    """A run of three trials that is over, called `first`; gives its run file."""
    path = write()
    result = command("run", path, "--inline", "--quiet", "--name", "first")
    assert result.exit_code == 0, result.output
    return path


def going(tmp_path: Path, run: str = "first") -> SQLJournal:
    """Make a run that is over one that is going on, with nobody to attend to it; gives its journal."""
    journal = SQLJournal(f"sqlite:///{tmp_path / 'journal.db'}")
    index = len(list(journal.read(run)))
    journal.append(run, journal.raise_term(run), index, [RunResumed(2e9, {"num_samples": 9})])
    return journal


# --- run ---


def test_run_runs_the_file_in_its_own_directory(command: Command, write: Callable[..., Path]) -> None:
    path = write()
    result = command("run", path, "--inline", "--name", "first", "--num-samples", "2", "--report", "r.html")
    assert result.exit_code == 0, result.output
    assert "2 of 2 trials finished (2 completed)" in result.stdout
    assert Path("r.html").stat().st_size > 100_000
    trials = strict(command("show", "first", "--json").stdout)
    assert [t["metrics"]["where"] for t in trials] == [str(path.parent)] * 2
    assert [t["metrics"]["mark"] for t in trials] == ["7", "7"]
    assert (path.parent / "results" / "first").is_dir()


def test_a_taken_name_is_refused_with_the_way_on(command: Command, done: Path) -> None:
    result = command("run", done, "--inline", "--name", "first")
    assert result.exit_code == 1
    assert result.stderr.endswith("From the shell: raytune-gp resume first\n")
    assert result.stdout == ""


def test_a_run_without_a_value_fails(command: Command, write: Callable[..., Path]) -> None:
    path = write(RUN_FILE.replace(":train", ":failing"))
    result = command("run", path, "--inline", "--quiet")
    assert result.exit_code == 3
    assert re.search(
        r"none of 3 trials gave a usable value; the first: trial 00000 (?s:.*)on purpose", result.stderr
    )


def test_a_run_that_cannot_go_on_fails(command: Command, write: Callable[..., Path]) -> None:
    path = write(RUN_FILE.replace(":train", ":failing") + "    fail_fast: true\n")
    result = command("run", path, "--inline", "--quiet", "--name", "fast")
    assert result.exit_code == 3
    assert "fail_fast" in result.stderr
    assert strict(command("status", "fast", "--json").stdout)["status"] == "FAILED"


def test_errors_are_one_line_and_a_traceback_only_with_debug(command: Command) -> None:
    result = command("run", "absent.yaml")
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    assert re.fullmatch(
        r"raytune-gp: the run file '.*/absent.yaml' cannot be read: No such .*\n", result.stderr
    )
    with pytest.raises(AssertionError, match="SpecError"):
        command("--debug", "run", "absent.yaml")


@pytest.mark.parametrize(
    "arguments", [["run"], ["launch"], ["list", "--lasst", "3"], ["demo", "--trials", "0"]]
)
def test_wrong_usage_exits_with_2(command: Command, arguments: list[str]) -> None:
    assert command(*arguments).exit_code == 2


def test_help_documents_the_exit_codes(command: Command) -> None:
    text = " ".join(command("run", "--help").stdout.split())
    assert "0 the run is completed" in text
    assert "130 it was stopped before its end" in text
    assert "Begin with `raytune-gp demo`" in command("--help").stdout


# --- check ---


@pytest.mark.parametrize("example", sorted(p.name for p in EXAMPLES.glob("*.yaml")))
def test_the_examples_can_run(command: Command, example: str) -> None:
    result = command("check", EXAMPLES / example)
    assert result.exit_code == 0, result.output
    assert "can run" in result.stdout
    assert "uniform(0.001, " in result.stdout


SCRIPT = """
    command: [python, train.py]
    data: {train: images}
    metrics:
      - {Name: 'validation:accuracy', Regex: 'validation: accuracy=([0-9.]+)'}
      - {Name: loss, Regex: 'validation: .*loss={float}'}
    metric: validation:accuracy
    mode: max
    num_samples: 2
    metric_timeout_s: 60
    space:
      x: {uniform: [0, 1]}
"""


@pytest.fixture
def script(write: Callable[..., Path]) -> Path:
    """A run file of a program, with SageMaker's definitions of metrics."""
    path = write(SCRIPT)
    (path.parent / "train.py").touch()
    (path.parent / "images").mkdir()
    return path


@pytest.mark.parametrize("prefix", ["", "2024-05-01T12:00:00.123Z ", "algo-1-f2x3a | "])
def test_check_tries_the_patterns_on_a_log(
    command: Command, tmp_path: Path, script: Path, prefix: str
) -> None:
    log = tmp_path / "log.txt"
    printed = [
        "[epoch 1] training: loss=2.5",
        "[epoch 1] validation: accuracy=0.25 loss=2.250000",
        "[epoch 2] validation: accuracy=0.50 loss=9.1e-05",
    ]
    log.write_text("".join(f"{prefix}{line}\n" for line in printed))
    result = command("check", script, "--log", log)
    assert result.exit_code == 0, result.output
    assert f"{log}: 3 lines make 2 reports" in result.stdout
    rows = [line.split() for line in result.stdout.splitlines()]
    assert ["metric", "lines", "values", "first", "last", "pattern"] in rows
    assert ["validation:accuracy", "2", "2", "0.25", "0.5", "validation:", "accuracy=([0-9.]+)"] in rows
    assert ["loss", "2", "2", "2.25", "9.1e-05", "validation:", ".*loss={float}"] in rows


def test_check_fails_where_a_metric_is_nowhere_in_the_log(
    command: Command, tmp_path: Path, script: Path
) -> None:
    log = tmp_path / "log.txt"
    log.write_text("validation: accuracy=0.5\n")
    result = command("check", script, "--log", log)
    assert result.exit_code == 1
    assert f"not found in {log}: 'loss' by 'validation: .*loss={{float}}'" in result.stderr
    assert ["loss", "0", "0", "–", "–"] in [line.split()[:5] for line in result.stdout.splitlines()]


def test_check_says_which_numbers_a_pattern_misses(command: Command, script: Path) -> None:
    result = command("check", script)
    assert result.exit_code == 0
    notes = [line for line in result.stderr.splitlines() if line.startswith("note:")]
    assert notes == [
        "note: the pattern of 'validation:accuracy' is 'validation: accuracy=([0-9.]+)', and does not read "
        "-0.3, nan: if it may be such a number, write {float} for the group"
    ]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "train: images",
            "train: pictures",
            "the channel 'train' of data is '.*/pictures', which is not there",
        ),
        ("Regex: 'validation: .*", "Regexp: 'validation: .*", "a definition is {Name: loss, Regex: "),
        (
            "metric: validation:accuracy",
            "metric: acc",
            "metric is 'acc', and metrics has only validation:acc",
        ),
        ("{float}", "([", "the pattern of metric 'loss' is '.*', no regular expression"),
        ("metric_timeout_s: 60", "metric_timeout_s: 0", "mine.yaml:10: metric_timeout_s is 0; it must be"),
    ],
)
def test_check_refuses_what_cannot_be_scraped(
    command: Command, script: Path, old: str, new: str, message: str
) -> None:
    assert old in script.read_text()
    script.write_text(script.read_text().replace(old, new))
    result = command("check", script)
    assert result.exit_code == 1, result.stdout
    assert re.search(message, result.stderr), result.stderr


def test_the_example_script_prints_what_its_patterns_find(
    command: Command, capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trainables.cifar10.__main__ import main

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert main(["--data", "digits", "--model", "resnet8_v2", "--width", "1", "--epochs", "1"]) == 0
    log = tmp_path / "log.txt"
    log.write_text(capfd.readouterr().out)
    result = command("check", EXAMPLES / "script.yaml", "--log", log)
    assert result.exit_code == 0, result.output
    assert "lines make 1 reports" in result.stdout


def test_the_sagemaker_example_runs_and_keeps_what_its_script_made(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    result = command(
        "run", EXAMPLES / "sagemaker.yaml", "--inline", "-n", "3", "--name", "replica", "--quiet"
    )
    assert result.exit_code == 0, result.output
    trials = strict(command("show", "replica", "--json").stdout)
    assert [trial["status"] for trial in trials] == ["COMPLETED"] * 3
    assert all(trial["step"] == 5 and trial["metrics"]["validation:loss"] > 0 for trial in trials)
    for trial in trials:
        made = tmp_path / "raytune_results" / "replica" / trial["checkpoints"][-1]["path"]
        assert strict((made / "model" / "about.json").read_text())["epochs"] == 5
        assert (made / "checkpoints" / "state.npz").exists()


def test_check_starts_nothing(command: Command, write: Callable[..., Path], tmp_path: Path) -> None:
    path = write()
    assert command("check", path).exit_code == 0
    assert not (tmp_path / "journal.db").exists()
    assert not (path.parent / "results").exists()
    result = command("check", write(RUN_FILE.replace("mode: max", "mode: most")))
    assert result.exit_code == 1
    assert "mine.yaml:4: mode is 'most'; it must be 'max' or 'min'" in result.stderr


def test_check_refuses_what_run_would(command: Command, write: Callable[..., Path]) -> None:
    result = command("check", write(RUN_FILE + "    checkpoint: {checkpoint_frequency: 2}\n"))
    assert result.exit_code == 1
    assert "checkpoint_frequency is set, which is for class trainables" in result.stderr


# --- resume and stop ---


def test_resume_by_name_finds_the_run_file(command: Command, done: Path) -> None:
    result = command("resume", "first", "--inline", "-n", "5")
    assert result.exit_code == 0, result.output
    assert strict(command("status", "first", "--json").stdout)["finished"] == 5
    again = command("resume", "first", "--inline")
    assert again.exit_code == 0, "it does not ask for fewer than it had"
    assert "run first is completed: a larger --num-samples would go on" in again.stderr
    assert "is completed:" not in result.stderr
    assert strict(command("status", "first", "--json").stdout)["num_samples"] == 5


def test_resume_by_run_file(command: Command, done: Path) -> None:
    refused = command("resume", done, "--inline")
    assert refused.exit_code == 1
    assert "gives no name" in refused.stderr
    done.write_text(done.read_text().replace("num_samples: 3", "num_samples: 4"))
    result = command("resume", done, "--name", "first", "--inline", "--quiet")
    assert result.exit_code == 0, result.output
    assert "has changed since the run was started" in result.stderr
    assert "is completed" not in result.stderr
    assert strict(command("status", "first", "--json").stdout)["finished"] == 4


def test_resume_refuses_another_space_and_a_file_that_is_gone(command: Command, done: Path) -> None:
    done.write_text(done.read_text().replace("[0, 1]", "[0, 2]"))
    result = command("resume", "first", "--inline", "-n", "5")
    assert result.exit_code == 1
    assert "the search space differs" in result.stderr
    done.unlink()
    result = command("resume", "first", "--inline")
    assert result.exit_code == 1
    assert "cannot be read" in result.stderr


def test_resume_of_a_run_of_another_origin(command: Command, tmp_path: Path) -> None:
    tune.run(
        lambda config: {"score": config["x"]},
        config={"x": tune.uniform(0, 1)},
        metric="score",
        mode="max",
        search_alg="random",
        executor="inline",
        verbose=0,
        name="scripted",
        storage_path=tmp_path,
    )
    result = command("resume", "scripted")
    assert result.exit_code == 1
    assert "was not started from a run file" in result.stderr


def test_stop_asks_the_run_or_one_trial(command: Command, done: Path, tmp_path: Path) -> None:
    result = command("stop", "first")
    assert result.exit_code == 1
    assert "is not going on: completed" in result.stderr
    journal = going(tmp_path)
    assert command("stop", "first").exit_code == 0
    refused = command("stop", "first", "1")
    assert refused.exit_code == 1
    assert "trial 00001 of run 'first' is completed already" in refused.stderr
    assert [(r.kind, set(r.body)) for r in journal.open_requests("first")] == [("stop", {"reason"})]
    journal.close()


def test_a_stop_is_heeded_and_exits_with_130(
    command: Command, write: Callable[..., Path], tmp_path: Path
) -> None:
    """The request is there before the run looks for one; the inline loop looks as every loop does."""
    path = write(RUN_FILE.replace("num_samples: 3", "num_samples: -1"))
    module = next(path.parent.glob("cli_*.py"))
    module.write_text(
        "from raytune_gp import tune\nfrom raytune_gp.storage.journal import SQLJournal\n"
        f"def train(config):\n    SQLJournal('sqlite:///{tmp_path}/journal.db').request('first', 'stop')\n"
        "    for i in range(100000):\n        tune.report({'score': i})\n"
    )
    result = command("run", path, "--inline", "--name", "first")
    assert result.exit_code == 130, result.output
    assert "Go on with raytune-gp resume first" in result.stderr


# --- a module that is a program ---


@pytest.mark.parametrize("arguments", [("check",), ("run", "--inline", "--quiet")])
def test_a_module_that_exits_is_no_success(
    command: Command, write: Callable[..., Path], arguments: tuple[str, ...]
) -> None:
    path = write()
    (path.parent / "leaves.py").write_text("import sys\nsys.exit(0)\n")
    path.write_text(re.sub(r"cli_\w+:", "leaves:", path.read_text()))
    result = command(*arguments, path)
    assert result.exit_code == 1
    assert re.search(r"its module 'leaves' exited with 0 \(at .*leaves.py:2\)", result.stderr)


# --- looking ---


def test_list_as_table_and_json(command: Command, done: Path) -> None:
    command("run", done, "--inline", "--quiet", "--name", "second")
    table = command("list").stdout
    assert re.search(r"first +│ completed +│ +3 of 3 │ score -0\.\d+", table)
    facts = strict(command("list", "--json").stdout)
    assert [f["name"] for f in facts] == ["first", "second"]
    assert [f["name"] for f in strict(command("list", "--last", 1, "--json").stdout)] == ["second"]


def test_list_names_a_run_that_cannot_be_read_and_lists_the_others(
    command: Command, done: Path, tmp_path: Path
) -> None:
    odd = {**ExperimentSpec("odd", (Metric("score", "max"),)).to_json(), "fail_fast": 1}
    journal = SQLJournal(f"sqlite:///{tmp_path / 'journal.db'}")
    journal.create_run("odd", RunCreated(time.time(), odd))
    journal.close()
    result = command("list", "--json")
    assert [f["name"] for f in strict(result.stdout)] == ["first"]
    assert result.exit_code == 1
    assert re.search("raytune-gp: .*'odd'.*fail_fast is 1, and not of the type bool", result.stderr)


def test_status_follows_or_gives_json(command: Command, done: Path) -> None:
    result = command("status", "first", "--follow", "--json")
    assert result.exit_code == 2
    assert "--follow is for a terminal, and --json for a program" in result.stderr


def test_a_report_that_cannot_be_written_costs_no_result(
    command: Command, write: Callable[..., Path]
) -> None:
    path = write()
    Path("file").touch()
    result = command("run", path, "--inline", "--quiet", "--name", "first", "--report", "file/r.html")
    assert result.exit_code == 0
    assert "no report can be written to 'file/r.html'" in result.stderr
    assert "raytune-gp report first --out FILE" in result.stderr
    assert command("report", "first", "--out", ".").stdout.strip() == "first.html"


def test_list_of_an_empty_journal(command: Command, tmp_path: Path) -> None:
    SQLJournal(f"sqlite:///{tmp_path / 'journal.db'}").close()
    assert strict(command("list", "--json").stdout) == []
    assert "no run yet" in command("list").stderr


@pytest.mark.parametrize(
    "arguments", [("list",), ("status", "first"), ("show", "first"), ("logs", "first", 0), ("stop", "first")]
)
def test_a_journal_that_is_not_there_is_named_and_not_made(
    command: Command, tmp_path: Path, arguments: tuple[Any, ...]
) -> None:
    result = command(*arguments, "--journal", "typo/journla.db")
    assert result.exit_code == 1
    assert f"there is no journal at {tmp_path / 'typo' / 'journla.db'}" in result.stderr.replace("\n", "")
    assert not Path("typo").exists()


def test_the_journal_is_the_options_before_the_environments(command: Command, done: Path) -> None:
    SQLJournal(f"sqlite:///{Path('other.db').absolute()}").close()
    assert strict(command("list", "--journal", "other.db", "--json").stdout) == []
    assert len(strict(command("list", "--journal", "sqlite:///journal.db", "--json").stdout)) == 1


def test_status(command: Command, done: Path, tmp_path: Path) -> None:
    text = command("status", "first").stdout
    assert "3 of 3 trials finished" in text
    assert "best config, of trial" in text
    assert "last event" not in text
    going(tmp_path).close()
    assert "last event" in command("status", "first").stdout
    facts = strict(command("status", "first", "--json").stdout)
    assert facts["status"] == "RUNNING"
    assert facts["best"]["value"] <= 0


def test_status_and_report_warn_of_a_stop_criterion_that_no_trial_reports(
    command: Command, write: Callable[..., Path]
) -> None:
    path = write(RUN_FILE + "    stop: {'[scores]': 0.9}\n")
    result = command("run", path, "--inline", "--quiet", "--name", "first", "--report", "r.html")
    said = "stop has '[scores]', which no trial has reported so far"
    assert result.stderr.count(said) == 1
    assert f"warning: {said}" in command("status", "first").stdout
    (warning,) = strict(command("status", "first", "--json").stdout)["warnings"]
    assert warning.startswith(said)
    assert "Warning: stop has" in Path("r.html").read_text()


def test_status_follow_goes_on_until_the_run_ends(
    command: Command, done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What happens between two looks is seen at the second."""
    journal = going(tmp_path)

    def meanwhile(seconds: float) -> None:
        index = len(list(journal.read("first")))
        journal.append("first", journal.raise_term("first"), index, [StopRequested(2e9, "by a person")])
        monkeypatch.setattr("time.sleep", end)

    def end(seconds: float) -> None:
        index = len(list(journal.read("first")))
        event = RunEnded(2e9, "STOPPED", "by a person")
        journal.append("first", journal.raise_term("first"), index, [event])

    monkeypatch.setattr("time.sleep", meanwhile)
    result = command("status", "first", "--follow")
    assert result.exit_code == 0
    assert "stopped: by a person" in result.stdout
    journal.close()


def test_status_follow_waits_for_a_server_that_restarts(
    command: Command, postgres_url: str, postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = SQLJournal(postgres_url)
    spec = ExperimentSpec("first", (Metric("score", "max"),), num_samples=1)
    journal.create_run("first", RunCreated(1.0, spec.to_json()))
    looks = 0

    def meanwhile(seconds: float) -> None:
        nonlocal looks
        looks += 1
        if looks == 1:
            postgres.kill()
        if looks == 3:
            postgres.restart()
            event = RunEnded(2e9, "STOPPED", "by a person")
            journal.append("first", journal.raise_term("first"), 1, [event])

    monkeypatch.setattr("raytune_gp.cli.reading.time", SimpleNamespace(sleep=meanwhile, time=time.time))
    result = command("status", "first", "--follow", "--journal", postgres_url)
    assert result.exit_code == 0, result.output
    assert result.stderr.count("the connection is lost, or the server is away") == 1
    assert "stopped: by a person" in result.stdout
    journal.close()


def test_show_a_run_and_a_trial(command: Command, done: Path) -> None:
    assert re.search(r"│ +2 │ completed", command("show", "first").stdout)
    text = command("show", "first", "2").stdout
    for word in ("trial", "00002", "provenance", "method", "random", "reports", "score"):
        assert word in text
    one = strict(command("show", "first", "trial_00002", "--json").stdout)
    assert one["id"] == "00002"
    assert [r["step"] for r in one["reports"]] == [1, 2]
    assert one["objective"] == {"score": one["reports"][-1]["metrics"]["score"]}
    assert [t["number"] for t in strict(command("show", "first", "--json").stdout)] == [0, 1, 2]


def test_show_a_failed_trial_without_what_a_terminal_would_obey(
    command: Command, write: Callable[..., Path]
) -> None:
    path = write(RUN_FILE.replace(":train", ":failing"))
    module = next(path.parent.glob("cli_*.py"))
    module.write_text(module.read_text().replace("on purpose", "on \\x1b[31mpurpose"))
    command("run", path, "--inline", "--quiet", "--name", "bad")
    text = command("show", "bad", "0").stdout
    assert "Traceback" in text
    assert "on �[31mpurpose" in text
    assert "\x1b" not in text


def test_json_is_strict_where_a_metric_is_not(command: Command, write: Callable[..., Path]) -> None:
    path = write()
    module = next(path.parent.glob("cli_*.py"))
    module.write_text("def train(config):\n    return {'score': float('nan'), 'up': float('inf')}\n")
    assert command("run", path, "--inline", "--quiet", "--name", "nan").exit_code == 3
    trial = strict(command("show", "nan", "0", "--json").stdout)
    assert trial["metrics"]["score"] is None
    assert trial["metrics"]["up"] is None
    assert trial["objective"] is None


@pytest.mark.parametrize("name", ["3", "x", "-", "trial_"])
def test_a_trial_that_is_not_there(command: Command, done: Path, name: str) -> None:
    result = command("show", "first", name)
    assert result.exit_code == 1
    assert f"no trial {name!r}: its trials are 0 to 2" in result.stderr


@pytest.mark.parametrize("arguments", [["status"], ["show"], ["report"], ["stop"], ["resume"], ["attach"]])
def test_a_run_that_is_not_there(command: Command, done: Path, arguments: list[str]) -> None:
    result = command(*arguments, "never")
    assert result.exit_code == 1
    assert "no run named 'never'" in result.stderr
    assert "its newest runs are first" in result.stderr


def test_to_attach_to_a_run_that_is_over_shows_its_result(command: Command, done: Path) -> None:
    result = command("attach", "first", "--report", "r.html")
    assert result.exit_code == 0, result.output
    assert "3 of 3 trials finished (3 completed)" in result.stdout
    assert "best config: x=" in result.stdout
    assert Path("r.html").exists()


@pytest.mark.parametrize("address", ["local", "127.0.0.1:9"])
def test_to_attach_to_a_run_that_nobody_goes_on_with(
    command: Command, done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    going(tmp_path).close()
    monkeypatch.setenv("RAY_ADDRESS", address)  # there is none to connect to
    result = command("attach", "first")
    assert result.exit_code == 1
    assert "not over (3 trials are finished), and nobody goes on with it" in result.stderr
    assert "Go on with raytune-gp resume first;" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--inline"], "detached=True needs executor"),
        (["--report", "r.html"], "write its report by raytune-gp report first\n"),
        (
            ["--report", "r.html", "--journal", "postgresql://me:pass@host/db"],
            "write its report by raytune-gp report first --journal postgresql://me@host/db\n",
        ),
    ],
)
def test_what_a_detached_run_cannot_have(
    command: Command, write: Callable[..., Path], arguments: list[str], message: str
) -> None:
    result = command("run", write(), "--detach", "--name", "first", *arguments)
    assert (result.exit_code, message in result.stderr) == (1, True)


def test_logs(command: Command, done: Path) -> None:
    result = command("logs", "first", "1")
    assert result.exit_code == 1
    assert "has no log at" in result.stderr
    log = done.parent / "results" / "first" / "trial_00001" / "log.txt"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_bytes("epoch 1 größer\n".encode() + b"\xff\n")
    assert command("logs", "first", "1").stdout == "epoch 1 größer\n�\n"
    assert command("logs", "first", "1", "--follow").stdout == "epoch 1 größer\n�\n"


def test_logs_follow_prints_each_part_once(
    command: Command, done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = going(tmp_path)
    monkeypatch.setattr("raytune_gp.trial.TrialStatus.is_finished", property(lambda status: parts == []))
    log = done.parent / "results" / "first" / "trial_00001" / "log.txt"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_bytes(b"one\n\xc3")
    parts = [b"\xa4two\n", b"three\n"]

    def more(seconds: float) -> None:
        with log.open("ab") as file:
            file.write(parts.pop(0))

    monkeypatch.setattr("time.sleep", more)
    assert command("logs", "first", "1", "--follow").stdout == "one\nätwo\nthree\n"
    journal.close()


def test_report(command: Command, done: Path) -> None:
    result = command("report", "first")
    assert result.stdout.strip() == "first.html"
    assert "first" in Path("first.html").read_text()
    assert command("report", "first", "--out", "sub/r.html").exit_code == 0
    assert Path("sub/r.html").exists()


def test_the_run_files_journal_is_near_it(command: Command, write: Callable[..., Path]) -> None:
    path = write(textwrap.dedent(RUN_FILE) + "journal: own.db\nname: near\n")
    assert command("run", path, "--inline", "--quiet").exit_code == 0
    assert [
        f["name"] for f in strict(command("list", "--journal", path.parent / "own.db", "--json").stdout)
    ] == ["near"]
    taken = command("run", path, "--inline")
    way_on = taken.stderr.strip().partition("From the shell: raytune-gp ")[2].split()
    assert way_on == ["resume", "near", "--journal", f"sqlite:///{path.parent / 'own.db'}"]
    assert command(*way_on, "--inline", "-n", 4, "--quiet").exit_code == 0


def test_resume_restores_what_the_journal_lacks(
    command: Command, write: Callable[..., Path], tmp_path: Path
) -> None:
    path = write(RUN_FILE + "    name: lost\n")
    assert command("run", path, "--inline", "--quiet").exit_code == 0
    (tmp_path / "journal.db").unlink()
    by_name = command("resume", "lost", "--inline")
    assert by_name.exit_code == 1
    assert "no run named 'lost'" in by_name.stderr
    result = command("resume", path, "--inline", "--quiet", "-n", "5")
    assert result.exit_code == 0, result.output
    assert "run 'lost' was not in the journal" in result.stderr
    assert len(strict(command("show", "lost", "--json").stdout)) == 5
    (tmp_path / "journal.db").unlink()
    storage = path.parent / "results"
    result = command("resume", "lost", "--storage", storage, "--inline", "--quiet", "-n", "6")
    assert result.exit_code == 0, result.output
    assert len(strict(command("show", "lost", "--json").stdout)) == 6
    backup = storage / "lost" / "journal_backup.db"
    assert len(strict(command("show", "lost", "--json", "--journal", backup).stdout)) == 6


def test_commands_on_a_postgresql_journal(
    command: Command, write: Callable[..., Path], postgres_url: str, postgres: Server
) -> None:
    path = write(RUN_FILE + "    name: served\n")
    assert command("run", path, "--inline", "--quiet", "--journal", postgres_url).exit_code == 0
    assert "served" in command("list", "--journal", postgres_url).stdout
    assert len(strict(command("show", "served", "--json", "--journal", postgres_url).stdout)) == 3
    assert command("report", "served", "--journal", postgres_url).exit_code == 0
    refused = command("run", path, "--inline", "--journal", postgres_url)
    assert refused.stderr.endswith(
        f"raytune-gp resume served --journal postgresql://raytune@127.0.0.1:{postgres.port}/postgres\n"
    )
    assert QUOTED not in refused.stderr
    more = command("resume", "served", "--inline", "--quiet", "-n", "4", "--journal", postgres_url)
    assert more.exit_code == 0, more.output
