"""The weight of feasibility: a probability, its gradient, and what it does to expected improvement."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from raytune_gp.acquisition.feasibility import Feasibility
from raytune_gp.acquisition.logei import LogEI
from raytune_gp.acquisition.weights import WeightedLogEI
from raytune_gp.surrogate.features import Column, FeatureMap
from raytune_gp.surrogate.gp import Hyperparameters
from raytune_gp.surrogate.posterior import GPPosterior

FEATURES = FeatureMap([Column(), Column()])
HYPER = Hyperparameters((0.3, 0.5), scale=1.0, noise=0.05, mean=0.0)
RNG = np.random.default_rng(0)
X, NEW = RNG.random((20, 2)), RNG.random((5, 2))
LABELS = np.where(X[:, 0] < 0.5, 1.0, -1.0)
FEASIBILITY = Feasibility(GPPosterior.of(FEATURES, HYPER, X, LABELS), threshold=0.0, noise=0.05)


def test_it_is_the_probability_that_a_label_is_above_the_threshold() -> None:
    means, variance = FEASIBILITY.posterior.marginals(NEW)
    expected = norm.sf(0.0, means[:, 0], np.sqrt(variance + 0.05))
    np.testing.assert_allclose(np.exp(FEASIBILITY(NEW)), expected)


def test_where_all_failed_is_unlikely_and_where_none_did_is_likely() -> None:
    low, high = np.exp(FEASIBILITY(np.array([[0.9, 0.5], [0.1, 0.5]])))
    assert low < 0.1
    assert high > 0.9


@pytest.mark.parametrize("weighted", [False, True])
def test_gradients_are_those_of_differences(weighted: bool) -> None:
    improvement = LogEI(GPPosterior.of(FEATURES, HYPER, X, np.sin(5 * X[:, 1])), np.array([0.9]))
    function = WeightedLogEI(improvement, [FEASIBILITY]) if weighted else FEASIBILITY
    values, gradients = function.with_gradient(NEW)
    np.testing.assert_allclose(values, function(NEW), rtol=1e-10)
    for j in range(2):
        step = 1e-6 * np.eye(2)[j]
        slope = (function(NEW + step) - function(NEW - step)) / 2e-6
        np.testing.assert_allclose(gradients[:, j], slope, rtol=1e-5, atol=1e-6)
