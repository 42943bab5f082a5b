"""Race optimisers: `python -m benchmarks.race --problems develop --optimisers gp random --out race.jsonl`.

Every run is one line of JSON in `--out`; runs that stand there already are not made again. Seeds come in
turn, each over all problems and optimisers, so that a file that was interrupted is still balanced. The
recorded data are read from the directory that RAYTUNE_TUNING_DATA or `--data` names. `python -m
benchmarks.standings` makes sense of the file.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path

from benchmarks.race.peers import PEERS, Entrant
from benchmarks.race.pool import Job, run_all
from benchmarks.race.problems import chosen
from benchmarks.race.problems.pools import DATA_VARIABLE
from benchmarks.race.records import Key, read
from raytune_gp.errors import RaytuneError


def jobs(arguments: argparse.Namespace) -> list[Job]:
    """The runs asked for that are not on record yet, seed by seed."""
    if arguments.label and len(arguments.optimisers) != 1:
        sys.exit(f"--label {arguments.label} names one optimiser, not {len(arguments.optimisers)}")
    entrants = [Entrant.parse(text, arguments.label) for text in arguments.optimisers]
    problems = [problem.name for problem in chosen(arguments.problems)]
    done = {Key.of(record) for record in read(arguments.out)}
    wanted = [
        (Key(entrant.label, name, seed, arguments.trials, arguments.workers), entrant)
        for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds)
        for name in problems
        for entrant in entrants
    ]
    return [(key, entrant) for key, entrant in wanted if key not in done]


def parse() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.race",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--problems",
        nargs="+",
        default=["develop"],
        help="develop, report, their tables by the nearest record (develop-nearest, report-nearest), "
        "develop:GROUP, or names",
    )
    parser.add_argument(
        "--optimisers",
        nargs="+",
        default=["gp", "random"],
        metavar="NAME[:OPTION=VALUE,...]",
        help=", ".join(PEERS),
    )
    parser.add_argument("--label", help="the name in the records of a single optimiser, such as a code state")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--jobs", type=int, default=1, help="processes, one thread each")
    parser.add_argument("--budget-minutes", type=float, default=float("inf"), help="start no run after these")
    parser.add_argument("--data", type=Path, help=f"directory of the recorded data, else {DATA_VARIABLE}")
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


def end(number: int, frame: object) -> None:
    """Leave no run behind when this process is told to end."""
    for process in multiprocessing.active_children():
        process.terminate()
    sys.exit(128 + number)


def main() -> None:
    """Make the runs that the command line asks for."""
    arguments = parse()
    signal.signal(signal.SIGTERM, end)
    if arguments.data:
        os.environ[DATA_VARIABLE] = str(arguments.data.resolve())
    deadline = time.monotonic() + 60 * arguments.budget_minutes
    try:
        waiting = jobs(arguments)
    except RaytuneError as error:
        sys.exit(str(error))
    print(f"{len(waiting)} runs to make", flush=True)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    raised = run_all(waiting, arguments.out, arguments.jobs, deadline)
    if raised:
        sys.exit(f"{raised} runs raised and are not on record; the same command makes them again")


if __name__ == "__main__":
    main()
