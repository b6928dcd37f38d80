"""The closed-form start:
it is the maximum-likelihood linear model, and the network that holds it is that model.
"""

from __future__ import annotations

import pytest
import torch

from helpers import build, draw, linear_gaussian, normal, rng, started
from nelbo import evaluate, initialize
from nelbo.linear import LinearGaussian, factor_analysis, moments, ppca

NETWORKS = ["linear", "residual", "conv"]


def rows(*shape: int, seed: int = 0) -> torch.Tensor:
    n, features = 200, int(torch.tensor(shape).prod())
    mixed = normal(n, features, seed=seed) @ normal(features, features, seed=seed + 1)
    return (mixed + 3).reshape(n, *shape)


def shape_of(network: str) -> tuple[int, ...]:
    return (2, 3, 2) if network == "conv" else (12,)


@pytest.mark.parametrize("network", NETWORKS)
def test_a_model_started_at_ppca_is_ppca(network: str) -> None:
    """Every log-weight is log p(x):
    the decoder, the encoder and beta^2 are all at the closed form.
    """
    shape = shape_of(network)
    vae, x = build(shape, 4, network), rows(*shape)
    expected = ppca(*moments(x.flatten(1)), 4)
    initialize.start_at(vae, initialize.closed_form(vae, x))
    weight = vae.terms(x, 5, rng()).log_weight.detach()
    torch.testing.assert_close(
        weight, expected.log_prob(x.flatten(1)).expand(5, -1), rtol=0, atol=1e-9
    )
    mean, covariance = expected.posterior(x.flatten(1))
    torch.testing.assert_close(vae.encode(x).mean.detach(), mean)
    torch.testing.assert_close(vae.encode(x).variance[0].detach(), covariance.diagonal())


@pytest.mark.parametrize("network", NETWORKS)
def test_a_model_with_noise_per_feature_starts_at_factor_analysis(network: str) -> None:
    shape = shape_of(network)
    vae, x = build(shape, 4, network, variance="per_feature"), rows(*shape)
    mean, covariance = moments(x.flatten(1))
    expected = factor_analysis(
        mean, covariance, 4, floor=vae.likelihood.floor / float(covariance.diagonal().mean())
    )
    initialize.start_at(vae, initialize.closed_form(vae, x))
    weight = vae.terms(x, 5, rng()).log_weight.detach()
    torch.testing.assert_close(
        weight, expected.log_prob(x.flatten(1)).expand(5, -1), rtol=0, atol=1e-8
    )
    assert vae.likelihood.log_variance.shape == shape


@pytest.mark.parametrize("variance", [0.05, 2.0, 1e4, (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)])
def test_a_fixed_variance_is_kept_and_the_rest_is_the_best_for_it(
    variance: float | tuple[float, ...],
) -> None:
    """No step in any direction raises the likelihood of the rows."""
    vae, x = build((6,), 2, "linear", variance=variance), rows(6)
    model = initialize.closed_form(vae, x)
    initialize.start_at(vae, model)
    torch.testing.assert_close(
        vae.likelihood.variance, torch.as_tensor(variance).double(), rtol=1e-6, atol=0
    )
    best = model.log_prob(x).mean()
    torch.testing.assert_close(vae.terms(x, 2, rng()).log_weight.detach().mean(), best)
    for seed in range(8):
        step = 0.02 * normal(6, 2, seed=seed)
        assert (
            float(
                LinearGaussian(model.weight + step, model.bias, model.variance).log_prob(x).mean()
            )
            < best
        )
    if variance == 1e4:
        assert not bool(model.weight.any())


def test_heteroscedastic_noise_starts_constant_at_ppcas() -> None:
    vae, x = build((12,), 4, "residual", variance="heteroscedastic"), rows(12)
    expected = ppca(*moments(x), 4)
    initialize.start_at(vae, initialize.closed_form(vae, x))
    weight = vae.terms(x, 5, rng()).log_weight.detach()
    torch.testing.assert_close(weight, expected.log_prob(x).expand(5, -1), rtol=0, atol=1e-8)


def test_a_used_network_is_put_back_on_the_linear_path() -> None:
    vae, x = build((12,), 4, "residual"), rows(12)
    with torch.no_grad():
        for parameter in vae.parameters():
            parameter.normal_(generator=rng())
    model = initialize.closed_form(vae, x)
    initialize.start_at(vae, model)
    weight = vae.terms(x, 5, rng()).log_weight.detach()
    torch.testing.assert_close(weight, model.log_prob(x).expand(5, -1), rtol=0, atol=1e-9)


def test_where_the_posterior_is_not_diagonal_the_nearest_diagonal_one_is_taken() -> None:
    """Of all q with these means, the precision's diagonal minimises KL(q || posterior)."""
    model = linear_gaussian(orthogonal=False)
    vae, x = started(model), draw(model, 10)
    mean, covariance = model.posterior(x)
    torch.testing.assert_close(vae.encode(x).mean.detach(), mean)
    precision = torch.linalg.inv(covariance).diagonal()
    torch.testing.assert_close(vae.encode(x).variance.detach(), (1 / precision).expand(10, 2))


