"""How long a restart's replay takes: a journal of 100,000 trials with 50 reports each, in SQLite.

    python -m benchmarks.replay --out benchmarks/results/replay.json

The events are those of a run with 64 workers, written by the journal itself. Measured is what a coordinator
does before it decides again: read, decode, apply.
"""

from __future__ import annotations

import itertools
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import command_line, write
from raytune_gp import events as ev
from raytune_gp.experiment import Experiment
from raytune_gp.schedulers import resolve_scheduler
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


def make(url: str, trials: int, reports: int) -> None:
    """Write that journal, as the journal does, but thousands of events in a transaction."""
    journal = SQLJournal(url)
    events = events_of(trials, reports)
    created = next(events)
    assert isinstance(created, ev.RunCreated)
    journal.create_run("run", created)
    term, index = journal.raise_term("run"), 1
    while batch := list(itertools.islice(events, 20_000)):
        journal.append("run", term, index, batch)
        index += len(batch)
    journal.close()


def timed(action: Any) -> tuple[float, Any]:
    """The seconds that `action` takes, and what it returns."""
    began = time.perf_counter()
    found = action()
    return time.perf_counter() - began, found


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--trials", type=int, default=100_000)
    parser.add_argument("--reports", type=int, default=50)
    parser.add_argument(
        "--journal", type=Path, help="measure on this file, and make it where it is not there"
    )
    arguments = parser.parse_args()
    make_scheduler, _ = resolve_scheduler("fifo", Metric("loss", "min"))
    with tempfile.TemporaryDirectory() as directory:
        file = arguments.journal or Path(directory, "journal.db")
        made = None
        if not file.exists():
            made, _ = timed(lambda: make(f"sqlite:///{file}", arguments.trials, arguments.reports))
        journal = SQLJournal(f"sqlite:///{file}")

        def restart() -> Experiment:
            experiment = Experiment(make_scheduler(), uses_results=False)
            experiment.replay(event for _, event in journal.read("run"))
            return experiment

        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        busy = time.process_time()
        replayed, experiment = timed(restart)
        busy = time.process_time() - busy
        state: RunState = experiment.state
        decoded, count = timed(lambda: sum(1 for _ in journal.read("run")))
        rows, _ = timed(lambda: sum(1 for _ in journal._rows("run", -1)))
        journal.close()
        size = f"--trials {arguments.trials} --reports {arguments.reports}"
        result = {
            "command": f"python -m benchmarks.replay {size}",
            "trials": len(state.trials),
            "reports": sum(len(trial.history) for trial in state.trials.values()),
            "events": count,
            "file_mb": round(file.stat().st_size / 1e6, 1),
            "made_s": made and round(made, 1),
            "replay_s": round(replayed, 2),
            "replay_cpu_s": round(busy, 2),
            "of_it_reading_s": round(rows, 2),
            "of_it_decoding_s": round(decoded - rows, 2),
            "of_it_applying_s": round(replayed - decoded, 2),
            "memory_mb": round((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) / 1e3, 1),
        }
    write(result, arguments.out)


if __name__ == "__main__":
    main()
