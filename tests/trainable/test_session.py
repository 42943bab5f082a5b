"""`tune.report` and what is behind it: metrics, checkpoints, and the end of a trial."""

from __future__ import annotations

import enum
import json
import math
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ray.tune import Checkpoint as RayCheckpoint

from raytune_gp import tune
from raytune_gp.errors import ReportError, TrainableError, TrialInterrupted
from raytune_gp.failures import FailureKind
from raytune_gp.messages import Start
from raytune_gp.storage.artifacts import Checkpoint, Storage
from raytune_gp.trainable import session as session_module
from raytune_gp.trainable.blame import kind_of
from raytune_gp.trainable.session import Context, Session, active
from raytune_gp.trial import CheckpointRecord
from tests.trainable.support import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def save(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "state").write_text(text)
    return folder


# --- metrics ---


def test_a_report_has_a_step_and_times_and_keeps_what_the_user_says_of_them(bench: Bench) -> None:
    bench.session.report({"loss": 0.5})
    bench.session.report({"loss": 0.25, "training_iteration": 20, "time_total_s": 7.0})
    first, second = bench.said
    assert first[0] == "report"
    assert first[1]["step"] == 1
    assert first[1]["checkpoint"] is False
    assert first[1]["metrics"]["training_iteration"] == 1
    assert second[1]["step"] == 2
    assert second[1]["metrics"]["training_iteration"] == 20
    assert second[1]["metrics"]["time_total_s"] == 7.0


def test_metrics_become_plain_flat_values(bench: Bench) -> None:
    class Level(enum.IntEnum):
        HIGH = 3

    given: dict[str, Any] = {
        "float": np.float32(0.5),
        "double": np.float64(0.25),
        "int": np.int64(7),
        "bool": np.bool_(True),
        "tensor": torch.tensor(1.5),
        "one": np.array([2.5]),
        "enum": Level.HIGH,
        "text": "words",
        "none": None,
        "list": [np.float32(1), (2, "x")],
        "nested": {"a": {"b": np.float64(1)}, "c": 2},
        "nan": math.nan,
        "infinite": np.float32("inf"),
        "empty": {},
    }
    bench.session.report(given)
    [metrics] = bench.reports
    expected = {
        "float": 0.5,
        "double": 0.25,
        "int": 7,
        "bool": True,
        "tensor": 1.5,
        "one": 2.5,
        "enum": 3,
        "text": "words",
        "none": None,
        "list": [1.0, [2, "x"]],
        "nested/a/b": 1.0,
        "nested/c": 2,
        "infinite": math.inf,
    }
    assert {k: v for k, v in metrics.items() if k in expected} == expected
    assert math.isnan(metrics["nan"])
    assert set(metrics) == {*expected, "nan", "training_iteration", "time_this_iter_s", "time_total_s"}
    assert all(type(v) in (float, int, bool, str, list, type(None)) for v in metrics.values())
    json.dumps(metrics)


def test_what_was_reported_does_not_change_with_the_users_own_objects(bench: Bench) -> None:
    given: dict[str, Any] = {"list": [1, 2]}
    bench.session.report(given)
    given["list"].append(3)
    given["more"] = 1
    assert bench.reports[0]["list"] == [1, 2]
    assert "more" not in bench.reports[0]


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        ({"m": object()}, "the metric 'm' is object, which cannot be journalled: report numbers"),
        ({"a": {"m": np.zeros(3)}}, "the metric 'a/m' is ndarray"),
        ({"m": [1, {2}]}, "the metric 'm' is set"),
        ({"m": 1j}, "the metric 'm' is complex"),
        ({"m": np.complex64(1j)}, "the metric 'm' is complex64"),
        ({"m": torch.zeros(2, 2)}, "the metric 'm' is Tensor"),
        ({"m": 10**400}, "the metric 'm' is an integer beyond 1.8e308"),
        ({3: 1.0}, "the metric name 3 is int; it must be a string"),
        ([("m", 1)], "report takes a dictionary of metrics; it was given list"),
        (0.5, "report takes a dictionary of metrics; it was given float"),
        ({"a/b": 1, "a": {"b": 2}}, "the metrics have 'a/b' twice, since nested ones are flattened"),
    ],
)
def test_what_cannot_be_journalled_is_refused_and_not_said(bench: Bench, metrics: Any, message: str) -> None:
    with pytest.raises(TrainableError, match=message):
        bench.session.report(metrics)
    assert bench.said == []
    bench.session.report({"m": 1.0})
    assert bench.said[0][1]["step"] == 1


