"""Categories, ordered levels, counts and amounts: against scipy, torch and their definitions."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor
from torch import distributions as torch_distributions

from helpers import normal, rng
from nelbo.distributions import (
    Bernoulli,
    Categorical,
    Factorised,
    HurdleLogNormal,
    LogNormal,
    NegativeBinomial,
    Ordinal,
    Poisson,
    SpikeAndSlab,
    of_observed,
)

THRESHOLDS = torch.tensor([[-1.0, 0.2, 0.3, 2.0], [-3.0, -2.5, 1.0, 1.1]], dtype=torch.float64)
SCALE = torch.tensor([0.5, 1.2], dtype=torch.float64)
DISPERSION = torch.tensor([0.3, 2.0], dtype=torch.float64)
POINTS = torch.tensor([0.0, 3.0], dtype=torch.float64)


def on_a_grid(h: Tensor) -> SpikeAndSlab:
    loc, scale = 8 + 4 * h[..., 5:8], 1 + h[..., 8:].exp()
    return SpikeAndSlab(h[..., :5], loc, scale, POINTS.to(h), step=1.0)


def off_a_grid(h: Tensor) -> SpikeAndSlab:
    return SpikeAndSlab(h[..., :5], h[..., 5:8], 0.1 + h[..., 8:].exp(), POINTS.to(h))


MADE: dict[str, tuple[Callable[[Tensor], Factorised], int]] = {
    "bernoulli": (lambda h: Bernoulli(h[..., 0]), 1),
    "categorical": (Categorical, 5),
    "ordinal": (lambda h: Ordinal(h[..., 0], THRESHOLDS.to(h.dtype)), 1),
    "poisson": (lambda h: Poisson(h[..., 0]), 1),
    "negative binomial": (lambda h: NegativeBinomial(h[..., 0], DISPERSION.to(h.dtype)), 1),
    "log-normal": (lambda h: LogNormal(h[..., 0], SCALE.to(h.dtype)), 1),
    "amount": (lambda h: HurdleLogNormal(h[..., 0], h[..., 1], SCALE.to(h.dtype)), 2),
    "points on a grid": (on_a_grid, 11),
    "points": (off_a_grid, 11),
}
"""Distributions of two coordinates, made of features h (*batch, 2, so many)."""
LEVELS = {"bernoulli": 2, "categorical": 5, "ordinal": 5}
EVERY = pytest.mark.parametrize("name", MADE)


def made(name: str, *batch: int, seed: int = 0) -> tuple[Factorised, Tensor]:
    build, size = MADE[name]
    h = normal(*batch, 2, size, seed=seed).requires_grad_()
    return build(h), h


def agree(p: Factorised, x: Tensor, expected: object) -> None:
    np.testing.assert_allclose(p.each(x).detach(), expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(
        p.log_prob(x).detach(), np.asarray(expected).sum(-1), rtol=1e-12, atol=1e-12
    )


def test_categories_are_torchs() -> None:
    logits, x = 3 * normal(7, 2, 5), torch.randint(5, (4, 7, 2), generator=rng()).double()
    theirs = torch_distributions.Categorical(logits=logits)
    agree(Categorical(logits), x, theirs.log_prob(x))
    torch.testing.assert_close(Categorical(logits).mode, theirs.mode.double())
    torch.testing.assert_close(Categorical(logits).probabilities(), theirs.probs)


def test_ordered_levels_are_differences_of_a_logistic_distribution() -> None:
    loc, x = 2 * normal(7, 2), torch.randint(5, (4, 7, 2), generator=rng()).double()
    below = np.pad(THRESHOLDS, ((0, 0), (1, 0)), constant_values=-np.inf)
    above = np.pad(THRESHOLDS, ((0, 0), (0, 1)), constant_values=np.inf)
    low, high = (edge[[0, 1], x.int()] for edge in (below, above))
    expected = np.log(stats.logistic.cdf(high, loc) - stats.logistic.cdf(low, loc))
    agree(Ordinal(loc, THRESHOLDS), x, expected)
    levels = torch.arange(5.0, dtype=torch.float64)
    p = Ordinal(loc, THRESHOLDS).probabilities()
    torch.testing.assert_close(Ordinal(loc, THRESHOLDS).mean, p @ levels)
    variance = p @ levels.square() - (p @ levels).square()
    torch.testing.assert_close(Ordinal(loc, THRESHOLDS).variance, variance)


def test_counts_are_scipys() -> None:
    log_mean, x = 2 * normal(7, 2), torch.randint(60, (4, 7, 2), generator=rng()).double()
    mean = log_mean.exp()
    agree(Poisson(log_mean), x, stats.poisson.logpmf(x, mean))
    for dispersion in (DISPERSION, 1e-3 * DISPERSION):
        size = 1 / dispersion
        p = NegativeBinomial(log_mean, dispersion)
        np.testing.assert_allclose(
            p.each(x), stats.nbinom.logpmf(x, size, size / (size + mean)), rtol=1e-11
        )
        torch.testing.assert_close(
            p.variance, torch.from_numpy(stats.nbinom.var(size, size / (size + mean)))
        )


def test_a_negative_binomial_of_no_dispersion_is_poisson() -> None:
    log_mean, x = 3 * normal(7, 2), torch.randint(200, (4, 7, 2), generator=rng()).double()
    p = NegativeBinomial(log_mean, torch.full((2,), 1e-18, dtype=torch.float64))
    torch.testing.assert_close(p.each(x), Poisson(log_mean).each(x), rtol=1e-12, atol=1e-10)


@pytest.mark.parametrize("size", [99.9, 100.1, 1e4, 1e8])
def test_no_digit_is_lost_where_a_dispersion_is_small(size: float) -> None:
    """The ratio of two gamma functions, as the product that it is."""
    x, log_mean = 37, 2.0
    factors = np.log1p(np.arange(x) / size).sum() - math.lgamma(x + 1)
    expected = factors + x * log_mean - (x + size) * math.log1p(math.exp(log_mean) / size)
    p = NegativeBinomial(
        torch.tensor([log_mean], dtype=torch.float64),
        torch.tensor([1 / size], dtype=torch.float64),
    )
    found = float(p.log_prob(torch.tensor([float(x)], dtype=torch.float64)))
    assert found == pytest.approx(expected, rel=1e-12)


def test_positive_numbers_are_scipys_and_others_impossible() -> None:
    loc, x = normal(7, 2), normal(4, 7, 2, seed=1).exp()
    agree(LogNormal(loc, SCALE), x, stats.lognorm.logpdf(x, SCALE, scale=loc.exp()))
    theirs = torch_distributions.LogNormal(loc, SCALE)
    for name in ("mean", "mode", "variance"):
        torch.testing.assert_close(getattr(LogNormal(loc, SCALE), name), getattr(theirs, name))
    assert LogNormal(loc, SCALE).log_prob(torch.zeros(2)).isneginf().all()


def test_amounts_are_a_mass_at_zero_and_a_density_above() -> None:
    logits, loc = normal(7, 2), normal(7, 2, seed=2)
    p, chance = HurdleLogNormal(logits, loc, SCALE), logits.sigmoid()
    x = normal(4, 7, 2, seed=1).exp().where(normal(4, 7, 2) > 0, 0.0)
    above = chance.log().numpy() + stats.lognorm.logpdf(x.clamp_min(1e-9), SCALE, scale=loc.exp())
    agree(p, x, np.where((x == 0).numpy(), (1 - chance).log().numpy(), above))
    grid = torch.linspace(-30, 30, 40001, dtype=torch.float64).exp()
    density = HurdleLogNormal(logits[:1, :1], loc[:1, :1], SCALE[:1]).log_prob(grid[:, None, None])
    mass = torch.trapezoid(density[:, 0].exp(), grid) + 1 - chance[0, 0]
    assert float(mass) == pytest.approx(1, abs=1e-6)


def test_points_have_a_mass_and_all_else_that_of_its_bin_or_a_density() -> None:
    h = normal(7, 2, 11)
    share = h[..., :5].softmax(-1).numpy()
    whole = torch.randint(-3, 12, (4, 7, 2), generator=rng()).double()
    for p, step in ((on_a_grid(h), 1.0), (off_a_grid(h), None)):
        x = whole if step else whole.where(whole >= 0, whole + normal(4, 7, 2))
        theirs, at = stats.logistic(p.loc, p.scale), x[..., None].numpy()
        point = (at == POINTS.numpy()) @ np.ones(2) > 0
        slab = theirs.pdf(at) * ~point[..., None]
        if step:
            slab = theirs.cdf(at + step / 2) - theirs.cdf(at - step / 2)
        mass = ((at == POINTS.numpy()) * share[..., :2]).sum(-1)
        np.testing.assert_allclose(
            p.each(x), np.log(mass + (share[..., 2:] * slab).sum(-1)), rtol=1e-9
        )
    every = torch.arange(-400.0, 400.0, dtype=torch.float64)[:, None, None]
    total = on_a_grid(h).each(every).logsumexp(0)
    torch.testing.assert_close(total, torch.zeros_like(total), rtol=0, atol=1e-9)
    fine = torch.linspace(-80, 80, 200_001, dtype=torch.float64)[:, None, None]
    mass = torch.trapezoid(off_a_grid(h[:1]).each(fine + 1e-6).exp(), fine[:, 0, 0], dim=0)
    torch.testing.assert_close(
        mass[0], torch.from_numpy(share[0, :, 2:].sum(-1)), atol=1e-6, rtol=0
    )


def test_a_bin_far_out_and_a_bin_much_wider_than_the_logistic_lose_no_digit() -> None:
    one = torch.ones(1, 1, 1, dtype=torch.float64)
    none = torch.empty(0, dtype=torch.float64)
    far = SpikeAndSlab(0 * one, 0 * one, one, none, step=1e-6).each(torch.full((1, 1), 600.0))
    assert float(far) == pytest.approx(-600 + math.log(1e-6), rel=1e-9)
    wide = SpikeAndSlab(0 * one, 0 * one, 1e-3 * one, none, step=1.0).each(torch.zeros(1, 1))
    assert float(wide) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("name", [*LEVELS, "poisson", "negative binomial"])
def test_probabilities_of_all_values_sum_to_one(name: str) -> None:
    p, _ = made(name, 3)
    values = torch.arange(float(LEVELS.get(name, 2000)), dtype=torch.float64)
    total = p.each(values[:, None, None]).logsumexp(0)
    torch.testing.assert_close(total, torch.zeros_like(total), rtol=0, atol=1e-12)
    if name in LEVELS:
        every = p.probabilities().movedim(-1, 0)  # type: ignore[attr-defined]
        torch.testing.assert_close(every.log(), p.each(values[:, None, None]))


@EVERY
def test_draws_have_mean_and_variance_of_their_distribution(name: str) -> None:
    p = MADE[name][0](made(name, 2, seed=3)[1].detach())
    n = 20_000
    drawn = p.sample((n,), rng(1))
    assert drawn.shape == (n, 2, 2)
    assert bool(p.log_prob(drawn).isfinite().all())
    assert torch.equal(drawn, p.sample((n,), rng(1)))
    if name == "categorical":
        values = torch.arange(5.0, dtype=torch.float64)
        rate = p.probabilities()  # type: ignore[attr-defined]
        found = (drawn[..., None] == values).double().mean(0)
        assert float(((found - rate) / (rate * (1 - rate) / n).sqrt()).abs().max()) < 4.5
        torch.testing.assert_close(p.variance, (rate * (1 - rate)).sum(-1))
        return
    error = (drawn.mean(0) - p.mean) / drawn.std(0) * math.sqrt(n)
    assert float(error.abs().max()) < 4.5
    square = (drawn - p.mean).square()
    assert float(((square.mean(0) - p.variance) / square.std(0) * math.sqrt(n)).abs().max()) < 5


@pytest.mark.parametrize("name", [name for name in MADE if "points" not in name])
def test_no_value_is_more_probable_than_the_mode(name: str) -> None:
    p, _ = made(name, 3)
    grid = torch.arange(400.0, dtype=torch.float64)
    if name in ("log-normal", "amount"):
        grid = 0.01 * (grid[1:])
    grid = grid[: LEVELS.get(name, 400)]
    best = p.each(p.mode)
    mass = name == "amount"  # a probability of at least a half is no density
    where = p.mode > 0 if mass else torch.ones_like(best).bool()
    assert bool((p.each(grid[:, None, None])[:, where] <= best[where] + 1e-12).all())


@EVERY
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [-80.0, 80.0])
def test_log_probabilities_and_gradients_are_finite_far_out(
    name: str, dtype: torch.dtype, size: float
) -> None:
    build, features = MADE[name]
    h = torch.zeros(1, 2, features, dtype=dtype)
    h[..., 0] = size
    h.requires_grad_()
    for value in (0.0, 1.0, 1e6):
        x = torch.full((1, 2), min(value, LEVELS.get(name, 2e6) - 1), dtype=dtype)
        if name == "log-normal":
            x = x + 1e-6
        log_prob = build(h).log_prob(x).sum()
        assert bool(log_prob.isfinite())
        (slope,) = torch.autograd.grad(log_prob, h)
        assert bool(slope.isfinite().all())


@EVERY
def test_slopes_are_gradients_and_information_is_the_variance_of_the_score(name: str) -> None:
    p, h = made(name, 2, 3)
    x = made(name, 3)[0].sample((), rng(5))
    features, score, information = p.local_quadratic(x)  # type: ignore[attr-defined]
    (expected,) = torch.autograd.grad(p.log_prob(x)[0].sum(), h, retain_graph=True)
    (reached,) = torch.autograd.grad(features[0], h, score.detach(), retain_graph=True)
    torch.testing.assert_close(reached, expected)
    if name in ("log-normal", "amount") or "points" in name:
        return
    # of the first coordinate of the first row, along a direction of h
    along = normal(*h.shape[2:], seed=7)

    def moved(t: Tensor) -> Tensor:
        there = MADE[name][0](torch.stack([h[0].detach(), h[0].detach() + t * along]))
        return there.local_quadratic(x)[0][1, 0]  # type: ignore[attr-defined,no-any-return]

    step = torch.autograd.functional.jacobian(moved, torch.zeros((), dtype=torch.float64))
    found = (step.square() * information[0]).sum()
    values = torch.arange(float(LEVELS.get(name, 400)), dtype=torch.float64)
    zero = torch.zeros((), dtype=torch.float64)

    def each(t: Tensor) -> Tensor:
        return MADE[name][0](h[0, 0].detach() + t * along).each(values[:, None])

    slopes = torch.autograd.functional.jacobian(each, zero)
    torch.testing.assert_close(found, (each(zero).exp() * slopes.square()).sum())


@EVERY
def test_what_is_missing_is_left_out(name: str) -> None:
    p, h = made(name, 4)
    x = made(name, 4)[0].sample((), rng(5))
    whole = p.each(x).detach()
    x[1, 0] = x[2] = math.nan
    found = of_observed(p).log_prob(x)
    expected = torch.stack([whole[0].sum(), whole[1, 1], 0 * whole[2, 0], whole[3].sum()])
    torch.testing.assert_close(found, expected)
    (slope,) = torch.autograd.grad(found.sum(), h)
    assert bool(slope.isfinite().all())
    assert bool((slope[2] == 0).all())


def test_ten_thousand_levels_make_nothing_larger_than_their_logits() -> None:
    logits = torch.randn(64, 1, 10_000, generator=rng()).requires_grad_()
    x = torch.randint(10_000, (64, 1), generator=rng()).float()
    largest = 0

    def note(tensor: Tensor) -> Tensor:
        nonlocal largest
        largest = max(largest, tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        loss = Categorical(logits).log_prob(x).sum()
    loss.backward()
    assert largest <= logits.numel()
    expected = torch.nn.functional.cross_entropy(logits[:, 0], x[:, 0].long(), reduction="sum")
    torch.testing.assert_close(-loss, expected)
    assert Categorical(logits).sample((3,), rng()).shape == (3, 64, 1)
