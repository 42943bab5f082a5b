"""What programs leave in their directories: kept with the trial, and there again for its next attempt."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from raytune_gp.failures import FailureKind
from raytune_gp.storage.artifacts import Storage
from raytune_gp.trainable import folders
from raytune_gp.trainable.folders import Folders
from raytune_gp.trainable.run import run_attempt
from raytune_gp.trainable.script import Script
from tests.trainable.support import Bench, in_background

ACCURACY = {"accuracy": "acc={float}"}

TRAINING = """
import json, os, pathlib, sys, time
place = pathlib.Path(os.environ["SM_CHECKPOINT_DIR"])
saved = sorted(place.glob("epoch_*"))
first = 1 + int(saved[-1].read_text()) if saved else 1
for epoch in range(first, 6):
    (place / f"epoch_{epoch}").write_text(str(epoch))
    print(f"acc={epoch / 10}")
    if epoch == int(os.environ.get("DIES_AT", 0)):
        time.sleep(100)
pathlib.Path(os.environ["SM_MODEL_DIR"], "model.json").write_text(json.dumps({"epochs": 5}))
pathlib.Path(os.environ["SM_OUTPUT_DATA_DIR"], "notes.txt").write_text("done")
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "LOOK_S", 0.2)


class Trial(Bench):
    """A trial of a program; `checkpoints` are those that are stored, by step."""

    def run(self, code: str, env: Mapping[str, str] | None = None) -> Any:
        return run_attempt(Script(["python", "-c", code], ACCURACY, env=env), {}, self.session)

    @property
    def checkpoints(self) -> list[tuple[int, str]]:
        return [(body["step"], body["path"]) for kind, body in self.said if kind == "checkpoint"]

    def wait_for_checkpoints(self, count: int) -> None:
        with self.news:
            assert self.news.wait_for(lambda: len(self.checkpoints) >= count, 20), self.said

    def stored(self, number: int = -1) -> dict[str, str]:
        """The files of a checkpoint and what is in them."""
        root = Path(self.storage.path(self.checkpoints[number][1]))
        return {str(p.relative_to(root)): p.read_text() for p in sorted(root.rglob("*")) if p.is_file()}


@pytest.fixture
def trial(tmp_path: Path) -> Trial:
    return Trial(tmp_path)


def test_what_a_program_leaves_is_kept_with_its_last_report(trial: Trial) -> None:
    assert trial.run(TRAINING).kind == "completed"
    assert trial.checkpoints[-1][0] == 5
    expected = {f"checkpoints/epoch_{e}": str(e) for e in range(1, 6)}
    assert trial.stored() == {
        **expected,
        "model/model.json": '{"epochs": 5}',
        "output/data/notes.txt": "done",
    }


def test_nothing_left_is_no_checkpoint(trial: Trial) -> None:
    assert trial.run("print('acc=1')").kind == "completed"
    assert trial.checkpoints == []


def test_the_directories_are_gone_afterwards(trial: Trial) -> None:
    trial.run("""
import os
place = os.environ["SM_MODEL_DIR"]
open(place + "/where", "w").write(place)
print("acc=1")
""")
    assert not Path(trial.stored()["model/where"]).exists()


def test_a_trial_that_is_killed_goes_on_from_what_was_saved(trial: Trial, tmp_path: Path) -> None:
    """The checkpoint is stored while the program runs; the next attempt begins with it, elsewhere."""
    with in_background(lambda: trial.run(TRAINING, {"DIES_AT": "3"})) as outcomes:
        trial.wait_for_checkpoints(1)
        trial.session.interrupt("pause")
    assert outcomes[0].kind == "interrupted"
    [(step, path)] = trial.checkpoints
    assert step == 3
    assert set(trial.stored()) == {"checkpoints/epoch_1", "checkpoints/epoch_2", "checkpoints/epoch_3"}

    again = Trial(tmp_path, attempt=2, start_step=step, resume_from=path)
    assert again.run(TRAINING).kind == "completed"
    assert [report["accuracy"] for report in again.reports] == [0.4, 0.5]
    assert [report["training_iteration"] for report in again.reports] == [4, 5]
    assert again.stored()["checkpoints/epoch_5"] == "5"


def test_the_order_in_which_a_program_saves_and_prints_is_its_own(trial: Trial) -> None:
    code = """
import os, time
place = os.environ["SM_CHECKPOINT_DIR"]
for epoch in (1, 2):
    print(f"acc={epoch}")
    time.sleep(.1)
    open(f"{place}/last", "w").write(str(epoch))
    time.sleep(2)
"""
    assert trial.run(code).kind == "completed"
    assert [step for step, _ in trial.checkpoints] == [1, 2]
    assert [trial.stored(i)["checkpoints/last"] for i in (0, 1)] == ["1", "2"]


def test_what_is_saved_twice_for_one_report_is_not_written_over(trial: Trial) -> None:
    code = """
import os, time
place = os.environ["SM_CHECKPOINT_DIR"]
print("acc=1")
for text in "ab":
    open(f"{place}/last", "w").write(text)
    time.sleep(1.5)
"""
    trial.run(code)
    assert [step for step, _ in trial.checkpoints] == [1, 1]
    assert [trial.stored(i)["checkpoints/last"] for i in (0, 1)] == ["a", "b"]
    first, second = (path for _, path in trial.checkpoints)
    trial.storage.retain("trial_00000", [second])
    assert not Path(trial.storage.path(first)).exists()
    assert Path(trial.storage.path(second)).exists()


