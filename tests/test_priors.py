"""Priors that are learned with the model or fitted to it, held against exact answers."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, MultivariateNormal
from torch.distributions import Normal as TorchNormal

from helpers import build, draw, linear_gaussian, normal, rng, small_estimator, started
from nelbo import VAE, distributions, evaluate, fit, objective, prior
from nelbo.data import Values
from nelbo.distributions import DiagonalMixture


def vamp(components: int = 4, **options: Any) -> VAE:
    """A linear model whose prior is the encoder's view of some rows."""
    made = {"prior": "vamp", "prior_options": {"components": components}, **options}
    vae = started(linear_gaussian(6, 2, orthogonal=False), **made)
    vae.prior.start_at_rows(draw(linear_gaussian(6, 2, orthogonal=False), 50))
    return vae


# -- mixtures of many normals ----------------------------------------------------------------------


@pytest.mark.parametrize("width", [1.0, 1e-3])
def test_a_mixture_of_independent_normals_has_their_density(width: float) -> None:
    log_weight = normal(7, dtype=torch.float32).log_softmax(0)
    loc, scale = normal(7, 3, seed=1).float(), width * (1 + normal(7, 3, seed=2).float().square())
    found = DiagonalMixture(log_weight, loc, scale)
    exact = MixtureSameFamily(
        Categorical(logits=log_weight), Independent(TorchNormal(loc, scale), 1)
    )
    z = found.sample((4_000,), rng())
    torch.testing.assert_close(found.log_prob(z), exact.log_prob(z), atol=2e-3, rtol=1e-4)
    torch.testing.assert_close(found.mean, exact.mean)
    torch.testing.assert_close(found.variance, exact.variance)
    error = found.variance.sqrt() / math.sqrt(len(z))
    assert bool(((z.mean(0) - found.mean).abs() < 4 * error).all())
    torch.testing.assert_close(z.var(0), found.variance, atol=0, rtol=0.1)


# -- the encoder's view of pseudo-inputs -----------------------------------------------------------


@pytest.mark.parametrize("head", ["diagonal_normal", "full_normal"])
def test_of_one_pseudo_input_the_prior_is_its_posterior(head: str) -> None:
    vae = vamp(1, posterior=head)
    q, z = vae.encode(vae.prior.inputs), normal(9, 1, 2)
    torch.testing.assert_close(vae.prior().log_prob(z[:, 0]), q.log_prob(z)[:, 0])
    loc, scale = vae.posterior.as_normal(q)
    triangle = scale[0] if scale.ndim == 3 else torch.diag(scale[0])
    slope, curvature = vae.prior.slopes(z[:, 0])
    exact = torch.cholesky_inverse(triangle)
    # a direction counts as two standard deviations of N(0, 1) wide at most
    torch.testing.assert_close(curvature, exact.expand_as(curvature))
    torch.testing.assert_close(slope, (loc[0] - z[:, 0]) @ exact)


@torch.no_grad()
@pytest.mark.parametrize("head", ["diagonal_normal", "full_normal"])
def test_log_p_under_a_vamp_prior_is_that_of_the_mixture_that_it_is(head: str) -> None:
    vae = vamp(4, posterior=head)
    x = draw(linear_gaussian(6, 2, orthogonal=False), 40, seed=3)
    loc, scale = vae.posterior.as_normal(vae.encode(vae.prior.inputs))
    triangle = scale if scale.ndim == 3 else torch.diag_embed(scale)
    weight = vae.decoder.linear.weight
    noise = vae.likelihood.noise().variance * torch.eye(6, dtype=torch.float64)
    wide = weight @ triangle
    parts = MultivariateNormal(vae.decode(loc).mean, wide @ wide.mT + noise)
    exact = parts.log_prob(x[:, None]).logsumexp(1) - math.log(4)
    for method, draws, options in (
        ("importance", 400, {"proposal": "mixture"}),
        ("auto", 100, {}),
    ):
        found = evaluate.log_likelihood(vae, x, method, draws, **options).value
        torch.testing.assert_close(found, exact, atol=0.15, rtol=0)
        assert float((found - exact).mean().abs()) < 0.02, method


def test_pseudo_inputs_start_at_rows_and_are_learned() -> None:
    X = draw(linear_gaussian(6, 2), 60).numpy()
    made = {"prior": "vamp", "prior_options": {"components": 5}}
    model = small_estimator(**made, max_steps=1, learning_rate=1e-6, network="mlp").fit(X)
    rows = model.schema_.to_model(Values.of(X), noise="hash").float()
    inputs = model.model_.prior.inputs.detach()
    assert float(torch.cdist(inputs, rows).amin(1).max()) < 1e-4
    moved = small_estimator(**made, max_steps=30, network="mlp").fit(X).model_.prior.inputs
    assert float((moved.detach() - inputs).abs().max()) > 1e-3


@pytest.mark.parametrize("rows", [3, 40])
def test_pseudo_inputs_have_no_missing_values(rows: int) -> None:
    x = normal(rows, 6).float()
    x[1, 2] = x[:, 4] = math.nan
    head = prior.Vamp(2, (6,), 5, rng())
    head.start_at_rows(x)
    assert bool(head.inputs.isfinite().all())
    assert bool((head.inputs[:, 4] == 0).all())
    torch.testing.assert_close(head.inputs[0, :4].detach(), x[0, :4])


def test_a_copy_of_a_model_has_a_prior_of_its_own() -> None:
    vae = vamp()
    z, other = normal(5, 2), copy.deepcopy(vae)
    before = vae.prior().log_prob(z)
    with torch.no_grad():
        for parameter in other.encoder.parameters():
            parameter.add_(1.0)
    torch.testing.assert_close(vae.prior().log_prob(z), before)
    assert not torch.allclose(other.prior().log_prob(z), before)
    assert [name for name in vae.state_dict() if name.startswith("prior")] == ["prior.inputs"]


def test_vamp_says_what_it_cannot_be_part_of() -> None:
    with pytest.raises(ValueError, match="'vamp' needs a posterior that is a normal"):
        build((4,), 2, prior="vamp", posterior="hierarchical")
    with pytest.raises(ValueError, match="'vamp' has rows of its own, but no conditions"):
        build((4,), 2, prior="vamp", condition=3)
    with pytest.raises(RuntimeError, match="before VAE"):
        prior.Vamp(2, (4,))()
    with pytest.raises(ValueError, match="components must be at least 1"):
        prior.Vamp(2, (4,), 0)


def test_a_learned_vamp_prior_finds_clusters() -> None:
    random = rng()
    means = torch.tensor([[2.5, 0.0], [-2.0, 2.0], [-2.0, -2.0]])
    z = means[torch.randint(3, (1500,), generator=random)]
    z = z + 0.4 * torch.randn(1500, 2, generator=random)
    weight = torch.linalg.qr(torch.randn(6, 2, generator=random)).Q
    x = z @ weight.T + 0.1 * torch.randn(1500, 6, generator=random)
    found = {}
    for name in ("vamp", "standard_normal"):
        vae = build((6,), 2, prior=name, hidden=(16,)).float()
        if name == "vamp":
            vae.prior.start_at_rows(x)
        fit(objective.ELBO(vae), x[:1000], max_steps=150, seed=0, device="cpu", learning_rate=0.02)
        found[name] = evaluate.log_likelihood(vae, x[1000:], "importance", 100, proposal="mixture")
    assert found["vamp"].mean > found["standard_normal"].mean + 0.2
    drawn = distributions.draw(vae.prior(), (3,), rng())
    assert drawn.shape == (3, 2)
