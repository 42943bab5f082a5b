"""Bad input of every kind: run files, search spaces, reports, journals, and what programs print.

    python -m benchmarks.fuzz --minutes 10 --out benchmarks/results/fuzz.json

Each input follows from its target and a seed, so that `--target journals --seed 17 --inputs 1` tries one
again. An input is taken, or refused by an error of raytune-gp's own; anything else is a crash, as is what
takes longer than LIMIT_S, and what was in a journal and is there no more. With `--out` the seeds go on behind
those of the file, and counts add up.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from random import Random
from typing import Any

from benchmarks.fuzz.attempts import CrashError, Target, attempt
from benchmarks.fuzz.journals import journals, sample_journal
from benchmarks.fuzz.reports import reports
from benchmarks.fuzz.run_files import run_files
from benchmarks.fuzz.spaces import spaces
from benchmarks.fuzz.streams import streams
from benchmarks.measure import command_line, write

__all__ = ["TARGETS"]

SHOWN = 12
"""Lines of a crash that are printed."""

TARGETS: Mapping[str, Target] = {
    "run files": run_files,
    "spaces": spaces,
    "reports": reports,
    "journals": journals,
    "streams": streams,
}


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--target", choices=TARGETS)
    parser.add_argument("--seed", type=int, help="begin here; default: behind the seeds of --out, else 0")
    parser.add_argument("--inputs", type=int, help="so many of each target, instead of --minutes")
    arguments = parser.parse_args()
    known: dict[str, Any] = {}
    if arguments.out and arguments.out.exists():
        known = json.loads(arguments.out.read_text())["targets"]
    chosen = [arguments.target] if arguments.target else list(TARGETS)
    seconds = 60 * arguments.minutes / len(chosen)
    crashes: set[str] = set()
    sample_journal()
    for target in chosen:
        count = known.setdefault(target, {"inputs": 0, "taken": 0, "refused": 0, "crashes": 0})
        first = count["inputs"] if arguments.seed is None else arguments.seed
        deadline, tried = time.monotonic() + seconds, 0
        while tried < arguments.inputs if arguments.inputs else time.monotonic() < deadline:
            seed = first + tried
            tried += 1
            count["inputs"] += 1
            try:
                count["taken" if attempt(TARGETS[target], Random(f"{target} {seed}")) else "refused"] += 1
            except CrashError as crash:
                count["crashes"] += 1
                lines = str(crash).strip().splitlines()
                place = next((line for line in reversed(lines) if "raytune_gp" in line), lines[-1])
                if place not in crashes:
                    crashes.add(place)
                    shown = "\n".join(lines[-SHOWN:])
                    print(f"--- {target}, seed {seed}\n{shown}", flush=True)
        print(f"{target}: {count}", flush=True)
    total = {name: sum(count[name] for count in known.values()) for name in ("inputs", "crashes")}
    command = (
        f"python -m benchmarks.fuzz --minutes {arguments.minutes:g} --out F, once or again: counts add up"
    )
    write({"command": command, **total, "targets": known}, arguments.out)


if __name__ == "__main__":
    main()
