"""Searchers that Ray Tune wraps, asked and told as Ray Tune does it: HyperOpt's TPE and BayesOpt."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from hyperopt import hp
from ray import tune
from ray.tune.search import Searcher
from ray.tune.search.bayesopt import BayesOptSearch
from ray.tune.search.hyperopt import HyperOptSearch

from benchmarks.race.peers.shared import plain_config
from raytune_gp.errors import SpecError
from raytune_gp.space import Choice, Config, Domain, Encoding, Float, Integer, SearchSpace

__all__ = ["bayesopt", "hyperopt"]

logging.getLogger("ray.tune").setLevel(logging.ERROR)

_CHOSEN = ""  # the key of a choice's own value, beside the parameters that exist with it


class _Wrapped:
    """A searcher of Ray Tune; where it has no config, for now or for good, the trial takes a random one.

    Ray Tune would leave the worker idle, or end the run. The searcher does not learn from such a trial.
    """

    def __init__(self, searcher: Searcher, space: SearchSpace, seed: int, config: Callable[[Any], Config]):
        self._searcher, self._space, self._config = searcher, space, config
        self._rng = np.random.default_rng(seed)

    def ask(self, ordinal: int) -> Mapping[str, Any]:
        suggested = self._searcher.suggest(str(ordinal))
        if suggested is None or suggested == Searcher.FINISHED:
            return self._space.sample(self._rng)
        return self._config(suggested)

    def tell(self, ordinal: int, value: float | None) -> None:
        result = None if value is None else {"value": value}
        self._searcher.on_trial_complete(str(ordinal), result, error=value is None)


def hyperopt(space: SearchSpace, seed: int, trials: int, **options: Any) -> _Wrapped:
    """HyperOptSearch as it comes; numbers as Ray Tune converts them, conditions as HyperOpt's nested choices.

    Pending trials count towards its 20 random ones and are otherwise unknown to TPE; failed ones are told as
    errors, which TPE leaves out.
    """
    tree = _Tree(space)
    searcher = HyperOptSearch(tree.root, metric="value", mode="min", random_state_seed=seed, **options)
    return _Wrapped(searcher, space, seed, lambda config: plain_config(space, tree.flat(config)))


class _Tree:
    """A space as nested choices, each branch with the parameters that exist in it."""

    def __init__(self, space: SearchSpace):
        self._space = space
        self._nodes: dict[str, Any] = {}
        if any(len(conditions) > 1 for conditions in space.conditions.values()):
            raise SpecError("the HyperOpt adapter takes one condition a parameter; nest the conditions")
        self.root = {name: self._node(name) for name in space.domains if name not in space.conditions}

    def _node(self, name: str) -> Any:
        """The one node of this parameter, however many branches it is in."""
        if name not in self._nodes:
            domain = self._space.domains[name]
            if isinstance(domain, Choice):
                node = hp.choice(name, [self._branch(name, value) for value in domain.choices])
            else:
                node = HyperOptSearch.convert_search_space({name: _number(name, domain)})[name]
            self._nodes[name] = node
        return self._nodes[name]

    def _branch(self, parent: str, value: Any) -> dict[str, Any]:
        held = [
            name
            for name, (condition,) in self._space.conditions.items()
            if condition.parent == parent and value in condition.values
        ]
        return {_CHOSEN: value, **{name: self._node(name) for name in held}}

    def flat(self, config: Mapping[str, Any]) -> Config:
        """The flat config of a nested one."""
        values: Config = {}
        for name, value in config.items():
            if isinstance(value, Mapping):
                values |= {name: value[_CHOSEN]}
                values |= self.flat({key: inner for key, inner in value.items() if key != _CHOSEN})
            else:
                values[name] = value
        return values


def _number(name: str, domain: Domain) -> Any:
    """The number as a user of Ray Tune writes it."""
    match domain:
        case Integer(q=1):
            return (tune.lograndint if domain.log else tune.randint)(domain.lower, domain.upper)
        case Float(q=None, scale="linear"):
            return tune.uniform(domain.lower, domain.upper)
        case Float(q=None, scale="log"):
            return tune.loguniform(domain.lower, domain.upper)
    raise SpecError(f"{name!r}: the HyperOpt adapter has no {domain}; give it one, or use another domain")


def bayesopt(space: SearchSpace, seed: int, trials: int, **options: Any) -> _Wrapped:
    """BayesOptSearch as it comes, on the unit cube of our encoding, for it takes linear floats alone.

    A user has to decode it by hand in the trainable: logarithms, integers, choices, and conditions, of which
    it knows nothing. Pending trials are unknown to it. Failed ones are told as errors; if one is among its 10
    random trials, it proposes nothing ever after, and the race goes on at random where Ray Tune would hang.
    """
    encoding = Encoding(space)
    names = [f"u{column}" for column in range(len(encoding.dimensions))]
    searcher = BayesOptSearch(
        dict.fromkeys(names, (0.0, 1.0)), metric="value", mode="min", random_state=seed, **options
    )
    return _Wrapped(
        searcher, space, seed, lambda config: encoding.decode(np.array([[config[n] for n in names]]))[0]
    )
