"""How long a restart's replay takes: a journal of 100,000 trials with 50 reports each, in SQLite.

    python -m benchmarks.replay --out benchmarks/results/replay.json

The events are those of a run with 64 workers, written by the journal itself, with the parts of the state's
snapshot that a coordinator takes on its way. Measured is what the next one does before it decides again: by
the snapshot and the events behind it, and by all events (read, decode, apply). Each in a process of its own;
seconds are by the clock, whatever else the machine had to do (`load`), unless they are of the CPU.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import command_line, percentile, write
from raytune_gp import events as ev
from raytune_gp.experiment import Experiment
from raytune_gp.recovery import Snapshots
from raytune_gp.schedulers import FIFOScheduler
from raytune_gp.spec import ExperimentSpec
from raytune_gp.state import RunState
from raytune_gp.storage.journal import SQLJournal
from raytune_gp.trial import Metric

WORKERS = 64


def events_of(trials: int, reports: int) -> Iterator[ev.Event]:
    """The events of a run of random search: WORKERS trials side by side, a report of each in turn."""
    metric = Metric("loss", "min")
    spec = ExperimentSpec("run", (metric,), num_samples=trials, max_concurrent_trials=WORKERS)
    yield ev.RunCreated(0.0, spec.to_json())
    yield ev.TermStarted(0.0, 1, {})
    yield ev.CapacityKnown(0.0, WORKERS)
    names = [f"w{slot}/1" for slot in range(WORKERS)]
    seqs = dict.fromkeys(names, 0)
    for slot, name in enumerate(names):
        yield ev.WorkerRequested(0.0, name, slot, 1)
        yield ev.WorkerUp(0.0, name, "node", slot)
    for request, start in enumerate(range(0, trials, WORKERS)):
        count, now = min(WORKERS, trials - start), float(start)
        yield ev.SuggestionsRequested(now, request, count, start, start)
        drawn = np.random.default_rng(request).random((count, 2)).tolist()
        configs = [{"rate": 10.0 ** (-5 * x), "depth": int(8 * y), "kind": "adam"} for x, y in drawn]
        about = {"method": "random", "milliseconds": 0.1}
        yield ev.SuggestionsReady(
            now, request, [{"config": c, "provenance": about} for c in configs], None, False
        )
        running = [(f"{start + k:05d}", names[k], drawn[k][0]) for k in range(count)]
        for trial, worker, _ in running:
            yield ev.TrialCreated(now, trial, 0)
            yield ev.AttemptAssigned(now, trial, 1, worker, None)
        for step in range(reports + 2):
            for trial, worker, level in running:
                seqs[worker] += 1
                here = (worker, seqs[worker], trial, 1)
                if step == 0:
                    yield ev.AttemptStarted(now, *here)
                elif step <= reports:
                    loss = level / step
                    own = {"loss": loss, "accuracy": 1 - loss}
                    auto = {"training_iteration": step, "time_this_iter_s": 1.5, "time_total_s": 1.5 * step}
                    yield ev.Reported(now, *here, step, {**own, **auto}, now)
                else:
                    yield ev.AttemptEnded(now, *here, "completed", None, True, now)
                    yield ev.TrialEnded(now, trial, "COMPLETED", [level / reports], None, None)


def make(url: str, trials: int, reports: int) -> dict[str, Any]:
    """Write that journal, as a coordinator does, but thousands of events in a transaction.

    Returns what the parts of its snapshot took: the time that the loop stands still for each, and their size.
    """
    journal = SQLJournal(url)
    events = events_of(trials, reports)
    created = next(events)
    assert isinstance(created, ev.RunCreated)
    journal.create_run("run", created)
    term, index = journal.raise_term("run"), 1
    snapshots = Snapshots(journal, "run", empty)
    experiment = snapshots.recover()
    pauses, busy = [], []
    while batch := list(itertools.islice(events, 10_000)):
        journal.append("run", term, index, batch)
        index += len(batch)
        for event in batch:
            experiment.apply(event)
        experiment.commands()
        began = time.thread_time()
        paused, _ = timed(partial(snapshots.take, experiment, term, batch))
        if not experiment.state.changed:
            pauses.append(paused)
            busy.append(time.thread_time() - began)
    sizes = [len(part.body) for part, _ in journal.parts("run")]
    journal.close()
    return {
        "parts": len(sizes),
        "snapshot_mb": round(sum(sizes) / 1e6, 1),
        "pause_ms": {
            "median": round(1e3 * percentile(pauses, 0.5), 1),
            "max": round(1e3 * max(pauses), 1),
            "cpu_median": round(1e3 * percentile(busy, 0.5), 1),
            "cpu_max": round(1e3 * max(busy), 1),
        },
    }


def empty() -> Experiment:
    """What a coordinator begins with, under the default scheduler."""
    return Experiment(FIFOScheduler(), uses_results=False)


class Bare:
    """A journal without its snapshot."""

    def __init__(self, journal: SQLJournal):
        self._journal = journal

    def parts(self, run: str) -> Iterator[Any]:
        """None."""
        return iter(())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)


def timed(action: Callable[[], Any]) -> tuple[float, Any]:
    """The seconds that `action` takes, and what it returns."""
    began = time.perf_counter()
    found = action()
    return time.perf_counter() - began, found


def restart(url: str, bare: bool) -> dict[str, Any]:
    """What a restart takes in this process: by the snapshot, or without it."""
    journal: Any = SQLJournal(url)
    used = Bare(journal) if bare else journal
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    busy = time.process_time()
    took, experiment = timed(lambda: Snapshots(used, "run", empty).recover())
    busy = time.process_time() - busy
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory
    state: RunState = experiment.state
    journal.close()
    return {
        "trials": len(state.trials),
        "reports": sum(len(trial.history) for trial in state.trials.values()),
        "events": state.index + 1,
        "seconds": round(took, 2),
        "cpu_s": round(busy, 2),
        "memory_mb": round(grown / 1e3, 1),
    }


def reading(url: str) -> tuple[float, float]:
    """The seconds of reading all rows, and of reading and decoding them."""
    journal = SQLJournal(url)
    rows, _ = timed(lambda: sum(1 for _ in journal._rows("run", -1)))
    decoded, _ = timed(lambda: sum(1 for _ in journal.read("run")))
    journal.close()
    return rows, decoded


def apart(action: Callable[..., Any], *arguments: Any) -> Any:
    """What `action` returns in a process of its own, whose memory nothing else has touched."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(action, *arguments).result()


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--trials", type=int, default=100_000)
    parser.add_argument("--reports", type=int, default=50)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, "journal.db")
        url = f"sqlite:///{file}"
        made_s, made = timed(lambda: apart(make, url, arguments.trials, arguments.reports))
        whole, short = apart(restart, url, True), apart(restart, url, False)
        rows_s, decoded_s = apart(reading, url)
        alike = ("trials", "reports", "events")
        assert all(whole[name] == short[name] for name in alike)
        size = f"--trials {arguments.trials} --reports {arguments.reports}"
        result = {
            "command": f"python -m benchmarks.replay {size}",
            **{name: short.pop(name) for name in alike},
            "file_mb": round(file.stat().st_size / 1e6, 1),
            "made_s": round(made_s, 1),
            **made,
            "with_snapshot": short,
            "without_snapshot": {
                **{name: value for name, value in whole.items() if name not in alike},
                "of_it_reading_s": round(rows_s, 2),
                "of_it_decoding_s": round(decoded_s - rows_s, 2),
                "of_it_applying_s": round(whole["seconds"] - decoded_s, 2),
            },
            "load": round(os.getloadavg()[0], 1),
        }
    write(result, arguments.out)


if __name__ == "__main__":
    main()
