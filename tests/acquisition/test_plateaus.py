"""Flat ground: where it is seen, and what it weighs."""

from __future__ import annotations

import numpy as np

from raytune_gp.acquisition.plateaus import Plateaus
from raytune_gp.surrogate.features import Column, FeatureMap
from raytune_gp.surrogate.gp import Hyperparameters
from raytune_gp.surrogate.posterior import GPPosterior

HYPER = Hyperparameters((0.5,), scale=1.0, noise=0.01, mean=0.0)
X = np.array([[0.1], [0.15], [0.2], [0.5], [0.8], [0.95]])


def plateaus(values: list[float]) -> Plateaus | None:
    posterior = GPPosterior.of(FeatureMap([Column()]), HYPER, X, np.nan_to_num(values))
    return Plateaus.of(posterior, X, np.array(values))


def test_a_plateau_is_where_the_nearest_has_the_same_value() -> None:
    found = plateaus([1.0, 1.0, 1.0, 0.3, 1.0, 0.2])
    assert found is not None
    assert found.flat.tolist() == [True, True, True, False, False, False]
    near_flat, near_others = np.array([[0.0], [0.34]]), np.array([[0.36], [0.6], [0.9]])
    values, gradients = found.with_gradient(np.concatenate([near_flat, near_others]))
    assert values.tolist() == [-1e6, -1e6, 0.0, 0.0, 0.0]
    assert gradients.shape == (5, 1)
    assert not gradients.any()


def test_values_that_differ_and_failures_make_none() -> None:
    assert plateaus([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]) is None
    assert plateaus([1.0, 0.2, 1.0, 0.4, 1.0, 0.6]) is None
    assert plateaus([np.nan, np.nan, np.nan, 0.4, 0.5, 0.6]) is None


def test_a_config_that_was_evaluated_twice_is_no_plateau() -> None:
    x = np.concatenate([X, X[3:4], X[:1]])
    values = np.array([1.0, 1.0, 0.6, 0.3, 0.5, 0.2, 0.3, 1.0])
    posterior = GPPosterior.of(FeatureMap([Column()]), HYPER, x, values)
    found = Plateaus.of(posterior, x, values)
    assert found is not None
    assert found.flat.tolist() == [True, True, False, False, False, False, False, True]
