"""The ELBO under a refined q: log p(x) where the posterior is normal, a bound everywhere else."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from helpers import draw, linear_gaussian, loosen, normal, rng, started
from nelbo import VAE, VariationalAutoencoder, evaluate, likelihood, networks
from nelbo.evaluate.gauss_newton import fitted
from nelbo.posterior import DiagonalNormal
from nelbo.prior import StandardNormal


def linear(c: Tensor | None = None, missing: bool = False) -> tuple[VAE, Tensor, Tensor]:
    """A linear model whose encoder is random, rows of it, and their exact log p(x)."""
    model = linear_gaussian(5, 2, orthogonal=False, variance=0.4)
    x, size = draw(model, 40), 5
    decoder = networks.Linear((2 if c is None else 5,), (5,), generator=rng(1)).double()
    slope = normal(5, 3, seed=3)
    with torch.no_grad():
        decoder.linear.bias.copy_(model.bias)
        decoder.linear.weight.copy_(
            torch.cat([model.weight, slope], 1)[:, : 2 + 3 * (c is not None)]
        )
    if missing:
        x[torch.rand(x.shape, generator=rng(6)) < 0.2] = math.nan
    exact = model.log_prob(x)
    if c is not None:
        x, size = x + c @ slope.T, size + 3
    size *= 1 + missing
    encoder: torch.nn.Module = networks.Linear((size,), (4,), generator=rng(2)).double()
    if missing:
        encoder = networks.Masked(encoder)
    if c is not None:
        decoder, encoder = networks.Conditioned(decoder), networks.Conditioned(encoder)
    head = likelihood.Gaussian((5,), variance=0.4)
    return VAE(StandardNormal(2), decoder, head, encoder, DiagonalNormal(2)).double(), x, exact


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("given", [False, True])
def test_on_a_linear_model_the_refined_bound_is_log_p(missing: bool, given: bool) -> None:
    c = normal(40, 3, seed=7) if given else None
    vae, x, exact = linear(c, missing)
    bound = evaluate.elbo(vae, x, c=c, refined=True)
    torch.testing.assert_close(bound, exact, rtol=0, atol=5e-4)
    assert float((exact - evaluate.elbo(vae, x, c=c)).mean()) > 1


@pytest.mark.parametrize("variance", ["learned", "per_feature"])
def test_correlations_that_a_diagonal_q_misses_are_in_the_refined_one(variance: str) -> None:
    noise = normal(6, seed=3).exp() if variance == "per_feature" else 0.3
    model = linear_gaussian(orthogonal=False, variance=noise)
    x = draw(model, 30)
    vae = loosen(started(model, variance=variance))
    bound = evaluate.elbo(vae, x, samples=1, refined=True)
    torch.testing.assert_close(bound, model.log_prob(x), rtol=0, atol=5e-4)


HEADS: dict[str, Callable[[], likelihood.Likelihood]] = {
    "one": lambda: likelihood.Gaussian((6,), variance=0.05),
    "of z": lambda: likelihood.HeteroscedasticGaussian((6,)),
    "heavy tails": lambda: likelihood.StudentT((6,)),
    "coins": lambda: likelihood.Bernoulli((6,)),
    "bytes": lambda: likelihood.DiscretizedGaussian((6,), low=-0.5, width=1.0),
}


@functools.cache
def bent(head: str) -> tuple[VAE, Tensor, Tensor, Tensor]:
    """A model with a bent decoder and an untrained encoder, rows of it, their log p(x) by
    quadrature, and the ELBO of the encoder.
    """
    part = HEADS[head]()
    decoder = networks.MLP((2,), part.in_shape, (16,), "tanh", generator=rng(1))
    encoder = networks.MLP((6,), (4,), (16,), generator=rng(2))
    vae = VAE(StandardNormal(2), decoder, part, encoder, DiagonalNormal(2)).double()
    with torch.no_grad():
        for weight in decoder.parameters():
            weight.mul_(2)
    x = vae.sample(40, generator=rng(3))
    truth = evaluate.log_likelihood(vae, x, "quadrature").value
    return vae, x, truth, evaluate.elbo(vae, x, samples=200)


@pytest.mark.parametrize("head", HEADS)
def test_the_refined_bound_lies_between_the_encoders_and_log_p(head: str) -> None:
    """In the mean over rows; a row of 200 draws has noise, of which four standard errors are
    allowed.
    """
    vae, x, truth, own = bent(head)
    found = evaluate.elbo(vae, x, samples=200, refined=True)
    assert float((found - truth).mean()) < 0.01
    assert bool((found > own - 0.3).all())
    left = float((truth - found).mean()) / float((truth - own).mean())
    assert left < 0.3


class Square(torch.nn.Module):
    """f(z) = z^2: z and -z give the same x."""

    def forward(self, z: Tensor) -> Tensor:
        return z.square()


def test_where_the_encoder_is_better_the_refined_bound_is_its_own() -> None:
    """A posterior with two modes that overlap: one wide q(z|x) beats a normal at either."""
    encoder = networks.Linear((1,), (2,), generator=rng()).double()
    with torch.no_grad():
        encoder.linear.weight.zero_()
        encoder.linear.bias.copy_(torch.tensor([0.0, 0.35], dtype=torch.float64))
    head = likelihood.Gaussian((1,), variance=2.0)
    vae = VAE(StandardNormal(1), Square(), head, encoder, DiagonalNormal(1)).double()
    x = torch.full((1, 1), 2.2, dtype=torch.float64)
    own, found = (evaluate.elbo(vae, x, 4000, refined=refined) for refined in (False, True))
    with evaluate.judged(vae, x) as (model, rows):
        laplace = evaluate.elbo_and_rate(model, rows, 4000, 0, 2**26, fitted(model, rows)[0])[0]
    assert float(laplace) < float(own) - 0.02
    assert float(found) == float(own)


@pytest.mark.parametrize("name", ["encoder", "refined"])
def test_a_row_has_the_same_bound_in_any_company(name: str) -> None:
    vae, x, _, _ = bent("of z")
    whole = evaluate.elbo(vae, x, refined=name == "refined")
    order = torch.randperm(len(x), generator=rng(5))
    again = evaluate.elbo(vae, x[order], memory=2**14, refined=name == "refined")
    torch.testing.assert_close(again, whole[order], rtol=0, atol=1e-6)


def test_an_estimator_gives_both_bounds_in_the_units_of_its_data() -> None:
    rows = np.random.default_rng(0).normal(size=(60, 3)) * [1, 10, 100]
    model = VariationalAutoencoder(2, max_steps=5, network="linear", random_state=0).fit(rows)
    exact = model.log_likelihood(rows, "exact").value
    np.testing.assert_allclose(model.elbo(rows, refined=True), exact, atol=1e-3)
    assert (model.elbo(rows) < exact + 1e-3).all()
