"""`raytune-gp demo`: a small residual network, tuned for real in a few minutes on two CPU cores.

The first trial is a setting that textbooks give. What it reached stands beside what the search found, on
validation images and then, for these two alone, on test images that no trial has seen.
"""

from __future__ import annotations

import math
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from raytune_gp import tune
from raytune_gp.errors import SpecError
from raytune_gp.results import Result, ResultGrid

if TYPE_CHECKING:
    from trainables.data import Dataset

__all__ = ["Demo"]

TEXTBOOK = {"learning_rate": 0.1, "momentum": 0.9, "weight_decay": 5e-4, "batch_size": 128}

SPACE = {
    "learning_rate": tune.loguniform(1e-3, 3.0),
    "momentum": tune.uniform(0.0, 0.99),
    "weight_decay": tune.loguniform(1e-6, 1e-2),
    "batch_size": tune.choice([32, 64, 128]),
}

IMAGES, HELD_OUT = 4000, 1000
"""Images to train and to validate on, at most: a trial is to take seconds, with all of CIFAR-10 too."""

NETWORKS = {
    "cifar10": {"model": "resnet8_v2", "width": 16, "stem_stride": 2, "epochs": 6},
    "digits": {"model": "resnet8_v2", "width": 8, "epochs": 8},
}


@dataclass(frozen=True)
class Demo:
    """A demonstration: its size, its data (None: `$CIFAR10_DIR`), where its report and its journal go."""

    trials: int
    workers: int
    seed: int
    data_dir: str | None
    download: bool
    out: Path | None
    name: str | None
    journal: str

    def go(self) -> ResultGrid:
        """Tune, and print what was found. Raises SpecError for a place without CIFAR-10."""
        began = time.monotonic()
        console = Console()
        dataset, settings = self._data(console)
        name = self.name or time.strftime("demo_%Y-%m-%d_%H-%M-%S")
        console.print(
            f"Tuning {', '.join(SPACE)}: {self.trials} trials of {settings['epochs']} epochs, "
            f"{self.workers} at a time; first about the middle, then by Gaussian process. Starting Ray …"
        )
        results = self._tune({**settings, **SPACE}, name)
        report = results.write_report(self.out or Path(f"{name}.html"))
        if results.state.best() is not None:
            self._compare(console, results, dataset)
        took = time.monotonic() - began
        console.print(f"\nThe demo took {took:.0f} s. Its report is {report.resolve()}", soft_wrap=True)
        console.print(f"Look closer with: raytune-gp show {name}, raytune-gp logs {name} 0", highlight=False)
        return results

    def _data(self, console: Console) -> tuple[Dataset, dict[str, Any]]:
        """The images, decoded, and the settings that say them and the network to every trial."""
        from trainables.data import open_dataset

        place = self.data_dir or os.environ.get("CIFAR10_DIR")
        try:
            dataset = open_dataset("cifar10" if place or self.download else "digits", place)
        except (FileNotFoundError, ValueError) as error:
            raise SpecError(
                f"{error}. Without --data-dir, --download and CIFAR10_DIR the demo takes digits"
            ) from None
        count = len(dataset.train()[1])
        held_out = min(HELD_OUT, count // 5)
        images = min(IMAGES, count - held_out)
        if dataset.name == "digits":
            console.print(
                "No CIFAR-10: --data-dir and $CIFAR10_DIR name a copy, --download fetches one. Instead, "
                "scikit-learn's images of DIGITS go through the same network and code; they are easy."
            )
        console.print(
            f"{dataset.name}: {images} images to train on, {held_out} to validate on.", highlight=False
        )
        settings = {**NETWORKS[dataset.name], "data": dataset.name, "validation_fraction": held_out / count}
        if images < count - held_out:
            settings["train_size"] = images
        return dataset, settings | ({"data_dir": place} if place else {})

    def _tune(self, space: dict[str, Any], name: str) -> ResultGrid:
        import ray

        from raytune_gp.execution.local_cluster import start_here
        from trainables.cifar10 import train

        start_here(num_cpus=self.workers)
        try:
            return tune.run(
                train,
                config=space,
                metric="accuracy",
                mode="max",
                num_samples=self.trials,
                max_concurrent_trials=self.workers,
                points_to_evaluate=[TEXTBOOK],
                search_alg="gp",
                name=name,
                seed=self.seed,
                journal=self.journal,
            )
        finally:
            ray.shutdown()

    def _compare(self, console: Console, results: ResultGrid, dataset: Dataset) -> None:
        """Print what the textbook's setting and the best one reached, and on how little that rests."""
        shown = {"the textbook's, trial 0": results[0]}
        best = results.get_best_result()
        if best.trial_id == results[0].trial_id:
            console.print("\nThe textbook's setting was the best of all.")
        else:
            shown[f"the best, trial {int(best.trial_id)}"] = best
        held_out, unseen = self._held_out(best, dataset), len(dataset.test()[1])
        console.print("Training these once more, for the test images …")
        table = Table("setting", f"validation ({held_out} images)", f"test ({unseen} images)")
        for label, result in shown.items():
            value = result.metrics.get("accuracy", math.nan)
            table.add_row(label, f"{value:.3f}", f"{_test_accuracy(result):.3f}")
        console.print(table)
        console.print(
            f"Accuracy, of one training each. From the number of images alone a figure has a standard error "
            f"of about {_standard_error(best.metrics['accuracy'], held_out):.3f} (validation) and "
            f"{_standard_error(best.metrics['accuracy'], unseen):.3f} (test). The best of {len(results)} was "
            f"chosen by its validation accuracy, which therefore flatters it; the test does not. One run "
            f"says nothing on how this search compares with others."
        )

    def _held_out(self, result: Result, dataset: Dataset) -> int:
        return round(result.config["validation_fraction"] * len(dataset.train()[1]))


def _test_accuracy(result: Result) -> float:
    """The fraction of the test images that a network trained with the result's config gets right."""
    from trainables.cifar10 import Settings, fit, test_accuracy

    settings = Settings.from_config(result.config)
    return test_accuracy(fit(settings, lambda metrics, saved: None), settings)


def _standard_error(accuracy: float, images: int) -> float:
    """Of a fraction that was measured on so many images (binomial)."""
    return math.sqrt(accuracy * (1 - accuracy) / images)
