"""The runs of the story: what is tuned, in which ways, and by what a result is judged."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import ray

from raytune_gp import tune
from trainables.cifar10 import train
from trainables.cifar10.train import Settings, fit, test_accuracy

__all__ = ["WAYS", "Trial", "kept", "record", "tuned"]

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
    """What would have been, had all trials ended after one epoch, and then the best of them gone on."""
    limit = sorted((trial["curve"][0] for trial in trials), reverse=True)[:KEPT][-1]
    best = [trial for trial in trials if trial["curve"][0] >= limit][:KEPT]
    return [
        *({**trial, "curve": trial["curve"][:1]} for trial in trials),
        *({**trial, "curve": trial["curve"][1:], "goes_on": True} for trial in best if trial["curve"][1:]),
    ]


def record(way: str, seed: int, trials: Sequence[Trial]) -> dict[str, Any]:
    """A run as it is kept: its trials, its best config, and what that is judged to be."""
    best = max(trials, key=lambda trial: trial["curve"][-1])["config"]
    test = ray.get([judged.remote(best, judge) for judge in JUDGES])
    return {"way": way, "seed": seed, "config": best, "test": test, "trials": trials}
