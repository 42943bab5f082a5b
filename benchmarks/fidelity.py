"""How true are the answers between a table's records? `python -m benchmarks.fidelity`.

A quarter of the records of each table of the race (400 at most) is held out and answered for, once by the
nearest of the others and once by the regression of `benchmarks.race.problems.tables`. Said is Spearman's
correlation of the answers with the values on record, failed trials left out: of all that was held out, and of
the quarter with the best values. Of tables where one trial in twenty failed or more, also the mean of
the shares of failed and of successful ones that are told to be such.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import spearmanr

from benchmarks.measure import command_line, write
from benchmarks.race.problems.pools import TABLES
from benchmarks.race.problems.tables import Failures, Fit, Table, nearest_records
from raytune_gp.space import Encoding, SearchSpace


def judged(table: Table, seed: int) -> dict[str, float]:
    """What is said of one draw of held-out records, for both answers."""
    order = np.random.default_rng(seed).permutation(len(table.values))
    count = min(len(order) // 4, 400)
    held_out, others = order[:count], order[count:]
    places, known = table.places(Encoding(SearchSpace(table.space))), np.isfinite(table.values)
    asked, records = held_out[known[held_out]], others[known[others]]
    truth = table.values[asked]
    best = truth <= np.quantile(truth, 0.25)
    answers = {
        "nearest": table.values[records][nearest_records(places[asked], places[records])],
        "fitted": Fit(places[records], table.values[records])(places[asked]),
    }
    found = {}
    for name, answer in answers.items():
        found[name] = float(spearmanr(answer, truth).statistic)
        found[f"{name}_among_best"] = float(spearmanr(answer[best], truth[best]).statistic)
    if (~known).mean() >= 0.05:
        fails = Failures(places[others], ~known[others])(places[held_out])
        as_nearest = ~known[others][nearest_records(places[held_out], places[others])]
        found["failures_nearest"] = _balanced(as_nearest, ~known[held_out])
        found["failures_fitted"] = _balanced(fails, ~known[held_out])
    return found


def _balanced(told: np.ndarray, truth: np.ndarray) -> float:
    """The mean of the shares of failures and of successes that were told right."""
    return float((told[truth].mean() + (~told[~truth]).mean()) / 2)


def main() -> None:
    """Print and keep what was found for each table."""
    parser = command_line(__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    tables = {}
    for name, read in TABLES.items():
        table = read()
        runs = [judged(table, seed) for seed in range(arguments.seeds)]
        tables[name] = {
            "records": len(table.values),
            **{key: float(np.mean([run[key] for run in runs])) for key in runs[0]},
        }
    keys = dict.fromkeys(key for table in tables.values() for key in table if key != "records")
    mean = {key: float(np.mean([table[key] for table in tables.values() if key in table])) for key in keys}
    command = f"python -m benchmarks.fidelity --seeds {arguments.seeds}"
    write({"command": command, "mean": mean, "tables": tables}, arguments.out)


if __name__ == "__main__":
    main()
