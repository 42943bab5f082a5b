"""What trials use of their machines, as the journal has it: peak memory, CPU and GPU time. Pure.

A usage is a dictionary of numbers. What is not known has no entry, so that 0 always means none:

- `wall_s`: how long it was measured, and `cpu_s`: the CPU time of the trial's process and what it started;
- `host_peak_b`: the most resident memory that these had together, in bytes;
- `gpu_peak_b`: the most memory that they had on their GPUs, of `gpu_total_b` that these have;
- `gpu_util`: the mean utilisation of these GPUs, from 0 to 1, whoever used them.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["Usage", "merged", "shown"]

Usage = Mapping[str, float]

_SUMS = ("wall_s", "cpu_s")
_PEAKS = ("host_peak_b", "gpu_peak_b", "gpu_total_b")
_SHOWN = ("host_peak_b", "gpu_peak_b", "gpu_total_b", "cpu_cores", "gpu_util")


def merged(one: Usage, other: Usage) -> dict[str, float]:
    """The usage of two attempts: times add up, peaks are the larger, means are weighed by their time."""
    found = {
        name: one.get(name, 0.0) + other.get(name, 0.0) for name in _SUMS if name in one or name in other
    }
    for name in _PEAKS:
        known = [usage[name] for usage in (one, other) if name in usage]
        if known:
            found[name] = max(known)
    means = [(usage["gpu_util"], usage.get("wall_s", 0.0)) for usage in (one, other) if "gpu_util" in usage]
    if means:
        weight = sum(seconds for _, seconds in means)
        weighed = sum(mean * seconds for mean, seconds in means)
        found["gpu_util"] = weighed / weight if weight > 0 else means[-1][0]
    return found


def shown(usage: Usage) -> dict[str, float]:
    """What readers see of a usage: its peaks, `cpu_cores` (CPU time over wall time) and `gpu_util`."""
    seconds = usage.get("wall_s", 0.0)
    cores = {"cpu_cores": usage["cpu_s"] / seconds} if seconds > 0 and "cpu_s" in usage else {}
    return {name: value for name, value in {**usage, **cores}.items() if name in _SHOWN}
