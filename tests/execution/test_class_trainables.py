"""Class trainables on Ray: lost workers cost the steps since the checkpoint; objects come once a node."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from raytune_gp import tune
from tests.execution.trainables import note
from tests.patience import wait_until

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]


class Dying(tune.Trainable):
    """Its process is gone in the fifth step, the first time."""

    def setup(self, config: Any) -> None:
        self.total = 0
        note(config["ledger"], f"setup {self.trial_id}")

    def step(self) -> Any:
        if self.iteration == 4 and not Path(self.config["ledger"] + ".died").exists():
            Path(self.config["ledger"] + ".died").touch()
            wait_for_a_checkpoint(self.config["journal"])
            os._exit(1)
        self.total += 1
        note(self.config["ledger"], f"step {self.iteration + 1}")
        return {"total": self.total, "done": self.iteration == 5}

    def save_checkpoint(self, checkpoint_dir: str) -> Any:
        return {"total": self.total}

    def load_checkpoint(self, checkpoint: Any) -> None:
        self.total = checkpoint["total"]
        note(self.config["ledger"], f"load {self.total}")


def wait_for_a_checkpoint(journal: str) -> None:
    """Until the journal has one: what it has not heard of goes with the process."""
    with contextlib.closing(sqlite3.connect(journal)) as database:
        asked = "SELECT count(*) FROM events WHERE kind = 'Checkpointed'"
        wait_until(lambda: database.execute(asked).fetchone()[0])


class Summing(tune.Trainable):
    """Sums data that is not its own."""

    def setup(self, config: Any, data: Any = None) -> None:
        self.data = data

    def step(self) -> Any:
        return {"total": float(self.data.sum()), "own": self.data.flags.owndata, "done": True}


def test_a_lost_worker_costs_the_steps_since_its_checkpoint(tmp_path: Path, run_settings: Any) -> None:
    ledger = str(tmp_path / "ledger")
    results = tune.run(
        Dying,
        config={"ledger": ledger, "journal": str(tmp_path / "journal.db")},
        metric="total",
        mode="max",
        search_alg="random",
        checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=2),
        **run_settings,
    )
    assert results[0].metrics["total"] == 6
    assert results[0].metrics["training_iteration"] == 6
    lines = Path(ledger).read_text().splitlines()
    loaded = next(line for line in lines if line.startswith("load"))
    first, second = lines[: lines.index(loaded)], lines[lines.index(loaded) + 1 :]
    assert first == ["setup 00000", *(f"step {n}" for n in range(1, 5)), "setup 00000"]
    saved = int(loaded.split()[1])
    assert saved in (2, 4)  # the death may come before the message of the last one
    assert second == [f"step {n}" for n in range(saved + 1, 7)]


def test_objects_come_through_the_object_store_which_a_node_has_once(run_settings: Any) -> None:
    np = pytest.importorskip("numpy")
    results = tune.run(
        tune.with_parameters(Summing, data=np.ones(2_000_000)),
        metric="total",
        mode="max",
        num_samples=3,
        search_alg="random",
        **run_settings,
    )
    assert [r.metrics["total"] for r in results] == [2e6] * 3
    assert not any(r.metrics["own"] for r in results)  # each is a view of the store's memory, and no copy
    assert sum(p.stat().st_size for p in Path(run_settings["storage_path"]).rglob("*.pkl")) == 0
