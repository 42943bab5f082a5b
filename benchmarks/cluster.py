"""A run while nodes come and go: trials at a time, the devices they see, a node that joins, one that is lost.

    python -m benchmarks.cluster --out benchmarks/results/cluster.json

Three nodes on this machine: a head that holds no trial, and two of 4 logical GPUs each (Ray counts them, none
is needed). Trials take half a GPU and make a checkpoint each epoch. When all slots are taken a fourth node
joins, with 2 GPUs; when it is in use the first worker node is killed. Ray's health checks are quick here: by
default it takes Ray some ten seconds longer to find that a node is gone.
"""

from __future__ import annotations

import json
import os
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.measure import command_line, events_of, write
from raytune_gp import events as ev
from raytune_gp import tune

PATIENCE_S = 90.0
"""So long anything here may take that is waited for."""

QUICK = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 300,
    "health_check_timeout_ms": 300,
    "health_check_failure_threshold": 5,
}


def trial(config: dict[str, Any]) -> None:
    """Train `epochs` epochs of `seconds`, a checkpoint after each; behind the first, all wait for the gate.

    What happens is noted in the ledger, a line each, to be held against the journal.
    """
    import ray

    place, context = Path(config["place"]), ray.get_runtime_context()
    about = {"trial": tune.get_context().get_trial_id(), "node": context.get_node_id()}
    about["device"] = os.environ.get("CUDA_VISIBLE_DEVICES", "")

    def note(what: str, epoch: int) -> None:
        with (place / "ledger").open("a") as ledger:
            ledger.write(json.dumps({"what": what, "epoch": epoch, "at": time.time(), **about}) + "\n")

    done, checkpoint = 0, tune.get_checkpoint()
    if checkpoint is not None:
        with checkpoint.as_directory() as directory:
            done = int((Path(directory) / "epoch").read_text())
    note("start", done)
    for epoch in range(done + 1, config["epochs"] + 1):
        note("begin", epoch)
        time.sleep(config["seconds"])
        while epoch > 1 and not (place / "gate").exists():
            time.sleep(0.05)
        note("trained", epoch)
        with tempfile.TemporaryDirectory() as directory:
            (Path(directory) / "epoch").write_text(str(epoch))
            tune.report({"loss": config["x"] / epoch}, checkpoint=directory)


class Ledger:
    """What trials have noted, read again at each look."""

    def __init__(self, path: Path):
        self._path = path

    def lines(self, what: str, node: str | None = None) -> list[dict[str, Any]]:
        """The lines of one kind, of one node where it is given."""
        text = self._path.read_text() if self._path.exists() else ""
        found = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
        return [line for line in found if line["what"] == what and node in (None, line["node"])]


