"""Trainables with more than a config: large objects beside it, and resources of their own."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from raytune_gp.errors import SpecError
from raytune_gp.trial import Config

__all__ = ["PlacementGroupFactory", "WithParameters", "resources_of", "with_parameters", "with_resources"]


class WithParameters:
    """A function and objects that it is given at each call, beside the config.

    On Ray the objects wait in the object store, once a node, instead of travelling with each worker:
    `without` is what is pickled, and `given` puts the objects back.
    """

    def __init__(self, function: Callable[..., Any], parameters: Mapping[str, Any]):
        self.__name__ = getattr(function, "__name__", type(function).__name__)
        self.__qualname__ = getattr(function, "__qualname__", self.__name__)
        self.__module__ = function.__module__
        self.function = function
        self.parameters = dict(parameters)

    def __call__(self, config: Config) -> Any:
        return self.function(config, **self.parameters)

    def without(self) -> WithParameters:
        """The same without its objects."""
        return WithParameters(self.function, {})

    def given(self, parameters: Mapping[str, Any]) -> WithParameters:
        """The same with `parameters` as its objects."""
        return WithParameters(self.function, parameters)


def with_parameters(trainable: Callable[..., Any], **parameters: Any) -> WithParameters:
    """`trainable(config, **parameters)` as a trainable; for data sets and other large objects."""
    if not callable(trainable):
        raise SpecError(f"with_parameters takes a function; it was given {trainable!r}")
    return WithParameters(trainable, parameters)


class PlacementGroupFactory:
    """The resources of a trial as Ray spells them: one bundle, for one worker."""

    def __init__(self, bundles: list[Mapping[str, float]], strategy: str = "PACK"):
        filled = [dict(b) for b in bundles if b]
        if len(filled) != 1:
            raise SpecError(
                f"a trial here is one process with one bundle of resources; PlacementGroupFactory was given "
                f"{len(filled)} that are not empty. Sum them into one"
            )
        self.bundles = filled
        self.strategy = strategy


def with_resources(trainable: Callable[..., Any], resources: Any) -> Callable[..., Any]:
    """`trainable` with the resources that each of its trials reserves; goes with `with_parameters`."""
    if isinstance(trainable, WithParameters):
        return WithParameters(with_resources(trainable.function, resources), trainable.parameters)

    @functools.wraps(trainable)
    def wrapped(config: Config, **parameters: Any) -> Any:
        return trainable(config, **parameters)

    wrapped._raytune_resources = resources  # type: ignore[attr-defined]
    return wrapped


def resources_of(trainable: Any, resources: Any) -> Mapping[str, Any]:
    """What a trial reserves: `resources` if given, else the trainable's own, else one CPU."""
    if resources is None:
        function = trainable.function if isinstance(trainable, WithParameters) else trainable
        resources = getattr(function, "_raytune_resources", None) or {"cpu": 1}
    if isinstance(resources, PlacementGroupFactory) or hasattr(resources, "bundles"):
        resources = PlacementGroupFactory(list(resources.bundles)).bundles[0]
    if not isinstance(resources, Mapping):
        raise SpecError(
            f'resources_per_trial is {resources!r}; it must be a dictionary such as {{"cpu": 1, "gpu": 1}}'
        )
    return resources
