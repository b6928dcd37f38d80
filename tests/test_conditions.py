"""A condition is c, a second tensor of the batch: the model is one of p(x|c)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, TensorDataset

from helpers import equal_bits, normal, rng, weights
from nelbo import VAE, evaluate, fit, likelihood, networks, objective
from nelbo.data import as_rows
from nelbo.distributions import DiagonalNormal as NormalOf
from nelbo.distributions import softplus_inverse
from nelbo.linear import LinearGaussian
from nelbo.posterior import DiagonalNormal
from nelbo.prior import Prior, StandardNormal

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


# -- rows that bring their conditions --------------------------------------------------------------


class Pairs(Dataset[Any]):
    """Rows with their conditions, as tuples or by name."""

    def __init__(self, x: Tensor, c: Tensor, named: bool = False) -> None:
        self.x, self.c, self.named = x, c, named

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, i: int) -> Any:
        if self.named:
            return {"label": i, "c": self.c[i], "x": self.x[i]}
        return self.x[i], self.c[i]


def trained_on(data: Any, **options: Any) -> dict[str, Tensor]:
    vae = build()
    fit(objective.ELBO(vae), data, max_steps=30, learning_rate=1e-2, **options)
    return weights(vae)


SOURCES: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "dataset": Pairs,
    "dataset with names": lambda x, c: Pairs(x, c, named=True),
    "rows of a dataset": lambda x, c: as_rows(Pairs(x, c), c=True),
    "loader": lambda x, c: DataLoader(Pairs(x, c), 32),
    "loader with names": lambda x, c: DataLoader(Pairs(x, c, named=True), 32),
    "tensors": TensorDataset,
    "loader of tensors": lambda x, c: DataLoader(TensorDataset(x, c), 32),
}


@pytest.mark.parametrize("name", SOURCES)
def test_a_source_of_rows_and_conditions_is_trained_on_as_their_tensors_are(name: str) -> None:
    x, c = conditional(90)
    held = as_rows(x[:20], c=c[:20])
    source = SOURCES[name](x, c)
    expected = trained_on(as_rows(x, c=c), batch_size=32, validation=held)
    validation = SOURCES[name](x[:20], c[:20])
    assert equal_bits(trained_on(source, batch_size=32, validation=validation), expected)


def test_workers_fetch_conditions_with_their_rows() -> None:
    x, c = conditional(20)
    rows = as_rows(DataLoader(Pairs(x, c, named=True), 8, num_workers=1), c=True)
    plan = [torch.tensor([3, 1, 2]), torch.tensor([19, 0])]
    for numbers, batch in zip(plan, rows.visits(iter(plan)), strict=True):
        assert batch.c is not None
        assert torch.equal(batch.x, x[numbers])
        assert torch.equal(batch.c, c[numbers])


def test_batches_in_their_own_order_bring_their_conditions() -> None:
    x, c = conditional(81)
    pairs = [*zip(x.split(16), c.split(16), strict=True)]
    named = [{"x": part, "c": given} for part, given in pairs]
    rows = as_rows(pairs, c=True)
    seen = [next(visits) for visits in [rows.visits(iter(()))] for _ in range(5)]
    assert [len(batch.x) for batch in seen] == [16, 16, 16, 16, 17]  # a single row joins others
    assert torch.equal(torch.cat([batch.x for batch in seen]), x)
    assert torch.equal(torch.cat([batch.c for batch in seen if batch.c is not None]), c)
    few = rows.spaced(20, 2**20).whole()
    assert few.c is not None
    assert torch.equal(few.c, c[:20])
    assert equal_bits(trained_on(pairs, validation=named), trained_on(named, validation=pairs))


def test_a_dataset_whose_conditions_are_missing_or_odd_is_refused() -> None:
    x, c = conditional(20)
    for data in (x.split(5), Pairs(x, c.tolist()), [{"x": x}]):  # type: ignore[arg-type]
        with pytest.raises(TypeError, match=r"must yield \(x, c\) or .* the second part is"):
            fit(objective.ELBO(build()), data, max_steps=1)
    with pytest.raises(ValueError, match="Pass one condition for each row"):
        fit(objective.ELBO(build()), Pairs(x, c[:, 0]), max_steps=1)
    with pytest.raises(ValueError, match="c has rows of shape"):
        pairs = [(x[:9], c[:9]), (x[9:], c[9:, :1])]
        fit(objective.ELBO(build()), pairs, max_steps=2)
    with pytest.raises(ValueError, match="c contains NaN"):
        fit(objective.ELBO(build()), Pairs(x, c * torch.nan), max_steps=1)
    with pytest.raises(ValueError, match=r"as_rows\(x, c=True\)"):
        fit(objective.ELBO(build()), as_rows(Pairs(x, c)), max_steps=1)
    with pytest.raises(TypeError, match="c=True is for a Dataset"):
        as_rows(x, c=True)
    with pytest.raises(TypeError, match="c must be True where x yields its own"):
        as_rows(Pairs(x, c), c=c)


def test_what_stands_beside_x_is_left_alone_where_no_part_reads_a_condition() -> None:
    x, c = conditional(40)
    head = likelihood.Gaussian((D,))
    for data in (Pairs(x, c), Pairs(x, c, named=True)):
        decoder = networks.Linear((Q,), (D,), generator=rng(1))
        encoder = networks.Linear((D,), (2 * Q,), generator=rng(2))
        vae = VAE(StandardNormal(Q), decoder, head, encoder, DiagonalNormal(Q)).double()
        assert fit(objective.ELBO(vae), data, max_steps=3).records


def test_rows_are_judged_with_the_conditions_that_they_bring(trained: VAE) -> None:
    x, c = conditional(30)
    for rows in (as_rows(x, c=c), as_rows(Pairs(x, c), c=True)):
        found = evaluate.log_likelihood(trained, rows, "exact")
        assert torch.equal(found.value, evaluate.log_likelihood(trained, x, "exact", c=c).value)
        assert torch.equal(evaluate.elbo(trained, rows), evaluate.elbo(trained, x, c=c))
    with pytest.raises(ValueError, match="c was passed beside rows"):
        evaluate.elbo(trained, as_rows(x, c=c), c=c)


def test_rows_that_are_made_anew_are_judged_alike_twice() -> None:
    x, c = conditional(30)
    rows = as_rows(x, c=c, step=lambda x, g: x + torch.rand(x.shape, generator=g))
    vae = build().float()
    assert torch.equal(evaluate.elbo(vae, rows), evaluate.elbo(vae, rows))


def test_where_a_tensor_is_needed_rows_say_how_to_be_read() -> None:
    x, c = conditional(9)
    with pytest.raises(TypeError, match=r"Pass x\.read\(\), and x\.conditions\(\) as c"):
        build().encode(as_rows(x, c=c), c)  # type: ignore[arg-type]


# -- a prior that reads conditions -----------------------------------------------------------------


class Moved(Prior):
    """p(z|c) = N(B c, I): a prior of one's own that reads c."""

    takes_condition = True

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.latent_dim = len(weight)
        self.weight = torch.nn.Parameter(weight)

    def forward(self, c: Tensor) -> NormalOf:  # type: ignore[override]
        loc = c @ self.weight.T
        return NormalOf(loc, torch.ones_like(loc))


