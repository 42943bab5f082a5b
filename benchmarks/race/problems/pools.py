"""Problems from recorded random configs: TaskSet, and the XGBoost and DeepAR tables of Salinas et al. (2020).

Each table is a problem twice: a regression answers for `xgboost-heart-fitted`, the nearest record for
`xgboost-heart`; tables.py says why. A NaN on record is a training that diverged, and stays one.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.race.problems.base import Half, Problem, Task
from benchmarks.race.problems.tables import Table, fitted, nearest
from raytune_gp.errors import SpecError
from raytune_gp.space import lograndint, loguniform, randint, uniform

__all__ = ["DATA_VARIABLE", "POOLS", "TABLES"]

DATA_VARIABLE = "RAYTUNE_TUNING_DATA"

_TASKSET = {
    "learning_rate": loguniform(1e-8, 10.0),
    "one_minus_beta1": loguniform(1e-4, 1.0),
    "one_minus_beta2": loguniform(1e-6, 1.0),
    "epsilon": loguniform(1e-10, 1e3),
    "l1": loguniform(1e-8, 10.0),
    "l2": loguniform(1e-8, 10.0),
    "linear_decay": loguniform(1e-7, 1e-4),
    "exponential_decay": loguniform(1e-6, 1e-3),
}
_XGBOOST = {
    "min_child_weight": loguniform(2.0**-8, 2.0**6),
    "subsample": uniform(0.5, 1.0),
    "colsample_bytree": uniform(0.3, 1.0),
    "gamma": loguniform(2.0**-20, 2.0**6),
    "lambda": loguniform(2.0**-10, 2.0**8),
    "eta": uniform(0.0, 1.0),
    "max_depth_index": randint(0, 13),
    "alpha": loguniform(2.0**-20, 2.0**8),
}
_DEEPAR = {
    "num_layers": randint(2, 5),
    "num_cells": randint(30, 121),
    "dropout_rate": loguniform(0.01, 0.5),
    "learning_rate": loguniform(1e-4, 0.1),
    "num_batches_per_epoch": lograndint(10, 10_001),
    "context_length_ratio": loguniform(1 / 18, 4.0),
}


def _directory() -> Path:
    place = os.environ.get(DATA_VARIABLE)
    if not place or not Path(place).is_dir():
        raise SpecError(
            f"{DATA_VARIABLE} is {place!r}; it must name the directory with the recorded runs "
            "(taskset/, pools/): set it, or race problems that need none"
        )
    return Path(place)


def _taskset(model: str) -> Table:
    with np.load(_directory() / "taskset" / f"FixedTextRNNClassification_imdb_{model}.npz") as record:
        columns = {str(name): record["X"][:, i] for i, name in enumerate(record["names"])}
        values = record["valid"][:, -1].astype(float)
    for name in ("beta1", "beta2"):
        columns[f"one_minus_{name}"] = 1.0 - columns[name]
    return Table(_TASKSET, columns, values)


@lru_cache
def _read(name: str) -> pd.DataFrame:
    return pd.read_csv(_directory() / "pools" / f"{name}.csv.zip")


def _xgboost(dataset: str) -> Table:
    table = _read("XGBoost")
    rows = table[table["task"] == dataset]
    columns = {
        name: 2.0 ** rows[f"hp_log2_{name}"].to_numpy()
        if f"hp_log2_{name}" in rows
        else rows[f"hp_{name}"].to_numpy()
        for name in _XGBOOST
    }
    return Table(_XGBOOST, columns, rows["metric_error"].to_numpy())


def _deepar(dataset: str) -> Table:
    table = _read("DeepAR")
    rows = table[table["task"] == dataset]
    recorded = {name: f"hp_{name}_log" if f"hp_{name}_log" in rows else f"hp_{name}" for name in _DEEPAR}
    columns = {name: np.exp(rows[column].to_numpy()) for name, column in recorded.items()}
    seconds = rows["metric_time"].to_numpy(dtype=float)
    return Table(_DEEPAR, columns, rows["metric_CRPS"].to_numpy(), seconds)


def _short(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


_CLIFFS = ("nets", "cliffs")  # 8 to 23 % of the trainings diverged
_TASKSET_MODELS: tuple[tuple[str, tuple[str, ...], Half], ...] = (
    ("patch128_LSTM128_bs64", _CLIFFS, "develop"),
    ("patch32_IRNN64_relu_avg_bs128", _CLIFFS, "develop"),
    ("patch32_GRU128_bs128", ("nets",), "develop"),
    ("patch32_LSTM128_bs128", ("nets",), "develop"),
    ("patch128_LSTM128_embed128_bs64", _CLIFFS, "report"),
    ("patch32_VRNN64_relu_avg_bs128", _CLIFFS, "report"),
    ("patch32_GRU64_avg_bs128", ("nets",), "report"),
    ("patch32_LSTM128_E128_bs128", ("nets",), "report"),
    ("patch32_VRNN128_tanh_bs128", ("nets",), "report"),
)
_XGBOOST_SETS: tuple[tuple[str, Half], ...] = (
    ("a6a", "develop"),
    ("australian", "develop"),
    ("german.numer", "develop"),
    ("spambase", "develop"),
    ("heart", "report"),
    ("madelon", "report"),
    ("svmguide1", "report"),
    ("w6a", "report"),
)
_DEEPAR_SETS: tuple[tuple[str, Half], ...] = (
    ("electricity", "develop"),
    ("m4-Hourly", "develop"),
    ("traffic", "report"),
    ("m4-Daily", "report"),
)

_RECORDS: tuple[tuple[str, tuple[str, ...], Half, Callable[[], Table]], ...] = (
    *(
        (f"taskset-{_short(name)}", groups, half, partial(_taskset, name))
        for name, groups, half in _TASKSET_MODELS
    ),
    *((f"xgboost-{_short(name)}", ("trees",), half, partial(_xgboost, name)) for name, half in _XGBOOST_SETS),
    *((f"deepar-{_short(name)}", ("nets",), half, partial(_deepar, name)) for name, half in _DEEPAR_SETS),
)
_NEAREST: dict[Half, Half] = {"develop": "develop-nearest", "report": "report-nearest"}


def _task(answer: Callable[[Table], Task], read: Callable[[], Table]) -> Task:
    return answer(read())


TABLES = {name: read for name, _, _, read in _RECORDS}
"""What reads each table, by name."""

POOLS = (
    *(
        Problem(f"{name}-fitted", (*groups, "tables"), half, partial(_task, fitted, read))
        for name, groups, half, read in _RECORDS
    ),
    *(
        Problem(name, (*groups, "tables"), _NEAREST[half], partial(_task, nearest, read))
        for name, groups, half, read in _RECORDS
    ),
)
"""The problems of this file, each in its half for good."""
