"""Thousands of short trials in one run on Ray: what grows with them, and what is left when they are through.

    python -m benchmarks.soak --trials 5000 --minutes 10 --out benchmarks/results/soak.json

The trials share a few workers and take turns for so many minutes; each makes four reports, every tenth
stores a checkpoint. Every few seconds the memory, threads and open files of coordinator, driver and workers
are read. Memory per trial is the slope of a line through the second half. Afterwards there must be no
process, actor or temporary file that was not there before.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Container, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import ray

from benchmarks.measure import command_line, write
from raytune_gp import tune
from raytune_gp.execution import reaper
from raytune_gp.execution.cluster import actor_names, find_coordinator
from raytune_gp.results import ResultGrid

REPORTS = 4
EVERY = 10
"""One trial of so many stores a checkpoint."""

WORKERS = 4
GONE_S = 15.0
"""So long processes and actors may take to go after the run."""


def short(config: Mapping[str, Any]) -> None:
    """Report four times in `seconds`."""
    number = int(tune.get_context().get_trial_id())
    for step in range(REPORTS):
        time.sleep(config["seconds"] / REPORTS)
        if step == REPORTS - 1 and number % EVERY == 0:
            with tempfile.TemporaryDirectory() as directory:
                (Path(directory) / "weights").write_bytes(bytes(1000))
                tune.report({"score": config["x"]}, checkpoint=tune.Checkpoint.from_directory(directory))
        else:
            tune.report({"score": config["x"]})


class Sampler(threading.Thread):
    """Reads what the run's processes use, every `every_s` seconds, until `stopped` is set."""

    def __init__(self, run: str, every_s: float):
        super().__init__(daemon=True)
        self.run_name, self.every_s = run, every_s
        self.stopped = threading.Event()
        self.finished = 0
        self.samples: list[dict[str, float]] = []
        self.reapers: set[psutil.Process] = set()

    def run(self) -> None:
        coordinator = None
        while not self.stopped.wait(self.every_s):
            try:
                if coordinator is None:
                    actor = find_coordinator(self.run_name)
                    if actor is None:
                        continue
                    coordinator = psutil.Process(ray.get(actor.hello.remote())["pid"])
                self.samples.append(self._sample(coordinator))
            except (psutil.Error, ray.exceptions.RayError):
                continue  # the run has just ended

    def _sample(self, coordinator: psutil.Process) -> dict[str, float]:
        workers = [p for p in _below() if _is_worker(p)]
        reapers = _reapers({p.pid for p in workers})
        self.reapers.update(reapers)
        sample: dict[str, float] = {
            "finished": self.finished,
            "workers": len(workers),
            "reapers": len(reapers),
        }
        watched = {"coordinator": [coordinator], "driver": [psutil.Process()], "worker": workers}
        for name, processes in watched.items():
            sample[f"{name}_bytes"] = max((p.memory_info().rss for p in processes), default=0)
            sample[f"{name}_threads"] = max((p.num_threads() for p in processes), default=0)
            sample[f"{name}_files"] = max((p.num_fds() for p in processes), default=0)
        return sample


class Count(tune.Callback):
    """Tells a sampler how many trials have ended."""

    def __init__(self, sampler: Sampler):
        self._sampler = sampler

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._sampler.finished += 1


def _below() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


