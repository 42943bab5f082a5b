"""What is not training: seconds from `tune.run` to the first report, and what each trial costs beside itself.

    python -m benchmarks.startup --rounds 5 --out benchmarks/results/startup.json

The first report is timed where a cluster is there, and where `tune.run` starts one on this machine. Then
trials that return at once run on 2 workers: on such as are used again, and on a fresh one for each trial, for
which a trial leaves a thread behind. A trial's cost is the time of both workers, from the first start to the
last end, divided by the trials. Kinds take turns, round by round; random search, one report a trial.
"""

from __future__ import annotations

import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import ray

from benchmarks.measure import command_line, events_of, write
from raytune_gp import events as ev
from raytune_gp import tune

WORKERS = 2


def returns(config: Mapping[str, Any]) -> None:
    """Report once, and return."""
    tune.report({"score": config["x"]})


def leaves_a_thread(config: Mapping[str, Any]) -> None:
    """The same, and leave a thread, which keeps a worker from being used again."""
    threading.Thread(target=threading.Event().wait, daemon=False).start()
    tune.report({"score": config["x"]})


def run(train: Callable[[Mapping[str, Any]], None], trials: int) -> tuple[float, list[ev.Event]]:
    """When `tune.run` was called (seconds since the epoch), and the events of its run of `trials` trials."""
    with tempfile.TemporaryDirectory() as directory:
        url = f"sqlite:///{directory}/journal.db"
        began = time.time()
        tune.run(
            train,
            config={"x": tune.uniform(0, 1)},
            metric="score",
            mode="max",
            num_samples=trials,
            max_concurrent_trials=WORKERS,
            search_alg="random",
            name="startup",
            storage_path=directory,
            journal=url,
            verbose=0,
        )
        events = events_of(url, "startup")
    return began, events


def first_report_s() -> float:
    """Seconds from the call of `tune.run` to the first report, on the worker's clock."""
    began, events = run(returns, WORKERS)
    return min(event.time for event in events if isinstance(event, ev.Reported)) - began


def trial_ms(train: Callable[[Mapping[str, Any]], None], trials: int) -> float:
    """What a trial takes of a worker's time, in milliseconds."""
    _, events = run(train, trials)
    started = min(event.at for event in events if isinstance(event, ev.AttemptStarted))
    ended = [event.time for event in events if isinstance(event, ev.AttemptEnded)]
    assert len(ended) == trials
    return 1000 * WORKERS * (max(ended) - started) / trials


def on_a_cluster(measure: Callable[[], float]) -> float:
    """What `measure` says beside a local cluster of 2 CPUs, which is there before."""
    ray.init(address="local", num_cpus=WORKERS, include_dashboard=False, log_to_driver=False)
    try:
        return measure()
    finally:
        ray.shutdown()


def without_a_cluster() -> float:
    """`first_report_s` where `tune.run` starts a cluster."""
    try:
        return first_report_s()
    finally:
        ray.shutdown()


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Median, lowest and highest of `values`, and all of them."""
    return {
        "median": statistics.median(values),
        "lowest": min(values),
        "highest": max(values),
        "all": [round(value, 3) for value in values],
    }


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--trials", type=int, default=200, help="on workers that are used again")
    parser.add_argument("--fresh", type=int, default=10, help="trials on a fresh worker each")
    arguments = parser.parse_args()
    kinds: dict[str, Callable[[], float]] = {
        "first_report_s_cluster_there": partial(on_a_cluster, first_report_s),
        "first_report_s_cluster_started": without_a_cluster,
        "trial_ms_reused_workers": partial(on_a_cluster, partial(trial_ms, returns, arguments.trials)),
        "trial_ms_fresh_workers": partial(on_a_cluster, partial(trial_ms, leaves_a_thread, arguments.fresh)),
    }
    found: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _ in range(arguments.rounds):
        for kind, measure in kinds.items():
            found[kind].append(measure())
            print(f"{kind}: {found[kind][-1]:.2f}", flush=True)
    command = (
        f"python -m benchmarks.startup --rounds {arguments.rounds} --trials {arguments.trials}"
        f" --fresh {arguments.fresh}"
    )
    write({"command": command, **{kind: spread(values) for kind, values in found.items()}}, arguments.out)


if __name__ == "__main__":
    main()
