"""Programs on Ray: what they have saved outlives the worker that ran them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from raytune_gp import tune

pytestmark = pytest.mark.ray

PROGRAM = """
import os, pathlib, signal, sqlite3, time
state = pathlib.Path(os.environ["SM_CHECKPOINT_DIR"], "epoch")
done = int(state.read_text()) if state.exists() else 0
print("on", os.environ["SM_NUM_CPUS"], "CPU, of", os.environ["TRAINING_JOB_NAME"])
for epoch in range(done + 1, 5):
    state.write_text(str(epoch))
    print(f"score={epoch}")
    if epoch == 2 and not done:
        journal = sqlite3.connect(os.environ["JOURNAL"])
        asked = "SELECT count(*) FROM events WHERE kind = 'Checkpointed'"
        while not journal.execute(asked).fetchone()[0]:  # what it has not heard of goes with the worker
            time.sleep(0.05)
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(1000)
pathlib.Path(os.environ["SM_MODEL_DIR"], "model").write_text("made")
"""


@pytest.mark.usefixtures("ray_cluster")
def test_a_program_whose_worker_is_killed_goes_on_from_what_it_saved(
    tmp_path: Path, run_settings: dict[str, Any]
) -> None:
    program = tune.Script(
        ["python", "-c", PROGRAM],
        metrics={"score": "score={float}"},
        env={"JOURNAL": str(tmp_path / "journal.db")},
    )
    results = tune.run(
        program,
        config={"x": tune.uniform(0, 1)},
        metric="score",
        mode="max",
        num_samples=1,
        name="killed",
        search_alg="random",
        **run_settings,
    )
    [trial] = results.state.trials.values()
    assert (trial.status.value, trial.attempt, trial.losses) == ("COMPLETED", 2, 1), trial.error
    assert trial.history.columns["score"].tolist() == [1, 2, 3, 4]
    log = Path(results[0].log_path).read_text()
    assert log.count("on 1 CPU, of killed-00000") == 2
    with results[0].checkpoint.as_directory() as directory:
        assert Path(directory, "model", "model").read_text() == "made"
        assert Path(directory, "checkpoints", "epoch").read_text() == "4"
