"""The exactly solvable model against dense linear algebra, scipy,
scikit-learn and the laws it must obey.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA, FactorAnalysis
from torch import Tensor

from nelbo.linear import (
    LinearGaussian,
    covariance,
    eigen,
    factor_analysis,
    moments,
    ppca,
)
from nelbo.linear import (
    model as linear_model,
)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def model(features: int = 7, latent: int = 3, per_feature: bool = True) -> LinearGaussian:
    variance = (
        normal(features, seed=3).exp() if per_feature else torch.tensor(0.3, dtype=torch.float64)
    )
    return LinearGaussian(normal(features, latent, seed=1), normal(features, seed=2), variance)


def dense_covariance(m: LinearGaussian) -> Tensor:
    return m.weight @ m.weight.T + torch.diag(m.variance.expand_as(m.bias))


def mean_log_prob(m: LinearGaussian, mean: Tensor, covariance: Tensor) -> float:
    """Average log p over any data with these moments, by dense algebra:
    the likelihood that ML maximises.
    """
    sigma = dense_covariance(m)
    offset = mean - m.bias
    second = covariance + torch.outer(offset, offset)
    quadratic = torch.linalg.solve(sigma, second).trace()
    return float(-0.5 * (len(mean) * math.log(2 * math.pi) + torch.logdet(sigma) + quadratic))


@pytest.fixture(scope="module")
def digits() -> tuple[Tensor, Tensor]:
    x = torch.from_numpy(load_digits().data)
    return x[:1200], x[1200:]


# The density and the posterior


@pytest.mark.parametrize("per_feature", [False, True])
@pytest.mark.parametrize(("features", "latent"), [(7, 3), (3, 5), (1, 1), (5, 5)])
def test_log_prob_is_the_gaussian_density(features: int, latent: int, per_feature: bool) -> None:
    m = model(features, latent, per_feature)
    x = 3 * normal(50, features, seed=4)
    expected = multivariate_normal(m.bias.numpy(), dense_covariance(m).numpy()).logpdf(x.numpy())
    np.testing.assert_allclose(m.log_prob(x), expected, rtol=1e-10, atol=1e-10)


def test_density_integrates_to_one() -> None:
    m = LinearGaussian(
        torch.tensor([[0.8, 0.1], [-0.5, 0.4]], dtype=torch.float64),
        torch.tensor([1.0, -2.0], dtype=torch.float64),
        torch.tensor([0.2, 0.5], dtype=torch.float64),
    )
    axis = torch.linspace(-12, 12, 601, dtype=torch.float64)
    mass = m.log_prob(torch.cartesian_prod(axis, axis)).exp().sum() * (axis[1] - axis[0]) ** 2
    assert mass.item() == pytest.approx(1.0, abs=1e-10)


@pytest.mark.parametrize("per_feature", [False, True])
def test_posterior_is_the_joint_gaussian_conditioned(per_feature: bool) -> None:
    m = model(per_feature=per_feature)
    x = normal(20, 7, seed=5)
    gain = torch.linalg.solve(dense_covariance(m), m.weight).T
    mean, covariance = m.posterior(x)
    torch.testing.assert_close(mean, (x - m.bias) @ gain.T, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(
        covariance, torch.eye(3, dtype=torch.float64) - gain @ m.weight, rtol=1e-10, atol=1e-10
    )
    matrix, offset = m.posterior_affine()
    torch.testing.assert_close(x @ matrix.T + offset, mean, rtol=1e-12, atol=1e-12)


def test_bayes_rule_holds_at_any_latent() -> None:
    """`log p(x) = log p(x|z) + log p(z) - log p(z|x)` for every z:
    the identity all bounds rest on.
    """
    m = model()
    x, z = normal(20, 7, seed=5), 2 * normal(20, 3, seed=6)
    mean, covariance = m.posterior(x)
    log_lik = (
        torch.distributions.Normal(z @ m.weight.T + m.bias, m.variance.sqrt()).log_prob(x).sum(1)
    )
    log_prior = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(1)
    log_post = torch.distributions.MultivariateNormal(mean, covariance).log_prob(z)
    torch.testing.assert_close(
        m.log_prob(x), log_lik + log_prior - log_post, rtol=1e-11, atol=1e-11
    )


def test_small_noise_costs_no_accuracy() -> None:
    """With noise 1e-10 of the signal the naive Woodbury difference loses ten digits;
    ours may not.
    """
    m = LinearGaussian(
        torch.tensor([[1.0], [0.0]], dtype=torch.float64),
        torch.zeros(2, dtype=torch.float64),
        torch.tensor(1e-10, dtype=torch.float64),
    )
    x = torch.tensor([[3.0, 2e-5], [-1.0, 0.0]], dtype=torch.float64)
    exact = torch.distributions.Normal(
        0.0, torch.tensor([1 + 1e-10, 1e-10], dtype=torch.float64).sqrt()
    )
    torch.testing.assert_close(m.log_prob(x), exact.log_prob(x).sum(1), rtol=1e-12, atol=0.0)


def test_answers_do_not_depend_on_the_chunk_size(monkeypatch: pytest.MonkeyPatch) -> None:
    m, x = model(), normal(101, 7, seed=5)
    whole = m.log_prob(x), m.posterior(x)[0]
    monkeypatch.setattr(linear_model, "CHUNK_ELEMENTS", 60)
    torch.testing.assert_close(m.log_prob(x), whole[0], rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(m.posterior(x)[0], whole[1], rtol=1e-13, atol=1e-13)


def test_float32_rows_are_scored_in_float64() -> None:
    m, x = model(), normal(10, 7).float()
    assert m.log_prob(x).dtype == torch.float64
    assert torch.equal(m.log_prob(x), m.log_prob(x.double()))


def test_wrong_parameters_are_refused() -> None:
    m = model()
    with pytest.raises(TypeError, match=r"weight must be a float64 tensor, got torch.float32"):
        LinearGaussian(m.weight.float(), m.bias, m.variance)
    with pytest.raises(ValueError, match=r"got \(7, 3\) and \(6,\)"):
        LinearGaussian(m.weight, m.bias[:6], m.variance)
    with pytest.raises(ValueError, match=r"variance must have shape \(\) or \(7,\), got \(1,\)"):
        LinearGaussian(m.weight, m.bias, m.variance[:1])
    with pytest.raises(ValueError, match="variance must be positive, got 0"):
        LinearGaussian(m.weight, m.bias, 0 * m.variance)
    for method in (m.log_prob, m.posterior):
        with pytest.raises(ValueError, match=r"x must have shape \(n, 7\), got \(2, 6\)"):
            method(torch.zeros(2, 6))


# Moments


@pytest.fixture(params=["exact", "fast"])
def road(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Send small inputs down both roads, in several chunks."""
    monkeypatch.setattr(covariance, "EXACT_WORK", math.inf if request.param == "exact" else 0)
    monkeypatch.setattr(covariance, "CHUNK_ELEMENTS", 1)
    return str(request.param)


