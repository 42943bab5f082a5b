"""Play runs on a real cluster of three nodes under real faults, and judge them by what the trainables wrote.

    python -m benchmarks.chaos.cluster --each 5 --random 100 --out benchmarks/results/chaos-cluster.jsonl

So many rounds of each fault of the matrix, and of several at random. Each line of the file is a round; those
that are there are not played again. The sums of all are written beside it, as JSON. One fault alone, without
a record:

    python -m benchmarks.chaos.cluster --only "a node is lost" --each 1
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.chaos.cluster.faults import FAULTS
from benchmarks.chaos.cluster.rounds import RANDOM, Player
from benchmarks.measure import command_line, percentile, write
from benchmarks.race.records import append, read

KINDS = ("lost", "twice", "hung", "orphan", "wrong")


def wanted(each: int, at_random: int, only: str | None) -> Iterator[tuple[str, int]]:
    """The rounds to play, by fault and number: each fault once, a share of those at random, and again."""
    if only is not None:
        yield from ((only, number) for number in range(each))
        return
    for number in range(each):
        yield from ((fault, number) for fault in FAULTS)
        share = range(at_random * number // each, at_random * (number + 1) // each)
        yield from ((RANDOM, number) for number in share)


def summed(rounds: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The sums over rounds, by fault and in all; `violations` are rounds. Delays are in seconds."""
    rounds = list(rounds)
    by_fault = {name: [r for r in rounds if r["fault"] == name] for name in (*FAULTS, RANDOM)}
    return {
        **_sums(rounds),
        "faults": {name: _sums(found) for name, found in by_fault.items() if found},
        "violations": sum(bool(r["violations"]) for r in rounds),
        "violated": [r for r in rounds if r["violations"]],
    }


def _sums(rounds: list[Mapping[str, Any]]) -> dict[str, Any]:
    broken = [kind for r in rounds for kind, _ in r["violations"]]
    delays = [delay for r in rounds for delay in r["delays"]]
    return {
        "rounds": len(rounds),
        "faults_in_all": sum(len(r["faults"]) - len(r["missed"]) for r in rounds),
        "missed": sum(len(r["missed"]) for r in rounds),
        **{kind: broken.count(kind) for kind in KINDS},
        "trials": sum(r["trials"] for r in rounds),
        "reports": sum(r["reports"] for r in rounds),
        "reports_made_again": sum(r["reports_made_again"] for r in rounds),
        "attempts_lost": len(delays),
        "started_within_1_s_of_knowledge": sum(d["knowledge_to_start"] < 1.0 for d in delays),
        "seconds": {name: _spread([d[name] for d in delays]) for name in delays[0]} if delays else {},
        "load": _spread([r["load"] for r in rounds]),
        "round_s": _spread([r["seconds"] for r in rounds]),
    }


def _spread(values: list[float | None]) -> dict[str, float] | None:
    known = [value for value in values if value is not None]
    if not known:
        return None
    return {"median": round(percentile(known, 0.5), 3), "worst": round(max(known), 3)}


def main() -> int:
    """Play what is not on record; 1 where a rule was broken."""
    parser = command_line(__doc__)
    parser.add_argument("--each", type=int, default=5, help="rounds of each fault")
    parser.add_argument("--random", type=int, default=100, help="rounds of several faults at random")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=[*FAULTS, RANDOM], help="play this fault alone")
    parser.add_argument("--keep", type=Path, help="keep here the files of rounds that break a rule")
    arguments = parser.parse_args()
    out: Path | None = arguments.out
    rounds = list(read(out)) if out is not None else []
    done = {(r["fault"], r["number"]) for r in rounds if r["seed"] == arguments.seed}
    for sign in (signal.SIGINT, signal.SIGTERM):  # the first is ignored where a shell runs this behind itself
        signal.signal(sign, signal.default_int_handler)
    player = Player(arguments.seed, arguments.keep)
    try:
        for fault, number in wanted(arguments.each, arguments.random, arguments.only):
            if (fault, number) in done:
                continue
            found = player.play(fault, number)
            rounds.append(found)
            if out is not None:
                out.parent.mkdir(parents=True, exist_ok=True)
                append(out, found)
            print(
                f"{fault} {number}: {found['seconds']:.1f} s",
                *found["violations"],
                sep="\n  ",
                file=sys.stderr,
            )
    except KeyboardInterrupt:
        print("interrupted: these are the sums of what is on record", file=sys.stderr)
    finally:
        player.close()
    command = f"python -m benchmarks.chaos.cluster --each {arguments.each} --random {arguments.random}"
    result = {"command": command, "seed": arguments.seed, **summed(rounds)}
    write(result, out.with_suffix(".json") if out else None)
    return 1 if result["violated"] else 0


if __name__ == "__main__":
    sys.exit(main())
