"""Evaluation and diagnosis of models with foreign parts: any q(z|x), any prior and any p(x|z)."""

from __future__ import annotations

import functools
import math

import pytest
import torch
from torch import Tensor
from torch.distributions import (
    Distribution,
    Independent,
    Laplace,
    MultivariateNormal,
    StudentT,
)

from nelbo import diagnose, evaluate, likelihood, networks, posterior, prior
from nelbo.linear import LinearGaussian
from nelbo.vae import VAE


class Correlated(posterior.Posterior):
    """A normal with every correlation, the same for each row: what linear models need."""

    def __init__(self, triangle: Tensor) -> None:
        super().__init__()
        self.in_shape = (len(triangle),)
        self.register_buffer("triangle", triangle)

    def forward(self, h: Tensor) -> Distribution:
        triangle = self.get_buffer("triangle").to(h)
        return MultivariateNormal(h, scale_tril=triangle, validate_args=False)


class Peaked(posterior.Posterior):
    """A Laplace distribution: no normal, and no map from normal noise."""

    in_shape = (2,)

    def forward(self, h: Tensor) -> Distribution:
        return Independent(Laplace(h, 0.4 * torch.ones_like(h)), 1, validate_args=False)


class HeavyPrior(prior.Prior):
    """Independent Student-t coordinates."""

    latent_dim = 2

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("loc", torch.zeros(2))

    def forward(self) -> Distribution:
        loc = self.get_buffer("loc")
        return Independent(StudentT(torch.full_like(loc, 8.0), loc), 1, validate_args=False)


class HeavyNoise(likelihood.Likelihood):
    """Student-t noise about the decoder's output."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = self.in_shape = shape

    def forward(self, h: Tensor) -> Distribution:
        noise = StudentT(torch.full_like(h, 5.0), h, 0.5 * torch.ones_like(h))
        return Independent(noise, len(self.shape), validate_args=False)


def normal(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def exact(features: int = 5, latents: int = 2) -> tuple[VAE, LinearGaussian, Tensor]:
    """A linear VAE with the exact posterior, correlations included, its p(x), and rows from it."""
    weight, bias = 1.5 * normal(features, latents, seed=1), normal(features, seed=2)
    model = LinearGaussian(weight, bias, torch.tensor(0.5, dtype=torch.float64))
    covariance = model.posterior(bias[None])[1]
    head = likelihood.Gaussian((features,), variance=0.5)
    q = Correlated(torch.linalg.cholesky(covariance))
    decoder = networks.Linear((latents,), head.in_shape)
    encoder = networks.Linear(head.shape, q.in_shape)
    vae = VAE(prior.StandardNormal(latents), decoder, head, encoder, q).double()
    gain, offset = model.posterior_affine()
    for network, (w, b) in ((decoder, (weight, bias)), (encoder, (gain, offset))):
        layer = next(part for part in network.modules() if isinstance(part, torch.nn.Linear))
        with torch.no_grad():
            layer.weight.copy_(w)
            layer.bias.copy_(b)
    x = normal(300, latents, seed=3) @ weight.T + bias + math.sqrt(0.5) * normal(300, features)
    return vae, model, x


def heavy() -> tuple[VAE, Tensor]:
    torch.manual_seed(0)
    head, q = HeavyNoise((4,)), Peaked()
    vae = VAE(
        HeavyPrior(),
        networks.MLP((2,), head.in_shape, hidden=(8,)),
        head,
        networks.MLP(head.shape, q.in_shape, hidden=(8,)),
        q,
    ).double()
    return vae, vae.sample(40, generator=torch.Generator().manual_seed(1))


@functools.cache
def on_a_grid() -> evaluate.LogLikelihood:
    vae, x = heavy()
    return evaluate.log_likelihood(vae, x[:8], "quadrature")


def test_a_correlated_posterior_that_is_exact_has_no_gap() -> None:
    vae, model, x = exact()
    truth = model.log_prob(x)
    torch.testing.assert_close(evaluate.elbo(vae, x), truth)
    found = diagnose.inference_gap(vae, x[:30])
    assert abs(found.total.value) < 1e-9
    assert abs(found.amortisation.value) < 1e-3
    assert found.family == "normal"
    sampled = evaluate.log_likelihood(vae, x, samples=30)
    torch.testing.assert_close(sampled.value, truth)
    assert not sampled.unreliable.any()


def test_the_information_of_a_correlated_posterior_is_that_of_its_linear_model() -> None:
    vae, model, x = exact()
    precision = torch.eye(2, dtype=torch.float64) + model.weight.T @ model.weight / 0.5
    truth = 0.5 * float(torch.logdet(precision))
    found = diagnose.mutual_information(vae, x)
    assert found.lower.value - 2 * found.lower.standard_error < truth
    assert found.upper.value + 2 * found.upper.standard_error > truth
    assert found.kl_lower.value < 0.1
    torch.testing.assert_close(
        found.variance, torch.ones(2, dtype=torch.float64), rtol=0, atol=0.25
    )


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("importance", {"samples": 1000}),
        ("importance", {"samples": 2000, "proposal": "mixture"}),
        ("ais", {"samples": 32, "temperatures": 60}),
        ("auto", {}),
    ],
)
def test_every_method_agrees_on_a_model_of_foreign_parts(
    method: str, options: dict[str, int]
) -> None:
    vae, x = heavy()
    grid = on_a_grid()
    assert not grid.unreliable.any()
    found = evaluate.log_likelihood(vae, x[:8], method, **options)  # type: ignore[arg-type]
    near = (found.value - grid.value).abs() < 0.02 + 4 * found.standard_error
    assert bool((near | found.unreliable).all())
    assert int(near.sum()) >= 6


def test_a_foreign_posterior_gives_a_row_the_same_numbers_whatever_stands_beside_it() -> None:
    vae, x = heavy()
    together = evaluate.elbo(vae, x)
    torch.testing.assert_close(evaluate.elbo(vae, x.flip(0)).flip(0), together)
    torch.testing.assert_close(evaluate.elbo(vae, x[7:8]), together[7:8])


def test_a_model_of_foreign_parts_is_diagnosed() -> None:
    vae, x = heavy()
    found = diagnose.diagnose(vae, x[:20], x[20:])
    assert found["noise level"].verdict == "skipped"
    assert {finding.verdict for finding in found.findings} <= {
        "ok",
        "warning",
        "problem",
        "skipped",
    }
    rate = found["rate"].values
    assert all(math.isfinite(value.number.value) for value in rate)  # type: ignore[union-attr]


def test_bounds_on_both_sides_hold_for_foreign_parts() -> None:
    vae, _ = heavy()
    found = evaluate.bidirectional(vae, 6, 8, temperatures=40, dtype=torch.float64)
    truth = evaluate.log_likelihood(vae, found.x, "quadrature").value
    assert float((found.lower - truth).mean()) < 0.15
    assert float((truth - found.upper).mean()) < 0.15