def check_moments(x: Tensor, tolerance: float) -> None:
    """Compare with numpy in extended precision,
    each covariance in units of its two standard deviations.
    """
    reference = x.double().numpy().astype(np.longdouble)
    mean, covariance = moments(x)
    assert mean.dtype == covariance.dtype == torch.float64
    centred = (reference - reference.mean(0)).astype(np.float64)
    expected = centred.T @ centred / len(x)
    sd = np.sqrt(np.diag(expected))
    np.testing.assert_allclose((mean.numpy() - reference.mean(0)) / sd, 0.0, atol=tolerance)
    np.testing.assert_allclose(
        (covariance.numpy() - expected) / np.outer(sd, sd), 0.0, atol=tolerance
    )
    assert torch.equal(covariance, covariance.T)


@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float32, torch.bfloat16, torch.uint8, torch.int64]
)
def test_moments_of_any_dtype(road: str, dtype: torch.dtype) -> None:
    x = (normal(1000, 9) @ normal(9, 9, seed=1) * 20 + 100).clamp(0, 255).to(dtype)
    # the many equal values at the ends round alike
    check_moments(x, 1e-12 if road == "exact" else 1e-5)


@pytest.mark.parametrize("features", [1, 2, 199, 201, 650])
def test_moments_fill_every_block(road: str, features: int) -> None:
    check_moments(normal(700, features), 1e-12 if road == "exact" else 1e-6)


