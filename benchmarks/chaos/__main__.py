"""Run after run under random faults, each held against an undisturbed one and the workers' own ledger.

    python -m benchmarks.chaos --rounds 10000 --seed 0 --out benchmarks/results/chaos.jsonl

Each line of the file is a batch of rounds; rounds that are there are not played again. The sums of all are
written beside it, as JSON. A round that breaks a rule is printed with what it broke; to play it alone:

    python -m benchmarks.chaos --seed 0 --only 4711
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.chaos.audit import violations
from benchmarks.chaos.rounds import Faults, draw, draw_faults, play
from benchmarks.measure import command_line, write
from benchmarks.race.records import append, read
from raytune_gp.storage.journal import SQLJournal

BATCH = 100
"""Rounds that share a journal and a line of the record."""

IN_MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
"""Where the journals are: in memory if the machine has a place, for no round takes the power away."""


def play_rounds(seed: int, numbers: Iterable[int]) -> dict[str, Any]:
    """Play the rounds `numbers` of `seed`; the sums as a dictionary, CPU time in seconds."""
    began = time.process_time()
    faults, broken, sums = Counter[str](), list[dict[str, Any]](), Counter[str]()
    numbers = list(numbers)
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as directory:
        journal = SQLJournal(f"sqlite:///{directory}/journal.db")
        for number in numbers:
            rng = random.Random(f"{seed}/{number}")
            scenario = draw(rng)
            try:
                calm = play(scenario, Faults(), journal, f"{number} calm")
                run = play(scenario, draw_faults(rng, calm), journal, f"{number}")
                wrong = [*violations(calm, calm), *violations(run, calm)]
            except Exception:
                wrong = [traceback.format_exc()]
            else:
                faults += run.faults
                sums += Counter(
                    trials=len(run.state.trials),
                    reports=sum(item.kind == "report" for item in run.cluster.ledger),
                    events=len(run.events),
                )
            if wrong:
                broken.append({"seed": seed, "round": number, "violations": wrong})
        journal.close()
    return {
        "seed": seed,
        "first": numbers[0],
        "rounds": len(numbers),
        **sums,
        "faults": dict(sorted(faults.items())),
        "violations": broken,
        "cpu_s": round(time.process_time() - began, 2),
    }


def summed(batches: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The sums over batches."""
    faults, sums = Counter[str](), Counter[str]()
    violations: list[Any] = []
    for batch in batches:
        faults += Counter(batch["faults"])
        sums += Counter({k: batch.get(k, 0) for k in ("rounds", "trials", "reports", "events", "cpu_s")})
        violations += batch["violations"]
    crashes = sum(count for fault, count in faults.items() if fault.startswith("crash "))
    return {
        **sums,
        "faults_in_all": sum(faults.values()),
        "crashes": crashes,
        "faults": dict(sorted(faults.items())),
        "violations": len(violations),
        "violated": violations,
    }


def main() -> int:
    """Play what is not on record; 1 where a rule was broken."""
    parser = command_line(__doc__)
    parser.add_argument("--rounds", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="play this round alone, and keep no record")
    arguments = parser.parse_args()
    out: Path | None = arguments.out
    if arguments.only is not None:
        batches = [play_rounds(arguments.seed, [arguments.only])]
        out = None
    else:
        batches = list(read(out)) if out is not None else []
        done = {b["first"] + k for b in batches if b["seed"] == arguments.seed for k in range(b["rounds"])}
        for first in range(0, arguments.rounds, BATCH):
            todo = [n for n in range(first, min(first + BATCH, arguments.rounds)) if n not in done]
            if not todo:
                continue
            batch = play_rounds(arguments.seed, todo)
            batches.append(batch)
            if out is not None:
                out.parent.mkdir(parents=True, exist_ok=True)
                append(out, batch)
            for violation in batch["violations"]:
                print(violation["round"], *violation["violations"], sep="\n  ", file=sys.stderr)
    result = summed(batches)
    command = f"python -m benchmarks.chaos --rounds {arguments.rounds} --seed {arguments.seed}"
    write({"command": command, "seed": arguments.seed, **result}, out.with_suffix(".json") if out else None)
    return 1 if result["violations"] else 0


if __name__ == "__main__":
    sys.exit(main())
