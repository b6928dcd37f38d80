"""Densities against torch.distributions and against what defines them: they integrate to one."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch import distributions as torch_distributions

from helpers import normal, rng
from nelbo.distributions import Bernoulli, DiagonalNormal, Normal01, closed_form_kl, random_bytes

SIZES = st.lists(st.integers(1, 3), max_size=3)


def reference(d: DiagonalNormal) -> torch_distributions.Independent:
    return torch_distributions.Independent(
        torch_distributions.Normal(d.loc, d.scale.expand_as(d.loc)), d.event_dim
    )


@settings(max_examples=60)
@given(
    sample=st.lists(st.integers(1, 3), max_size=1),
    batch=SIZES,
    event=st.lists(st.integers(1, 3), min_size=1, max_size=3),
    scale=st.sampled_from(["number", "event", "full"]),
    seed=st.integers(0, 99),
)
def test_log_prob_is_torchs_for_all_shapes(
    sample: list[int], batch: list[int], event: list[int], scale: str, seed: int
) -> None:
    shape = {"number": [], "event": event, "full": batch + event}[scale]
    d = DiagonalNormal(
        normal(*batch, *event, seed=seed), normal(*shape, seed=seed + 1).exp(), len(event)
    )
    x = normal(*sample, *batch, *event, seed=seed + 2)
    torch.testing.assert_close(d.log_prob(x), reference(d).log_prob(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("scale", [(), (3,), (4, 3)])
def test_moments_entropy_and_expand_are_torchs(scale: tuple[int, ...]) -> None:
    d = DiagonalNormal(normal(4, 3), normal(*scale, seed=1).exp())
    wide = d.expand((2, 4))
    for left, right in ((d, reference(d)), (wide, reference(d).expand((2, 4)))):
        assert (left.batch_shape, left.event_shape) == (right.batch_shape, right.event_shape)
        for name in ("mean", "mode", "variance", "stddev"):
            torch.testing.assert_close(getattr(left, name), getattr(right, name))
        torch.testing.assert_close(left.entropy(), right.entropy())


def test_standard_normal_is_torchs() -> None:
    p, z = Normal01(torch.zeros(3, dtype=torch.float64)), normal(5, 2, 3)
    torch.testing.assert_close(p.log_prob(z), reference(p).log_prob(z), rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("scale", [(), (3,), (4, 3)])
def test_kl_to_the_standard_normal_is_torchs(scale: tuple[int, ...]) -> None:
    q = DiagonalNormal(normal(4, 3), normal(*scale, seed=1).exp())
    p = Normal01(torch.zeros(3, dtype=torch.float64))
    expected = torch_distributions.kl_divergence(reference(q), reference(p).expand((4,)))
    torch.testing.assert_close(
        torch_distributions.kl_divergence(q, p), expected, rtol=1e-12, atol=1e-12
    )
    assert float(closed_form_kl(p, p)) == 0.0


@pytest.mark.parametrize("scales", list(itertools.product([(), (3,), (4, 3)], repeat=2)))
def test_kl_between_normals_is_torchs(scales: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    q = DiagonalNormal(normal(4, 3), normal(*scales[0], seed=1).exp())
    p = DiagonalNormal(normal(4, 3, seed=2), normal(*scales[1], seed=3).exp())
    expected = torch_distributions.kl_divergence(reference(q), reference(p))
    torch.testing.assert_close(
        torch_distributions.kl_divergence(q, p), expected, rtol=1e-12, atol=1e-12
    )


def test_kl_without_a_closed_form_is_none() -> None:
    q = torch_distributions.Independent(torch_distributions.StudentT(5.0, torch.zeros(3)), 1)
    assert closed_form_kl(q, Normal01(torch.zeros(3))) is None


def test_normal_density_integrates_to_one_on_the_line_and_in_the_plane() -> None:
    axis = torch.linspace(-30, 30, 6001, dtype=torch.float64)
    line = DiagonalNormal(
        torch.tensor([0.7], dtype=torch.float64), torch.tensor([1.3], dtype=torch.float64)
    )
    assert float(torch.trapezoid(line.log_prob(axis[:, None]).exp(), axis)) == pytest.approx(
        1, abs=1e-12
    )
    axis = axis[::20]
    plane = DiagonalNormal(normal(2), torch.tensor([0.9, 2.0], dtype=torch.float64))
    grid = torch.cartesian_prod(axis, axis)
    density = plane.log_prob(grid).exp().reshape(len(axis), len(axis))
    assert float(torch.trapezoid(torch.trapezoid(density, axis), axis)) == pytest.approx(
        1, abs=1e-10
    )


def test_samples_are_loc_plus_scale_times_eps() -> None:
    """The standard deviation multiplies eps, not the variance;
    eps comes from the generator alone.
    """
    loc, scale = normal(3), torch.tensor([0.1, 1.0, 10.0], dtype=torch.float64)
    d = DiagonalNormal(loc, scale)
    eps = torch.randn((5, 3), generator=rng(4), dtype=torch.float64)
    torch.testing.assert_close(d.rsample((5,), rng(4)), loc + scale * eps, rtol=1e-15, atol=1e-15)
    assert torch.equal(d.sample((5,), rng(4)), d.rsample((5,), rng(4)))


def test_samples_carry_gradients_to_loc_and_scale_and_sample_does_not() -> None:
    loc, scale = normal(3).requires_grad_(), normal(3, seed=1).exp().requires_grad_()
    d = DiagonalNormal(loc, scale)
    eps = torch.randn((1, 3), generator=rng(4), dtype=torch.float64)[0]
    by_loc, by_scale = torch.autograd.grad(d.rsample((1,), rng(4)).sum(), (loc, scale))
    assert torch.equal(by_loc, torch.ones_like(loc))
    assert torch.equal(by_scale, eps)
    assert not d.sample((1,), rng(4)).requires_grad


@pytest.mark.usefixtures("untouched_random_state")
def test_a_generator_spares_the_global_random_state() -> None:
    DiagonalNormal(normal(3), normal(3).exp()).rsample((2,), rng())
    Bernoulli(normal(3)).sample((2,), rng())


def test_bernoulli_sums_to_one_over_all_binary_vectors() -> None:
    every = torch.tensor(list(itertools.product([0.0, 1.0], repeat=6)), dtype=torch.float64)
    total = Bernoulli(normal(6) * 3).log_prob(every).logsumexp(0)
    assert float(total) == pytest.approx(0, abs=1e-13)
    image = Bernoulli(normal(1, 2, 3), event_dim=3).log_prob(every.reshape(-1, 1, 2, 3))
    assert image.shape == (64,)
    assert float(image.logsumexp(0)) == pytest.approx(0, abs=1e-13)


def test_bernoulli_is_torchs_and_stays_finite_for_great_logits() -> None:
    logits = normal(2, 4, 5)
    x = (normal(4, 5, seed=1) > 0).double()
    theirs = torch_distributions.Independent(torch_distributions.Bernoulli(logits=logits), 1)
    torch.testing.assert_close(Bernoulli(logits).log_prob(x), theirs.log_prob(x.expand_as(logits)))
    torch.testing.assert_close(Bernoulli(logits).variance, theirs.variance)
    torch.testing.assert_close(Bernoulli(logits).mean, theirs.mean)
    far = Bernoulli(torch.tensor([200.0, -200.0])).log_prob(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    assert far.tolist() == [0.0, -400.0]


def test_bernoulli_draws_at_its_rates() -> None:
    logits = torch.tensor([-2.0, 0.0, 1.5])
    n = 20_000
    drawn = Bernoulli(logits).sample((n,), rng(1))
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    rate = logits.sigmoid()
    error = (drawn.mean(0) - rate) / (rate * (1 - rate) / n).sqrt()
    assert float(error.abs().max()) < 4


def test_log_prob_of_a_known_point() -> None:
    """-D/2 log(2 pi beta^2) - |x - m|^2 / (2 beta^2), by hand."""
    d = DiagonalNormal(torch.zeros(4, dtype=torch.float64), torch.tensor(0.5, dtype=torch.float64))
    expected = -2 * math.log(2 * math.pi * 0.25) - (1 + 4) / (2 * 0.25)
    assert float(d.log_prob(torch.tensor([1.0, 0.0, 2.0, 0.0]))) == pytest.approx(
        expected, abs=1e-13
    )
    assert np.isfinite(float(d.log_prob(torch.full((4,), 1e6))))


@pytest.mark.parametrize(
    "shapes", [((4, 3), (4, 3)), ((5, 4, 3), (4, 3)), ((3,), (5, 4, 3)), ((4, 1, 3), (2, 3))]
)
def test_first_and_second_derivatives_of_densities_with_their_own_backward(
    shapes: tuple[tuple[int, ...], ...],
) -> None:
    h, x = (normal(*shape, seed=i).requires_grad_() for i, shape in enumerate(shapes))
    for density in (
        lambda h, x: Bernoulli(h).log_prob(x),
        lambda h, x: DiagonalNormal(h, torch.tensor(0.3, dtype=torch.float64)).log_prob(x),
    ):
        assert torch.autograd.gradcheck(density, (h, x))
        assert torch.autograd.gradgradcheck(density, (h, x))


def test_random_bytes_are_uniform_seeded_and_of_any_shape() -> None:
    def draw_bytes(seed: int, *shape: int) -> torch.Tensor:
        return random_bytes(shape, torch.Generator().manual_seed(seed), "cpu")

    many = draw_bytes(0, 256 * 1000)
    counts = torch.bincount(many.long(), minlength=256).double()
    # chi-squared
    assert abs(float(((counts - 1000) ** 2 / 1000).sum()) - 255) < 5 * math.sqrt(2 * 255)
    pairs = torch.corrcoef(many.double().view(-1, 8).T)  # the eight bytes of a word are independent
    assert float((pairs - torch.eye(8, dtype=torch.float64)).abs().max()) < 5 / math.sqrt(32_000)
    assert draw_bytes(1, 3, 5, 7).shape == (3, 5, 7)
    assert torch.equal(draw_bytes(1, 3, 5), draw_bytes(1, 3, 5))
    assert not torch.equal(draw_bytes(1, 3, 5), draw_bytes(2, 3, 5))
    assert draw_bytes(0, 0, 4).shape == (0, 4)


def test_derivatives_of_an_isotropic_normal_for_its_scale() -> None:
    """What the forward pass keeps for the backward pass must not count as constant
    in the second derivative.
    """
    loc, x = normal(4, 3).requires_grad_(), normal(4, 3, seed=1).requires_grad_()
    scale = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)

    def density(x: torch.Tensor, loc: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        return DiagonalNormal(loc, scale).log_prob(x)

    assert torch.autograd.gradcheck(density, (x, loc, scale))
    assert torch.autograd.gradgradcheck(density, (x, loc, scale))


@pytest.mark.parametrize("one_scale", [False, True])
def test_kl_to_the_standard_normal_has_two_derivatives(one_scale: bool) -> None:
    loc = normal(3, 4).requires_grad_()
    raw = (normal(1, seed=1) if one_scale else normal(3, 4, seed=1)).requires_grad_()

    def divergence(m: Tensor, r: Tensor) -> Tensor:
        found = closed_form_kl(
            DiagonalNormal(m, r.exp()), Normal01(torch.zeros(4, dtype=torch.float64))
        )
        assert found is not None
        return found

    assert torch.autograd.gradcheck(divergence, (loc, raw))
    assert torch.autograd.gradgradcheck(divergence, (loc, raw))