def test_moments_of_strided_rows(road: str) -> None:
    x = normal(600, 40)
    check_moments(x[::2, 1::3], 1e-12 if road == "exact" else 1e-6)
    check_moments(x.T.contiguous().T, 1e-12 if road == "exact" else 1e-6)


def test_moments_under_a_great_mean(road: str) -> None:
    """Mean 1e6 and spread 1e-3: one-pass formulas return noise here;
    float64 resolves 1e-7 of the spread.
    """
    check_moments(1e6 + 1e-3 * normal(900, 5), 1e-6)


def test_moments_with_drift(road: str) -> None:
    check_moments(normal(900, 5) + torch.linspace(-50, 50, 900, dtype=torch.float64)[:, None], 1e-6)


def test_moments_of_columns_of_very_different_scale(road: str) -> None:
    check_moments(normal(800, 3) * torch.tensor([1e-8, 1.0, 1e8], dtype=torch.float64), 1e-6)


@pytest.mark.parametrize("scale", [1e-30, 1e-25, 1e25, 1e60])
def test_moments_beyond_the_range_of_float32(road: str, scale: float) -> None:
    check_moments(normal(800, 3) * scale, 1e-12)


def test_moments_of_one_row_and_of_equal_rows(road: str) -> None:
    for x in (normal(1, 4), normal(1, 4).expand(500, 4)):
        mean, covariance = moments(x)
        torch.testing.assert_close(mean, x[0], rtol=1e-15, atol=0.0)
        assert covariance.abs().max() < 1e-30


def test_moments_refuse_what_has_none(road: str) -> None:
    for shape in ((0, 3), (3, 0), (3,), (2, 2, 2)):
        with pytest.raises(ValueError, match="x must have shape"):
            moments(torch.zeros(shape))
    x = normal(400, 3)
    x[350, 1] = math.inf
    with pytest.raises(ValueError, match="holds infinity"):
        moments(x)


def test_large_input_takes_the_fast_road_accurately() -> None:
    x = normal(12_000, 600).float() + 3
    assert x.shape[0] * x.shape[1] ** 2 > covariance.EXACT_WORK
    check_moments(x, 1e-6)


# Probabilistic PCA


@pytest.mark.parametrize("latent_dim", [1, 5, 20, 60])
def test_ppca_is_sklearns_pca(digits: tuple[Tensor, Tensor], latent_dim: int) -> None:
    train, test = digits
    mean, covariance = moments(train)
    # sklearn divides by n - 1
    m = ppca(mean, covariance * len(train) / (len(train) - 1), latent_dim)
    oracle = PCA(latent_dim, svd_solver="full").fit(train.numpy())
    assert m.variance.item() == pytest.approx(oracle.noise_variance_, rel=1e-8)
    np.testing.assert_allclose(m.log_prob(test), oracle.score_samples(test.numpy()), rtol=1e-8)


def test_ppca_recovers_the_model_it_is_given() -> None:
    m = model(12, 4, per_feature=False)
    found = ppca(m.bias, dense_covariance(m), 4)
    assert found.variance.item() == pytest.approx(0.3, rel=1e-10)
    torch.testing.assert_close(
        found.weight @ found.weight.T, m.weight @ m.weight.T, rtol=1e-9, atol=1e-9
    )


def test_ppca_is_a_maximum(digits: tuple[Tensor, Tensor]) -> None:
    mean, covariance = moments(digits[0])
    mean, covariance = mean[20:40], covariance[20:40, 20:40]
    best = ppca(mean, covariance, 4)
    height = mean_log_prob(best, mean, covariance)
    for seed in range(20):
        moved = LinearGaussian(
            best.weight + 0.05 * normal(20, 4, seed=seed),
            best.bias + 0.05 * normal(20, seed=seed + 100),
            best.variance * (0.05 * normal(1, seed=seed + 200)).exp().squeeze(),
        )
        assert mean_log_prob(moved, mean, covariance) < height


