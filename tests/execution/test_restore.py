"""A run whose journal is lost with its disk goes on from the backup beside its checkpoints."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raytune_gp import events as ev
from raytune_gp import tune
from raytune_gp.errors import RunExistsError, RunNotFoundError
from raytune_gp.storage.artifacts import Storage
from raytune_gp.storage.backup import ABOUT, TERMS_AHEAD, Backup
from raytune_gp.storage.journal import SQLJournal
from tests.execution.watching import events_of

STEPS = 4


def resumable(config: dict[str, Any]) -> None:
    """`STEPS` steps with a checkpoint each; says where it began."""
    checkpoint = tune.get_checkpoint()
    began = 0
    if checkpoint is not None:
        with checkpoint.as_directory() as directory:
            began = int(Path(directory, "step").read_text())
    for step in range(began + 1, STEPS + 1):
        time.sleep(config["seconds"])
        path = Path(config["scratch"], f"{tune.get_context().get_trial_id()}-{step}")
        path.mkdir(parents=True, exist_ok=True)
        (path / "step").write_text(str(step))
        tune.report({"score": config["x"], "began": began}, checkpoint=str(path))


def interrupting(config: dict[str, Any]) -> None:
    """Of the third trial: Ctrl-C at its third step."""
    trial, steps = int(tune.get_context().get_trial_id()), 0
    report = tune.report

    def counted(*given: Any, **more: Any) -> None:
        nonlocal steps
        steps += 1
        if (trial, steps) == (2, 3):
            raise KeyboardInterrupt
        report(*given, **more)

    tune.report = counted
    try:
        resumable(config)
    finally:
        tune.report = report


@pytest.fixture
def go(tmp_path: Path) -> Callable[..., Any]:
    """`tune.run` with the journal on a disk of its own."""

    def run(trainable: Any = resumable, **given: Any) -> Any:
        space = {"x": tune.uniform(0, 1), "seconds": 0.0, "scratch": str(tmp_path / "scratch")}
        settings = {
            "config": {**space, **given.pop("config", {})},
            "metric": "score",
            "mode": "max",
            "search_alg": "random",
            "num_samples": 4,
            "executor": "inline",
            "name": "run",
            "checkpoint_config": tune.CheckpointConfig(num_to_keep=1),
            "storage_path": str(tmp_path / "results"),
            "journal": f"sqlite:///{tmp_path}/disk/journal.db",
            "verbose": 0,
        }
        return tune.run(trainable, **{**settings, **given})

    return run


def saved_step(url: str) -> int:
    """Of the interrupted trial: the step of its last checkpoint that the backup knew of."""
    events = events_of(url)
    resumed = next(i for i, e in enumerate(events) if isinstance(e, ev.RunResumed))
    steps = [e.step for e in events[:resumed] if isinstance(e, ev.Checkpointed) and e.trial == "00002"]
    return max(steps, default=0)


CHANGED = "ignore:the trainable of run 'run' has changed"


@pytest.mark.filterwarnings(CHANGED)
@pytest.mark.parametrize("resume", [True, "auto"])
@pytest.mark.parametrize("place", ["disk/journal.db", "other/journal.db"])
def test_a_resume_without_the_journal_takes_the_backup(
    go: Callable[..., Any], tmp_path: Path, resume: bool | str, place: str
) -> None:
    with pytest.raises(KeyboardInterrupt):
        go(interrupting)
    shutil.rmtree(tmp_path / "disk")
    url = f"sqlite:///{tmp_path / place}"
    with pytest.warns(UserWarning, match="run 'run' was not in the journal .* is restored from the backup"):
        results = go(journal=url, resume=resume)
    assert [r.metrics["began"] for r in results] == [0, 0, saved_step(url), 0], "on from its checkpoint"
    assert [r.status.value for r in results] == ["COMPLETED"] * 4
    terms = [e.term for e in events_of(url) if isinstance(e, ev.TermStarted)]
    assert terms[0] == 1
    assert terms[1] > TERMS_AHEAD
    assert len(go(journal=url, resume=True)) == 4, "and it is in the journal from now on"


def test_a_wrong_journal_is_no_lost_one(go: Callable[..., Any], tmp_path: Path) -> None:
    go()
    with pytest.raises(RunNotFoundError, match=r"it is in sqlite:.*disk/journal.db, so give journal="):
        go(journal=f"sqlite:///{tmp_path}/mistaken.db", resume=True)


def test_a_run_that_was_over_is_read_from_its_backup(go: Callable[..., Any], tmp_path: Path) -> None:
    first = go()
    shutil.rmtree(tmp_path / "disk")
    with pytest.warns(UserWarning, match="is restored from the backup"):
        again = go(resume=True)
    assert [r.config for r in again] == [r.config for r in first]
    assert again.state.index == first.state.index, "nothing was written"


def test_where_there_is_no_backup_auto_begins(go: Callable[..., Any], tmp_path: Path) -> None:
    with pytest.raises(RunNotFoundError, match='resume="auto" begins'):
        go(resume=True)
    assert len(go(resume="auto")) == 4


def test_a_backup_that_fails_is_told_of_and_the_run_goes_on(
    go: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any) -> None:
        raise OSError("the bucket is gone")

    monkeypatch.setattr(Storage, "upload_file", fail)
    assert len(go()) == 4
    assert (
        "the journal of run 'run' could not be backed up: OSError: the bucket is gone."
        in capsys.readouterr().err
    )


def test_a_resume_deletes_no_checkpoint_that_an_older_backup_names(
    go: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the process was killed before its next copy, and the storage is away since then."""
    url = f"sqlite:///{tmp_path}/disk/journal.db"
    checkpoints = tmp_path / "results" / "run" / "trial_00002"

    class Copied(tune.Callback):
        """At the third trial's first checkpoint; Ctrl-C comes with its second one."""

        def on_checkpoint(self, iteration: int, trials: Any, trial: Any, *_: Any, **info: Any) -> None:
            if trial.id != "00002":
                return
            if (tmp_path / "results" / "run" / ABOUT).exists():
                raise KeyboardInterrupt
            journal = SQLJournal(url)
            with Backup(journal, url, "run", Storage(str(tmp_path / "results"), "run")):
                pass
            journal.close()
            monkeypatch.setattr(Storage, "upload_file", lambda *_: 1 / 0)

    with pytest.raises(KeyboardInterrupt):
        go(callbacks=[Copied()])
    there = {path.name for path in checkpoints.iterdir()}
    assert len(there) > 1
    go(resume=True)
    assert there <= {path.name for path in checkpoints.iterdir()}
    shutil.rmtree(tmp_path / "disk")
    with pytest.warns(UserWarning, match="is restored from the backup"):
        results = go(resume=True)
    assert saved_step(url) > 0
    assert [r.metrics["began"] for r in results] == [0, 0, saved_step(url), 0]