def test_metrics_that_hold_themselves_are_a_report_that_cannot_be(bench: Bench) -> None:
    metrics: dict[str, Any] = {"m": 1.0}
    metrics["again"] = metrics
    with pytest.raises(ReportError, match="nested without end: report plain numbers") as raised:
        bench.session.report(metrics)
    assert kind_of(raised.value) is FailureKind.UNREPORTABLE
    assert bench.said == []


def test_time_goes_on_over_attempts_and_steps_from_the_checkpoint(tmp_path: Path) -> None:
    bench = Bench(tmp_path, start_step=4, time_total_s=100.0, attempt=2)
    for _ in range(2):
        time.sleep(0.02)
        bench.session.report({})
    assert [r["training_iteration"] for r in bench.reports] == [5, 6]
    first, second = (r["time_total_s"] for r in bench.reports)
    assert 100.02 <= first < 100.5
    assert second == pytest.approx(first + bench.reports[1]["time_this_iter_s"])


def test_a_report_without_a_checkpoint_takes_less_than_half_a_millisecond(bench: Bench) -> None:
    metrics = {"loss": 0.5, "accuracy": np.float32(0.5), "nested": {"a": 1, "b": 2}}
    times = []
    for _ in range(300):
        began = time.perf_counter()
        bench.session.report(metrics)
        times.append(time.perf_counter() - began)
    assert statistics.median(times) < 0.0005


def test_reports_of_many_threads_are_numbered_without_gaps(bench: Bench) -> None:
    def work() -> None:
        for _ in range(50):
            bench.session.report({"x": 1})

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [body["step"] for _, body in bench.said] == list(range(1, 201))
    totals = [r["time_total_s"] for r in bench.reports]
    assert totals == sorted(totals)


# --- the end of a trial ---


@pytest.mark.parametrize("mode", ["stop", "pause"])
def test_an_interrupted_trial_ends_at_its_next_report_which_still_counts(bench: Bench, mode: str) -> None:
    bench.session.report({"x": 1})
    bench.session.interrupt(mode)
    with pytest.raises(TrialInterrupted, match=f"told to {mode}") as caught:
        bench.session.report({"x": 2})
    assert caught.value.mode == mode
    assert [r["x"] for r in bench.reports] == [1, 2]
    with pytest.raises(TrialInterrupted):
        bench.session.check()


# --- a report that is decided on ---