class Beside(torch.nn.Module):
    """A linear encoder of x and c, side by side."""

    takes_condition = True

    def __init__(self, size: int) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(D + K, size).double()

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        found: Tensor = self.linear(torch.cat([x, c], -1))
        return found


B = normal(2, K, seed=7)
AXES = torch.linalg.qr(normal(D, 2, seed=8)).Q * torch.tensor([2.0, 0.8], dtype=torch.float64)
LINEAR = LinearGaussian(AXES, normal(D, seed=9), torch.tensor(0.3, dtype=torch.float64))


def moved() -> VAE:
    """A linear model with p(z|c) = N(B c, I) and its exact posterior, diagonal as axes are."""
    decoder = networks.Linear((2,), (D,)).double()
    vae = VAE(Moved(B), decoder, likelihood.Gaussian((D,), 0.3), Beside(4), DiagonalNormal(2))
    gain, offset = LINEAR.posterior_affine()
    width = LINEAR.posterior(torch.zeros(1, D).double())[1].diagonal().sqrt()
    with torch.no_grad():
        decoder.linear.weight.copy_(AXES)
        decoder.linear.bias.copy_(LINEAR.bias)
        encoder = vae.encoder.linear
        encoder.weight.zero_()
        encoder.weight[:2] = torch.cat([gain, B - gain @ AXES @ B], 1)  # E[z|x,c]
        encoder.bias[:2] = offset
        encoder.bias[2:] = softplus_inverse(width)
    return vae


