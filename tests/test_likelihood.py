"""Likelihood heads: densities that integrate to one, whatever the decoder says, and a beta^2 that
is what it says.
"""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from helpers import normal, rng
from nelbo import likelihood
from nelbo.likelihood import (
    VARIANCE_FLOOR,
    Bernoulli,
    ClusteredGaussian,
    DiscretizedGaussian,
    Gaussian,
    HeteroscedasticGaussian,
    StudentT,
)

HEADS = {
    "fixed": lambda shape: Gaussian(shape, 0.4),
    "fixed per feature": lambda shape: Gaussian(shape, normal(*shape).exp()),
    "learned": Gaussian,
    "per_feature": lambda shape: Gaussian(shape, "per_feature"),
    "heteroscedastic": HeteroscedasticGaussian,
    "student_t": lambda shape: StudentT(shape, df=8.0),
    "clustered": lambda shape: ClusteredGaussian(shape, components=3),
    "bernoulli": Bernoulli,
    "discretized": DiscretizedGaussian,
    "discretized per feature": lambda shape: DiscretizedGaussian(
        shape, "per_feature", 8, normal(*shape), 0.25
    ),
}
GAUSSIAN = [
    name
    for name in HEADS
    if name not in ("bernoulli", "clustered", "discretized", "discretized per feature")
]


def head(name: str, shape: tuple[int, ...]) -> likelihood.Likelihood:
    made = HEADS[name](shape).double()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(0.5 * normal(*parameter.shape, seed=5) - 0.5)
    return made


def test_every_head_is_here() -> None:
    kinds = {type(make((2,))).__name__ for make in HEADS.values()}
    of_columns = {"Categorical", "Columns", "Ordinal"}  # see test_columns.py
    assert kinds | of_columns | {"Likelihood"} == set(likelihood.__all__)


@pytest.mark.parametrize("name", [*GAUSSIAN, "clustered"])
def test_densities_integrate_to_one_on_the_line(name: str) -> None:
    axis = torch.linspace(-40, 40, 8001, dtype=torch.float64)
    part = head(name, (1,))
    for seed in range(3):
        density = part(3 * normal(*part.in_shape, seed=seed)).log_prob(axis[:, None]).exp().detach()
        assert float(torch.trapezoid(density, axis)) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("name", GAUSSIAN)
@pytest.mark.parametrize("shape", [(2,), (1, 2, 1)])
def test_densities_integrate_to_one_in_the_plane(name: str, shape: tuple[int, ...]) -> None:
    axis = torch.linspace(-15, 15, 301, dtype=torch.float64)
    part = head(name, shape)
    grid = torch.cartesian_prod(axis, axis).reshape(-1, *shape)
    density = part(normal(*part.in_shape, seed=3)).log_prob(grid).exp().detach().reshape(301, 301)
    assert float(torch.trapezoid(torch.trapezoid(density, axis), axis)) == pytest.approx(
        1, abs=1e-6
    )


def test_bernoulli_sums_to_one() -> None:
    every = torch.tensor(list(itertools.product([0.0, 1.0], repeat=4)), dtype=torch.float64)
    logits = normal(3, 2, 2)
    total = (
        head("bernoulli", (2, 2))(logits[:, None])
        .log_prob(every.reshape(1, 16, 2, 2).squeeze(0))
        .logsumexp(1)
    )
    torch.testing.assert_close(total, torch.zeros_like(total), rtol=0, atol=1e-13)


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("shape", [(1,), (5,), (1, 1, 1), (2, 3, 4)])
def test_log_density_is_one_number_per_sample_and_example(
    name: str, shape: tuple[int, ...]
) -> None:
    part = head(name, shape)
    x = (normal(3, *shape) > 0).double()
    for batch in ((), (3,), (2, 3)):
        p = part(normal(*batch, *part.in_shape))
        assert p.event_shape == shape
        assert p.mean.shape == (*batch, *shape)
        assert p.sample(generator=rng()).shape == (*batch, *shape)
        assert p.log_prob(x if batch else x[0]).shape == batch


