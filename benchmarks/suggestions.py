"""CPU time of the Gaussian process's suggestions: `python -m benchmarks.suggestions`.

Hartmann's function in six dimensions, 4 trials pending, one thread. For each number of observations 20
suggestions are asked for in a row, one result coming in before each, with whatever refits that brings; the
first starts without hyperparameters. The same over integers, logarithmic and not, and a choice. Then 64
suggestions at once beside 1,000 observations, and 20 in a row beside 20,000 observations and 256 pending.
Where Optuna is installed its GPSampler is timed in turns with ours, on the same observations.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.asking import Asked
from benchmarks.measure import write
from benchmarks.synthetic import hartmann6
from raytune_gp.searchers.gp import GPSearcher
from raytune_gp.space import Encoding, SearchSpace, choice, lograndint, loguniform, randint, uniform
from raytune_gp.trial import Config, Observation

PENDING, IN_A_ROW = 4, 20
PEER_UP_TO = 200
"""Observations beyond which the peer takes minutes."""

Configs = list[Config]


class Timed:
    """A space with Hartmann's function over the places of its first six hyperparameters."""

    def __init__(self, space: Mapping[str, Any]):
        self.space = SearchSpace(space)
        self._encoding = Encoding(self.space)

    def configs(self, count: int, seed: int) -> Configs:
        """`count` random configs."""
        return self._encoding.decode(np.random.default_rng(seed).random((count, len(self.space.dimensions))))

    def value(self, config: Config) -> float:
        """What a trial of `config` comes to."""
        places = self._encoding.encode([config])[0]
        return hartmann6({f"x{i}": place for i, place in enumerate(places[:6])}) + float(places[6:].sum())


SMOOTH = Timed({f"x{i}": uniform(0.0, 1.0) for i in range(6)})
MIXED = Timed(
    {
        "rate": loguniform(1e-5, 1.0),
        "decay": uniform(0.0, 1.0),
        "depth": randint(1, 31),
        "width": lograndint(8, 513),
        "batch": lograndint(16, 1025),
        "epochs": randint(1, 101),
        "optimizer": choice(["sgd", "adam", "rmsprop"]),
    }
)


def ours(timed: Timed, observed: Configs, pending: Configs, count: int) -> Callable[[], Configs]:
    """A function that suggests `count` configs, and then takes in one more result."""
    done = [Observation(c, (timed.value(c),)) for c in observed]
    asked = Asked(GPSearcher(timed.space, mode="min", seed=0), done, pending)
    ordinals = itertools.count(len(done) + len(pending), count)

    def suggest() -> Configs:
        found = asked.ask_many(next(ordinals), count)
        oldest = next(iter(asked.running))
        asked.tell(oldest, timed.value(asked.running[oldest]))
        return found

    return suggest


def optunas(timed: Timed, observed: Configs, pending: Configs) -> Callable[[], None]:
    """The same of Optuna's GPSampler, one at a time."""
    import optuna

    from benchmarks.race.peers.optuna import suggest as drawn

    any_trial = optuna.create_study().ask()
    for name, domain in timed.space.domains.items():
        drawn(any_trial, name, domain)
    ranges = any_trial.distributions
    study = optuna.create_study(sampler=optuna.samplers.GPSampler(seed=0))
    for config in observed:
        study.add_trial(
            optuna.trial.create_trial(params=config, distributions=ranges, value=timed.value(config))
        )
    for config in pending:
        study.enqueue_trial(config)
    running = [study.ask(ranges) for _ in pending]

    def suggest() -> None:
        ended = running.pop(0)
        study.tell(ended, timed.value(ended.params))
        running.append(study.ask(ranges))

    return suggest


def seconds(call: Callable[[], Any]) -> float:
    """The CPU time of one call."""
    began = time.process_time()
    call()
    return time.process_time() - began


def compare(timed: Timed, observations: int, peer: bool, running: int = PENDING) -> dict[str, Any]:
    """Milliseconds a suggestion, the mean over IN_A_ROW, and how many times as long the peer takes."""
    known, pending = timed.configs(observations, 0), timed.configs(running, 1)
    suggest = ours(timed, known, pending, 1)
    other = optunas(timed, known, pending) if peer else None
    times, others = [], []
    for _ in range(IN_A_ROW):
        times.append(seconds(suggest))
        if other is not None:
            others.append(seconds(other))
    found = {"observations": observations, "ms": round(1e3 * float(np.mean(times)), 1)}
    if others:
        found |= {"optuna_ms": round(1e3 * float(np.mean(others)), 1)}
        found |= {"share_of_optuna": round(float(np.sum(times) / np.sum(others)), 3)}
    return found


def row(found: Mapping[str, Any]) -> str:
    """A line of the table."""
    line = f"{found['observations']:>6} observations: {found['ms']:>8} ms a suggestion"
    if "optuna_ms" in found:
        line += f", Optuna's GPSampler {found['optuna_ms']} ms ({found['share_of_optuna']} of it)"
    return line


def main() -> None:
    """Time what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--observations", type=int, nargs="+", default=[50, 100, 200, 500, 1000, 2000])
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    peer = importlib.util.find_spec("optuna") is not None
    compare(SMOOTH, 20, peer)  # imports, and the first calls of the libraries
    results: dict[str, list[dict[str, Any]]] = {"smooth": [], "mixed": []}
    for observations in arguments.observations:
        for name, timed in (("smooth", SMOOTH), ("mixed", MIXED)):
            found = compare(timed, observations, peer and observations <= PEER_UP_TO)
            results[name].append(found)
            print(f"{name}: {row(found)}", flush=True)
    known, pending = SMOOTH.configs(1000, 0), SMOOTH.configs(PENDING, 1)
    at_once = seconds(ours(SMOOTH, known, pending, 64))
    print(f"64 at once beside 1,000 observations: {at_once:.2f} s")
    many = compare(SMOOTH, 20_000, peer=False, running=256)
    print(row(many) + ", 256 pending")
    write(
        {
            "command": "OMP_NUM_THREADS=1 python -m benchmarks.suggestions",
            "ms": by_observations(results["smooth"], "ms"),
            "share_of_optuna": by_observations(results["smooth"], "share_of_optuna"),
            "mixed": {
                "ms": by_observations(results["mixed"], "ms"),
                "share_of_optuna": by_observations(results["mixed"], "share_of_optuna"),
            },
            "seconds_for_64_at_1000": round(at_once, 2),
            "ms_at_20000_beside_256": many["ms"],
        },
        arguments.out,
    )


def by_observations(results: Sequence[Mapping[str, Any]], key: str) -> dict[str, float]:
    """What `results` have under `key`, by the number of observations."""
    return {str(found["observations"]): found[key] for found in results if key in found}


if __name__ == "__main__":
    main()
