"""How long workers wait for the searcher: trials of 5 s on 4 workers, guided by the Gaussian process.

    python -m benchmarks.idle --out benchmarks/results/idle.json

Idle is a worker's time between the end of one trial and the start of the next, after its first start.
"""

from __future__ import annotations

import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import ray

from benchmarks.measure import command_line, events_of, write
from raytune_gp import events as ev
from raytune_gp import tune


def sleeper(config: Mapping[str, Any]) -> None:
    """Take `seconds` in all, give or take a tenth, with a report at the end."""
    time.sleep(config["seconds"] * (0.9 + 0.2 * config["x0"]))
    tune.report({"score": sum((config[f"x{i}"] - 0.4) ** 2 for i in range(6))})


def idle_share(events: list[ev.Event]) -> tuple[float, int]:
    """The share of worker time between first start and last end that no trial ran, and the gaps counted."""
    starts, ends = defaultdict(list), defaultdict(list)
    for event in events:
        if isinstance(event, ev.AttemptStarted):
            starts[event.worker].append(event.at)
        elif isinstance(event, ev.AttemptEnded):
            ends[event.worker].append(event.time)
    idle = sum(s - e for w in starts for s, e in zip(starts[w][1:], ends[w][:-1], strict=True))
    total = sum(ends[w][-1] - starts[w][0] for w in starts)
    return idle / total, sum(len(s) - 1 for s in starts.values())


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=5.0)
    arguments = parser.parse_args()
    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False)
    space: dict[str, Any] = {f"x{i}": tune.uniform(0, 1) for i in range(6)}
    with tempfile.TemporaryDirectory() as directory:
        url = f"sqlite:///{directory}/journal.db"
        tune.run(
            sleeper,
            config={**space, "seconds": arguments.seconds},
            metric="score",
            mode="min",
            search_alg="gp",
            num_samples=arguments.trials,
            max_concurrent_trials=4,
            name="idle",
            storage_path=directory,
            journal=url,
            verbose=0,
        )
        events = events_of(url, "idle")
    ray.shutdown()
    share, gaps = idle_share(events)
    missed = [e.missed for e in events if isinstance(e, ev.TrialCreated)]
    answers = [e for e in events if isinstance(e, ev.SuggestionsReady)]
    milliseconds = [s["provenance"]["milliseconds"] for e in answers for s in e.suggestions]
    write(
        {
            "command": "python -m benchmarks.idle"
            f" --trials {arguments.trials} --seconds {arguments.seconds:g}",
            "trials": arguments.trials,
            "idle_share": share,
            "gaps": gaps,
            "missed_completions": {str(k): missed.count(k) for k in sorted(set(missed))},
            "suggestion_ms": {"mean": sum(milliseconds) / len(milliseconds), "max": max(milliseconds)},
            "withdrawn": sum(isinstance(e, ev.SuggestionsWithdrawn) for e in events),
        },
        arguments.out,
    )


if __name__ == "__main__":
    main()
