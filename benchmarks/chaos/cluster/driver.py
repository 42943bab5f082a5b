"""The driver of a round, a program of its own: `python -m benchmarks.chaos.cluster.driver PLAN [resume]`.

PLAN is a JSON file with the cluster's `address`, the `space`, `settings` of `tune.run`, and where to write
the `results`: of each trial its status and its reports.
"""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Any

import ray

from benchmarks.chaos.cluster.lesson import lesson
from raytune_gp import tune


def main(path: str, *resume: str) -> None:
    """Play the run to its end, and write down what it came to."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where a shell starts it behind itself
    plan: dict[str, Any] = json.loads(Path(path).read_text())
    ray.init(address=plan["address"], log_to_driver=False, configure_logging=False)
    space = {"x": tune.uniform(0, 1), **plan["space"]}
    results = tune.run(lesson, config=space, resume=bool(resume), verbose=0, **plan["settings"])
    trials = {}
    for result in results:
        frame = result.metrics_dataframe
        rows = list(zip(frame["step"], frame["score"], frame["life"], strict=True)) if len(frame) else []
        trials[result.trial_id] = {"status": result.status.value, "rows": rows, "error": str(result.error)}
    found = {"status": results.state.status.value, "trials": trials}
    Path(plan["results"]).write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
