"""A missing value is NaN: bounds, scores and training are those of the values that are there."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from helpers import draw, equal_bits, linear_gaussian, normal, rng, weights
from nelbo import VAE, distributions, evaluate, fit, likelihood, networks, objective
from nelbo.data import as_rows
from nelbo.linear import LinearGaussian
from nelbo.posterior import DiagonalNormal
from nelbo.prior import StandardNormal
from nelbo.training.noise_step import refine

D, Q = 5, 2


def with_holes(x: Tensor, share: float = 0.2, seed: int = 3) -> Tensor:
    """Return rows some of whose values are missing; a whole row is, too."""
    holes = torch.rand(x.shape, generator=rng(seed)) < share
    holes[0] = True
    return x.masked_fill(holes, math.nan)


def model_of(exact: LinearGaussian | None = None, head: likelihood.Likelihood | None = None) -> VAE:
    """Return a linear model that takes missing values, with the weights of ``exact``."""
    head = likelihood.Gaussian((D,), variance=0.3) if head is None else head
    decoder = networks.Linear((Q,), head.in_shape, generator=rng(1))
    encoder = networks.Masked(networks.Linear((2 * D,), (2 * Q,), generator=rng(2)))
    vae = VAE(StandardNormal(Q), decoder, head, encoder, DiagonalNormal(Q)).double()
    if exact is not None:
        with torch.no_grad():
            decoder.linear.weight.copy_(exact.weight)
            decoder.linear.bias.copy_(exact.bias)
            head.log_variance.copy_(exact.variance.log())
    return vae


def exact_model() -> LinearGaussian:
    found = linear_gaussian(D, Q)
    return LinearGaussian(found.weight, found.bias, torch.tensor(0.3, dtype=torch.float64))


def marginal(model: LinearGaussian, row: Tensor) -> float:
    """Return the log-density of the values that are there, by torch's own normal."""
    there = ~row.isnan()
    if not bool(there.any()):
        return 0.0
    covariance = model.weight @ model.weight.T + model.variance * torch.eye(D)
    p = MultivariateNormal(model.bias[there], covariance[there][:, there])
    return float(p.log_prob(row[there]))


def test_a_linear_model_of_incomplete_rows_is_the_marginal_of_the_others() -> None:
    model = exact_model()
    x = with_holes(draw(model, 40))
    expected = torch.tensor([marginal(model, row) for row in x], dtype=torch.float64)
    torch.testing.assert_close(model.log_prob(x), expected)


def test_bounds_lie_below_the_marginal_and_gradients_are_numbers() -> None:
    model = exact_model()
    x = with_holes(draw(model, 200))
    vae = model_of(model)
    elbo, iwae = objective.ELBO(vae, 50)(x, rng(0)), objective.IWAE(vae, 500)(x, rng(0))
    assert bool(elbo.isfinite().all())
    below, nearer, exact = (float(v.detach().mean()) for v in (elbo, iwae, model.log_prob(x)))
    assert below < nearer <= exact
    (-elbo.mean()).backward()
    gradients = [p.grad for p in vae.parameters() if p.requires_grad]
    assert all(g is not None and bool(g.isfinite().all()) for g in gradients)


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("exact", {}),
        ("quadrature", {}),
        ("importance", {"samples": 400, "proposal": "mixture"}),
        ("ais", {}),
    ],
)
def test_every_estimate_of_log_p_is_that_of_the_values_that_are_there(
    method: str, settings: dict[str, Any]
) -> None:
    model = exact_model()
    x = with_holes(draw(model, 12))
    found = evaluate.log_likelihood(model_of(model), x, method, **settings)
    error = (found.value - model.log_prob(x)).abs()
    assert bool((error <= 5 * found.standard_error + 1e-3).all())
    assert float(error.max()) < 0.6