def _words(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def _is_worker(process: psutil.Process) -> bool:
    words = _words(process)
    return words.startswith("ray::") and "Worker" in words


def slope(samples: list[dict[str, float]], name: str) -> float:
    """Growth of `name` for each trial that ended, over the second half of the trials."""
    half = samples[-1]["finished"] / 2
    chosen = [(s["finished"], s[name]) for s in samples if s["finished"] >= half]
    trials, values = np.array(chosen, float).T
    return float(np.polyfit(trials, values, 1)[0]) if len(chosen) > 1 else float("nan")


def _processes() -> set[int]:
    """The actors of a run among the processes below this one."""
    return {p.pid for p in _below() if _is_worker(p) or "ray::Coordinator" in _words(p)}


def _reapers(workers: Container[int]) -> list[psutil.Process]:
    """Those beside `workers`, by their process ids; a reaper is nobody's child."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or []
        if reaper.__file__ in command and int(command[command.index(reaper.__file__) + 1]) in workers:
            found.append(process)
    return found


def _staged() -> set[str]:
    return {p.name for p in Path(tempfile.gettempdir()).glob("raytune_*")}


def _left(before: Iterable[Any], now: Any) -> int:
    """How much of what `now` finds was not there before, once it had the time to go."""
    deadline = time.monotonic() + GONE_S
    while (left := set(now()) - set(before)) and time.monotonic() < deadline:
        time.sleep(0.2)
    return len(left)


def soak(directory: Path, trials: int, minutes: float, every_s: float) -> dict[str, Any]:
    """One run of `trials` trials that take `minutes` in all. Ray must be initialised."""
    before = {"processes": _processes(), "actors": actor_names(), "temporary files": _staged()}
    sampler = Sampler("soak", every_s)
    sampler.start()
    began = time.monotonic()
    results: ResultGrid = tune.run(
        short,
        config={"x": tune.uniform(0, 1), "seconds": 60 * minutes * WORKERS / trials},
        metric="score",
        mode="max",
        search_alg="random",
        num_samples=trials,
        max_concurrent_trials=WORKERS,
        callbacks=[Count(sampler)],
        name="soak",
        storage_path=str(directory / "results"),
        journal=f"sqlite:///{directory / 'journal.db'}",
        verbose=0,
    )
    seconds = time.monotonic() - began
    sampler.stopped.set()
    sampler.join()
    journal_bytes = sum(path.stat().st_size for path in directory.glob("journal.db*"))
    stored = [p for p in (directory / "results").rglob("*") if p.is_file()]
    # the last samples may see processes end, which have no memory any more
    samples = [s for s in sampler.samples if s["worker_bytes"] and s["coordinator_bytes"]]
    last = samples[-1]
    return {
        "trials": len(results),
        "failed": results.num_errors,
        "reports": sum(result.metrics["training_iteration"] for result in results),
        "seconds": round(seconds, 1),
        "bytes_per_trial": {
            name: round(slope(samples, f"{name}_bytes")) for name in ("coordinator", "driver", "worker")
        },
        "at_the_end": {name: value for name, value in last.items() if name != "finished"},
        "grown_in_the_second_half": {
            name: round(slope(samples, name) * last["finished"] / 2, 1)
            for name in last
            if name.endswith(("_threads", "_files"))
        },
        "journal_bytes_per_trial": round(journal_bytes / trials),
        "stored_files_per_trial": round(len(stored) / trials, 2),
        "left": {
            "processes": _left(before["processes"], _processes),
            "reapers": _left((), lambda: [p for p in sampler.reapers if p.is_running()]),
            "actors": _left(before["actors"], actor_names),
            "temporary files": _left(before["temporary files"], _staged),
        },
    }


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--trials", type=int, default=5000)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--every", type=float, default=5.0, help="seconds between two samples")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        os.environ.setdefault("RAY_TMPDIR", tempfile.gettempdir())
        os.environ["TMPDIR"] = tempfile.tempdir = f"{directory}/temporary"  # nobody else's
        Path(tempfile.tempdir).mkdir()
        ray.init(address="local", num_cpus=WORKERS, include_dashboard=False, log_to_driver=False)
        found = soak(Path(directory), arguments.trials, arguments.minutes, arguments.every)
        ray.shutdown()
    command = f"python -m benchmarks.soak --trials {arguments.trials} --minutes {arguments.minutes:g}"
    write({"command": command, "workers": WORKERS, **found}, arguments.out)


if __name__ == "__main__":
    main()