def test_ppca_columns_are_orthogonal_descending_and_of_fixed_sign(
    digits: tuple[Tensor, Tensor],
) -> None:
    weight = ppca(*moments(digits[0]), 10).weight
    gram = weight.T @ weight
    torch.testing.assert_close(gram, torch.diag(gram.diagonal()), rtol=0.0, atol=1e-9)
    assert (gram.diagonal().diff() < 0).all()
    assert (weight.amax(0) == weight.abs().amax(0)).all()


def test_ppca_posterior_is_diagonal(digits: tuple[Tensor, Tensor]) -> None:
    train, test = digits
    _, covariance = ppca(*moments(train), 6).posterior(test)
    torch.testing.assert_close(covariance, torch.diag(covariance.diagonal()), rtol=0.0, atol=1e-12)


@pytest.mark.parametrize("latent_dim", [4, 5, 9])
def test_ppca_with_more_latents_than_features(latent_dim: int) -> None:
    """D - 1 directions are used, one remains for the noise: p(x) is the full Gaussian exactly."""
    x = normal(300, 5) @ normal(5, 5, seed=1)
    mean, covariance = moments(x)
    m = ppca(mean, covariance, latent_dim)
    assert m.weight.shape == (5, latent_dim)
    assert (m.weight[:, 4:] == 0).all()
    torch.testing.assert_close(dense_covariance(m), covariance, rtol=1e-10, atol=1e-10)


def test_ppca_of_one_feature_is_a_normal() -> None:
    mean, covariance = moments(3 + 2 * normal(200, 1))
    m = ppca(mean, covariance, 2)
    assert torch.equal(m.weight, torch.zeros(1, 2, dtype=torch.float64))
    assert m.variance.item() == pytest.approx(covariance.item(), rel=1e-14)


def test_ppca_of_white_data_has_no_directions() -> None:
    m = ppca(torch.zeros(6, dtype=torch.float64), 2.5 * torch.eye(6, dtype=torch.float64), 3)
    assert m.variance.item() == pytest.approx(2.5, rel=1e-14)
    assert m.weight.abs().max() < 1e-6


@pytest.mark.parametrize("fit", [ppca, factor_analysis])
def test_noise_floor_is_relative_to_the_data(fit: Callable[..., LinearGaussian]) -> None:
    line = normal(50, 1) @ normal(1, 4, seed=1)
    for scale in (1e-4, 1.0, 1e4):
        mean, covariance = moments(scale * line)
        m = fit(mean, covariance, 1, floor=1e-3)
        least = 1e-3 * covariance.diagonal().mean()
        torch.testing.assert_close(m.variance, least.expand_as(m.variance), rtol=1e-2, atol=0.0)


@pytest.mark.parametrize("fit", [ppca, factor_analysis])
def test_all_rows_equal_gives_the_floor_itself(fit: Callable[..., LinearGaussian]) -> None:
    m = fit(
        torch.ones(3, dtype=torch.float64), torch.zeros(3, 3, dtype=torch.float64), 2, floor=1e-4
    )
    assert (m.weight == 0).all()
    torch.testing.assert_close(m.variance, torch.full_like(m.variance, 1e-4))


