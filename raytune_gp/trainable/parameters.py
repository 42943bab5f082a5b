"""Trainables with more than a config: large objects, resources and a runtime environment of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from raytune_gp.errors import SpecError
from raytune_gp.trainable.python_env import PythonEnv
from raytune_gp.trainable.script import Script
from raytune_gp.trial import Config

__all__ = [
    "Equipped",
    "PlacementGroupFactory",
    "python_env_of",
    "resources_of",
    "runtime_env_of",
    "with_parameters",
    "with_python_env",
    "with_resources",
    "with_runtime_env",
]


@dataclass(frozen=True)
class Equipped:
    """A function or class, and what goes with it.

    `parameters` are objects that it is given at each call, beside the config. On Ray they wait in the object
    store, once a node, instead of travelling with each worker: `without` is what is pickled, and `given` puts
    them back. `resources` are what each trial reserves, `runtime_env` and `python_env` what its worker runs
    in; None where they are not said. No representation shows parameters or `runtime_env`, as there may be
    secrets among them.
    """

    function: Callable[..., Any]
    parameters: Mapping[str, Any] = field(default_factory=dict, repr=False)
    resources: Any = None
    runtime_env: Mapping[str, Any] | None = field(default=None, repr=False)
    python_env: PythonEnv | None = None

    def __post_init__(self) -> None:
        """Be called as the function is."""
        name = getattr(self.function, "__name__", type(self.function).__name__)
        object.__setattr__(self, "__name__", name)
        object.__setattr__(self, "__qualname__", getattr(self.function, "__qualname__", name))
        object.__setattr__(self, "__module__", self.function.__module__)

    def __call__(self, config: Config) -> Any:
        return self.function(config, **self.parameters)

    def without(self) -> Equipped:
        """The same without its objects."""
        return replace(self, parameters={})

    def bare(self) -> Equipped:
        """The same without its environment: it goes into the run's storage, no place for secrets."""
        return replace(self, runtime_env=None)

    def given(self, parameters: Mapping[str, Any]) -> Equipped:
        """The same with `parameters` as its objects."""
        return replace(self, parameters=dict(parameters))


def _equipped(trainable: Any, who: str) -> Equipped:
    if not callable(trainable):
        raise SpecError(f"{who} takes a function or a class; it was given {trainable!r}")
    return trainable if isinstance(trainable, Equipped) else Equipped(trainable)


def with_parameters(trainable: Callable[..., Any], **parameters: Any) -> Equipped:
    """`trainable(config, **parameters)` as a trainable; for data sets and other large objects.

    A `tune.Trainable` gets them in `setup(config, **parameters)`.
    """
    equipped = _equipped(trainable, "with_parameters")
    return replace(equipped, parameters={**equipped.parameters, **parameters})


def with_resources(trainable: Callable[..., Any], resources: Any) -> Equipped:
    """`trainable` with the resources that each of its trials reserves."""
    return replace(_equipped(trainable, "with_resources"), resources=resources)


def with_runtime_env(trainable: Callable[..., Any], runtime_env: Mapping[str, Any]) -> Equipped:
    """`trainable` with Ray's `runtime_env` for its workers; that of `tune.run` goes before it, key by key."""
    return replace(_equipped(trainable, "with_runtime_env"), runtime_env=runtime_env)


def with_python_env(trainable: Callable[..., Any], python_env: PythonEnv) -> Equipped:
    """`trainable` in workers with packages of their own, beside those of the cluster.

    Import these packages inside the function. Each node makes the environment once, before its first trial,
    and adds what a worker needs (Ray in the cluster's version). A `tune.Script` has `python_env=` instead.
    """
    if not isinstance(python_env, PythonEnv):
        raise SpecError(f"with_python_env was given {python_env!r}; it must be a tune.PythonEnv")
    if isinstance(getattr(trainable, "function", trainable), Script):
        raise SpecError("with_python_env is for functions and classes: tune.Script(…, python_env=…)")
    return replace(_equipped(trainable, "with_python_env"), python_env=python_env)


