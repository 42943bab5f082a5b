"""The closed form equals GPyTorch and a brute-force computation; the fit finds what generated the data."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.linalg import LinAlgError

from raytune_gp.surrogate.features import Column, FeatureMap
from raytune_gp.surrogate.fit import fit, log_density
from raytune_gp.surrogate.gp import NOISE_FLOOR, Hyperparameters, MaternGP, prior_of_logs

LEVELS = (1 / 6, 0.5, 5 / 6)
MIXED = FeatureMap(
    [Column(), Column(LEVELS, categorical=True), Column(conditional=True), Column(LEVELS, True, True)]
)
PLAIN = FeatureMap([Column()] * 3)


def mixed_points(n: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = rng.random((n, 4))
    x[:, [1, 3]] = rng.choice(LEVELS, (n, 2))
    x[rng.random(n) < 0.4, 2:] = np.nan
    return x


def draw(features: FeatureMap, x: np.ndarray, truth: Hyperparameters, seed: int = 0) -> np.ndarray:
    covariance = brute_force_covariance(features, x, truth)
    rng = np.random.default_rng(seed)
    return truth.mean + np.linalg.cholesky(covariance) @ rng.standard_normal(len(x))


def brute_force_covariance(features: FeatureMap, x: np.ndarray, h: Hyperparameters) -> np.ndarray:
    z = features(x)
    k = np.empty((len(x), len(x)))
    for i in range(len(x)):
        for j in range(len(x)):
            parts = [(z[i, c] - z[j, c]) ** 2 / h.lengthscales[g] ** 2 for c, g in enumerate(features.groups)]
            root = np.sqrt(5 * sum(parts))
            k[i, j] = h.scale * (1 + root + root**2 / 3) * np.exp(-root) + h.noise * (i == j)
    return k


HYPER = Hyperparameters((0.4, 0.9, 1.7, 0.6), scale=1.4, noise=0.02, mean=0.3)


def test_log_density_is_that_of_the_normal_distribution_and_the_priors() -> None:
    x = mixed_points(12)
    y = np.random.default_rng(1).standard_normal(12)
    value, _ = log_density(HYPER.theta, MIXED(x), y, MIXED.groups)
    covariance = brute_force_covariance(MIXED, x, HYPER)
    expected = stats.multivariate_normal(np.full(12, HYPER.mean), covariance).logpdf(y)
    means, deviations = prior_of_logs(4)
    expected += stats.norm(means, deviations).logpdf(HYPER.theta[:-1]).sum()
    assert value == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("bend", [False, True])
@pytest.mark.parametrize(("features", "n"), [(MIXED, 40), (PLAIN, 25)])
def test_closed_form_equals_gpytorch(features: FeatureMap, n: int, bend: bool) -> None:
    x = (
        mixed_points(n)[:, : features.dimension]
        if features is MIXED
        else np.random.default_rng(3).random((n, 3))
    )
    y = np.random.default_rng(1).standard_normal(n)
    mapped = torch.from_numpy(features(x))
    warped = features.plain if bend else 0
    model = MaternGP(mapped, torch.from_numpy(y), features.groups, features.dimension, warped, 1.5)
    prior = prior_of_logs(features.dimension, warped, 1.5)
    rng = np.random.default_rng(4)
    for _ in range(3):
        logs = rng.normal(-0.5, 0.7, features.dimension + 2), rng.normal(0.0, 0.5, 2 * warped)
        theta = np.concatenate([*logs, rng.normal(size=1)])
        value, gradient = log_density(theta, mapped.numpy(), y, features.groups, prior)
        expected, expected_gradient = model.log_density(theta)
        assert value == pytest.approx(expected, rel=1e-10)
        np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-7, atol=1e-8)


def test_lengthscales_are_expected_to_grow_with_what_exists_at_once() -> None:
    columns = [Column(), *(Column(conditional=True, share=0.25) for _ in range(4))]
    assert FeatureMap(columns).at_once == 2.0
    means, _ = prior_of_logs(5, at_once=2.0)
    np.testing.assert_allclose(means[:5], prior_of_logs(2)[0][0])
    np.testing.assert_allclose(prior_of_logs(5)[0][:5], np.log(0.35 * np.sqrt(5)))


def test_gpytorch_stays_with_cholesky_beyond_its_own_limit() -> None:
    x = np.random.default_rng(0).random((850, 3))
    y = np.sin(5 * x[:, 0])
    mapped = torch.from_numpy(PLAIN(x))
    theta = Hyperparameters((0.5, 0.5, 0.5), 1.0, 0.01, 0.0).theta
    expected, _ = log_density(theta, mapped.numpy(), y, PLAIN.groups)
    value, _ = MaternGP(mapped, torch.from_numpy(y), PLAIN.groups, 3).log_density(theta)
    assert value == pytest.approx(expected, rel=1e-9)


def test_the_gradient_is_that_of_differences() -> None:
    x = mixed_points(15)
    y = np.random.default_rng(1).standard_normal(15)
    mapped = MIXED(x)
    _, gradient = log_density(HYPER.theta, mapped, y, MIXED.groups)
    for j in range(len(gradient)):
        step = np.zeros_like(gradient)
        step[j] = 1e-6
        up, down = (log_density(HYPER.theta + s, mapped, y, MIXED.groups)[0] for s in (step, -step))
        assert gradient[j] == pytest.approx((up - down) / 2e-6, rel=1e-5, abs=1e-6)


def test_the_fit_is_a_maximum_and_finds_what_matters() -> None:
    truth = Hyperparameters((0.2, 5.0, 0.5), 1.0, 1e-3, 0.0)
    x = np.random.default_rng(0).random((80, 3))
    y = draw(PLAIN, x, truth)
    found = fit(PLAIN, x, y, rng=np.random.default_rng(0))
    assert found.lengthscales[0] < found.lengthscales[2] < found.lengthscales[1]
    assert 0.1 < found.lengthscales[0] < 0.4
    _, gradient = log_density(found.theta, PLAIN(x), y, PLAIN.groups)
    assert np.abs(gradient).max() < 0.3


def test_same_inputs_same_bits_and_no_global_state() -> None:
    x = mixed_points(30)
    y = draw(MIXED, x, HYPER)
    before, dtype = torch.random.get_rng_state(), torch.get_default_dtype()
    first, second = (fit(MIXED, x, y, rng=np.random.default_rng(5)) for _ in range(2))
    assert first == second
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.get_default_dtype() is dtype


def test_a_warm_start_is_no_worse_than_where_it_began() -> None:
    x = mixed_points(40)
    y = draw(MIXED, x, HYPER)
    cold = fit(MIXED, x[:35], y[:35], rng=np.random.default_rng(0))
    warm = fit(MIXED, x, y, rng=np.random.default_rng(0), warm=cold)
    mapped = MIXED(x)
    heights = [log_density(h.theta, mapped, y, MIXED.groups)[0] for h in (cold, warm)]
    assert heights[1] >= heights[0]


def test_gpytorch_can_evaluate_the_fit_and_finds_the_same() -> None:
    x = mixed_points(20)
    y = draw(MIXED, x, HYPER)
    closed = fit(MIXED, x, y, rng=np.random.default_rng(0))
    by_gpytorch = fit(MIXED, x, y, rng=np.random.default_rng(0), device="cpu:0")
    np.testing.assert_allclose(by_gpytorch.theta, closed.theta, rtol=1e-3, atol=1e-3)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no GPU")
def test_a_gpu_finds_the_hyperparameters_that_the_cpu_finds() -> None:
    x = mixed_points(40)
    y = draw(MIXED, x, HYPER)
    for bend in (False, True):
        on_cpu, on_gpu = (
            fit(MIXED, x, y, rng=np.random.default_rng(0), bend=bend, device=device)
            for device in ("cpu", "cuda")
        )
        np.testing.assert_allclose(on_gpu.theta, on_cpu.theta, rtol=1e-3, atol=1e-3)


def test_many_points_are_fitted_by_a_subset() -> None:
    x = np.random.default_rng(0).random((700, 3))
    y = np.sin(6 * x[:, 0]) + x[:, 1]
    found = fit(PLAIN, x, (y - y.mean()) / y.std(), rng=np.random.default_rng(0))
    assert found.lengthscales[0] < found.lengthscales[2]


def test_duplicated_points_and_constant_targets_are_no_trouble() -> None:
    x = np.tile(mixed_points(3), (6, 1))
    found = fit(MIXED, x, np.zeros(18), rng=np.random.default_rng(0))
    assert found.noise >= 0.999 * NOISE_FLOOR


def test_targets_that_are_no_numbers_are_an_error() -> None:
    with pytest.raises(LinAlgError, match="is a target not finite"):
        fit(PLAIN, np.random.default_rng(0).random((5, 3)), np.full(5, np.nan), rng=np.random.default_rng(0))


def test_hyperparameters_survive_json_bit_for_bit() -> None:
    odd = Hyperparameters((0.1 + 0.2, 1 / 3), 1.1, 1e-6, -0.7)
    assert Hyperparameters.from_json(json.loads(json.dumps(odd.to_json())), 2, 2) == odd


@pytest.mark.parametrize(
    "data",
    [None, {}, {"lengthscales": [1.0], "scale": 1, "noise": 1, "mean": 0}, {"lengthscales": 3}]
    + [{"lengthscales": [1.0, v], "scale": 1.0, "noise": 0.1, "mean": 0.0} for v in (0.0, -1.0, np.nan, "x")],
)
def test_a_memory_that_does_not_fit_is_no_memory(data: dict) -> None:
    assert Hyperparameters.from_json(data, 2, 2) is None


def test_a_column_that_is_steep_at_one_end_is_bent_so_that_the_fit_is_better() -> None:
    x = np.random.default_rng(0).random((60, 2))
    y = np.sin(6 * np.log(x[:, 0] + 1e-3)) + 0.1 * x[:, 1]
    y = (y - y.mean()) / y.std()
    features = FeatureMap([Column(), Column()])
    straight = fit(features, x, y, rng=np.random.default_rng(0))
    bent = fit(features, x, y, rng=np.random.default_rng(0), bend=True)
    assert not straight.warps
    assert bent.warps[0][0] < 0.7, "the lower end is stretched"
    heights = [log_density(h.theta, features(x), y, features.groups)[0] for h in (straight, bent)]
    assert heights[1] > heights[0] + 3
    again = Hyperparameters.from_json(bent.to_json(), 2, 2)
    assert again == bent
    assert Hyperparameters.from_json(bent.to_json(), 2, 1) is None, "those of another space"
    warm = fit(features, x, y, rng=np.random.default_rng(1), warm=again, bend=True)
    assert log_density(warm.theta, features(x), y, features.groups)[0] > heights[1] - 0.1


def test_a_fit_without_plain_columns_is_never_bent() -> None:
    features = FeatureMap([Column((0.25, 0.75), categorical=True)])
    x = np.array([[0.25], [0.75]] * 5)
    assert fit(features, x, x[:, 0] - 0.5, rng=np.random.default_rng(0), bend=True).warps == ()