def wait_until(condition: Callable[[], bool], what: str, run: threading.Thread) -> None:
    """Wait for `condition`. Raises RuntimeError where it does not come about, or the run ends before."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if not run.is_alive() or time.monotonic() > deadline:
            raise RuntimeError(f"{what}: not in {PATIENCE_S:g} s, or the run has ended before")
        time.sleep(0.02)


@contextmanager
def nodes() -> Iterator[Any]:
    """A cluster of processes on this machine, with a head that holds no trial.

    Ray's class for it writes its address into Ray's temporary directory, where any later `ray.init()` would
    find it: it gets one of its own.
    """
    import ray
    from ray.cluster_utils import Cluster

    with tempfile.TemporaryDirectory(prefix="rt", ignore_cleanup_errors=True) as directory:
        (Path(directory) / "ray").mkdir()
        os.environ["RAY_TMPDIR"] = directory
        head = {"num_cpus": 0, "include_dashboard": False, "_system_config": QUICK}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        ray.init(address=cluster.address, log_to_driver=False)
        try:
            yield cluster
        finally:
            ray.shutdown()
            cluster.shutdown()


def play(place: Path, epochs: int, seconds: float) -> dict[str, Any]:
    """The whole story; what was seen of it."""
    ledger = Ledger(place / "ledger")
    url = f"sqlite:///{place}/journal.db"

    def tuning() -> None:
        tune.run(
            trial,
            config={"x": tune.uniform(0, 1), "place": str(place), "epochs": epochs, "seconds": seconds},
            metric="loss",
            mode="min",
            num_samples=20,
            search_alg="random",
            resources_per_trial={"cpu": 0, "gpu": 0.5, "placement": "spread"},
            name="cluster",
            storage_path=place,
            journal=url,
            verbose=0,
        )

    with nodes() as cluster:
        lost = cluster.add_node(num_cpus=4, num_gpus=4)
        stays = cluster.add_node(num_cpus=4, num_gpus=4)
        cluster.wait_for_nodes()
        run = threading.Thread(target=tuning)
        run.start()
        wait_until(lambda: len(ledger.lines("start")) == 16, "16 trials at once", run)
        before = ledger.lines("start")
        asked_at = time.time()
        joined = cluster.add_node(num_cpus=4, num_gpus=2)
        joined_at = time.time()
        wait_until(
            lambda: len(ledger.lines("start", joined.node_id)) == 4, "the node that joins is full", run
        )
        first_use = min(line["at"] for line in ledger.lines("start", joined.node_id))
        (place / "gate").touch()
        wait_until(
            lambda: min(_times(ledger.lines("trained", lost.node_id), before, lost.node_id)) >= 3,
            "three epochs of each trial on the node that is to go",
            run,
        )
        time.sleep(seconds / 2)  # amid an epoch
        lost_at = time.time()
        cluster.remove_node(lost, allow_graceful=False)
        run.join()
    events = events_of(url, "cluster")
    joiners = {e.worker for e in events if isinstance(e, ev.WorkerUp) and e.node == joined.node_id}
    earlier = [e for e in events if getattr(e, "worker", None) not in joiners]
    moved = {line["trial"] for line in before if line["node"] == lost.node_id}
    again = [e for e in events if isinstance(e, ev.AttemptAssigned) and e.attempt > 1]
    began = [line for line in ledger.lines("begin", lost.node_id) if line["at"] <= lost_at]
    last_begun = {name: max(x["epoch"] for x in began if x["trial"] == name) for name in moved}
    resumed = {e.trial: e.resume_from["step"] if e.resume_from else 0 for e in again}
    lost_each = sorted(last_begun[name] - resumed.get(name, 0) for name in moved)
    return {
        "at_once_before_the_join": most_at_once([e for e in earlier if e.at < first_use]),
        "at_once_after_the_join": most_at_once(events),
        "trials_on_each_device": devices(before, [lost.node_id, stays.node_id]),
        "devices_of_the_node_that_joined": sorted(
            {line["device"] for line in ledger.lines("start", joined.node_id)}
        ),
        "seconds_to_start_the_node": joined_at - asked_at,
        "seconds_from_join_to_first_use": first_use - joined_at,
        "trials_on_the_lost_node": len(moved),
        "trials_with_a_second_attempt": len({e.trial for e in again}),
        "others_disturbed": len({e.trial for e in again} - moved),
        "epochs_lost_each": lost_each,
        "epochs_lost_at_most": max(lost_each),
        "trained_more_than_once": repeated(ledger.lines("trained")),
        "completed": sum(isinstance(e, ev.TrialEnded) and e.status == "COMPLETED" for e in events),
    }


def _times(trained: Sequence[dict[str, Any]], before: Sequence[dict[str, Any]], node: str) -> list[int]:
    """How many epochs each trial that began on `node` has trained there."""
    done = Counter(line["trial"] for line in trained)
    return [done[line["trial"]] for line in before if line["node"] == node]


def most_at_once(events: Sequence[ev.Event]) -> int:
    """The most attempts that ran at a time by the journal."""
    running: set[str] = set()
    most = 0
    for event in events:
        if isinstance(event, ev.AttemptStarted):
            running.add(event.worker)
            most = max(most, len(running))
        elif isinstance(event, ev.AttemptEnded | ev.WorkerLost):
            running.discard(event.worker)
    return most


def devices(starts: Sequence[dict[str, Any]], order: Sequence[str]) -> dict[str, int]:
    """How many trials began on each device, by `node.device`, nodes numbered in this order."""
    return dict(sorted(Counter(f"{order.index(s['node'])}.{s['device']}" for s in starts).items()))


def repeated(trained: Sequence[dict[str, Any]]) -> int:
    """How many epochs were trained to their end more than once."""
    return sum(n - 1 for n in Counter((line["trial"], line["epoch"]) for line in trained).values())


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=1.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        found = play(Path(place), arguments.epochs, arguments.seconds)
    command = f"python -m benchmarks.cluster --epochs {arguments.epochs} --seconds {arguments.seconds:g}"
    write({"command": command, **found}, arguments.out)


if __name__ == "__main__":
    main()
