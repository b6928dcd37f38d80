"""Evaluation of incomplete rows and of models of p(x|c), against the exact answers of linear
models.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from helpers import normal, rng
from nelbo import VAE, diagnose, evaluate, likelihood, networks
from nelbo.evaluate import Examples
from nelbo.linear import LinearGaussian
from nelbo.posterior import DiagonalNormal
from nelbo.prior import StandardNormal

D, Q, K = 5, 2, 3
MODEL = LinearGaussian(
    normal(D, Q, seed=1), normal(D, seed=2), torch.tensor(0.4, dtype=torch.float64)
)
SLOPE = normal(D, K, seed=3)


def linear(masked: bool = False, conditional: bool = False, head: Any = None) -> VAE:
    """Return `MODEL` as a VAE, with a random encoder; p(x|c) has the mean b + A c."""
    head = likelihood.Gaussian((D,), variance=0.4) if head is None else head
    inputs = (D + K * conditional) * (1 + masked)
    decoder = networks.Linear((Q + K * conditional,), head.in_shape, generator=rng(1))
    encoder: torch.nn.Module = networks.Linear((inputs,), (2 * Q,), generator=rng(2))
    weight = torch.cat([MODEL.weight, SLOPE], 1) if conditional else MODEL.weight
    with torch.no_grad():
        decoder.double().linear.weight.copy_(weight)
        decoder.linear.bias.copy_(MODEL.bias)
    if masked:
        encoder = networks.Masked(encoder)
    parts = (networks.Conditioned(decoder), networks.Conditioned(encoder))
    if not conditional:
        parts = (decoder, encoder)  # type: ignore[assignment]
    return VAE(StandardNormal(Q), parts[0], head, parts[1], DiagonalNormal(Q)).double()


def rows(n: int = 30) -> Tensor:
    noise = math.sqrt(0.4) * normal(n, D, seed=5)
    return normal(n, Q, seed=4) @ MODEL.weight.T + MODEL.bias + noise


def incomplete(n: int = 30) -> Tensor:
    """Return rows with a fifth of their values missing, one row without any."""
    holes = torch.rand(n, D, generator=rng(6)) < 0.2
    holes[0] = True
    return rows(n).masked_fill(holes, math.nan)


def marginal(x: Tensor) -> Tensor:
    """Return the exact log-density of the values of each row that are there."""
    covariance = MODEL.weight @ MODEL.weight.T + 0.4 * torch.eye(D, dtype=torch.float64)
    found = torch.zeros(len(x), dtype=torch.float64)
    for i, row in enumerate(x):
        there = ~row.isnan()
        if there.any():
            p = MultivariateNormal(MODEL.bias[there], covariance[there][:, there])
            found[i] = p.log_prob(row[there])
    return found


METHODS = [
    ("exact", {}, 1e-9),
    ("auto", {}, 1e-9),
    ("quadrature", {}, 1e-5),
    ("importance", {"samples": 1000, "proposal": "refined"}, 1e-3),
    ("importance", {"samples": 1000, "proposal": "mixture"}, 1e-3),
    ("ais", {"samples": 16, "temperatures": 60}, 0.05),
]


@pytest.mark.parametrize(("method", "options", "error"), METHODS)
def test_log_p_of_incomplete_rows_is_that_of_the_values_that_are_there(
    method: str, options: dict[str, Any], error: float
) -> None:
    vae, x = linear(masked=True), incomplete(12)
    found = evaluate.log_likelihood(vae, x, method, **options)
    miss = (found.value - marginal(x)).abs()
    assert bool((miss < error + 4 * found.standard_error).all())


@pytest.mark.parametrize(("method", "options", "error"), METHODS)
def test_log_p_given_c_is_exact(method: str, options: dict[str, Any], error: float) -> None:
    vae, c = linear(conditional=True), normal(12, K, seed=7)
    x = rows(12) + c @ SLOPE.T
    found = evaluate.log_likelihood(vae, x, method, c=c, **options)
    truth = MODEL.log_prob(x - c @ SLOPE.T)
    miss = (found.value - truth).abs()
    assert bool((miss < error + 4 * found.standard_error).all())


def test_a_bound_on_incomplete_rows_is_below_the_exact_marginal() -> None:
    vae, x = linear(masked=True), incomplete()
    bound = evaluate.elbo(vae, x, samples=64)
    assert bool(bound.isfinite().all())
    assert float(bound.mean()) < float(marginal(x).mean())


def test_noise_belongs_to_a_row_and_its_condition() -> None:
    vae, c = linear(masked=True, conditional=True), normal(30, K, seed=7)
    x = incomplete()
    whole = evaluate.elbo(vae, x, c=c)
    torch.testing.assert_close(evaluate.elbo(vae, x.flip(0), c=c.flip(0)).flip(0), whole)
    torch.testing.assert_close(evaluate.elbo(vae, x[9:10], c=c[9:10]), whole[9:10])
    torch.testing.assert_close(evaluate.elbo(vae, x, c=c, memory=1), whole)
    keys = Examples(x, c).keys()
    assert not bool((keys == Examples(x, c.flip(0)).keys()).any())


def test_missing_values_are_equal_whatever_bits_they_have() -> None:
    bits = torch.tensor([0x7FF8000000000000, 0x7FF8000000000001, -0x7FFFFFFFFFFFF])
    x = bits.view(torch.float64)[:, None]
    assert bool(x.isnan().all())
    assert len(set(Examples(x).keys().tolist())) == 1


def test_simulated_rows_given_c_are_bounded_from_both_sides() -> None:
    vae, c = linear(conditional=True), normal(12, K, seed=7)
    found = evaluate.bidirectional(
        vae, 12, 8, temperatures=60, start="prior", dtype=torch.float64, c=c
    )
    truth = MODEL.log_prob(found.x - c @ SLOPE.T)
    assert float((found.lower - truth).mean()) < 0.1
    assert float((truth - found.upper).mean()) < 0.1


def test_the_inference_gap_of_incomplete_rows_is_measured() -> None:
    found = diagnose.inference_gap(linear(masked=True), incomplete(20))
    assert found.log_p.value == pytest.approx(float(marginal(incomplete(20)).mean()))
    assert found.approximation.value > -1e-6
    assert found.amortisation.value > 0


@pytest.mark.parametrize(
    ("conditional", "c", "text"),
    [
        (True, None, "reads a condition"),
        (True, normal(3, K), "c must have a row for each of the 12 rows of x, got 3"),
        (False, normal(12, K), "no part of this model reads a condition"),
    ],
)
def test_conditions_that_do_not_fit_are_refused(
    conditional: bool, c: Tensor | None, text: str
) -> None:
    with pytest.raises(ValueError, match=text):
        evaluate.elbo(linear(conditional=conditional), rows(12), c=c)


def test_a_diagnosis_looks_at_incomplete_rows_and_says_so() -> None:
    vae = linear(masked=True)
    found = diagnose.diagnose(vae, incomplete(), rows())
    said = {finding.name: finding for finding in found.findings}
    assert "missing values" in said
    assert said["amortisation gap"].verdict != "skipped"
    with pytest.raises(ValueError, match="NaN"):
        diagnose.diagnose(linear(), incomplete())


def test_incomplete_rows_are_refused_by_a_model_that_does_not_take_them() -> None:
    with pytest.raises(ValueError, match="NaN"):
        evaluate.elbo(linear(), incomplete())


@pytest.mark.parametrize(
    "head", [likelihood.Bernoulli((D,)), likelihood.HeteroscedasticGaussian((D,))]
)
def test_other_likelihoods_leave_missing_values_out(head: likelihood.Likelihood) -> None:
    torch.manual_seed(0)
    decoder = networks.MLP((Q,), head.in_shape, hidden=(8,), generator=rng(1))
    encoder = networks.Masked(networks.MLP((2 * D,), (2 * Q,), hidden=(8,), generator=rng(2)))
    vae = VAE(StandardNormal(Q), decoder, head, encoder, DiagonalNormal(Q)).double()
    x = incomplete(8)
    if isinstance(head, likelihood.Bernoulli):
        x = torch.where(x.isnan(), x, (x > 0).double())
    grid = evaluate.log_likelihood(vae, x, "quadrature")
    assert float(grid.value[0]) == pytest.approx(0.0, abs=1e-4)
    found = evaluate.log_likelihood(vae, x, samples=2000, proposal="mixture")
    assert float((found.value - grid.value).abs().max()) < 0.1