@pytest.mark.parametrize("latent_dim", [5, 6, 9])
def test_more_latents_than_features_leave_the_rest_idle(latent_dim: int) -> None:
    vae, x = build((6,), latent_dim, "linear"), rows(6)
    initialize.start_at(vae, initialize.closed_form(vae, x))
    q = vae.encode(x)
    torch.testing.assert_close(
        q.stddev[:, 5:].detach(), torch.ones(200, latent_dim - 5, dtype=torch.float64)
    )
    assert not bool(q.mean[:, 5:].any())


def test_float32_models_start_where_float64_ones_do() -> None:
    x = rows(12)
    starts = []
    for dtype in (torch.float32, torch.float64):
        vae = build((12,), 4, "residual", dtype=dtype)
        initialize.start_at(vae, initialize.closed_form(vae, x.to(dtype)))
        starts.append(vae.terms(x.to(dtype), 1, rng()).log_weight.double().mean().item())
    assert starts[0] == pytest.approx(starts[1], abs=1e-3)


def test_only_gaussian_models_with_linear_paths_have_such_a_start() -> None:
    x, model = rows(6), linear_gaussian()
    assert initialize.closed_form(build(likelihood="bernoulli"), x) is None
    assert initialize.has_linear_paths(build())
    assert not initialize.has_linear_paths(build(network="mlp"))
    for vae, name in ((build(network="mlp"), "MLP"), (build(likelihood="bernoulli"), "Bernoulli")):
        with pytest.raises(TypeError, match=f"linear, residual, conv.*{name}"):
            initialize.start_at(vae, model)


def bent(n: int) -> torch.Tensor:
    """Rows on a curved sheet in six dimensions, with noise of 0.1."""
    z = normal(n, 2, seed=1)
    curve = torch.cat([z, z.square(), z.prod(1, keepdim=True), z.sin()[:, :1]], 1)
    return ((curve - curve.mean(0)) / curve.std() + 0.1 * normal(n, 6, seed=2)).float()


def test_random_features_are_the_best_last_layer_for_the_start_they_leave_in_place() -> None:
    """No step in any direction lowers the squared residual, the ELBO is higher,
    and beta^2 is its mean.
    """
    vae, x = build((6,), 2, "residual", hidden=(32, 32)).float(), bent(32 * 6)
    initialize.start_at(vae, initialize.closed_form(vae, x))
    before, encoder = (
        evaluate.elbo(vae, x).mean(),
        {k: v.clone() for k, v in vae.encoder.state_dict().items()},
    )
    linear = vae.decoder.linear.weight.detach().clone()
    assert initialize.random_features(vae, x, rng(0))
    assert evaluate.elbo(vae, x).mean() > before + 0.1
    assert all(torch.equal(encoder[k], v) for k, v in vae.encoder.state_dict().items())
    assert torch.equal(linear, vae.decoder.linear.weight)

    z = vae.encode(x).rsample((), rng(0)).detach()  # the same draws

    def penalised() -> float:
        last = vae.decoder.body.last
        ridge = 1e-3 * (last.weight.square().sum() + last.bias.square().sum())
        return float(((x - vae.decoder(z)).square().sum() / len(x) + ridge).detach())

    best = penalised()
    left = (x - vae.decoder(z)).square().mean().detach()
    torch.testing.assert_close(vae.likelihood.variance.detach().float(), left, rtol=1e-4, atol=0)
    for seed in range(6):
        with torch.no_grad():
            step = 1e-2 * normal(*vae.decoder.body.last.weight.shape, seed=seed).float()
            vae.decoder.body.last.weight += step
            assert penalised() > best
            vae.decoder.body.last.weight -= step


@pytest.mark.parametrize("case", ["conv", "per feature", "fixed", "few rows", "no hidden layer"])
def test_there_are_no_random_features_without_a_closed_form(case: str) -> None:
    shape = (1, 4, 4) if case == "conv" else (6,)
    options = {"per feature": {"variance": "per_feature"}, "fixed": {"variance": 0.5}}.get(case, {})
    hidden = () if case == "no hidden layer" else (32,)
    vae = build(
        shape, 2, "conv" if case == "conv" else "residual", hidden=hidden, **options
    ).float()
    x = bent(100 if case == "few rows" else 1000) if case != "conv" else rows(*shape).float()
    initialize.start_at(vae, initialize.closed_form(vae, x))
    before = {k: v.clone() for k, v in vae.state_dict().items()}
    assert not initialize.random_features(vae, x, rng())
    assert all(torch.equal(before[k], v) for k, v in vae.state_dict().items())
