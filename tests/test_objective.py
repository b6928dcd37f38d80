"""Objectives: bounds with known answers, gradients by finite differences, and wrappers around them."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch import distributions as torch_distributions

from helpers import build, draw, linear_gaussian, loosen, normal, rng, started
from nelbo import VAE, objective, posterior, spec
from nelbo.linear_gaussian import LinearGaussian


def exact_elbo(vae: VAE, model: LinearGaussian, x: Tensor) -> Tensor:
    """E_q log p(x|z) - KL for a linear decoder and the q that the VAE has, without sampling."""
    q = vae.encode(x)
    variance = model.variance.expand_as(model.bias)
    residual = x - (q.mean @ model.weight.T + model.bias)
    spread = q.variance @ model.weight.square().T
    log_lik = -0.5 * ((residual.square() + spread) / variance + (2 * math.pi * variance).log()).sum(-1)
    kl = 0.5 * (q.mean.square() + q.variance - 1 - q.variance.log()).sum(-1)
    return (log_lik - kl).detach()


@pytest.mark.parametrize("per_feature", [False, True])
def test_elbo_is_the_closed_form_on_a_linear_model_on_average(per_feature: bool) -> None:
    variance = normal(6, seed=4).exp() if per_feature else 0.3
    model = linear_gaussian(orthogonal=False, variance=variance)
    vae = loosen(started(model, variance="per_feature" if per_feature else "learned"))
    x = draw(model, 40)
    draws = torch.stack([objective.ELBO(vae)(x, rng(seed)).detach() for seed in range(400)])
    error = (draws.mean(0) - exact_elbo(vae, model, x)) / (draws.std(0) / 20)
    assert float(error.abs().max()) < 4.5
    assert float(error.mean().abs()) < 4.5 / math.sqrt(40)
    gap = model.log_prob(x) - exact_elbo(vae, model, x)
    assert float(gap.min()) > 0.05


@pytest.mark.parametrize("samples", [1, 3])
def test_elbo_and_iwae_are_reductions_of_the_same_terms(samples: int) -> None:
    vae, x = build(), normal(5, 6)
    terms = vae.terms(x, samples, rng(1))
    torch.testing.assert_close(objective.ELBO(vae, samples)(x, rng(1)), terms.log_lik.mean(0) - terms.kl)
    expected = (terms.log_weight.exp().mean(0)).log()
    torch.testing.assert_close(objective.IWAE(vae, samples)(x, rng(1)), expected)


def test_iwae_of_one_sample_is_a_monte_carlo_elbo() -> None:
    vae, x = build(), normal(5, 6)
    assert torch.equal(objective.IWAE(vae)(x, rng(1)), vae.terms(x, 1, rng(1)).log_weight[0])


def test_more_samples_lower_the_elbos_variance_and_not_its_mean() -> None:
    model = linear_gaussian(orthogonal=False)
    vae, x = loosen(started(model)), draw(model, 8)
    one = torch.stack([objective.ELBO(vae, 1)(x, rng(seed)).detach() for seed in range(300)])
    many = torch.stack([objective.ELBO(vae, 25)(x, rng(1000 + seed)).detach() for seed in range(300)])
    ratio = (one.var(0) / many.var(0)).mean()
    assert 18 < float(ratio) < 35
    assert float((many.mean(0) - exact_elbo(vae, model, x)).abs().max()) < 5 * float(many.std(0).max()) / math.sqrt(300)


class Anonymous(torch_distributions.Independent):
    """A normal of which nelbo knows no closed form, and that takes a generator."""

    def rsample(self, sample_shape: tuple[int, ...] = (), generator: torch.Generator | None = None) -> Tensor:
        base = self.base_dist
        shape = (*sample_shape, *base.loc.shape)
        return base.loc + base.scale * torch.randn(shape, generator=generator, dtype=base.loc.dtype)


class AnonymousHead(posterior.DiagonalNormal):
    def forward(self, h: Tensor) -> Anonymous:
        q = super().forward(h)
        return Anonymous(torch_distributions.Normal(q.loc, q.scale), 1)


def test_without_a_closed_form_the_kl_is_averaged_over_the_same_samples() -> None:
    vae, x = build(), normal(5, 6)
    other = VAE(vae.prior, vae.decoder, vae.likelihood, vae.encoder, AnonymousHead(2))
    assert other.terms(x, 1, rng()).kl is None
    expected = vae.terms(x, 4, rng(3)).log_weight.mean(0)
    torch.testing.assert_close(objective.ELBO(other, 4)(x, rng(3)), expected)


def test_autoencoder_is_minus_the_squared_distance_of_the_reconstruction() -> None:
    vae, x = build((2, 3), 2, "mlp"), normal(5, 2, 3)
    x_hat = vae.decode(vae.encode(x).mean).mean
    torch.testing.assert_close(objective.Autoencoder(vae)(x), -(x - x_hat).square().flatten(1).sum(1))


def test_autoencoder_is_the_elbos_limit_as_beta_vanishes() -> None:
    """2 beta^2 times the ELBO's gradient for the decoder, with a vanishing sigma: the plain autoencoder's."""
    x = normal(20, 6)
    vae = build((6,), 2, "linear", variance=1e-6)
    with torch.no_grad():
        vae.encoder.linear.weight[2:] = 0
        vae.encoder.linear.bias[2:] = -12.0
    (limit,) = torch.autograd.grad(objective.Autoencoder(vae)(x).mean(), vae.decoder.linear.weight)
    (bound,) = torch.autograd.grad(objective.ELBO(vae, 100)(x, rng()).mean(), vae.decoder.linear.weight)
    torch.testing.assert_close(2 * vae.likelihood.variance * bound, limit, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["elbo", "iwae", "autoencoder"])
@pytest.mark.parametrize(
    "options",
    [
        {"network": "mlp"},
        {"network": "residual", "variance": "per_feature"},
        {"network": "linear", "variance": "heteroscedastic"},
        {"network": "conv", "shape": (1, 2, 2), "channels": (2,)},
        {"network": "mlp", "likelihood": "bernoulli"},
    ],
    ids=str,
)
def test_gradients_are_those_of_finite_differences(name: str, options: dict) -> None:
    vae = build(**({"shape": (4,), "latent_dim": 2, "hidden": (3,), "activation": "tanh"} | options))
    loss = spec.resolve("objective", name)(vae, 2)
    x = (normal(2, *vae.shape) > 0).double() if options.get("likelihood") else normal(2, *vae.shape)
    names = [key for key, _ in loss.named_parameters()]
    start = tuple(
        (p.detach() + 0.3 * normal(*p.shape, seed=i)).requires_grad_() for i, p in enumerate(vae.parameters())
    )

    def bound(*parameters: Tensor) -> Tensor:
        return torch.func.functional_call(loss, dict(zip(names, parameters, strict=True)), (x, rng(5)))

    assert torch.autograd.gradcheck(bound, start, eps=1e-6, atol=1e-6, rtol=1e-5, fast_mode=name != "elbo")
    used = torch.autograd.grad(bound(*start).sum(), start, allow_unused=True)
    idle = {key for key, gradient in zip(names, used, strict=True) if gradient is None}
    assert idle <= ({"vae.likelihood.log_variance"} if name == "autoencoder" else set())


class Wrapper(nn.Module):
    """What DistributedDataParallel looks like from outside."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs: object) -> Tensor:
        return self.module(*inputs)


def test_an_objective_can_be_wrapped_whole() -> None:
    vae, x = build(), normal(5, 6)
    plain = objective.ELBO(vae)
    assert torch.equal(Wrapper(plain)(x, rng(1)), plain(x, rng(1)))


def test_the_bound_of_an_example_does_not_depend_on_its_batchs_shape() -> None:
    vae, x = build(network="mlp"), normal(6, 6)
    torch.testing.assert_close(
        objective.ELBO(vae, 3)(x.reshape(2, 3, 6), rng(1)).flatten(), objective.ELBO(vae, 3)(x, rng(1))
    )


@pytest.mark.parametrize("name", ["elbo", "iwae", "autoencoder"])
def test_samples_must_be_at_least_one(name: str) -> None:
    with pytest.raises(ValueError, match="samples must be at least 1, got 0"):
        spec.resolve("objective", name)(build(), 0)
