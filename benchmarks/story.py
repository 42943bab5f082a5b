"""The project's story: 120 random trainings of a ResNet on CIFAR-10, and a quarter as many that are guided.

    CIFAR10_DIR=… python -m benchmarks.story --random 2 --guided 4 --out benchmarks/results/story.jsonl

Learning rate, momentum and weight decay are tuned by `tune.run` on real Ray workers, for the accuracy on
2,500 validation images: `random`, 120 trials; `gp`, 30 trials; `gp-median`, 30 trials that the median rule
may end early. `random-kept` is what the random runs would have come to, had only the ten best of each gone
on after their first epoch. The network is one that a CPU core trains in seconds: 8 channels, 4,000 images,
6 epochs.

Of many noisy accuracies the best is too good by luck: so each run's best config is trained again, with other
seeds, and judged by the 10,000 test images. The cost is counted in epochs. A run is a line of `--out`; runs
that stand there are not made again. The summary goes to the file of the same name that ends in `.json`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import ray

from benchmarks.measure import command_line, write
from benchmarks.race.records import append, read
from raytune_gp import tune
from trainables.cifar10 import train
from trainables.cifar10.train import Settings, fit, test_accuracy

Trial = Mapping[str, Any]

SPACE = {
    "learning_rate": tune.loguniform(1e-4, 10.0),
    "momentum": tune.uniform(0.0, 0.99),
    "weight_decay": tune.loguniform(1e-6, 1e-1),
}
NETWORK = {
    "model": "resnet8_v2",
    "width": 8,
    "stem_stride": 2,
    "batch_size": 64,
    "epochs": 6,
    "train_size": 4000,
    "validation_fraction": 0.05,
    "data": "cifar10",
}
WAYS: dict[str, dict[str, Any]] = {
    "random": {"search_alg": "random", "num_samples": 120},
    "gp": {"search_alg": "gp", "num_samples": 30},
    "gp-median": {"search_alg": "gp", "num_samples": 30, "scheduler": "median"},
}
KEPT = 10
JUDGES = (1, 2, 3)  # seeds of the trainings that judge a config; the trials have seed 0


def tuned(way: str, seed: int) -> list[dict[str, Any]]:
    """A run's config and curve (accuracy after each epoch) of each trial, in the order of their ends."""
    with tempfile.TemporaryDirectory() as directory:
        results = tune.run(
            train,
            config={**SPACE, **NETWORK},
            metric="accuracy",
            mode="max",
            max_concurrent_trials=2,
            seed=seed,
            storage_path=directory,
            journal=f"sqlite:///{directory}/journal.db",
            verbose=0,
            **WAYS[way],
        )
        assert results.num_errors == 0
        reports = [(result, result.metrics_dataframe) for result in results]
    return [
        {
            "config": {name: result.config[name] for name in SPACE},
            "curve": frame["accuracy"].tolist(),
        }
        for result, frame in sorted(reports, key=lambda pair: pair[1]["timestamp"].iloc[-1])
    ]


@ray.remote(num_cpus=1)
def judged(config: Mapping[str, float], seed: int) -> float:
    """The accuracy on the test images of a training of `config` of its own."""
    settings = Settings.from_config({**NETWORK, **config, "seed": seed})
    return test_accuracy(fit(settings, lambda metrics, checkpoint: None), settings)


def kept(trials: Sequence[Trial]) -> list[Trial]:
    """What would have been, had all but the best after one epoch been ended there."""
    best = sorted(trials, key=lambda trial: -trial["curve"][0])[:KEPT]
    return [{**trial, "curve": trial["curve"][: None if trial in best else 1]} for trial in trials]


def record(way: str, seed: int, trials: Sequence[Trial]) -> dict[str, Any]:
    """A run as it is kept: its trials, its best config, and what that is judged to be."""
    best = max((trial for trial in trials), key=lambda trial: trial["curve"][-1])["config"]
    test = ray.get([judged.remote(best, judge) for judge in JUDGES])
    return {"way": way, "seed": seed, "config": best, "test": test, "trials": trials}


