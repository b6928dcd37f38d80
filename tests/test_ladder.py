"""Method "auto": a ladder of effort, which a row climbs by its own weights alone."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from helpers import build, draw, linear_gaussian, loosen, ring, small_estimator, started
from nelbo import VAE, evaluate, likelihood, posterior, prior
from nelbo.evaluate import Cost, Examples
from nelbo.evaluate.adapted import Adapted
from nelbo.evaluate.gauss_newton import Mixture
from nelbo.evaluate.importance import importance
from nelbo.evaluate.modes import Modes, several
from nelbo.evaluate.proposal import Normal
from nelbo.evaluate.quadrature import Quadrature
from test_annealing import bent


def unlinear(factor: float = 1.0, shift: float = 0.0, rows: int = 10) -> tuple[VAE, Tensor, Tensor]:
    """A linear model with 20 latents that does not look like one; rows; their exact log p(x)."""
    model = linear_gaussian(30, 20, variance=0.5)
    vae = loosen(started(model), factor, shift)
    vae.decoder = nn.Sequential(vae.decoder, nn.Softshrink(1e-9))
    x = draw(model, rows)
    return vae, x, model.log_prob(x)


class Folded(nn.Module):
    """|z|, smoothly: the sign of every latent is lost, so that posteriors have 2^d modes."""

    def forward(self, z: Tensor) -> Tensor:
        return torch.sqrt(z.square() + 0.01)


class Squares(nn.Module):
    """The squares of linear combinations of z."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, z: Tensor) -> Tensor:
        return (z @ self.weight.T).square()


