"""The distances of the kernel: euclidean, Hamming, and between what is active and what is not."""

from __future__ import annotations

import math

import numpy as np
import pytest

from raytune_gp.surrogate.features import Column, FeatureMap, snap

THIRDS = (1 / 6, 0.5, 5 / 6)


def squared_distance(column: Column, a: float, b: float) -> float:
    features = FeatureMap([column])(np.array([[a], [b]]))
    return float(((features[0] - features[1]) ** 2).sum())


def test_plain_columns_are_compared_by_value() -> None:
    assert squared_distance(Column(), 0.2, 0.5) == pytest.approx(0.09)


@pytest.mark.parametrize("levels", [2, 3, 7])
@pytest.mark.parametrize("conditional", [False, True])
def test_categories_drawn_at_random_are_as_far_apart_as_floats(levels: int, conditional: bool) -> None:
    places = tuple((np.arange(levels) + 0.5) / levels)
    column = Column(places, categorical=True, conditional=conditional)
    values = [*places, math.nan] if conditional else places
    mean = np.mean([squared_distance(column, a, b) for a in values for b in values])
    u = (np.arange(1000) + 0.5) / 1000
    assert mean == pytest.approx(np.mean((u[:, None] - u) ** 2), rel=1e-5)


@pytest.mark.parametrize("conditional", [False, True])
def test_categories_are_equal_or_all_equally_far_apart(conditional: bool) -> None:
    column = Column(THIRDS, categorical=True, conditional=conditional)
    values = [*THIRDS, math.nan] if conditional else THIRDS
    apart = squared_distance(column, THIRDS[0], THIRDS[1])
    for i, a in enumerate(values):
        for j, b in enumerate(values):
            assert squared_distance(column, a, b) == (pytest.approx(apart) if i != j else 0)


def test_a_category_of_one_level_is_no_distance() -> None:
    assert squared_distance(Column((0.5,), categorical=True), 0.5, 0.5) == 0


def test_inactive_is_one_from_every_active_number_and_equal_to_itself() -> None:
    column = Column(conditional=True)
    for value in THIRDS:
        assert squared_distance(column, value, math.nan) == pytest.approx(1)
    assert squared_distance(column, math.nan, math.nan) == 0


def test_active_values_of_a_condition_are_nearly_as_far_apart_as_plain_ones() -> None:
    column = Column(conditional=True)
    assert squared_distance(column, 0.1, 0.4) == pytest.approx(0.3**2, rel=0.01)
    assert squared_distance(column, 0.0, 1.0) == pytest.approx((2 * math.sin(0.5)) ** 2)


def test_gradients_are_pulled_back_through_all_kinds_of_columns() -> None:
    columns = [Column(conditional=True), Column(THIRDS, categorical=True), Column(), Column(conditional=True)]
    features = FeatureMap(columns)
    x = np.array([[0.4, 0.5, 0.3, math.nan], [0.7, 1 / 6, 0.9, 0.2]])
    weights = np.random.default_rng(0).standard_normal((2, len(features.groups)))
    pulled = features.pull_back(x, weights)
    for j in (0, 2, 3):
        step = np.zeros(4)
        step[j] = 1e-6
        slope = ((features(x + step) - features(x - step)) * weights).sum(1) / 2e-6
        np.testing.assert_allclose(pulled[:, j], slope, atol=1e-8)
    assert (pulled[:, 1] == 0).all(), "a category does not move by a little"
    assert pulled[0, 3] == 0, "nor does what is inactive"


def test_snap_takes_the_nearest_level_and_leaves_inactive_and_continuous_alone() -> None:
    columns = [Column(THIRDS), Column()]
    x = np.array([[0.3, 0.3], [0.99, 0.7], [math.nan, 0.1]])
    np.testing.assert_array_equal(snap(columns, x), [[1 / 6, 0.3], [5 / 6, 0.7], [math.nan, 0.1]])


def test_a_categorical_column_needs_its_levels() -> None:
    with pytest.raises(ValueError, match="grid=None"):
        Column(categorical=True)