@pytest.mark.filterwarnings(CHANGED)
def test_a_lost_run_goes_on_from_its_backup_on_a_server(
    go: Callable[..., Any], tmp_path: Path, postgres_url: str
) -> None:
    with pytest.raises(KeyboardInterrupt):
        go(interrupting)
    shutil.rmtree(tmp_path / "disk")
    with pytest.warns(UserWarning, match=r"not in the journal postgresql\+psycopg://raytune:\*\*\*@"):
        results = go(journal=postgres_url, resume=True)
    assert [r.metrics["began"] for r in results] == [0, 0, saved_step(postgres_url), 0]


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_on_ray_too(go: Callable[..., Any], tmp_path: Path) -> None:
    """Stopped in the middle, so that some trials are finished and some wait with a checkpoint."""

    class Stopper(tune.Callback):
        reports = 0

        def on_trial_result(self, *_: Any, **info: Any) -> None:
            self.reports += 1
            if self.reports == 10:
                journal = SQLJournal(f"sqlite:///{tmp_path}/disk/journal.db")
                journal.request("run", "stop")
                journal.close()

    settings = {"executor": "ray", "config": {"seconds": 0.3}, "max_concurrent_trials": 2, "num_samples": 6}
    first = go(callbacks=[Stopper()], **settings)
    assert first.state.status == "STOPPED"
    finished = [t.id for t in first.state.trials.values() if t.status.is_finished]
    shutil.rmtree(tmp_path / "disk")
    with pytest.warns(UserWarning, match="is restored from the backup"):
        results = go(resume=True, **settings)
    assert [r.status.value for r in results] == ["COMPLETED"] * 6
    events = events_of(f"sqlite:///{tmp_path}/disk/journal.db")
    again, resumed = next((i, e) for i, e in enumerate(events) if isinstance(e, ev.RunResumed))
    assert resumed.changes["run_id"] != first.state.spec.run_id
    assert not {e.trial for e in events[again:] if isinstance(e, ev.Reported)} & set(finished)
    left = sorted(p.name for p in (tmp_path / "results" / "run").glob("trial_*/checkpoint_*"))
    assert len(left) == 6, "one of each trial is kept"


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_a_run_that_goes_on_elsewhere_in_the_cluster_is_not_restored(
    go: Callable[..., Any], tmp_path: Path
) -> None:
    """As by another user's mistake, whose machine does not see the journal."""
    other = f"sqlite:///{tmp_path}/other.db"
    refused: list[BaseException] = []

    class Another(tune.Callback):
        def on_trial_result(self, *_: Any, **info: Any) -> None:
            if refused:
                return
            url = f"sqlite:///{tmp_path}/disk/journal.db"
            journal = SQLJournal(url)
            backup = Backup(journal, url, "run", Storage(str(tmp_path / "results"), "run"))
            backup.start()
            backup.close()
            journal.close()
            with pytest.raises(RunExistsError, match="is going on in this cluster already") as caught:
                go(journal=other, resume="auto", executor="ray")
            refused.append(caught.value)

    go(executor="ray", num_samples=1, config={"seconds": 0.5}, callbacks=[Another()])
    assert len(refused) == 1
    journal = SQLJournal(other)
    assert journal.runs() == []
    journal.close()
