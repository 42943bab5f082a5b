"""The output warp: monotone, invertible, and calm about whatever metrics come."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from raytune_gp.surrogate.transforms import OutputWarp, yeo_johnson, yeo_johnson_inverse


@pytest.mark.parametrize("power", [-0.7, 0.0, 0.5, 1.0, 2.0, 2.6])
def test_yeo_johnson_is_scipys_and_its_inverse_undoes_it(power: float) -> None:
    values = np.linspace(-4, 4, 41)
    warped = yeo_johnson(values, power)
    np.testing.assert_allclose(warped, stats.yeojohnson(values, lmbda=power), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(yeo_johnson_inverse(warped, power), values, rtol=1e-9, atol=1e-12)


def test_the_power_is_that_of_highest_likelihood() -> None:
    values = np.random.default_rng(0).lognormal(size=200)
    warp = OutputWarp.fit(values, maximise=True)
    scaled = (np.ldexp(np.maximum(values, warp.floor), -warp.exponent) - warp.centre) / warp.spread
    likelihood = [stats.yeojohnson_llf(p, scaled) for p in (warp.power - 0.05, warp.power, warp.power + 0.05)]
    assert likelihood[1] == max(likelihood)


@pytest.mark.parametrize("maximise", [True, False])
def test_targets_are_standardised_ordered_and_to_be_maximised(maximise: bool) -> None:
    values = np.random.default_rng(1).normal(3, 20, 50)
    targets = OutputWarp.fit(values, maximise=maximise).forward(values)
    assert targets.mean() == pytest.approx(0, abs=1e-9)
    assert targets.std() == pytest.approx(1)
    good_first = np.argsort(-values if maximise else values)
    assert (np.diff(targets[good_first]) <= 0).all()


def test_a_disaster_does_not_squeeze_the_good_values_together() -> None:
    values = np.append(np.linspace(0.8, 0.9, 20), -1e6)
    targets = OutputWarp.fit(values, maximise=True).forward(values)
    assert np.ptp(targets[:20]) > 1.5


def test_failures_get_the_worst_target() -> None:
    values = np.array([1.0, np.nan, 3.0, 2.0, np.inf])
    targets = OutputWarp.fit(values, maximise=False).forward(values)
    assert targets[1] == targets[4] == targets[2] == targets.min()


def test_predictions_come_back_in_the_metrics_units() -> None:
    values = np.random.default_rng(2).lognormal(size=60)
    warp = OutputWarp.fit(values, maximise=False)
    targets = warp.forward(values)
    best = int(values.argmin())
    median, half_width = warp.inverse(targets[best], 0.1)
    assert median == pytest.approx(values[best])
    assert 0 < half_width < 1


@pytest.mark.parametrize(
    "values",
    [[5.0], [5.0] * 9, [0.0] * 8 + [1.0], [1e-300, 2e-300, 3e-300, 5e-300], [1e300, -1e308, 0.0, 1.0, 2.0]],
    ids=["one", "equal", "two values", "tiny", "huge"],
)
def test_degenerate_metrics_give_finite_targets(values: list[float]) -> None:
    array = np.array(values)
    warp = OutputWarp.fit(array, maximise=True)
    assert np.isfinite(warp.forward(array)).all()
    assert np.isfinite(warp.inverse(30.0, 5.0)).all()


@pytest.mark.parametrize("unit", [1e-290, 1e-170, 1e-14, 1e14, 1e160, 1e306])
def test_targets_are_the_same_in_any_unit(unit: float) -> None:
    values = np.random.default_rng(0).exponential(1.0, 20)
    targets = OutputWarp.fit(values, maximise=False).forward(values)
    in_unit = OutputWarp.fit(unit * values, maximise=False).forward(unit * values)
    np.testing.assert_allclose(in_unit, targets, rtol=1e-6, atol=1e-9)


def test_no_value_at_all_is_an_error() -> None:
    with pytest.raises(ValueError, match="none of the 2 values is finite"):
        OutputWarp.fit(np.array([np.nan, np.inf]), maximise=True)
