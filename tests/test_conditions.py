"""A condition is c, a second tensor of the batch: the model is one of p(x|c)."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from helpers import normal, rng
from nelbo import VAE, evaluate, fit, likelihood, networks, objective
from nelbo.data import as_rows
from nelbo.linear import LinearGaussian
from nelbo.posterior import DiagonalNormal
from nelbo.prior import StandardNormal

D, K, Q = 4, 2, 1
SLOPE, WEIGHT = normal(D, K, seed=1), normal(D, Q, seed=2)


def conditional(rows: int) -> tuple[Tensor, Tensor]:
    """Return rows of x = A c + W z + noise, and c."""
    c, z, noise = normal(rows, K, seed=3), normal(rows, Q, seed=4), normal(rows, D, seed=5)
    return c @ SLOPE.T + z @ WEIGHT.T + 0.5 * noise, c


def log_p(x: Tensor, c: Tensor) -> Tensor:
    """Return log p(x|c) exactly."""
    variance = torch.tensor(0.25, dtype=torch.float64)
    noise = LinearGaussian(WEIGHT, torch.zeros(D, dtype=torch.float64), variance)
    return noise.log_prob(x - c @ SLOPE.T)


def build() -> VAE:
    decoder = networks.Conditioned(networks.Linear((Q + K,), (D,), generator=rng(1)))
    encoder = networks.Conditioned(networks.Linear((D + K,), (2 * Q,), generator=rng(2)))
    head = likelihood.Gaussian((D,), variance="learned")
    return VAE(StandardNormal(Q), decoder, head, encoder, DiagonalNormal(Q)).double()


@pytest.fixture(scope="module")
def trained() -> VAE:
    x, c = conditional(2000)
    vae = build()
    validation = as_rows(*[part[:200] for part in (x,)], c=c[:200])
    fit(
        objective.ELBO(vae),
        as_rows(x, c=c),
        validation=validation,
        max_steps=1500,
        learning_rate=1e-2,
    )
    return vae


def test_a_conditional_linear_model_recovers_p_of_x_given_c(trained: VAE) -> None:
    x, c = (part[-200:] for part in conditional(2200))
    bound = objective.IWAE(trained, 200)(x, rng(0), c).detach()
    torch.testing.assert_close(bound.mean(), log_p(x, c).mean(), atol=0.05, rtol=0)
    wrong = objective.IWAE(trained, 200)(x, rng(0), c.flip(0)).detach()
    assert float(wrong.mean()) < float(bound.mean()) - 1


def test_given_one_condition_it_is_a_model_like_any_other(trained: VAE) -> None:
    x, c = (part[:1] for part in conditional(5))
    vae = trained.given(c[0])
    found = evaluate.log_likelihood(vae, x, "auto")
    torch.testing.assert_close(found.value, log_p(x, c), atol=0.3, rtol=0)
    drawn = vae.sample(20_000, generator=rng(1)).mean(0)
    torch.testing.assert_close(drawn, c[0] @ SLOPE.T, atol=0.1, rtol=0)
    z = normal(3, Q)
    assert torch.equal(vae.decode(z).mean, trained.decode(z, c).mean)


def test_many_samples_share_the_condition_of_their_row() -> None:
    vae, (x, c) = build(), conditional(6)
    terms = vae.terms(x, 3, rng(0), c)
    alone = [vae.decode(terms.z[:, i], c[i]).log_prob(x[i]) for i in range(6)]
    torch.testing.assert_close(terms.log_lik, torch.stack(alone, 1))


def test_a_condition_that_is_missing_or_not_wanted_is_refused() -> None:
    x, c = conditional(9)
    plain = VAE(
        StandardNormal(Q),
        networks.Linear((Q,), (D,)),
        likelihood.Gaussian((D,)),
        networks.Linear((D,), (2 * Q,)),
        DiagonalNormal(Q),
    ).double()
    with pytest.raises(ValueError, match="no part of this model reads a condition"):
        fit(objective.ELBO(plain), as_rows(x, c=c), max_steps=1)
    with pytest.raises(ValueError, match="no part of this model reads a condition"):
        plain.given(c[0])
    with pytest.raises(ValueError, match=r"Pass nelbo\.data\.as_rows\(x, c=c\)"):
        fit(objective.ELBO(build()), x, max_steps=1)
    with pytest.raises(ValueError, match="The encoder reads a condition, but there is none"):
        build().encode(x)
    with pytest.raises(ValueError, match=r"c has shape \(3, 2\), but there are rows"):
        build().encode(x, c[:3])
    with pytest.raises(ValueError, match="Pass one condition for each row"):
        as_rows(x, c=c[:3])


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_condition_that_is_not_known_is_refused(value: float) -> None:
    x, c = conditional(9)
    c[3, 0] = value
    with pytest.raises(ValueError, match="c contains NaN or infinite values"):
        as_rows(x, c=c)


def test_conditions_of_another_shape_are_refused_in_words() -> None:
    x, c = conditional(9)
    with pytest.raises(ValueError, match=r"one condition for each row, of shape \(9, k\)"):
        as_rows(x, c=c[:, 0])
    with pytest.raises(ValueError, match=r"and c \(n, 1\) to \(n, 2\).*values of both"):
        fit(objective.ELBO(build()), as_rows(x, c=c[:, :1]), max_steps=1)
    with pytest.raises(ValueError, match=r"one condition, of shape \(k,\), got \(9, 2\)"):
        build().given(c)
