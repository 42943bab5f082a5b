"""How often do outcomes lie in the intervals that the searcher predicts? `python -m benchmarks.calibration`.

For each problem of the race and each seed, `--observations` random configs are observed and the outcomes of
`--held-out` others predicted, noise included. Of a calibrated model 50 and 90 % of them lie in the central
intervals of 50 and 90 %. A run of the searcher knows more about good configs than a random sample does; this
is the harder case.

How much of a problem the model knows from so few configs is said too: Spearman's correlation of the predicted
medians with the outcomes.
"""

from __future__ import annotations

import zlib

import numpy as np
from scipy.stats import spearmanr

from benchmarks.measure import command_line, write
from benchmarks.race.problems import chosen
from benchmarks.race.problems.base import Problem
from raytune_gp.failures import FailureKind
from raytune_gp.searchers.gp import GPSearcher
from raytune_gp.space import SearchSpace
from raytune_gp.trial import Observation


def judged(problem: Problem, seed: int, known: int, held_out: int) -> dict[str, float] | None:
    """The share of held-out outcomes in each interval, and the correlation; None where there is no model."""
    task, space = problem.task, SearchSpace(problem.task.space)
    rng = np.random.default_rng([zlib.crc32(problem.name.encode()), seed])
    configs = [space.sample(rng) for _ in range(known + held_out)]
    outcomes = np.array([task.observe(config, rng) for config in configs])
    observations = [
        Observation(config, (float(value),))
        if np.isfinite(value)
        else Observation(config, None, failure=FailureKind.NOT_FINITE)
        for config, value in zip(configs[:known], outcomes[:known], strict=True)
    ]
    searcher = GPSearcher(space, mode="min", seed=seed)
    searcher.update(observations, ())
    good = known + np.flatnonzero(np.isfinite(outcomes[known:]))
    try:
        intervals = {share: searcher.predict([configs[i] for i in good], share=share) for share in (0.5, 0.9)}
    except ArithmeticError:
        return None
    found = {
        f"{share:.0%}": float(((low <= outcomes[good]) & (outcomes[good] <= high)).mean())
        for share, (_, low, high) in intervals.items()
    }
    median, _, _ = intervals[0.5]
    return {**found, "rank_correlation": correlation(median, outcomes[good])}


def correlation(predicted: np.ndarray, outcomes: np.ndarray) -> float:
    """Spearman's correlation (n and n); 0 where all predictions or all outcomes are alike."""
    if np.ptp(predicted) == 0 or np.ptp(outcomes) == 0:
        return 0.0
    return float(spearmanr(predicted, outcomes).statistic)


def main() -> None:
    """Print and keep what was found for each problem."""
    parser = command_line(__doc__)
    parser.add_argument("--problems", nargs="+", default=["develop"], help="as of benchmarks.race")
    parser.add_argument("--observations", type=int, default=40)
    parser.add_argument("--held-out", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    rows: dict[str, dict[str, float]] = {}
    given_up = 0
    for problem in chosen(arguments.problems):
        runs = [
            judged(problem, seed, arguments.observations, arguments.held_out)
            for seed in range(arguments.seeds)
        ]
        sound = [run for run in runs if run is not None]
        given_up += len(runs) - len(sound)
        if sound:
            rows[problem.name] = {key: float(np.mean([run[key] for run in sound])) for key in sound[0]}
    command = (
        f"python -m benchmarks.calibration --problems {' '.join(arguments.problems)} --observations "
        f"{arguments.observations} --held-out {arguments.held_out} --seeds {arguments.seeds}"
    )
    mean = {key: float(np.mean([row[key] for row in rows.values()])) for key in next(iter(rows.values()))}
    result = {"command": command, "mean": mean, "models_given_up": given_up, "problems": rows}
    write(result, arguments.out)


if __name__ == "__main__":
    main()
