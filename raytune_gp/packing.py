"""How many trials share a GPU where that is left to the run: `{"gpu": "auto"}`. Pure.

A run begins with a GPU for each trial. Once a few have told how much memory they had at their peak, so many
share one as would fit if each needed what few configs will need. After an attempt that ran out of memory
beside others there are fewer, for the rest of the run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["AUTO", "Packing", "predicted_peak", "share_of"]

AUTO = "auto"

LEAST_KNOWN = 4
"""So many trials must have told of their memory before others share a GPU."""

MOST = 8
"""No more trials share a GPU: beyond that they wait for its processors, and for the host's."""

QUANTILE_Z = 1.6448536269514722
"""The quantile of the normal distribution at 0.95: one config in twenty may need more than predicted."""

USABLE = 0.95
"""The share of a GPU's memory that is counted on; the rest is for the driver and for fragments."""

CONTEXT_B = 512 << 20
"""So much a process takes for CUDA itself, which PyTorch's account of its memory leaves out."""

LARGEST_LOG = 700.0
"""Beyond it `exp` overflows; no GPU has such a memory."""

GROWTH = 1.5
"""More trials share a GPU only once this many times as many peaks are known as at the last change: each
change costs every worker its process."""


def share_of(trials_per_gpu: int) -> float:
    """The share of a GPU that each of so many takes, in the four decimals that Ray counts by."""
    return math.floor(10_000 / trials_per_gpu) / 10_000


def predicted_peak(count: int, mean: float, variance: float) -> float:
    """What a further trial needs, in bytes, but for one in twenty.

    `mean` and `variance` (the sample's, by n - 1) are those of the logarithms of `count` peaks in bytes, two
    or more. The upper end of a one-sided 95% prediction interval for a lognormal distribution (Hahn and
    Meeker, Statistical Intervals, 1991, sections 4.2 and 4.12): peaks are products of batch size and width,
    and a few of them say little of their spread, for which Student's t makes up. That one needs more does not
    mean that its GPU is full: the others would have to be as large.
    """
    reach = _student(count - 1) * math.sqrt(variance * (1 + 1 / count))
    return math.exp(min(mean + reach, LARGEST_LOG))


def _student(freedom: int) -> float:
    """Student's t at 0.95 (Abramowitz and Stegun, 26.7.5): within 0.3% from 3 degrees of freedom on."""
    z = QUANTILE_Z
    return (
        z
        + (z**3 + z) / (4 * freedom)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
    )


@dataclass
class Packing:
    """What a run knows of its trials' memory on GPUs, and how many share one now.

    `peaks` are the trials' in bytes, by id; `mean_log` is the mean of their logarithms, and `squares` the sum
    of the squared distances from it: nothing is added up anew at each step of a run. `total_b` is the memory
    of the smallest GPU met. `most` is what attempts that ran out of memory have left; `known` how many peaks
    there were at the last change.
    """

    trials_per_gpu: int = 1
    most: int = MOST
    known: int = 0
    total_b: float | None = None
    peaks: dict[str, float] = field(default_factory=dict)
    mean_log: float = 0.0
    squares: float = 0.0

    def learn(self, trial_id: str, usage: Mapping[str, float]) -> None:
        """Take the usage of all attempts of a trial into account, as far as it speaks of GPUs."""
        peak, total = usage.get("gpu_peak_b"), usage.get("gpu_total_b")
        if peak and total:
            before = self.peaks.get(trial_id)
            self.peaks[trial_id] = peak
            self._move(self.mean_log if before is None else math.log(before), math.log(peak))
            self.total_b = min(total, self.total_b or total)

    def _move(self, old: float, new: float) -> None:
        """One logarithm of all changes (Welford's update); a new one is as if it had been at the mean."""
        mean = self.mean_log
        self.mean_log += (new - old) / len(self.peaks)
        self.squares += (new - old) * (new - self.mean_log + old - mean)

    def ran_out(self, trials_per_gpu: int) -> None:
        """An attempt ran out of memory where so many shared a GPU."""
        self.most = min(self.most, trials_per_gpu - 1)

    def changed(self, trials_per_gpu: int) -> None:
        """So many share a GPU from now on."""
        self.trials_per_gpu, self.known = trials_per_gpu, len(self.peaks)

    def change(self) -> tuple[int, str] | None:
        """How many should share a GPU instead, and why; None where it is well as it is."""
        now = self.trials_per_gpu
        if now > self.most:
            return self.most, f"a trial ran out of memory where {self.most + 1} shared a GPU"
        if self.total_b is None or len(self.peaks) < LEAST_KNOWN:
            return None
        count = len(self.peaks)
        peak = predicted_peak(count, self.mean_log, max(0.0, self.squares) / (count - 1)) + CONTEXT_B
        fits = max(1, min(math.floor(USABLE * self.total_b / peak), self.most))
        if fits < now or (fits > now and count >= GROWTH * self.known):
            return fits, (
                f"a trial is expected to need at most {_gib(peak)} of {_gib(self.total_b)}, "
                f"by the peaks of {count}"
            )
        return None

    def warning(self, resources: Mapping[str, Any], finished: int) -> str | None:
        """What to say where GPUs cannot be shared, as so many have finished and none told of its memory."""
        if resources.get("gpu") != AUTO or self.peaks or finished < LEAST_KNOWN:
            return None
        return (
            f'gpu is "{AUTO}", and none of {finished} finished trials could tell how much memory it had on '
            f"its GPU (not by PyTorch, nor by NVIDIA's driver), so that each has a GPU for itself: set the "
            f'share, such as "gpu": 0.5'
        )


def _gib(size_b: float) -> str:
    return f"{size_b / (1 << 30):.3g} GiB"