@pytest.mark.parametrize("name", GAUSSIAN)
def test_means_are_unbounded_and_samples_have_the_stated_variance(name: str) -> None:
    part = head(name, (3,))
    h = normal(*part.in_shape)
    h[:3] = torch.tensor([-1e4, 0.0, 1e4])
    p = part(h)
    assert torch.equal(p.mean, h[:3])
    n = 20_000
    deviation = (p.sample((n,), generator=rng(1)) - p.mean) / p.stddev.detach()
    assert float((deviation.square().mean(0) - 1).abs().max()) < 5 * math.sqrt(2 / n)


@pytest.mark.parametrize(
    ("variance", "expected"), [(0.25, 0.25), (1.0, 1.0), (7, 7.0), (1e-9, 1e-9), (1e9, 1e9)]
)
def test_a_fixed_variance_is_any_positive_number_and_never_moves(
    variance: float, expected: float
) -> None:
    part = Gaussian((3,), variance)
    assert not part.learned
    assert list(part.parameters()) == []
    assert float(part.variance) == pytest.approx(expected, rel=1e-5)
    assert "log_variance" in part.state_dict()
    sd = math.sqrt(expected)
    nats = float(part(torch.zeros(3)).log_prob(torch.tensor([sd, 0.0, 0.0])))
    assert nats == pytest.approx(-0.5 - 1.5 * math.log(2 * math.pi * expected), rel=1e-4)


@pytest.mark.parametrize(("variance", "size"), [("learned", ()), ("per_feature", (2, 3))])
def test_a_learned_variance_is_a_parameter_of_the_right_size(
    variance: str, size: tuple[int, ...]
) -> None:
    part = Gaussian((2, 3), variance)
    assert part.learned
    assert part.variance.shape == size
    assert [tuple(p.shape) for p in part.parameters()] == [size]


def test_gradient_on_log_variance_is_zero_at_the_mean_squared_residual() -> None:
    """Where VarianceStep's formula comes from: g = D/2 (1 - r / beta^2)."""
    x, h = normal(50, 4), normal(50, 4, seed=1)
    part = Gaussian((4,)).double()
    residual = (x - h).square().mean().item()
    for variance in (residual, 2.0, 0.1):
        with torch.no_grad():
            part.log_variance.fill_(math.log(variance))
        (gradient,) = torch.autograd.grad(-part(h).log_prob(x).mean(), part.log_variance)
        assert float(gradient) == pytest.approx(2 * (1 - residual / variance), abs=1e-12)


@pytest.mark.parametrize("floor", [VARIANCE_FLOOR, 0.01])
def test_features_at_the_floor_are_told_apart(floor: float) -> None:
    for dtype in (torch.float32, torch.float64):
        part = Gaussian((3,), "per_feature", floor=floor).to(dtype)
        with torch.no_grad():
            part.log_variance.copy_(torch.tensor([1.0, floor, 1.01 * floor]).log())
        assert part.at_floor().tolist() == [False, True, False]


def test_heteroscedastic_noise_is_read_from_the_decoder_and_stays_above_its_floor() -> None:
    part = HeteroscedasticGaussian((2, 3), floor=0.04)
    assert part.in_shape == (4, 3)
    h = torch.zeros(4, 3)
    h[2, 0], h[3, 2] = -200.0, 50.0
    std = part(h).stddev
    assert float(std[0, 0]) == pytest.approx(0.2)
    assert float(std[1, 2]) == pytest.approx(50.2)
    assert float(std[0, 1]) == pytest.approx(0.2 + math.log(2))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Gaussian((3,), -1.0), "beta.2 and must be positive and finite, got -1.0"),
        (lambda: Gaussian((3,), 0.0), "positive"),
        (lambda: Gaussian((3,), math.inf), "finite"),
        (lambda: Gaussian((3,), math.nan), "finite"),
        (lambda: Gaussian((3,), torch.ones(2)), r"variance has shape \(2,\).*\(3,\)"),
        (
            lambda: Gaussian((3,), "lerned"),
            'learned", "per_feature" or a positive number, got \'lerned\'',
        ),
        (lambda: Gaussian((3,), floor=0.0), "floor must be a positive"),
        (lambda: Gaussian(()), "shape must have at least one axis"),
        (lambda: HeteroscedasticGaussian(()), "shape must have at least one axis"),
        (lambda: Bernoulli(()), "shape must have at least one axis"),
        (lambda: HeteroscedasticGaussian((3,), floor=-1.0), "floor must be a positive"),
    ],
)
def test_impossible_variances_are_refused(make: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()
