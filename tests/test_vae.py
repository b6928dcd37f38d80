"""The model: three log-densities, computed once and in the right units,
and the two steps of generation.
"""

from __future__ import annotations

import pytest
import torch
from torch import distributions as torch_distributions
from torch import nn

from helpers import build, draw, linear_gaussian, loosen, normal, rng, started
from nelbo import VAE, likelihood, posterior, prior

PARTS = [
    {"network": network, "variance": variance, "likelihood": head}
    for network in ("linear", "mlp", "residual", "conv")
    for head, variance in (
        ("gaussian", "learned"),
        ("gaussian", 0.5),
        ("gaussian", "per_feature"),
        ("gaussian", "heteroscedastic"),
        ("bernoulli", "learned"),
    )
]


@pytest.mark.usefixtures("untouched_random_state")
@pytest.mark.parametrize(
    "parts", PARTS, ids=lambda p: f"{p['network']}-{p['likelihood']}-{p['variance']}"
)
def test_all_combinations_give_finite_terms_of_the_right_shape_and_gradients(parts: dict) -> None:
    vae = build((2, 4, 3), latent_dim=3, dtype=torch.float32, **parts)
    x = (normal(5, 2, 4, 3, dtype=torch.float32) > 0).float()
    for batch in (x, x[:1], x[0]):
        for term in vae.terms(batch, samples=7, generator=rng()):
            assert term.shape == (7, *batch.shape[: batch.ndim - 3])
            assert bool(term.isfinite().all())
    vae.terms(x, 2, rng()).log_weight.mean().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in vae.parameters())
    for noise in (True, False):
        assert vae.sample(4, noise=noise, generator=rng()).shape == (4, 2, 4, 3)