def test_a_file_that_grows_is_not_kept_before_it_is_whole(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "LOOK_S", 0.6)
    code = """
import os, time
print("acc=1")
with open(os.environ["SM_MODEL_DIR"] + "/model", "w", buffering=1) as model:
    for i in range(30):
        model.write(f"{i}\\n")
        time.sleep(.05)
time.sleep(2)
"""
    trial.run(code)
    assert [trial.stored(i)["model/model"].count("\n") for i in range(len(trial.checkpoints))] == [30]


def test_half_of_a_file_of_a_program_that_was_killed_is_not_kept(trial: Trial) -> None:
    code = """
import os, signal, time
print("acc=1")
place = os.environ["SM_CHECKPOINT_DIR"]
open(place + "/good", "w").write("whole")
time.sleep(1.5)
with open(place + "/half", "w", buffering=1) as half:
    half.write("ha\\n")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    outcome = trial.run(code)
    assert (outcome.kind, outcome.failure) == ("failed", FailureKind.HOST_MEMORY)
    assert trial.stored() == {"checkpoints/good": "whole"}


def test_a_program_saves_itself_at_sigterm_and_may_say_so(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It prints while it ends: were nobody there to hear it, it would die of that."""
    monkeypatch.setattr(folders, "LOOK_S", 60.0)
    code = """
import os, signal, sys, time
def save(*_):
    print("saving", flush=True)
    time.sleep(.3)
    print("saving still" * 20_000, flush=True)
    open(os.environ["SM_CHECKPOINT_DIR"] + "/last", "w").write("saved")
    sys.exit(143)
signal.signal(signal.SIGTERM, save)
print("acc=1")
while True: time.sleep(.1)
"""
    with in_background(lambda: trial.run(code)) as outcomes:
        trial.wait(1)
        trial.session.interrupt("stop")
    assert outcomes[0].kind == "interrupted"
    assert trial.stored() == {"checkpoints/last": "saved"}


def test_an_evicted_program_ends_at_its_next_checkpoint(trial: Trial) -> None:
    code = """
import os, time
for i in range(1000):
    open(os.environ["SM_CHECKPOINT_DIR"] + "/last", "w").write(str(i))
    print(f"acc={i}")
    time.sleep(1.0)
"""
    with in_background(lambda: trial.run(code)) as outcomes:
        trial.wait_for_checkpoints(1)
        trial.session.interrupt("evict", 30.0)
    assert outcomes[0].kind == "interrupted"
    assert len(trial.checkpoints) >= 2


def test_links_sockets_and_what_vanishes_do_no_harm(trial: Trial) -> None:
    code = """
import os, pathlib, socket
place = pathlib.Path(os.environ["SM_CHECKPOINT_DIR"])
(place / "step_2").mkdir()
(place / "step_2" / "weights").write_text("w")
(place / "latest").symlink_to("step_2")
(place / "nowhere").symlink_to("step_9")
(place / "self").symlink_to(".")
os.mkfifo(place / "pipe")
socket.socket(socket.AF_UNIX).bind(str(place / "socket"))
print("acc=1")
"""
    outcome = trial.run(code)
    assert outcome.kind == "completed", outcome.error
    assert trial.stored() == {"checkpoints/latest/weights": "w", "checkpoints/step_2/weights": "w"}


def test_a_directory_that_changes_while_it_is_copied_is_kept_later(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial.session.report({"accuracy": 1})
    with Folders(trial.session) as place:
        file = place.checkpoints / "last"
        file.write_text("one")
        copy = folders.shutil.copytree
        changed: list[int] = []

        def copy_and_change(*arguments: Any, **options: Any) -> Any:
            done = copy(*arguments, **options)
            if not changed:
                changed.append(file.write_text("two, longer"))
            return done

        monkeypatch.setattr(folders.shutil, "copytree", copy_and_change)
        place.finish(ended_well=True)
        assert changed
        place.finish(ended_well=True)
        trial.session.finish()
    assert [trial.stored(i)["checkpoints/last"] for i in range(len(trial.checkpoints))] == ["two, longer"]


def test_files_of_a_local_checkpoint_keep_their_times(trial: Trial, tmp_path: Path) -> None:
    trial.session.report({"accuracy": 1})
    with Folders(trial.session) as place:
        for name, at in (("b", 1000), ("a", 2000)):
            (place.checkpoints / name).write_text(name)
            os.utime(place.checkpoints / name, (at, at))
        place.finish(ended_well=True)
        trial.session.finish()
    [(_, path)] = trial.checkpoints
    again = Bench(tmp_path, attempt=2, start_step=1, resume_from=path)
    with Folders(again.session) as place:
        assert [int(os.stat(place.checkpoints / name).st_mtime) for name in "ba"] == [1000, 2000]
        place.finish(ended_well=True)
        again.session.finish()
    assert again.kinds == [], "what is as it was is not stored again"


def test_what_cannot_be_stored_fails_the_trial_by_its_kind(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    def upload(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Storage, "upload", upload)
    outcome = trial.run(TRAINING)
    assert (outcome.kind, outcome.failure) == ("failed", FailureKind.DISK_FULL)
