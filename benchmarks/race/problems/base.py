"""What a problem is: a search space, what a config truly costs, and what one trial of it shows."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

__all__ = ["Config", "Half", "Problem", "Task"]

Config = Mapping[str, Any]
Half = Literal["develop", "report", "develop-nearest", "report-nearest"]


@dataclass(frozen=True)
class Task:
    """A problem with its data in memory. The objective is minimised; NaN is a failed trial.

    Attributes:
        space: what is searched, in the vocabulary of `raytune_gp.space`.
        truth: the value without noise, or its mean over many repetitions; what a run is scored by.
        shown: what one trial shows of it; None where there is no noise.
        timed: the seconds a trial took on record; None where there is no record.
        best: the least value of `truth`, None where it is unknown.
    """

    space: Mapping[str, Any]
    truth: Callable[[Config], float]
    shown: Callable[[Config, np.random.Generator], float] | None = None
    timed: Callable[[Config], float] | None = None
    best: float | None = None

    def observe(self, config: Config, rng: np.random.Generator) -> float:
        """What a trial of `config` reports."""
        return self.truth(config) if self.shown is None else self.shown(config, rng)

    def seconds(self, config: Config, rng: np.random.Generator) -> float:
        """How long the trial takes in virtual time: by the record, or log-normal with median 1.

        Nine in ten of the log-normal durations lie between .44 and 2.3.
        """
        return math.exp(0.5 * rng.standard_normal()) if self.timed is None else self.timed(config)


@dataclass(frozen=True)
class Problem:
    """A problem by name; its data are read where `task` is first asked for, once a process.

    Attributes:
        groups: what it counts for in the standings.
        half: "develop" to tune a searcher on, "report" to look at only for a report; of tables for which the
            nearest record answers "develop-nearest" and "report-nearest".
    """

    name: str
    groups: tuple[str, ...]
    half: Half
    load: Callable[[], Task]

    @cached_property
    def task(self) -> Task:
        """The problem with its data."""
        return self.load()
