"""The distances of the kernel: euclidean, Hamming, and between what is active and what is not."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from raytune_gp.surrogate.features import Column, FeatureMap, snap

THIRDS = (1 / 6, 0.5, 5 / 6)


def squared_distance(column: Column, a: float, b: float) -> float:
    features = FeatureMap([column])(torch.tensor([[a], [b]], dtype=torch.float64))
    return float((features[0] - features[1]).square().sum())


def test_plain_columns_are_compared_by_value() -> None:
    assert squared_distance(Column(), 0.2, 0.5) == pytest.approx(0.09)


@pytest.mark.parametrize("conditional", [False, True])
def test_categories_are_equal_or_one_apart(conditional: bool) -> None:
    column = Column(THIRDS, categorical=True, conditional=conditional)
    assert squared_distance(column, THIRDS[0], THIRDS[0]) == 0
    assert squared_distance(column, THIRDS[0], THIRDS[1]) == pytest.approx(1)
    assert squared_distance(column, THIRDS[0], THIRDS[2]) == pytest.approx(1)


def test_inactive_is_one_from_every_active_value_and_equal_to_itself() -> None:
    for column in (Column(conditional=True), Column(THIRDS, categorical=True, conditional=True)):
        for value in THIRDS:
            assert squared_distance(column, value, math.nan) == pytest.approx(1)
        assert squared_distance(column, math.nan, math.nan) == 0


def test_active_values_of_a_condition_are_nearly_as_far_apart_as_plain_ones() -> None:
    column = Column(conditional=True)
    assert squared_distance(column, 0.1, 0.4) == pytest.approx(0.3**2, rel=0.01)
    assert squared_distance(column, 0.0, 1.0) == pytest.approx((2 * math.sin(0.5)) ** 2)


def test_gradients_pass_through_active_columns_and_are_finite_at_inactive_ones() -> None:
    x = torch.tensor([[0.3, math.nan], [0.4, 0.5]], dtype=torch.float64, requires_grad=True)
    FeatureMap([Column(), Column(conditional=True)])(x).sum().backward()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()
    assert x.grad[0, 1] == 0
    assert x.grad[1, 1] == pytest.approx(math.cos(0.5) - math.sin(0.5))


def test_snap_takes_the_nearest_level_and_leaves_inactive_and_continuous_alone() -> None:
    columns = [Column(THIRDS), Column()]
    x = np.array([[0.3, 0.3], [0.99, 0.7], [math.nan, 0.1]])
    np.testing.assert_array_equal(snap(columns, x), [[1 / 6, 0.3], [5 / 6, 0.7], [math.nan, 0.1]])


def test_a_categorical_column_needs_its_levels() -> None:
    with pytest.raises(ValueError, match="grid=None"):
        Column(categorical=True)