def expected_best(values: Sequence[float], count: int) -> float:
    """The mean of the largest of `count` draws from the values, with replacement."""
    ordered = np.sort(values)
    largest_at_most = (np.arange(1, len(ordered) + 1) / len(ordered)) ** count
    return float(ordered @ np.diff(largest_at_most, prepend=0.0))


def summary(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What came of each way and what it cost; each way against each random run."""
    of: dict[str, list[Mapping[str, Any]]] = {}
    for run in runs:
        of.setdefault(run["way"], []).append(run)
    pool = [value for run in of["random"] for value in _ends(run)]
    target = expected_best(pool, WAYS["random"]["num_samples"])
    epochs = mean(_epochs(run) for run in of["random"])
    return {
        "expected_best_of_random": {str(n): expected_best(pool, n) for n in (10, 30, 60, 120)},
        "ways": {
            way: {
                "runs": len(made),
                "trials": len(made[0]["trials"]),
                "epochs": mean(_epochs(run) for run in made),
                "share_of_epochs": mean(_epochs(run) for run in made) / epochs,
                "validation": [max(_ends(run)) for run in made],
                "test": [mean(run["test"]) for run in made],
                "mean_test": mean(mean(run["test"]) for run in made),
                "to_reach_120_random": [_reached(run, target, epochs) for run in made],
                **_against(made, of["random"]),
            }
            for way, made in of.items()
        },
    }


def _against(made: Sequence[Mapping[str, Any]], randoms: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """In how many of all pairs with a random run its config is better."""
    pairs = [(a, b) for a, b in product(made, randoms) if a is not b]
    return {
        "pairs": len(pairs),
        "better_in_validation": sum(max(_ends(a)) > max(_ends(b)) for a, b in pairs),
        "better_in_test": sum(mean(a["test"]) > mean(b["test"]) for a, b in pairs),
    }


def _ends(run: Mapping[str, Any]) -> list[float]:
    return [trial["curve"][-1] for trial in run["trials"]]


def _epochs(run: Mapping[str, Any]) -> int:
    return sum(len(trial["curve"]) for trial in run["trials"])


def _reached(run: Mapping[str, Any], target: float, epochs: float) -> dict[str, float] | None:
    """After how many trials, and which share of `epochs`, a trial ends with `target`; None: never."""
    spent = 0
    for count, trial in enumerate(run["trials"], 1):
        spent += len(trial["curve"])
        if trial["curve"][-1] >= target:
            return {"trials": count, "share_of_epochs": spent / epochs}
    return None


def main() -> None:
    """Make the runs that are not on record, and sum all up."""
    parser = command_line(__doc__)
    parser.add_argument("--random", type=int, default=2, help="runs of 120 random trials")
    parser.add_argument("--guided", type=int, default=4, help="runs of each guided way")
    arguments = parser.parse_args()
    out: Path = arguments.out or parser.error("--out FILE.jsonl is needed: the runs are kept there")
    done = {(run["way"], run["seed"]) for run in read(out)}
    wanted = [(way, seed) for seed in range(arguments.guided) for way in ("gp", "gp-median")]
    wanted += [("random", seed) for seed in range(arguments.random)]
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    for way, seed in wanted:
        if (way, seed) not in done:
            trials = tuned(way, seed)
            append(out, record(way, seed, trials))
            if way == "random":
                append(out, record("random-kept", seed, kept(trials)))
            print(way, seed, max(trial["curve"][-1] for trial in trials), flush=True)
    ray.shutdown()
    command = f"python -m benchmarks.story --random {arguments.random} --guided {arguments.guided}"
    write({"command": command, **summary(list(read(out)))}, out.with_suffix(".json"))


if __name__ == "__main__":
    main()