class OneSquared(nn.Module):
    """Linear combinations of z, whose first latent is squared."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, z: Tensor) -> Tensor:
        return torch.cat([z[..., :1].square(), z[..., 1:]], -1) @ self.weight.T


class Valley(nn.Module):
    """The second latent less the square of the first: what explains one x lies on a parabola."""

    def forward(self, z: Tensor) -> Tensor:
        return z[..., 1:2] - z[..., :1].square()


def curved(latent_dim: int) -> VAE:
    """A model whose posteriors bend; its q(z|x) knows nothing of x, and is sure of it."""
    q = posterior.DiagonalNormal(latent_dim)
    encoder = Constant(torch.tensor([0.0] * latent_dim + [-2.0] * latent_dim))
    head = likelihood.Gaussian((1,), 0.1)
    return VAE(prior.StandardNormal(latent_dim), Valley(), head, encoder, q).double()


class Constant(nn.Module):
    """The same for every x."""

    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.value = nn.Parameter(value)

    def forward(self, x: Tensor) -> Tensor:
        return self.value.expand(*x.shape[:-1], -1)


def folded(latent_dim: int, encoder_at: float = 0.8) -> VAE:
    """A model whose encoder is sure of the mode in the first quadrant, whatever x is."""
    q = posterior.DiagonalNormal(latent_dim)
    encoder = nn.Linear(latent_dim, 2 * latent_dim)
    with torch.no_grad():
        encoder.weight.zero_()
        encoder.bias.copy_(torch.tensor([encoder_at] * latent_dim + [-2.0] * latent_dim))
    head = likelihood.Gaussian((latent_dim,), 0.01)
    return VAE(prior.StandardNormal(latent_dim), Folded(), head, encoder, q).double()


def truth_of_folded(x: Tensor) -> Tensor:
    """log p(x) by one grid for each coordinate, which are independent."""
    one = folded(1)
    columns = [evaluate.log_likelihood(one, each[:, None], "quadrature").value for each in x.T]
    return torch.stack(columns).sum(0)


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("importance", {"proposal": "mixture", "samples": 200}),
        ("auto", {"samples": 100, "tolerance": 0.15}),
    ],
)
def test_intervals_cover_with_fitted_proposals(method: str, options: dict[str, Any]) -> None:
    vae, x, exact = unlinear(1.3, 0.1, rows=80)
    inside, flagged = [], []
    for seed in range(15):
        found = evaluate.log_likelihood(vae, x, method, seed=seed, **options)
        low, high = found.interval(0.95)
        inside.append((low <= exact) & (exact <= high))
        flagged.append(found.unreliable)
    assert float(torch.stack(flagged).double().mean()) < 0.02
    assert 0.93 <= float(torch.stack(inside).double().mean()) <= 0.97


def test_a_tolerance_is_kept_by_every_row_and_more_draws_go_where_they_are_needed() -> None:
    vae, x, exact = unlinear(1.3, 0.1)
    found = evaluate.log_likelihood(vae, x, "auto", 100, tolerance=0.06)
    assert float(found.standard_error.max()) <= 0.06
    assert bool(((found.value - exact).abs() < 4.5 * found.standard_error).all())
    assert found.rung is not None
    more = found.rung == evaluate.Rung.MORE_DRAWS
    assert bool(more.any())
    assert bool((found.samples[more] > 100).all())
    assert set(found.samples[~more].tolist()) <= {100}
    assert found.rungs["more draws"] == int(more.sum())
    assert sum(found.rungs.values()) == len(x)
    assert "standard error above 0.06 nats" in found.reason
    assert f"{int(more.sum())} more draws" in found.reason
    assert f"{int(more.sum())} more draws" in found.numpy().summary


@pytest.mark.parametrize("tolerance", [None, 0.3])
def test_a_row_climbs_by_itself(tolerance: float | None) -> None:
    vae, x = bent(4, 0.1, 12)
    options: dict[str, Any] = {"method": "auto", "samples": 100, "tolerance": tolerance}
    whole = evaluate.log_likelihood(vae, x, **options)
    assert len(whole.rungs) > 1
    alone = [evaluate.log_likelihood(vae, x[i : i + 1], memory=2**16, **options) for i in range(6)]
    assert torch.equal(torch.cat([found.samples for found in alone]), whole.samples[:6])
    value = torch.cat([found.value for found in alone])
    torch.testing.assert_close(value, whole.value[:6], rtol=0, atol=1e-6)
    flipped = evaluate.log_likelihood(vae, x.flip(0), **options)
    torch.testing.assert_close(flipped.value.flip(0), whole.value, rtol=0, atol=1e-6)


@pytest.mark.parametrize("latent_dim", [3, 4])
def test_modes_that_the_encoder_does_not_lead_to_are_found(latent_dim: int) -> None:
    """Draws at one of 8 or 16 equal modes look well: each has an eighth of the mass, or less."""
    vae = folded(latent_dim)
    x = torch.full((12, latent_dim), 0.8, dtype=torch.float64)
    x += 0.05 * torch.randn(x.shape, generator=torch.Generator().manual_seed(2), dtype=x.dtype)
    truth = truth_of_folded(x)
    one = evaluate.log_likelihood(vae, x, "importance", 200, proposal="refined")
    assert float(one.unreliable.double().mean()) < 0.2  # its weights look well
    assert bool((one.value < truth - 1.9).all())
    default = evaluate.log_likelihood(vae, x, "importance", 200, proposal="mixture")
    found = evaluate.log_likelihood(vae, x, "auto", 200)
    for each in (default, found):
        caught = each.unreliable | ((each.value - truth).abs() < 0.5)
        assert float(caught.double().mean()) > 0.9
    assert abs(found.mean - float(truth.mean())) < 0.3


def test_the_default_score_draws_at_a_second_mode() -> None:
    """Of z and -z, which x cannot tell apart, the encoder knows one."""
    g = torch.Generator().manual_seed(0)
    z = 1.5 * torch.ones(8, dtype=torch.float64)
    vae = folded(8, encoder_at=1.5)
    vae.decoder = Squares(torch.randn(24, 8, generator=g, dtype=torch.float64) / 8**0.5)
    vae.likelihood = likelihood.Gaussian((24,), 0.01)
    vae.encoder = Constant(vae.encoder.bias.detach())
    x = vae.decoder(z) + 0.1 * torch.randn(20, 24, generator=g, dtype=torch.float64)
    found = evaluate.log_likelihood(vae, x, "importance", 400, proposal="mixture")
    half = evaluate.log_likelihood(vae, x, "importance", 400, proposal="refined")
    assert not bool((found.unreliable | half.unreliable).any())
    error = (found.standard_error.square() + half.standard_error.square()).sqrt()
    assert bool(((found.value - half.value - math.log(2)).abs() < 4 * error).all())


def test_the_default_score_draws_where_one_sign_is_lost() -> None:
    """x cannot tell the sign of the first of eight latents, of which the encoder knows one."""
    g = torch.Generator().manual_seed(0)
    vae = folded(8, encoder_at=1.5)
    vae.decoder = OneSquared(torch.randn(24, 8, generator=g, dtype=torch.float64) / 8**0.5)
    vae.likelihood = likelihood.Gaussian((24,), 0.01)
    vae.encoder = Constant(vae.encoder.bias.detach())
    x = vae.decoder(torch.full((8,), 1.5, dtype=torch.float64))
    x = x + 0.1 * torch.randn(20, 24, generator=g, dtype=torch.float64)
    found = evaluate.log_likelihood(vae, x, "importance", 400, proposal="mixture")
    half = evaluate.log_likelihood(vae, x, "importance", 4_000, proposal="refined")
    assert not bool(found.unreliable.any())
    error = (found.standard_error.square() + half.standard_error.square()).sqrt()
    assert bool(((found.value - half.value - math.log(2)).abs() < 4 * error).all())


def test_draws_do_not_share_noise() -> None:
    """Blocks of noise of different widths are made of the same numbers."""
    keys, like = torch.arange(1, 2001), torch.zeros((), dtype=torch.float64)
    normal = Normal(torch.zeros(2000, 3).double(), torch.ones(2000, 3).double())
    source = Mixture(normal, Modes.of_mass([normal, normal], torch.zeros(2, 2000)), 32, 4)
    z = source.draws(keys, 32, 0, 0, like).movedim(1, 0).flatten(1)
    correlation = torch.corrcoef(z.T) - torch.eye(z.shape[1])
    assert float(correlation.abs().max()) < 0.13


def test_draws_of_several_modes_follow_their_density() -> None:
    keys = torch.arange(1, 4)
    like = torch.zeros((), dtype=torch.float64)
    normals = [
        Normal(torch.full((3, 2), at, dtype=torch.float64), torch.full((3, 2), width).double())
        for at, width in ((-2.0, 0.5), (1.0, 1.0))
    ]
    mass = torch.tensor([[0.0, 2.0, -math.inf], [2.0, 2.0, 0.0]], dtype=torch.float64)
    source = Modes.of_mass(normals, mass)
    z = torch.cat([source.draws(keys, 32, 0, number, like) for number in range(200)])
    share = (source.log_prob(z).exp().reciprocal()).isfinite()
    assert bool(share.all())
    weight = (0.5 * mass.clamp_min(-1e3)).softmax(0)
    mean = (weight[..., None] * torch.stack([n.loc for n in normals])).sum(0)
    torch.testing.assert_close(z.mean(0), mean, rtol=0, atol=0.06)
    # E_r[p / r] = 1 for a density p: r is the density of the draws
    p = torch.distributions.Normal(0.5, 1.0)
    ratio = (p.log_prob(z).sum(-1) - source.log_prob(z))[:, :2].exp().mean(0)
    torch.testing.assert_close(ratio, torch.ones(2).double(), rtol=0, atol=0.06)


def test_normals_adapt_to_a_posterior_that_bends() -> None:
    """Normals at the mode see its middle alone, and its weights need not tell.

    The truth is that of a model without the two latents that x does not depend on, by a grid.
    """
    small, vae = curved(2), curved(4)
    x = torch.linspace(-2, 2, 12, dtype=torch.float64)[:, None]
    truth, full = evaluate.log_likelihood(small, x, "quadrature").value, Examples(x)
    known, _, _ = several(400, 2, vae, full, 2**28)
    adapted = Adapted(rounds=8, components=8, steps=20).place(vae, known, 400, 0, 2**28)
    with torch.no_grad():
        plain, better = (
            importance(vae, full, 400, 7, 2**28, lambda *_, place=place: (place, Cost()))
            for place in (known, adapted)
        )
    assert float((plain.value - truth).mean()) < -0.1
    assert abs(float((better.value - truth).mean())) < 0.05
    assert float(better.ess.median()) > 2 * float(plain.ess.median())
    assert bool(((better.value - truth).abs() < 4 * better.standard_error).all())


def test_rows_that_were_settled_by_many_starts_stay_so() -> None:
    """Of eight equal modes eight starts leave some in doubt, and 32 none."""
    vae = folded(3)
    x = torch.full((5, 3), 0.8, dtype=torch.float64)
    x += 0.05 * torch.randn(x.shape, generator=torch.Generator().manual_seed(2), dtype=x.dtype)
    truth = truth_of_folded(x)
    found = evaluate.log_likelihood(vae, x, "auto", 100, tolerance=0.1)
    assert not bool(found.unreliable.any())
    assert float((found.value - truth).abs().max()) < 0.6


def test_a_tolerance_that_cannot_be_kept_makes_nothing_worse() -> None:
    vae, x, exact = unlinear(rows=2, factor=1.3, shift=0.1)
    found = evaluate.log_likelihood(vae, x, "auto", 50, tolerance=0.01)
    assert found.rungs == {"more draws": 2}
    assert float(found.standard_error.max()) < 0.04
    assert bool(((found.value - exact).abs() < 4.5 * found.standard_error).all())


@pytest.mark.parametrize("method", ["importance", "auto"])
def test_a_row_beyond_all_numbers_leaves_the_others_alone(method: str) -> None:
    vae, x = bent(3, 0.1, 3)
    options: dict[str, Any] = {"auto": {}}.get(method, {"proposal": "mixture"})
    alone = evaluate.log_likelihood(vae, x[1:], method, 100, **options)
    x[0] = 1e200
    found = evaluate.log_likelihood(vae, x, method, 100, **options)
    assert float(found.value[0]) == -math.inf
    torch.testing.assert_close(found.value[1:], alone.value, rtol=0, atol=1e-6)


@pytest.mark.parametrize("components", [1, 3])
def test_adapted_draws_follow_their_density(components: int) -> None:
    vae, x = bent(3, 0.05, 6)
    rows, every = Examples(x), torch.arange(len(x))
    known, _, _ = several(128, 2, vae, rows, 2**28)
    adapted = Adapted(draws=200, rounds=2, components=components)
    # one row at a time and all at once are the same
    source, one = (adapted.place(vae, known, 3200, 0, m)(rows, every) for m in (2**28, 1))
    z = torch.cat([source.draws(rows.keys(), 32, 3, number, x) for number in range(100)])
    torch.testing.assert_close(source.log_prob(z), one.log_prob(z), rtol=0, atol=1e-9)
    # E_r[p / r] = 1 for a density p: r is the density of the draws
    p = Normal(source.modes.normals[-1].loc, 0.7 * source.modes.normals[-1].triangle)
    ratio = (p.log_prob(z) - source.log_prob(z)).exp()
    error = ratio.std(0) / len(z) ** 0.5
    assert bool(((ratio.mean(0) - 1).abs() < 4.5 * error).all())


def test_draws_beyond_all_numbers_leave_other_rows_alone() -> None:
    z = torch.randn(2, 60, 2, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    weight = torch.full((2, 60), 1 / 60, dtype=torch.float64)
    alone = Adapted(components=3).fitted(z[1:], weight[1:])[0]
    z[0] *= 1e200
    z[0, 0] = math.nan
    together = Adapted(components=3).fitted(z, weight)[0]
    for one, both in zip(alone, together, strict=True):
        assert bool(both.loc.isfinite().all() & both.scale.isfinite().all())
        torch.testing.assert_close(one.scale[0], both.scale[1])


def test_weights_are_flattened_as_far_as_need_be() -> None:
    g = torch.Generator().manual_seed(1)
    spread = torch.tensor([0.1, 3.0, 30.0, math.inf])[:, None]
    log_weight = torch.randn(4, 400, generator=g, dtype=torch.float64) * spread.clamp_max(1e9)
    log_weight[3, 5:] = -math.inf
    found = Adapted().flattened(log_weight, 8)
    effective = found.square().sum(1).reciprocal()
    torch.testing.assert_close(found[0], log_weight[0].softmax(0), rtol=1e-3, atol=0)
    torch.testing.assert_close(effective[1:3], torch.full((2,), 32.0).double(), rtol=0.02, atol=0)
    assert bool(found.isfinite().all())


def test_parts_that_do_not_say_how_they_bend_climb_by_gradients() -> None:
    vae, x = bent(3, 0.1, 4)
    rows, all_of_them = Examples(x), torch.arange(len(x))
    known, _, cost = several(50, 2, vae, rows, 2**20)
    assert cost.gradients == 0
    vae.likelihood.local_quadratic = lambda p, x: None  # type: ignore[method-assign]
    by_gradient, _, cost = several(50, 2, vae, rows, 2**20)
    assert cost.gradients > 0
    with torch.no_grad():
        z = known(rows, all_of_them).draws(rows.keys(), 32, 0, 0, x)
        one, other = (place(rows, all_of_them).log_prob(z) for place in (known, by_gradient))
    assert float((one - other).abs().mean()) < 0.3


def test_a_grid_is_chosen_by_what_it_costs() -> None:
    small, x = bent(2, rows=3)
    assert evaluate.log_likelihood(small, x, "auto").method == "quadrature"
    wide = build((400,), 2, "mlp", hidden=(512, 512), variance=0.5)
    x = wide.sample(2, generator=torch.Generator().manual_seed(0))
    found = evaluate.log_likelihood(wide, x, "auto")
    assert found.samples.min() >= 100
    assert found.cost.decodes < Quadrature().usual[1]


@pytest.mark.parametrize(
    ("value", "error", "words"),
    [
        (0.0, ValueError, "tolerance must be positive and finite, got 0.0"),
        (math.nan, ValueError, "tolerance must be positive and finite, got nan"),
        ("0.1", TypeError, "tolerance must be a number of nats, got '0.1'"),
        (True, TypeError, "tolerance must be a number of nats, got True"),
    ],
)
def test_a_tolerance_is_a_positive_number(value: Any, error: type[Exception], words: str) -> None:
    vae, x = bent(3, rows=2)
    with pytest.raises(error, match=words):
        evaluate.log_likelihood(vae, x, "auto", tolerance=value)


def test_a_tolerance_belongs_to_auto() -> None:
    vae, x = bent(3, rows=2)
    with pytest.raises(ValueError, match='tolerance belongs to method="auto"'):
        evaluate.log_likelihood(vae, x, "importance", tolerance=0.1)


def test_an_outlier_is_scored_by_default_as_annealing_does() -> None:
    """26 standard deviations out the encoder alone misses hundreds of nats."""
    noise = np.random.default_rng(0).normal(size=(2, 400, 3))
    train, test = ring(400, 400) + 0.07 * noise[0], ring(4, 4) + 0.07 * noise[1, :4]
    model = small_estimator(max_steps=200, latent_dim=3).fit(train)
    rows = np.arange(4)
    test[rows, rows % 3] += np.where(rows % 2, -1, 1) * 26 * train.std(0)[rows % 3]
    annealed = model.log_likelihood(test, "ais", 32)
    assert annealed.standard_error.max() < 0.2
    np.testing.assert_allclose(model.score_samples(test), annealed.value, rtol=0, atol=0.5)
    alone = model.log_likelihood(test, "importance", proposal="encoder")
    assert (annealed.value - alone.value).min() > 20
