"""How true are the answers between a table's records? `python -m benchmarks.fidelity`.

A tenth of the records of each table of the race (400 at most) is held out and answered for, once by the
nearest of the others and once by the regression of `benchmarks.race.problems.tables`. Said is Spearman's
correlation of the answers with the values on record, failed trials left out.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import spearmanr

from benchmarks.measure import command_line, write
from benchmarks.race.problems.pools import TABLES
from benchmarks.race.problems.tables import Fit, Table
from raytune_gp.space import Encoding, SearchSpace


def judged(table: Table, seed: int) -> dict[str, float]:
    """Both correlations with what was held out."""
    known = np.isfinite(table.values)
    places, values = table.places(Encoding(SearchSpace(table.space)))[known], table.values[known]
    order = np.random.default_rng(seed).permutation(len(values))
    count = min(len(values) // 10, 400)
    held_out, others = order[:count], order[count:]
    apart = ((places[held_out][:, None] - places[others]) ** 2).sum(-1)
    answers = {
        "nearest": values[others][apart.argmin(1)],
        "fitted": Fit(places[others], values[others])(places[held_out]),
    }
    return {name: float(spearmanr(answer, values[held_out]).statistic) for name, answer in answers.items()}


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
    mean = {key: float(np.mean([table[key] for table in tables.values()])) for key in ("nearest", "fitted")}
    command = f"python -m benchmarks.fidelity --seeds {arguments.seeds}"
    write({"command": command, "mean": mean, "tables": tables}, arguments.out)


if __name__ == "__main__":
    main()