def test_terms_are_the_three_log_densities_of_torch() -> None:
    vae = build((4,), 3, "mlp", variance="per_feature")
    with torch.no_grad():
        vae.likelihood.log_variance.copy_(normal(4, seed=9))
    x = normal(5, 4)
    terms = vae.terms(x, 6, rng(2))
    h = vae.encoder(x)
    q = torch_distributions.Normal(h[:, :3], nn.functional.softplus(h[:, 3:]))
    eps = torch.randn((6, 5, 3), generator=rng(2), dtype=torch.float64)
    z = q.loc + q.scale * eps
    torch.testing.assert_close(terms.z, z)
    p = torch_distributions.Normal(vae.decoder(z), vae.likelihood.variance.sqrt())
    expected = (
        p.log_prob(x).sum(-1),
        torch_distributions.Normal(0.0, 1.0).log_prob(z).sum(-1),
        q.log_prob(z).sum(-1),
    )
    for ours, theirs in zip(terms, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(terms.log_weight, expected[0] + expected[1] - expected[2])
    theirs = torch_distributions.kl_divergence(q, torch_distributions.Normal(0.0, 1.0)).sum(-1)
    torch.testing.assert_close(terms.kl, theirs)


@pytest.mark.parametrize("network", ["linear", "residual"])
@pytest.mark.parametrize("latent_dim", [1, 3])
def test_with_the_exact_posterior_every_weight_is_the_exact_log_p(
    network: str, latent_dim: int
) -> None:
    model = linear_gaussian(7, latent_dim)
    vae, x = started(model, network), draw(model, 20)
    weight = vae.terms(x, samples=50, generator=rng(3)).log_weight.detach()
    torch.testing.assert_close(weight, model.log_prob(x).expand(50, 20), rtol=0, atol=1e-10)
    spread = loosen(vae).terms(x, samples=50, generator=rng(3)).log_weight.detach().std(0)
    assert float(spread.min()) > 1e-3


def test_terms_at_given_latents_are_those_at_drawn_ones() -> None:
    vae, x = build(), normal(5, 6)
    drawn = vae.terms(x, 4, rng())
    given = vae.terms_at(x, drawn.z, vae.encode(x))
    for left, right in zip(drawn, given, strict=True):
        assert torch.equal(left, right)


def test_decoding_has_two_steps_and_sampling_keeps_them_apart() -> None:
    model = linear_gaussian(5, 2, variance=0.09)
    vae = started(model)
    z = vae.prior().sample((30_000,), generator=rng(4))
    x_hat = vae.sample(30_000, noise=False, generator=rng(4))
    torch.testing.assert_close(x_hat, vae.decode(z).mean.detach())
    x_tilde = vae.sample(30_000, noise=True, generator=rng(4))
    noise = x_tilde - x_hat
    torch.testing.assert_close(
        noise.square().mean(0), torch.full((5,), 0.09, dtype=torch.float64), rtol=0.05, atol=0
    )
    expected = model.weight @ model.weight.T + 0.09 * torch.eye(5, dtype=torch.float64)
    torch.testing.assert_close(x_tilde.T.cov(), expected, rtol=0.05, atol=0.05)
    assert torch.equal(x_tilde, vae.sample(30_000, noise=True, generator=rng(4)))
    assert not torch.equal(x_tilde, vae.sample(30_000, noise=True, generator=rng(5)))


def test_posterior_is_a_mean_and_a_positive_standard_deviation() -> None:
    h = torch.tensor([[0.5, -3.0, 0.0, 4.0]], dtype=torch.float64)
    q = posterior.DiagonalNormal(2)(h)
    assert q.mean.tolist() == [[0.5, -3.0]]
    torch.testing.assert_close(q.stddev, h[:, 2:].exp().log1p())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_posterior_stays_a_density_where_its_features_are_far_out(dtype: torch.dtype) -> None:
    """Softplus is zero in float32 below -104, and a density of zero width is no density."""
    q = posterior.DiagonalNormal(2)(torch.tensor([[1e5, -1e5, -1e6, 1e6]], dtype=dtype))
    kl = torch_distributions.kl_divergence(q, prior.StandardNormal(2).to(dtype)())
    assert bool((q.stddev > 0).all())
    assert bool(kl.isfinite().all())
    assert bool(q.log_prob(q.sample(generator=rng())).isfinite().all())


def test_prior_is_the_standard_normal_and_holds_no_weights() -> None:
    p = prior.StandardNormal(3).double()
    z = normal(4, 3)
    torch.testing.assert_close(
        p().log_prob(z), torch_distributions.Normal(0.0, 1.0).log_prob(z).sum(-1)
    )
    assert p().event_shape == (3,)
    assert list(p.state_dict()) == []


@pytest.mark.parametrize("make", [prior.StandardNormal, posterior.DiagonalNormal])
@pytest.mark.parametrize("latent_dim", [0, -3])
def test_latent_dim_must_be_at_least_one(make: type, latent_dim: int) -> None:
    with pytest.raises(ValueError, match=f"latent_dim must be at least 1, got {latent_dim}"):
        make(latent_dim)


def test_shapes_that_do_not_fit_are_refused_with_both_shapes() -> None:
    vae = build((6,), 2)
    with pytest.raises(
        ValueError, match=r"x has shape \(3, 5\), but this model needs \(\*batch, 6\)"
    ):
        vae.encode(normal(3, 5))
    with pytest.raises(
        ValueError, match=r"z has shape \(3, 4\), but this model needs \(\*batch, 2\)"
    ):
        vae.decode(normal(3, 4))
    with pytest.raises(ValueError, match=r"x has shape \(6,\).*\(\*batch, 1, 2, 3\)"):
        build((1, 2, 3), 2).encode(normal(6))
    wrong = VAE(
        prior.StandardNormal(2),
        nn.Linear(2, 5),
        likelihood.Gaussian((6,)),
        nn.Linear(6, 3),
        posterior.DiagonalNormal(2),
    )
    with pytest.raises(
        ValueError, match=r"the encoder's output has shape \(3, 3\).*\(\*batch, 4\)"
    ):
        wrong.encode(normal(3, 6, dtype=torch.float32))
    with pytest.raises(
        ValueError, match=r"the decoder's output has shape \(3, 5\).*\(\*batch, 6\)"
    ):
        wrong.decode(normal(3, 2, dtype=torch.float32))


def test_densities_are_computed_in_float32_under_autocast() -> None:
    vae, x = build(dtype=torch.float32), normal(5, 6, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        terms = vae.terms(x, 3, rng())
    assert {term.dtype for term in terms} == {torch.float32}