@pytest.fixture
def slow_bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A session whose reports may wait for as long as their steps took, a second at most."""
    monkeypatch.setattr(session_module, "AWAIT_SHARE", 1.0)
    monkeypatch.setattr(session_module, "AWAIT_S", 1.0)
    bench = Bench(tmp_path, is_decided_on=True)
    bench.session._last -= 60.0
    return bench


@pytest.fixture
def patient_bench(slow_bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """One whose reports may wait for a minute."""
    monkeypatch.setattr(session_module, "AWAIT_S", 60.0)
    return slow_bench


def seconds_of(call: Callable[[], object]) -> float:
    began = time.monotonic()
    call()
    return time.monotonic() - began


def test_a_report_returns_once_nothing_is_decided_about_it(patient_bench: Bench) -> None:
    session = patient_bench.session
    threading.Timer(0.2, session.heard, [1]).start()
    assert 0.15 < seconds_of(lambda: session.report({"loss": 1.0})) < 50


def test_a_trial_that_is_told_to_end_ends_at_the_report_that_it_was_decided_on(patient_bench: Bench) -> None:
    session = patient_bench.session
    threading.Timer(0.2, session.interrupt, ["stop"]).start()
    with pytest.raises(TrialInterrupted):
        session.report({"loss": 1.0})
    assert len(patient_bench.reports) == 1


def test_a_report_waits_no_longer_than_its_share_and_that_is_no_training(slow_bench: Bench) -> None:
    session = slow_bench.session
    assert 0.95 < seconds_of(lambda: session.report({"loss": 1.0})) < 50
    assert seconds_of(lambda: session.report({"loss": 1.0})) < 0.9, "as long as this step took"
    assert slow_bench.reports[1]["time_this_iter_s"] < 0.9


def test_what_was_heard_of_an_earlier_report_is_not_of_this_one(slow_bench: Bench) -> None:
    session = slow_bench.session
    threading.Timer(0.1, session.heard, [0]).start()
    assert seconds_of(lambda: session.report({"loss": 1.0})) > 0.95


def test_what_comes_behind_a_report_keeps_it_waiting_no_longer(patient_bench: Bench, tmp_path: Path) -> None:
    session = patient_bench.session
    threading.Timer(0.3, session.heard, [1]).start()  # of the checkpoint, item 2, nothing is known yet
    assert seconds_of(lambda: session.report({"loss": 1.0}, save(tmp_path / "c", "x"))) < 50
    assert patient_bench.kinds == ["report", "checkpoint"]


def test_where_another_process_trains_on_the_wait_is_training(slow_bench: Bench) -> None:
    session = slow_bench.session
    session.relay({"loss": 1.0})
    session.relay({"loss": 1.0})
    assert slow_bench.reports[1]["time_this_iter_s"] > 0.95


def test_a_report_that_nobody_decides_on_returns_at_once(bench: Bench) -> None:
    bench.session._last -= 1000.0
    assert seconds_of(lambda: bench.session.report({"loss": 1.0})) < 0.9


def test_an_interruption_passes_by_the_users_handlers_of_exceptions() -> None:
    assert not issubclass(TrialInterrupted, Exception)


def test_the_last_checkpoint_of_an_interrupted_trial_is_stored(bench: Bench, tmp_path: Path) -> None:
    bench.session.interrupt("pause")
    with pytest.raises(TrialInterrupted):
        bench.session.report({"x": 1}, checkpoint=save(tmp_path / "c", "kept"))
    bench.session.finish()
    assert bench.kinds == ["report", "checkpoint"]
    assert bench.storage.read_text("trial_00000/checkpoint_001_000001/state") == "kept"


# --- checkpoints ---


def test_a_temporary_directory_may_be_gone_when_it_is_stored(bench: Bench) -> None:
    for step in (1, 2, 3):
        with tempfile.TemporaryDirectory() as directory:
            save(Path(directory) / "deep" / "er", str(step))
            bench.session.report({"x": step}, checkpoint=tune.Checkpoint.from_directory(directory))
    bench.session.finish()
    stored = [body for kind, body in bench.said if kind == "checkpoint"]
    assert [b["step"] for b in stored] == [1, 2, 3]
    assert [b["path"] for b in stored] == [f"trial_00000/checkpoint_001_00000{k}" for k in (1, 2, 3)]
    for body in stored:
        assert bench.storage.read_text(f"{body['path']}/deep/er/state") == str(body["step"])
    assert all(body["checkpoint"] for kind, body in bench.said if kind == "report")


def test_a_directory_that_the_user_goes_on_writing_is_copied_as_it_was(bench: Bench, tmp_path: Path) -> None:
    folder = save(tmp_path / "mine", "first")
    bench.session.report({}, checkpoint=str(folder))
    save(folder, "second")
    bench.session.finish()
    assert bench.storage.read_text("trial_00000/checkpoint_001_000001/state") == "first"
    assert (folder / "state").read_text() == "second"


class Slow(Storage):
    """Uploads wait until they may."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), "run")
        self.may = threading.Event()

    def upload(self, directory: str, relative: str) -> None:
        assert self.may.wait(10)
        super().upload(directory, relative)


class Broken(Storage):
    """No upload succeeds."""

    def upload(self, directory: str, relative: str) -> None:
        raise OSError("the disk is full")


def session_on(storage: Storage | None, said: list[tuple[str, Any]]) -> Session:
    def emit(kind: str, body: Mapping[str, Any]) -> int:
        said.append((kind, body))
        return len(said)

    return Session(emit, Context("run", "00000", "/nowhere", {}), storage)


def test_reports_do_not_wait_for_uploads_which_are_told_of_when_they_are_done(tmp_path: Path) -> None:
    said: list[tuple[str, Any]] = []
    storage = Slow(tmp_path / "slow")
    session = session_on(storage, said)
    session.report({"x": 1}, checkpoint=save(tmp_path / "c", "1"))
    session.report({"x": 2})
    assert [kind for kind, _ in said] == ["report", "report"]
    storage.may.set()
    session.finish()
    assert [(kind, body["step"]) for kind, body in said] == [("report", 1), ("report", 2), ("checkpoint", 1)]


def test_an_upload_that_fails_fails_the_trial(tmp_path: Path) -> None:
    said: list[tuple[str, Any]] = []
    session = session_on(Broken(str(tmp_path), "run"), said)
    session.report({"x": 1}, checkpoint=save(tmp_path / "c", "1"))
    with pytest.raises(TrainableError, match="a checkpoint could not be stored: the disk is full"):
        session.finish()
    with pytest.raises(TrainableError, match="the disk is full"):
        session.report({"x": 2})
    assert [kind for kind, _ in said] == ["report"]