@pytest.mark.parametrize("spectrum", ["decaying", "low rank", "tied", "flat", "white with spikes"])
def test_iterative_eigenvectors_equal_lapacks(spectrum: str) -> None:
    """Above some hundred features a Krylov iteration replaces `eigh`:
    W W^T and beta^2 must not tell.
    """
    features, latent_dim = 600, 6
    index = torch.arange(features, dtype=torch.float64)
    values = {
        "decaying": 1 / (1 + index) ** 1.2,
        "low rank": (index < 3).double(),
        "tied": 1 + (index < 4).double() + (index < 2).double(),
        "flat": torch.ones_like(index),
        "white with spikes": torch.where(index < latent_dim, 1.5, 1 + 0.2 * torch.cos(index)),
    }[spectrum]
    basis = torch.linalg.qr(normal(features, features))[0]
    covariance = (basis * values) @ basis.T
    covariance = (covariance + covariance.T) / 2
    m = ppca(torch.zeros(features, dtype=torch.float64), covariance, latent_dim)
    eigenvalues, eigenvectors = torch.linalg.eigh(covariance)
    rest = eigenvalues[:-latent_dim].clamp(min=0).mean().clamp(min=1e-6 * values.mean())
    excess = (eigenvalues[-latent_dim:] - rest).clamp(min=0)
    expected = (eigenvectors[:, -latent_dim:] * excess) @ eigenvectors[:, -latent_dim:].T
    assert m.variance.item() == pytest.approx(rest.item(), rel=1e-8)
    torch.testing.assert_close(m.weight @ m.weight.T, expected, rtol=0.0, atol=1e-8)


def test_unsettled_iteration_falls_back_to_lapack(monkeypatch: pytest.MonkeyPatch) -> None:
    root = normal(600, 700)
    mean, covariance = torch.zeros(600, dtype=torch.float64), root @ root.T / 700
    settled = ppca(mean, covariance, 4)
    monkeypatch.setattr(eigen, "_krylov", lambda *_: None)
    torch.testing.assert_close(
        ppca(mean, covariance, 4).weight, settled.weight, rtol=1e-6, atol=1e-8
    )


def test_fits_leave_the_global_random_state_alone() -> None:
    before = torch.get_rng_state()
    root = normal(600, 700)
    ppca(torch.zeros(600, dtype=torch.float64), root @ root.T, 3)
    factor_analysis(torch.zeros(600, dtype=torch.float64), root @ root.T, 1, max_iter=2)
    assert torch.equal(torch.get_rng_state(), before)


# Factor analysis


@pytest.mark.parametrize("latent_dim", [1, 4, 10])
def test_factor_analysis_reaches_sklearns_likelihood(
    digits: tuple[Tensor, Tensor], latent_dim: int
) -> None:
    """Both maximise the same function. Columns that never vary are left out:
    there it has no maximum.
    """
    train, test = digits
    varied = train.std(0) > 0.3
    train, test = train[:, varied], test[:, varied]
    m = factor_analysis(*moments(train), latent_dim)
    oracle = FactorAnalysis(latent_dim, svd_method="lapack", tol=1e-7, max_iter=20_000).fit(
        train.numpy()
    )
    assert m.log_prob(train).mean().item() == pytest.approx(oracle.score(train.numpy()), abs=1e-5)
    assert m.log_prob(test).mean().item() == pytest.approx(oracle.score(test.numpy()), abs=1e-2)
    np.testing.assert_allclose(m.variance, oracle.noise_variance_, rtol=1e-2)


def test_factor_analysis_recovers_the_model_it_is_given() -> None:
    m = model(12, 3)
    found = factor_analysis(m.bias, dense_covariance(m), 3, tol=1e-14)
    torch.testing.assert_close(found.variance, m.variance, rtol=1e-4, atol=0.0)
    torch.testing.assert_close(dense_covariance(found), dense_covariance(m), rtol=1e-4, atol=1e-5)


def test_factor_analysis_fits_every_variance_exactly(digits: tuple[Tensor, Tensor]) -> None:
    """At the maximum the model's feature variances are the data's,
    and its posterior is diagonal.
    """
    x = digits[0][:, 18:46]
    x = x[:, x.std(0) > 1]
    mean, covariance = moments(x)
    m = factor_analysis(mean, covariance, 3, tol=1e-13)
    torch.testing.assert_close(
        dense_covariance(m).diagonal(), covariance.diagonal(), rtol=1e-5, atol=0.0
    )
    precision = m.posterior(x)[1]
    torch.testing.assert_close(precision, torch.diag(precision.diagonal()), rtol=0.0, atol=1e-12)
    assert (m.weight.amax(0) == m.weight.abs().amax(0)).all()
    assert mean_log_prob(m, mean, covariance) > mean_log_prob(
        ppca(mean, covariance, 3), mean, covariance
    )