def rows_of_moved(n: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return rows, their conditions, and log p(x|c)."""
    c = normal(n, K, seed=10)
    shift = c @ B.T @ AXES.T
    x = LINEAR.sample(n, rng(11)) + shift
    return x, c, LINEAR.log_prob(x - shift)


def test_the_bound_of_a_prior_given_c_is_exact_where_its_posterior_is() -> None:
    vae, (x, c, truth) = moved(), rows_of_moved(20)
    torch.testing.assert_close(evaluate.elbo(vae, x, c=c), truth)
    for loss in (objective.ELBO(vae), objective.IWAE(vae, 3), objective.STL(vae)):
        torch.testing.assert_close(loss.eval()(x, rng(0), c).detach(), truth, atol=3, rtol=0)
    assert torch.equal(vae.given(c[3]).prior().mean, vae.prior(c[3]).mean)
    one = evaluate.elbo(vae.given(c[3]), x[3:4])
    torch.testing.assert_close(one, truth[3:4])


@pytest.mark.parametrize(
    ("method", "options", "near"),
    [
        ("importance", {"samples": 10}, 1e-6),
        ("importance", {"samples": 50, "proposal": "mixture"}, 0.05),
        ("importance", {"samples": 50, "proposal": "refined"}, 0.05),
        ("quadrature", {}, 1e-5),
        ("ais", {"samples": 32, "temperatures": 100, "start": "prior"}, 0.6),
        ("auto", {}, 1e-3),
    ],
)
def test_every_method_knows_a_prior_that_reads_conditions(
    method: str, options: dict[str, Any], near: float
) -> None:
    vae, (x, c, truth) = moved(), rows_of_moved(6)
    found = evaluate.log_likelihood(vae, x, method, c=c, **options)
    torch.testing.assert_close(found.value, truth, atol=near, rtol=0)


def test_both_bounds_hold_for_a_prior_that_reads_conditions() -> None:
    vae, c = moved(), 3 * normal(8, K, seed=12)
    found = evaluate.bidirectional(vae, 8, 8, temperatures=40, dtype=torch.float64, c=c)
    truth = LINEAR.log_prob(found.x - c @ B.T @ AXES.T)
    for bound in (found.lower, found.upper):
        assert abs(float((bound - truth).mean())) < 0.3


def test_a_prior_that_reads_conditions_is_learned() -> None:
    x, c, truth = rows_of_moved(600)
    vae = moved()
    with torch.no_grad():
        vae.prior.weight.zero_()
    history = fit(
        objective.ELBO(vae), as_rows(x, c=c), max_steps=300, learning_rate=0.03, batch_size=100
    )
    assert all(record.kl is not None for record in history.records)
    found = evaluate.log_likelihood(vae, x, "importance", 50, c=c).value
    assert float((truth - found).mean()) < 0.1
    drawn = vae.given(c[0]).sample(20_000, generator=rng(1)).mean(0)
    expected = LINEAR.bias + AXES @ B @ c[0]
    torch.testing.assert_close(drawn, expected, atol=0.3, rtol=0)


def test_no_rows_have_no_conditions() -> None:
    x, c = conditional(3)
    assert build().decode(normal(5, 3, Q)[:, :0], c[:0]).mean.shape == (5, 0, D)
    assert build().encode(x[:0], c[:0]).mean.shape == (0, Q)