@pytest.mark.parametrize("kind", ["missing", "a file"])
def test_what_is_no_directory_is_refused_before_anything_is_said(
    bench: Bench, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "thing"
    if kind == "a file":
        path.write_text("x")
    with pytest.raises(TrainableError, match="which is no directory: give report a directory"):
        bench.session.report({"x": 1}, checkpoint=path)
    assert bench.said == []


@pytest.mark.parametrize("checkpoint", ["", {"epoch": 3}, 3, b"c"])
def test_what_is_no_path_is_refused_before_anything_is_said(bench: Bench, checkpoint: Any) -> None:
    with pytest.raises(TrainableError, match=f"checkpoint is {checkpoint!r}, which is no directory: save"):
        bench.session.report({"x": 1}, checkpoint=checkpoint)
    assert bench.said == []


def test_a_checkpoint_of_ray_is_taken(bench: Bench, tmp_path: Path) -> None:
    checkpoint = RayCheckpoint.from_directory(save(tmp_path / "c", "rays"))
    bench.session.report({"x": 1}, checkpoint=checkpoint)
    bench.session.finish()
    (kept,) = (body for kind, body in bench.said if kind == "checkpoint")
    assert (Path(bench.storage.path(kept["path"])) / "state").read_text() == "rays"


def test_text_that_is_no_utf8_does_not_break_who_reads_it(bench: Bench) -> None:
    bench.session.report({"n\udce9": "caf\udce9", "café": "é"})
    assert (bench.reports[0]["n?"], bench.reports[0]["café"]) == ("caf?", "é")


def test_a_checkpoint_needs_a_storage(tmp_path: Path) -> None:
    with pytest.raises(TrainableError, match="give it a storage_path"):
        session_on(None, []).report({}, checkpoint=save(tmp_path / "c", ""))


def test_nothing_stays_in_the_staging_area(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    staging = tmp_path / "staging"
    staging.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(staging))
    bench.session.report({}, checkpoint=save(tmp_path / "c", "1"))
    bench.session.finish()
    assert list(staging.iterdir()) == []


def test_a_session_goes_on_from_where_its_start_says(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path / "results"), "run")
    path = "trial_00003/checkpoint_001_000007"
    storage.upload(str(save(tmp_path / "c", "seven")), path)
    start = Start("w0/1", "00003", 2, {}, CheckpointRecord(path, 7, 1), 30.0)
    said: list[Any] = []

    def emit(kind: str, body: Mapping[str, Any]) -> int:
        said.append(body)
        return len(said)

    session = Session.of(start, emit, "run", storage, {"gpu": 1})
    checkpoint = session.get_checkpoint()
    assert checkpoint is not None
    with checkpoint.as_directory() as directory:
        assert (Path(directory) / "state").read_text() == "seven"
    session.report({})
    assert said[0]["step"] == 8
    assert said[0]["metrics"]["time_total_s"] > 30
    context = session.context
    assert context.get_experiment_name() == "run"
    assert (context.get_trial_id(), context.get_trial_name()) == ("00003", "trial_00003")
    assert context.get_trial_dir() == storage.path("trial_00003")
    assert context.get_trial_resources() == {"gpu": 1}


def test_a_fresh_start_has_no_checkpoint(bench: Bench) -> None:
    assert bench.session.get_checkpoint() is None


def test_a_checkpoint_of_another_trial_may_be_reported_on(bench: Bench, tmp_path: Path) -> None:
    bench.storage.upload(str(save(tmp_path / "c", "given")), "trial_00009/checkpoint_001_000001")
    given = Checkpoint(bench.storage.path("trial_00009/checkpoint_001_000001"), bench.storage.filesystem)
    bench.session.report({}, checkpoint=given)
    bench.session.finish()
    assert bench.storage.read_text("trial_00000/checkpoint_001_000001/state") == "given"


# --- the one session of a process ---


def test_outside_of_a_trial_there_is_nobody_to_report_to() -> None:
    for call in (lambda: tune.report({"x": 1}), tune.get_checkpoint, tune.get_context):
        with pytest.raises(TrainableError, match="there is no trial in this process"):
            call()


def test_the_functions_of_tune_find_the_active_session(bench: Bench) -> None:
    with active(bench.session):
        thread = threading.Thread(target=tune.report, args=({"x": 1},))
        thread.start()
        thread.join()
        assert tune.get_context().get_trial_id() == "00000"
        assert tune.get_checkpoint() is None
    assert bench.reports[0]["x"] == 1
