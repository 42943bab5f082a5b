"""What more workers cost in trials: races of one optimiser with few and with many workers compared.

    python -m benchmarks.race --problems report --seeds 10 --workers 2 --optimisers gp --out R
    python -m benchmarks.race --problems report --seeds 10 --workers 8 --optimisers gp --out R
    python -m benchmarks.parallel R --few 2 --many 8

Of each pair (problem, seed) the target is the worse of the two final scores, which both reach; what is told
is the ratio of the trials that they took to it. A suggestion beside 7 pending trials knows less than one
beside 1: above 1 the many workers took more trials. The mean is geometric, its interval a bootstrap over
problems. Beside the median stands what it would be if the many took what the few did and, as so many more
results are out at any time, the difference of the workers in trials more (`delay_median`).
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import command_line, write
from benchmarks.race.records import read

BOOTSTRAPS = 2000


def needed(records: Iterable[Mapping[str, Any]], few: int, many: int) -> dict[str, list[tuple[int, int]]]:
    """For each problem, of each of its pairs, the trials to the target with `few` workers and with `many`."""
    runs: dict[tuple[str, int], dict[int, Sequence[float | None]]] = {}
    for record in records:
        runs.setdefault((record["problem"], record["seed"]), {})[record["workers"]] = record["scores"]
    found: dict[str, list[tuple[int, int]]] = {}
    for (problem, _), by_workers in runs.items():
        if few in by_workers and many in by_workers:
            pair = _trials(by_workers[few], by_workers[many])
            if pair is not None:
                found.setdefault(problem, []).append(pair)
    return found


def _trials(one: Sequence[float | None], other: Sequence[float | None]) -> tuple[int, int] | None:
    """The trials of each to the worse of the final scores; None where one never had a score."""
    if one[-1] is None or other[-1] is None:
        return None
    target = max(one[-1], other[-1])
    first, second = (
        next(n for n, s in enumerate(run, 1) if s is not None and s <= target) for run in (one, other)
    )
    return first, second


def summary(found: Mapping[str, Sequence[tuple[int, int]]], delay: int, seed: int = 0) -> dict[str, Any]:
    """The geometric mean of the ratios, its 95 % interval, their spread; what `delay` trials would do."""
    logs = [np.log([many / few for few, many in pairs]) for pairs in found.values()]
    rng = np.random.default_rng(seed)
    drawn = (rng.integers(len(logs), size=len(logs)) for _ in range(BOOTSTRAPS))
    means = [float(np.concatenate([logs[i] for i in chosen]).mean()) for chosen in drawn]
    pooled = np.concatenate(logs)
    by_few = np.array([few for pairs in found.values() for few, _ in pairs])
    return {
        "pairs": len(pooled),
        "problems": len(logs),
        "ratio": round(math.exp(pooled.mean()), 3),
        "ratio_95": [round(math.exp(q), 3) for q in np.quantile(means, [0.025, 0.975])],
        "ratio_median": round(math.exp(float(np.median(pooled))), 3),
        "delay_median": round(float(np.median((by_few + delay) / by_few)), 3),
        "more_trials": int((pooled > 0).sum()),
        "fewer_trials": int((pooled < 0).sum()),
    }


def main() -> None:
    parser: argparse.ArgumentParser = command_line(__doc__)
    parser.add_argument("records", type=Path, help="the file that benchmarks.race has written")
    parser.add_argument("--few", type=int, default=2)
    parser.add_argument("--many", type=int, default=8)
    arguments = parser.parse_args()
    found = needed(read(arguments.records), arguments.few, arguments.many)
    command = (
        f"python -m benchmarks.parallel {arguments.records} --few {arguments.few} --many {arguments.many}"
    )
    write({"command": command, **summary(found, arguments.many - arguments.few)}, arguments.out)


if __name__ == "__main__":
    main()