class PlacementGroupFactory:
    """The resources of a trial as Ray spells them.

    The first bundle is for the trial's own process, the others for workers that it starts, as Ray Train does;
    the first may then be empty. One bundle that is not empty is the process's, wherever it stands.
    """

    def __init__(self, bundles: Sequence[Mapping[str, Any]], strategy: str = "PACK"):
        filled = [dict(bundle) for bundle in bundles if bundle]
        if not filled:
            raise SpecError("PlacementGroupFactory was given no bundle that is not empty: a trial needs one")
        if strategy not in STRATEGIES:
            raise SpecError(f"strategy is {strategy!r}; it must be one of {', '.join(STRATEGIES)}")
        self.bundles = [dict(bundle) for bundle in bundles]
        self.strategy = strategy
        self.process = filled[0] if len(filled) == 1 else self.bundles[0]
        self.workers = [bundle for bundle in self.bundles[1:] if bundle] if len(filled) > 1 else []

    @classmethod
    def of_scaling(cls, scaling: Any) -> PlacementGroupFactory:
        """What Ray Train's `ScalingConfig` asks for: its workers, and nothing for the trial's own process."""
        most = getattr(scaling, "max_workers", scaling.num_workers)
        worker = dict(scaling._resources_per_worker_not_none)
        made = cls([{"CPU": 1}], scaling.placement_strategy)
        labels = getattr(scaling, "label_selector", None) or {}
        selectors = labels if isinstance(labels, list) else [labels] * most
        made.process = {}
        made.workers = [{**worker, "label_selector": s} if s else worker for s in selectors]
        made.bundles = [made.process, *made.workers]
        return made


STRATEGIES = ("PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD")


def resources_of(trainable: Any, resources: Any) -> PlacementGroupFactory:
    """What a trial reserves: `resources` if given, else the trainable's own, else one CPU.

    Takes a dictionary, a PlacementGroupFactory of ours or Ray's, and Ray Train's ScalingConfig. Raises
    SpecError for what is none of them.
    """
    if resources is None:
        resources = (isinstance(trainable, Equipped) and trainable.resources) or {"cpu": 1}
    if isinstance(resources, PlacementGroupFactory):
        return resources
    if hasattr(resources, "num_workers"):
        return PlacementGroupFactory.of_scaling(resources)
    if hasattr(resources, "bundles"):
        return PlacementGroupFactory(resources.bundles, getattr(resources, "strategy", "PACK"))
    if not isinstance(resources, Mapping):
        raise SpecError(
            f'resources_per_trial is {resources!r}; it must be a dictionary such as {{"cpu": 1, "gpu": 1}}'
        )
    return PlacementGroupFactory([resources or {"cpu": 1}])


def python_env_of(trainable: Any) -> tuple[PythonEnv | None, bool]:
    """The packages of its own that a trainable has, and whether its worker is to run in there.

    That is so for functions and classes; a program has the worker start it in there.
    """
    while trainable is not None:
        env = getattr(trainable, "python_env", None)
        if isinstance(env, PythonEnv):
            return env, not isinstance(trainable, Script)
        inner = trainable.function if isinstance(trainable, Equipped) else None
        trainable = getattr(trainable, "trainable", inner)
    return None, False


def runtime_env_of(trainable: Any, runtime_env: Mapping[str, Any] | None) -> dict[str, Any]:
    """What the workers run in: the run's before the trainable's own, key by key; of `env_vars`, name by name.

    Raises SpecError for what is no dictionary.
    """
    found: dict[str, Any] = {}
    variables: dict[str, Any] = {}
    for given in (trainable.runtime_env if isinstance(trainable, Equipped) else None, runtime_env):
        if given is not None and not isinstance(given, Mapping):
            raise SpecError(
                f"runtime_env is of type {type(given).__name__}; it must be a dictionary such as "
                f'{{"working_dir": "."}}'
            )
        found.update(given or {})
        variables.update((given or {}).get("env_vars") or {})
    return {**found, "env_vars": variables} if variables else found
