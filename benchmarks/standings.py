"""Who won the race: `python -m benchmarks.standings race.jsonl --workers 4`.

A run's score after t trials is the true value of the config with the best observation among the first t.
Runs are compared within a pair (problem, seed) and only where all optimisers shown have run it. For each
problem `scale` is the distance from the best known value to the median final score of random search; scores
that differ by less than a thousandth of it are tied. All intervals are 95 %, by a bootstrap over problems.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np

from benchmarks.measure import write
from benchmarks.race.problems import PROBLEMS
from benchmarks.race.problems.base import Half
from benchmarks.race.records import read
from benchmarks.race.standing import Standings, gather

__all__ = ["show", "summary"]

SHARES = (0.25, 0.5, 1.0)  # of the budget, where ranks are taken
_RESAMPLES = 2000


def interval(values: np.ndarray, problems: Sequence[str]) -> tuple[float, float]:
    """The 95 % interval of the mean of `values` (n), by drawing whole problems anew."""
    names = sorted(set(problems))
    index = np.array([names.index(p) for p in problems])
    sums, counts = np.bincount(index, values), np.bincount(index)
    draws = np.random.default_rng(0).integers(len(names), size=(_RESAMPLES, len(names)))
    low, high = np.percentile(sums[draws].sum(1) / counts[draws].sum(1), [2.5, 97.5])
    return float(low), float(high)


def summary(standings: Standings, baseline: str) -> dict[str, Any]:
    """All figures as JSON: of each optimiser, of `baseline` against each, mean ranks by group."""
    names, problems = standings.optimisers, standings.problems
    ranks = {share: standings.ranks(share) for share in SHARES}
    regrets, needed = standings.regrets(1.0), standings.needed()
    beats = standings.beats(1.0)[names.index(baseline)]
    members = {
        group: np.array([group in PROBLEMS[p].groups for p in problems])
        for group in sorted({g for p in problems for g in PROBLEMS[p].groups})
    }
    return {
        "pairs": len(problems),
        "problems": len(set(problems)),
        "optimisers": {
            name: {
                "mean_rank": {f"{share:.0%}": float(ranks[share][i].mean()) for share in SHARES},
                "mean_rank_interval": interval(ranks[1.0][i], problems),
                "median_regret": float(np.nanmedian(regrets[i])),
                "trials_to_target": _to_target(needed[i], problems),
                "cpu_seconds_a_suggestion": float(standings.seconds[i].mean()),
                "cpu_seconds_in_last_quarter": float(_last_quarter(standings.seconds[i]).mean()),
            }
            for i, name in enumerate(names)
        },
        "baseline": baseline,
        "against": {
            name: {
                **_counts(beats[i]),
                "share_won": float(beats[i].mean()),
                "share_won_interval": interval(beats[i], problems),
                "groups": {group: _counts(beats[i][member]) for group, member in members.items()},
            }
            for i, name in enumerate(names)
            if name != baseline
        },
        "groups": {
            group: {
                "pairs": int(member.sum()),
                "mean_rank": {
                    name: {f"{share:.0%}": float(ranks[share][i][member].mean()) for share in SHARES}
                    for i, name in enumerate(names)
                },
            }
            for group, member in members.items()
        },
    }


def _counts(beats: np.ndarray) -> dict[str, int]:
    """Of a row of `Standings.beats`: how many pairs were won, lost and tied."""
    return {
        "wins": int((beats == 1).sum()),
        "losses": int((beats == 0).sum()),
        "ties": int((beats == 0.5).sum()),
    }


def _to_target(needed: np.ndarray, problems: Sequence[str]) -> dict[str, float | None] | None:
    """Of `Standings.needed` (n): the share of runs that got there, and the median, None if half did not.

    `problems` is the share of problems on which more than half of the runs got there.
    """
    raced = needed[~np.isnan(needed)]
    if not len(raced):
        return None
    median = float(np.median(raced))
    runs: dict[str, list[bool]] = {}
    for problem, trials in zip(problems, needed.tolist(), strict=True):
        if not math.isnan(trials):
            runs.setdefault(problem, []).append(math.isfinite(trials))
    return {
        "reached": float(np.isfinite(raced).mean()),
        "problems": float(np.mean([np.mean(there) > 0.5 for there in runs.values()])),
        "median": median if math.isfinite(median) else None,
    }


def _last_quarter(seconds: np.ndarray) -> np.ndarray:
    return seconds[:, -max(1, seconds.shape[1] // 4) :]


def show(figures: Mapping[str, Any]) -> str:
    """The figures as tables."""
    lines = [f"{figures['pairs']} pairs of {figures['problems']} problems and their seeds", ""]
    lines.append(
        f"{'':<26}{'mean rank at 25, 50, 100 %':>28}{'95 %':>14}{'regret':>9}{'to 4x random':>14}"
        f"{'CPU s':>8}{'at the end':>12}"
    )
    ordered = sorted(figures["optimisers"].items(), key=lambda item: item[1]["mean_rank"]["100%"])
    for name, of in ordered:
        rank = of["mean_rank"]
        low, high = of["mean_rank_interval"]
        lines.append(
            f"{name:<26}{rank['25%']:>12.2f}{rank['50%']:>8.2f}{rank['100%']:>8.2f}"
            f"{f'{low:.2f}-{high:.2f}':>14}{of['median_regret']:>9.3f}"
            f"{_shown_target(of['trials_to_target']):>14}"
            f"{of['cpu_seconds_a_suggestion']:>8.4f}{of['cpu_seconds_in_last_quarter']:>12.4f}"
        )
    lines += ["", f"{figures['baseline']} against" + f"{'wins':>22}{'losses':>8}{'ties':>6}{'share won':>22}"]
    for name, of in sorted(figures["against"].items(), key=lambda item: item[1]["share_won"]):
        low, high = of["share_won_interval"]
        won = f"{of['share_won']:.2f} ({low:.2f}-{high:.2f})"
        lines.append(f"{name:<26}{of['wins']:>7}{of['losses']:>8}{of['ties']:>6}{won:>22}")
    names = [name for name, _ in ordered]
    lines += ["", f"{'mean rank at the end':<26}{'pairs':>7}" + "".join(f"{n[:13]:>14}" for n in names)]
    for group, of in figures["groups"].items():
        cells = "".join(f"{of['mean_rank'][name]['100%']:>14.2f}" for name in names)
        lines.append(f"{group:<26}{of['pairs']:>7}{cells}")
    return "\n".join(lines)


def _shown_target(target: Mapping[str, float | None] | None) -> str:
    """The median number of trials, or how many runs got there where most did not."""
    if target is None:
        return "not raced"
    return f"{target['reached']:.0%} do" if target["median"] is None else f"{target['median']:.0f}"


def main() -> None:
    """Print what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--optimisers", nargs="*", default=[], help="labels to compare; all by default")
    parser.add_argument("--baseline", default="gp", help="the label that wins are counted for")
    parser.add_argument("--half", nargs="+", choices=get_args(Half), default=["develop"])
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--out", type=Path, help="where the figures go as JSON")
    arguments = parser.parse_args()
    records = [record for file in arguments.files for record in read(file)]
    try:
        standings = gather(
            records,
            trials=arguments.trials,
            workers=arguments.workers,
            optimisers=arguments.optimisers,
            problems=[p.name for p in PROBLEMS.values() if p.half in arguments.half],
        )
    except ValueError as error:
        sys.exit(str(error))
    if arguments.baseline not in standings.optimisers:
        sys.exit(f"--baseline {arguments.baseline} has not run; there are {', '.join(standings.optimisers)}")
    figures = summary(standings, arguments.baseline)
    print(show(figures))
    if arguments.out:
        command = (
            f"python -m benchmarks.standings {' '.join(map(str, arguments.files))}"
            f" --half {' '.join(arguments.half)} --trials {arguments.trials} --workers {arguments.workers}"
            f" --baseline {arguments.baseline} --optimisers {' '.join(standings.optimisers)}"
        )
        write({"command": command, **figures}, arguments.out)


if __name__ == "__main__":
    main()
