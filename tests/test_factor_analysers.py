"""Mixtures of factor analysers against scipy, and the laws that EM must obey."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from torch import Tensor
from torch.distributions import MultivariateNormal

from helpers import normal, rng
from nelbo.linear import (
    LinearGaussian,
    MixtureOfFactorAnalysers,
    factor_analysis,
    mixture_of_factor_analysers,
    moments,
)
from nelbo.linear.expectation import ExpectationMaximisation, _Parts, _Step
from nelbo.linear.seen import seen


def planted(components: int = 3, features: int = 5, latents: int = 2) -> MixtureOfFactorAnalysers:
    """Thin clusters far from each other, each with directions of its own."""
    parts = tuple(
        LinearGaussian(
            normal(features, latents, seed=k),
            6 * normal(features, seed=50 + k),
            0.05 * normal(features, seed=90 + k).exp(),
        )
        for k in range(components)
    )
    share = torch.arange(1, components + 1, dtype=torch.float64)
    return MixtureOfFactorAnalysers(share / share.sum(), parts)


def holes(x: Tensor, share: float) -> Tensor:
    """Rows of which this share of the values is missing."""
    gone = torch.rand(x.shape, generator=rng(17)) < share
    return x.masked_fill(gone, torch.nan)


# -- the density -----------------------------------------------------------------------------------


def test_the_density_is_scipys() -> None:
    model, x = planted(), 5 * normal(40, 5, seed=7)
    expected = np.logaddexp.reduce(
        [
            math.log(share) + multivariate_normal(mean.numpy(), cov.numpy()).logpdf(x.numpy())
            for share, mean, cov in zip(
                model.share.tolist(), model.means, model.covariances, strict=True
            )
        ]
    )
    np.testing.assert_allclose(model.log_prob(x), expected, rtol=1e-10)
    share = (model.log_joint(x) - model.log_prob(x)[:, None]).exp()
    torch.testing.assert_close(model.responsibilities(x), share)


def test_a_missing_value_is_left_out() -> None:
    model, x = planted(), 5 * normal(20, 5, seed=7)
    there = [0, 2, 3]
    parts = tuple(
        LinearGaussian(part.weight[there], part.bias[there], part.variance[there])
        for part in model.parts
    )
    gone = x.clone()
    gone[:, [1, 4]] = math.nan
    marginal = MixtureOfFactorAnalysers(model.share, parts)
    torch.testing.assert_close(model.log_prob(gone), marginal.log_prob(x[:, there]))


@pytest.mark.usefixtures("untouched_random_state")
def test_samples_have_the_shares_and_moments_of_the_model() -> None:
    model = planted()
    x = model.sample(20_000, rng())
    assert torch.equal(x, model.sample(20_000, rng()))
    share = model.responsibilities(x)
    np.testing.assert_allclose(share.mean(0), model.share, atol=0.01)
    nearest = share.argmax(1)
    for k, part in enumerate(model.parts):
        mean, covariance = moments(x[nearest == k])
        torch.testing.assert_close(mean, part.bias, atol=0.1, rtol=0)
        torch.testing.assert_close(covariance, part.covariance, atol=0.2, rtol=0.1)


def test_a_mixture_that_is_none_is_refused() -> None:
    model = planted()
    with pytest.raises(ValueError, match="share must have shape"):
        MixtureOfFactorAnalysers(model.share[:2], model.parts)
    with pytest.raises(ValueError, match="share must be positive and sum to 1"):
        MixtureOfFactorAnalysers(2 * model.share, model.parts)
    with pytest.raises(ValueError, match="as many features each"):
        MixtureOfFactorAnalysers(model.share, (*model.parts[:2], planted(1, 4).parts[0]))


# -- EM --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("latents", "strength", "missing"),
    [*itertools.product([1, 2, 4, 5], [0.0, 8.0], [0.0]), (1, 0.0, 0.3), (4, 8.0, 0.3)],
    ids=str,
)
def test_no_step_of_em_loses_likelihood(latents: int, strength: float, missing: float) -> None:
    x = planted().sample(300, rng()) + normal(300, 5, seed=3)
    x = holes(x, missing)
    how = ExpectationMaximisation(latents, strength, max_iter=1, rounds=1)
    parts, heights = _Parts.of(how(x, 4)), []
    rows = dataclasses.replace(seen(x), **{"least": 0.0} if missing else {})
    step = _Step.first(how, rows, 4).around(parts, rows)
    for _ in range(20 if missing else 40):
        joint = parts.log_joint(rows)
        torch.testing.assert_close(joint, parts.mixture().log_joint(x))
        heights.append(float(joint.logsumexp(1).sum()) + step.log_density(parts))
        parts = step(parts, rows, joint.softmax(1))
    steps = np.diff(heights)
    assert steps.min() > -1e-8
    assert steps[0] > 0


def test_em_finds_the_mixture_that_the_rows_are_drawn_from() -> None:
    truth = planted()
    x, new = truth.sample(3000, rng()), truth.sample(3000, rng(1))
    found = mixture_of_factor_analysers(x, 3, 2)
    # parameters estimated from n rows cost about half a nat each, over n
    assert 0 < float((truth.log_prob(new) - found.log_prob(new)).mean()) < 0.03
    order = torch.cdist(truth.means, found.means).argmin(1)
    torch.testing.assert_close(found.share[order], truth.share, atol=0.03, rtol=0)
    torch.testing.assert_close(found.means[order], truth.means, atol=0.15, rtol=0)
    torch.testing.assert_close(found.covariances[order], truth.covariances, atol=0.2, rtol=0.15)


def test_em_finds_it_from_incomplete_rows_too() -> None:
    truth = planted()
    x, new = holes(truth.sample(2000, rng()), 0.3), truth.sample(3000, rng(1))
    found = mixture_of_factor_analysers(x, 3, 4, starts=1, max_iter=60)
    assert 0 < float((truth.log_prob(new) - found.log_prob(new)).mean()) < 0.1
    order = torch.cdist(truth.means, found.means).argmin(1)
    torch.testing.assert_close(found.share[order], truth.share, atol=0.04, rtol=0)
    torch.testing.assert_close(found.means[order], truth.means, atol=0.4, rtol=0)


def test_of_incomplete_rows_one_component_has_the_greatest_likelihood() -> None:
    """At its mean and covariance the likelihood of what is there has no slope."""
    x = holes(normal(300, 4) @ normal(4, 4, seed=1) + 1, 0.4)
    full = mixture_of_factor_analysers(x, 1, 4, max_iter=2000, tol=1e-12)
    mean, root = full.means[0].requires_grad_(), torch.linalg.cholesky(full.covariances[0])
    root = root.requires_grad_()
    total = torch.zeros((), dtype=torch.float64)
    for row in x:
        there = ~row.isnan()
        if bool(there.any()):
            covariance = (root @ root.T)[there][:, there]
            total = total + MultivariateNormal(mean[there], covariance).log_prob(row[there])
    total.backward()
    assert mean.grad is not None
    assert root.grad is not None
    assert float(mean.grad.abs().max()) < 0.1  # of sums over 300 rows
    assert float(root.grad.tril().abs().max()) < 0.1


def test_the_predictive_has_the_moments_of_student_t() -> None:
    """Of a normal whose covariance has an inverse Wishart prior, the next row is Student-t."""
    x, rows = normal(40, 3), 9
    model = mixture_of_factor_analysers(x, 1, 3)
    wide = model.predictive(x[:rows], strength=3.0)
    scale = model.covariances[0] * 13 / (12 - 3 - 1)  # nu = 12 degrees of freedom in all
    torch.testing.assert_close(wide.covariances[0], scale)
    few = model.predictive(x[:1], strength=0.0)
    torch.testing.assert_close(few.covariances[0], 3 * model.covariances[0])


def test_rows_and_columns_without_values_change_nothing() -> None:
    x = holes(planted().sample(200, rng()), 0.2)
    empty = torch.full_like(x[:5], torch.nan)
    with_rows = mixture_of_factor_analysers(torch.cat([x, empty]), 2, 4, strength=4.0)
    assert bool(with_rows.log_prob(x).isfinite().all())
    column = torch.cat([x, torch.full_like(x[:, :1], torch.nan)], 1)
    with_column = mixture_of_factor_analysers(column, 2, 5, strength=4.0)
    assert bool(with_column.log_prob(column).isfinite().all())


def test_one_component_is_factor_analysis_or_the_normal_itself() -> None:
    x = normal(400, 6) @ normal(6, 6, seed=1) + 1
    mean, covariance = moments(x)
    full = mixture_of_factor_analysers(x, 1, 6)
    torch.testing.assert_close(full.covariances[0], covariance)
    torch.testing.assert_close(full.means[0], mean)
    some = mixture_of_factor_analysers(x, 1, 2, max_iter=2000, tol=1e-9)
    best = factor_analysis(mean, covariance, 2)
    assert float((best.log_prob(x) - some.log_prob(x)).mean()) == pytest.approx(0, abs=1e-3)


def test_the_prior_holds_what_rows_do_not_say() -> None:
    """A cluster of few rows has no covariance of its own: likelihood alone has no bound there."""
    x, new = (normal(n, 6, seed=n) for n in (60, 2000))
    free, held = (mixture_of_factor_analysers(x, 6, 5, strength=s) for s in (0.0, 8.0))
    assert float((held.log_prob(new) - free.log_prob(new)).mean()) > 1
    assert torch.linalg.eigvalsh(held.covariances).min() > 0.05


@pytest.mark.parametrize("strength", [0.0, 3.0])
def test_rows_that_say_little_leave_a_density(strength: float) -> None:
    same = torch.ones(12, 3, dtype=torch.float64)
    few = normal(2, 3).repeat(10, 1)
    flat = torch.cat([normal(40, 2), torch.zeros(40, 1, dtype=torch.float64)], 1)
    for x in (same, few, flat):
        model = mixture_of_factor_analysers(x, 4, 1, strength=strength)
        assert bool(model.log_prob(x).isfinite().all())
        assert float(model.share.sum()) == pytest.approx(1)


@pytest.mark.usefixtures("untouched_random_state")
def test_the_seed_alone_says_where_em_starts() -> None:
    x = planted().sample(200, rng())
    one, same, other = (mixture_of_factor_analysers(x, 6, 2, seed=s, max_iter=3) for s in (1, 1, 2))
    assert torch.equal(one.log_prob(x), same.log_prob(x))
    assert not torch.equal(one.log_prob(x), other.log_prob(x))


@pytest.mark.parametrize(
    ("x", "options", "words"),
    [
        (normal(3, 2), {"components": 4}, "at least one row for each of 4 components"),
        (normal(3, 2) / 0, {}, "holds infinity"),
        (normal(3, 2), {"latent_dim": 0}, "latent_dim must be at least 1, got 0"),
        (normal(3, 2), {"strength": -1.0}, "strength must be at least 0"),
        (normal(3, 2), {"floor": 0.0}, "floor must be positive"),
    ],
    ids=str,
)
def test_what_em_cannot_do_is_refused(x: Tensor, options: dict[str, float], words: str) -> None:
    arguments: dict[str, float] = {"components": 2, "latent_dim": 1, **options}
    with pytest.raises(ValueError, match=words):
        mixture_of_factor_analysers(x, **arguments)  # type: ignore[arg-type]
