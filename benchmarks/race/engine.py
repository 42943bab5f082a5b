"""One run: an optimiser on a problem, with workers in virtual time.

The same trial number of the same seed takes as long and has the same noise whatever the optimiser (given the
config, where the problem recorded durations). The optimiser learns of a trial only when it has ended.
"""

from __future__ import annotations

import heapq
import math
import time
import zlib
from dataclasses import dataclass, field

import numpy as np

from benchmarks.race.peers import Optimiser
from benchmarks.race.problems.base import Config, Problem, Task

__all__ = ["Outcome", "race"]

_NOISE, _DURATION = 0, 1  # streams of random numbers that are kept apart


@dataclass
class Outcome:
    """A run, trial by trial in the order in which they ended.

    Attributes:
        values: what was observed; None for a failed trial.
        scores: the truth of the config with the best observation so far; None as long as there is none.
        seconds: CPU seconds for each suggestion, in the order of asking; taking in the result before counts.
    """

    values: list[float | None] = field(default_factory=list)
    scores: list[float | None] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


def race(problem: Problem, optimiser: Optimiser, *, seed: int, trials: int, workers: int) -> Outcome:
    """`trials` trials with up to `workers` of them at a time."""
    run = _Run(problem.task, zlib.crc32(problem.name.encode()), seed)
    outcome = run.outcome
    running: list[tuple[float, _Trial]] = []
    clock, told = 0.0, 0.0
    for ordinal in range(trials):
        if len(running) == workers:
            clock, ended = heapq.heappop(running)
            run.end(ended)
            began = time.process_time()
            optimiser.tell(ended.ordinal, ended.value)
            told = time.process_time() - began
        began = time.process_time()
        config = optimiser.ask(ordinal)
        outcome.seconds.append(round(time.process_time() - began + told, 5))
        trial, duration = run.start(ordinal, config)
        heapq.heappush(running, (clock + duration, trial))
    while running:
        run.end(heapq.heappop(running)[1])
    return outcome


@dataclass(frozen=True, order=True)
class _Trial:
    """A trial, and what it will have shown when it ends: None if it fails."""

    ordinal: int
    config: Config = field(compare=False)
    value: float | None = field(compare=False)


class _Run:
    """The problem's side of a run: trials, and the score."""

    def __init__(self, task: Task, problem: int, seed: int):
        self.outcome = Outcome()
        self._task = task
        self._entropy = (problem, seed)
        self._best = math.inf
        self._score: float | None = None

    def start(self, ordinal: int, config: Config) -> tuple[_Trial, float]:
        """The trial, and how long it takes."""
        noise, duration = (
            np.random.default_rng([*self._entropy, ordinal, stream]) for stream in (_NOISE, _DURATION)
        )
        value = self._task.observe(config, noise)
        shown = value if math.isfinite(value) else None
        return _Trial(ordinal, config, shown), self._task.seconds(config, duration)

    def end(self, trial: _Trial) -> None:
        """Record the end of a trial."""
        if trial.value is not None and trial.value < self._best:
            self._best = trial.value
            truth = self._task.truth(trial.config)
            self._score = truth if math.isfinite(truth) else None
        self.outcome.values.append(trial.value)
        self.outcome.scores.append(self._score)
