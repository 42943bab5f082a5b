"""Kill the coordinator again and again while it runs, and hold its journal against the trials' own ledger.

    python -m benchmarks.coordinator_kills --kills 50 --out benchmarks/results/coordinator_kills.json

Each trial writes a line into a ledger before each report. In the end every line must be in the journal once,
and every trial must have run in one attempt: training went on while the coordinator was away. The last trials
wait with their last report for the last kill, however long it takes.
"""

from __future__ import annotations

import math
import os
import random
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray

from benchmarks.measure import command_line, events_of, write
from raytune_gp import events as ev
from raytune_gp import tune
from raytune_gp.execution.worker import NAMESPACE


def steady(config: Mapping[str, Any]) -> None:
    """Report `steps` times, `seconds` apart, each time after a line in the ledger.

    From trial `waiting_from` on, if that is given, the last report waits until there is a file `last_kill`.
    """
    trial = tune.get_context().get_trial_id()
    is_waiting = int(trial) >= config.get("waiting_from", math.inf)
    for step in range(1, config["steps"] + 1):
        time.sleep(config["seconds"])
        while is_waiting and step == config["steps"] and not os.path.exists(config["last_kill"]):
            time.sleep(0.1)
        with open(config["ledger"], "a") as ledger:
            ledger.write(f"{trial} {step}\n")
        tune.report({"score": config["x"] * step})


class Killer(threading.Thread):
    """Sends SIGKILL to the coordinator of `run` at random moments, `kills` times, and notes its absences.

    After the last one it makes the file `over`.
    """

    def __init__(self, run: str, kills: int, pause_s: tuple[float, float], seed: int, over: Path):
        super().__init__(daemon=True)
        self.over = over
        self.run_name, self.left, self.pause_s = run, kills, pause_s
        self.rng = random.Random(seed)
        self.away_s: list[float] = []
        self.stopped = threading.Event()

    def run(self) -> None:
        while self.left and not self.stopped.wait(self.rng.uniform(*self.pause_s)):
            pid = self._pid()
            if pid is None:
                continue
            os.kill(pid, signal.SIGKILL)
            killed = time.monotonic()
            self.left -= 1
            while not self.stopped.is_set() and self._pid() in (None, pid):
                time.sleep(0.02)
            self.away_s.append(time.monotonic() - killed)
        self.over.touch()

    def _pid(self) -> int | None:
        try:
            coordinator: Any = ray.get_actor(self.run_name, NAMESPACE)
            found: int = ray.get(coordinator.hello.remote(), timeout=2.0)["pid"]
            return found
        except (ray.exceptions.RayError, ValueError):
            return None


def run_with_kills(
    kills: int, directory: Path, *, trials: int, steps: int, seconds: float, workers: int, seed: int = 0
) -> dict[str, Any]:
    """One run during which the coordinator is killed up to `kills` times; the accounting as a dictionary.

    Ray must be initialised. Times are in seconds.
    """
    ledger, url = directory / "ledger", f"sqlite:///{directory / 'journal.db'}"
    last_kill = directory / "last_kill"
    killer = Killer("kills", kills, (0.3, 2.0), seed, last_kill)
    killer.start()
    results = tune.run(
        steady,
        config={
            "x": tune.uniform(0, 1),
            "steps": steps,
            "seconds": seconds,
            "ledger": str(ledger),
            "waiting_from": trials - workers,
            "last_kill": str(last_kill),
        },
        metric="score",
        mode="max",
        search_alg="random",
        num_samples=trials,
        max_concurrent_trials=workers,
        name="kills",
        storage_path=str(directory / "results"),
        journal=url,
        verbose=0,
    )
    killer.stopped.set()
    events = events_of(url, "kills")
    said = Counter(ledger.read_text().split("\n")[:-1])
    heard = Counter(f"{e.trial} {e.step}" for e in events if isinstance(e, ev.Reported))
    return {
        "kills": kills - killer.left,
        "terms": sum(isinstance(e, ev.TermStarted) for e in events),
        "trials": len(results),
        "trials_finished": sum(isinstance(e, ev.TrialEnded) for e in events),
        "reports_made": sum(said.values()),
        "reports_lost": sum((said - heard).values()),
        "reports_doubled": sum((heard - said).values()),
        "attempts": sum(isinstance(e, ev.AttemptAssigned) for e in events),
        "away_s_mean": sum(killer.away_s) / max(1, len(killer.away_s)),
        "away_s_max": max(killer.away_s, default=0.0),
    }


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--trials", type=int, default=48)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False)
    with tempfile.TemporaryDirectory() as directory:
        found = run_with_kills(
            arguments.kills,
            Path(directory),
            trials=arguments.trials,
            steps=200,
            seconds=0.1,
            workers=4,
            seed=arguments.seed,
        )
    ray.shutdown()
    command = f"python -m benchmarks.coordinator_kills --kills {arguments.kills} --trials {arguments.trials}"
    write({"command": command, "seed": arguments.seed, **found}, arguments.out)


if __name__ == "__main__":
    main()