def test_factor_analysis_does_not_depend_on_the_units() -> None:
    m = model(8, 2)
    unit = torch.tensor([1.0, 10.0, 0.1, 5.0, 2.0, 0.5, 1.0, 3.0], dtype=torch.float64)
    plain = factor_analysis(m.bias, dense_covariance(m), 2, floor=1e-9)
    scaled = factor_analysis(
        unit * m.bias, dense_covariance(m) * torch.outer(unit, unit), 2, floor=1e-9
    )
    torch.testing.assert_close(scaled.variance, plain.variance * unit.square(), rtol=1e-3, atol=0.0)


def test_constant_columns_get_the_floor(digits: tuple[Tensor, Tensor]) -> None:
    train, test = digits
    mean, covariance = moments(train)
    constant = covariance.diagonal() == 0
    assert constant.sum() == 3
    m = factor_analysis(mean, covariance, 5)
    least = 1e-6 * covariance.diagonal().mean()
    torch.testing.assert_close(m.variance[constant], least.expand(3), rtol=1e-2, atol=0.0)
    assert (m.variance >= least).all()
    assert m.log_prob(test).isfinite().all()


def test_factor_analysis_of_one_feature_is_a_normal() -> None:
    m = factor_analysis(
        torch.zeros(1, dtype=torch.float64), torch.full((1, 1), 4.0, dtype=torch.float64), 2
    )
    assert torch.equal(m.weight, torch.zeros(1, 2, dtype=torch.float64))
    assert m.variance.item() == pytest.approx(4.0, rel=1e-4)


@pytest.mark.parametrize("fit", [ppca, factor_analysis])
def test_wrong_moments_are_refused(fit: Callable[..., LinearGaussian]) -> None:
    mean, covariance = torch.zeros(3, dtype=torch.float64), torch.eye(3, dtype=torch.float64)
    with pytest.raises(ValueError, match="latent_dim must be at least 1, got 0"):
        fit(mean, covariance, 0)
    with pytest.raises(ValueError, match="floor must be positive, got 0"):
        fit(mean, covariance, 1, floor=0.0)
    with pytest.raises(ValueError, match=r"got \(2,\) and \(3, 3\)"):
        fit(mean[:2], covariance, 1)
    with pytest.raises(ValueError, match="must be finite"):
        fit(mean, covariance * math.nan, 1)


@given(
    rows=st.integers(1, 12),
    scales=st.lists(st.sampled_from([0.0, 1e-8, 1e-3, 1.0, 1e4, 1e8]), min_size=1, max_size=6),
    latent_dim=st.integers(1, 7),
    seed=st.integers(0, 1000),
)
@settings(deadline=None, max_examples=60, derandomize=True)
def test_any_table_gives_finite_densities(
    rows: int, scales: list[float], latent_dim: int, seed: int
) -> None:
    x = normal(rows, len(scales), seed=seed) * torch.tensor(scales, dtype=torch.float64) + 5
    mean, covariance = moments(x)
    for m in (ppca(mean, covariance, latent_dim), factor_analysis(mean, covariance, latent_dim)):
        assert m.weight.shape == (len(scales), latent_dim)
        assert m.log_prob(x).isfinite().all()
        assert m.posterior(x)[0].isfinite().all()


@pytest.mark.parametrize("per_feature", [False, True])
def test_noise_that_z_says_instead_changes_no_p_of_x(per_feature: bool) -> None:
    variance = torch.tensor([0.5, 0.2, 0.9] if per_feature else 0.5, dtype=torch.float64)
    weight = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    model = LinearGaussian(weight, torch.arange(3.0, dtype=torch.float64), variance)
    other = model.with_noise(0.1)
    torch.testing.assert_close(other.covariance, model.covariance)
    torch.testing.assert_close(other.variance, 0.1 * variance)
    assert other.weight.shape == weight.shape
    with pytest.raises(ValueError, match="at least as many latents as features"):
        LinearGaussian(weight.T, torch.zeros(4).double(), variance.mean()).with_noise(0.1)
    with pytest.raises(ValueError, match="share must be above 0"):
        model.with_noise(0.0)