HEADS: dict[str, Callable[[], likelihood.Likelihood]] = {
    "one": lambda: likelihood.Gaussian((D,), variance="learned"),
    "per feature": lambda: likelihood.Gaussian((D,), variance="per_feature"),
    "of z": lambda: likelihood.HeteroscedasticGaussian((D,)),
    "heavy tails": lambda: likelihood.StudentT((D,)),
    "coins": lambda: likelihood.Bernoulli((D,)),
    "bytes": lambda: likelihood.DiscretizedGaussian((D,), low=-0.5, width=1.0),
}


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("loss", [objective.ELBO, objective.DReG, objective.Autoencoder])
def test_training_on_incomplete_rows_makes_no_nan(
    name: str, loss: type[objective.Objective]
) -> None:
    x = with_holes((normal(60, D) > 0).double())
    vae = model_of(head=HEADS[name]())
    rows = as_rows(x, missing=True)
    history = fit(loss(vae), rows, validation=as_rows(x[:20], missing=True), max_steps=20)
    assert all(bool(value.isfinite().all()) for value in vae.state_dict().values())
    assert math.isfinite(history.records[-1].validation or 0.0)


@pytest.mark.parametrize("variance", ["learned", "per_feature"])
def test_the_closed_form_of_noise_is_the_mean_over_the_values_that_are_there(
    variance: str,
) -> None:
    model = exact_model()
    x = with_holes(draw(model, 500))
    x[:, 3] = math.nan  # never seen: its noise stays as it was
    vae = model_of(model, likelihood.Gaussian((D,), variance=variance))
    q = vae.encode(x)
    spread = q.variance @ model.weight.T.square()
    square = (x - q.mean @ model.weight.T - model.bias).square() + spread
    expected = square.nanmean() if variance == "learned" else square.nanmean(0)
    before = vae.likelihood.variance.detach()
    refine(vae, as_rows(x, missing=True), rng(1))
    found = vae.likelihood.variance.detach()
    if variance == "per_feature":
        expected[3] = before[3]
    torch.testing.assert_close(found, expected.detach(), rtol=0.02, atol=0)


@pytest.mark.parametrize(
    "p",
    [
        lambda: distributions.DiagonalNormal(normal(3, D), normal(3, D).exp()),
        lambda: distributions.DiagonalNormal(normal(3, D), torch.tensor(0.7).double()),
        lambda: distributions.Bernoulli(normal(3, D)),
        lambda: distributions.DiscretizedNormal(
            normal(3, D), torch.tensor(0.7).double(), -0.5, 1.0
        ),
    ],
    ids=["normal", "isotropic", "coins", "bins"],
)
def test_of_complete_values_the_density_of_the_observed_is_the_density(
    p: Callable[[], distributions.Factorised],
) -> None:
    value = (normal(3, D, seed=5) > 0).double()
    torch.testing.assert_close(distributions.of_observed(p()).log_prob(value), p().log_prob(value))
    torch.testing.assert_close(p().each(value).sum(-1), p().log_prob(value))
    value[1, 2] = math.nan
    whole, without = p().each(value.nan_to_num(0.0)), distributions.of_observed(p())
    expected = whole[1, [0, 1, 3, 4]].sum()
    torch.testing.assert_close(without.log_prob(value)[1], expected)


def test_missing_values_are_refused_unless_they_were_asked_for() -> None:
    x = with_holes(draw(exact_model(), 30))
    with pytest.raises(ValueError, match="x contains NaN"):
        fit(objective.ELBO(model_of()), x, max_steps=1)
    plain = VAE(
        StandardNormal(Q),
        networks.Linear((Q,), (D,)),
        likelihood.Gaussian((D,)),
        networks.Linear((D,), (2 * Q,)),
        DiagonalNormal(Q),
    )
    with pytest.raises(ValueError, match=r"encoder nelbo\.networks\.Masked"):
        fit(objective.ELBO(plain), as_rows(x.float(), missing=True), max_steps=1)
    with pytest.raises(ValueError, match="contains infinite values in 1 of"):
        fit(objective.ELBO(model_of()), as_rows(x.nan_to_num(math.inf)[:1], missing=True))


def test_where_nothing_is_missing_a_run_on_rows_that_may_be_is_the_same_run() -> None:
    x, found = draw(exact_model(), 60), []
    for rows in (x, as_rows(x, missing=True)):
        vae = model_of()
        fit(objective.ELBO(vae), rows, max_steps=10)
        found.append(weights(vae))
    assert equal_bits(*found)
