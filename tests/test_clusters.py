"""Noise that turns with the cluster: p(x|z) of several normals, and a mixture of factor analysers
as a VAE whose every answer is known.
"""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.mixture import GaussianMixture
from torch import Tensor
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from helpers import build, normal, rng
from nelbo import (
    VAE,
    VariationalAutoencoder,
    diagnose,
    distributions,
    evaluate,
    likelihood,
    networks,
)
from nelbo.fitting.clusters import Stack
from nelbo.linear import (
    MixtureOfFactorAnalysers,
    mixture_of_factor_analysers,
    moments,
    ppca,
)
from nelbo.start.clusters import clustered


def sheets(n: int, columns: int = 6, seed: int = 0) -> Tensor:
    """Thin sheets in three places, each with directions of its own."""
    generator = rng(seed)
    which = torch.randint(3, (n,), generator=generator)
    flat = torch.randn(n, 2, generator=generator, dtype=torch.float64)
    x = torch.stack([flat[i] @ normal(2, columns, seed=50 + int(k)) for i, k in enumerate(which)])
    x += 2 * torch.stack([normal(columns, seed=70 + k) for k in range(3)])[which]
    return x + 0.05 * torch.randn(n, columns, generator=generator, dtype=torch.float64)


def mixed(components: int = 3, d: int = 4, batch: tuple[int, ...] = (5,)) -> Any:
    """Some p(x|z), and torch's own of the same normals."""
    weight = normal(*batch, components, seed=1).log_softmax(-1)
    loc = normal(*batch, components, d, seed=2)
    triangle = normal(components, d, d, seed=3).tril(-1) + torch.eye(d)
    triangle = triangle * torch.linspace(0.5, 2, components, dtype=torch.float64)[:, None, None]
    p = distributions.GatedNormals(weight, loc, triangle, (d,))
    parts = MultivariateNormal(loc, scale_tril=triangle.expand(*batch, -1, -1, -1))
    return p, MixtureSameFamily(Categorical(logits=weight), parts)


# -- p(x|z) ----------------------------------------------------------------------------------------


def test_the_distribution_is_torchs() -> None:
    p, same = mixed()
    x = 2 * normal(7, 5, 4, seed=4)
    torch.testing.assert_close(p.log_prob(x), same.log_prob(x))
    torch.testing.assert_close(p.mean, same.mean)
    torch.testing.assert_close(p.variance, same.variance)
    torch.testing.assert_close(p.variance_along(torch.eye(4).double()), same.variance)


@pytest.mark.usefixtures("untouched_random_state")
def test_draws_have_its_moments_in_every_direction() -> None:
    p, _ = mixed()
    x = p.sample((20_000,), rng())
    assert x.shape == (20_000, 5, 4)
    assert torch.equal(x, p.sample((20_000,), rng()))
    torch.testing.assert_close(x.mean(0), p.mean, atol=0.06, rtol=0)
    directions = normal(3, 4, seed=9)
    along = (x @ directions.T).var(0)
    torch.testing.assert_close(p.variance_along(directions), along, atol=0.05, rtol=0.05)


def test_of_incomplete_rows_it_is_the_marginal() -> None:
    p, _ = mixed()
    there = [0, 3]
    covariance = (p.scale_tril @ p.scale_tril.mT)[:, there][:, :, there]
    triangle = torch.linalg.cholesky(covariance)
    marginal = distributions.GatedNormals(p.log_weight, p.loc[..., there], triangle, (2,))
    x = normal(7, 5, 4, seed=4)
    expected = marginal.log_prob(x[..., there])
    x[..., [1, 2]] = math.nan
    x[0, 0] = math.nan
    found = distributions.of_observed(p).log_prob(x)
    assert found[0, 0].item() == pytest.approx(0, abs=1e-12)
    torch.testing.assert_close(found[1:], expected[1:])


def test_residuals_are_standard_normal_where_rows_come_from_the_model() -> None:
    head = likelihood.ClusteredGaussian((4,), components=3).double()
    h = normal(2000, 3, 5, seed=1)
    p = head(h)
    r = head.residuals(p, p.sample((), rng()))
    assert r is not None
    for column in r.T:
        assert stats.kstest(column.numpy(), "norm").pvalue > 1e-3
    far = head.residuals(head(0 * h[:2]), torch.tensor([[30.0] * 4, [-30.0] * 4]).double())
    assert far is not None
    torch.testing.assert_close(far[0], -far[1])
    assert float(far[0].min()) > 20


def test_the_head_takes_noise_down_to_its_floor() -> None:
    head = likelihood.ClusteredGaussian((3,), floor=1e-2, components=2).double()
    triangle = torch.eye(3).repeat(2, 1, 1).double() * torch.tensor([0.5, 0.01])[:, None, None]
    triangle[0, 2, 0] = 0.3
    head.take(triangle)
    torch.testing.assert_close(head.scale_tril[0], triangle[0], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(
        head.scale_tril[1], 0.1 * torch.eye(3).double(), rtol=1e-6, atol=1e-6
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"components": 0}, "components must be at least 1, got 0"),
        ({"components": 1.5}, "components must be an integer"),
        ({"floor": 0.0}, "floor must be positive"),
    ],
)
def test_a_head_that_is_none_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises((TypeError, ValueError), match=words):
        likelihood.ClusteredGaussian((3,), **options)


def test_a_quadratic_network_is_a_quadratic_form() -> None:
    network = networks.Quadratic((3,), (2,), rng()).double()
    x = normal(6, 3)
    torch.testing.assert_close(network(x), network.linear(x))
    with torch.no_grad():
        network.body.weight.copy_(normal(2, 6, seed=3))
    q = torch.zeros(2, 3, 3, dtype=torch.float64)
    q[:, network.first, network.second] = network.body.weight
    expected = network.linear(x) + torch.einsum("ni,oij,nj->no", x, q, x)
    torch.testing.assert_close(network(x), expected)


# -- a mixture as a VAE ----------------------------------------------------------------------------


def of_sheets(latents: int) -> tuple[VAE, MixtureOfFactorAnalysers, Tensor]:
    x = sheets(600)
    linear = ppca(*moments(x), latents)
    model = mixture_of_factor_analysers(x, 4, 6, strength=2.0)
    return clustered(model, linear), model, x


@pytest.mark.parametrize("latents", [1, 3, 6, 8])
def test_every_draw_of_z_says_log_p_of_x(latents: int) -> None:
    vae, model, _ = of_sheets(latents)
    new = sheets(100, seed=1)
    expected = model.log_prob(new)
    for method, options in (("importance", {"samples": 4}), ("exact", {}), ("auto", {})):
        found = evaluate.log_likelihood(vae, new, method, **options)
        torch.testing.assert_close(found.value, expected, atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(evaluate.elbo(vae, new, 1), expected, atol=1e-3, rtol=1e-4)
    assert evaluate.plain_method(vae) == "exact"
    with torch.no_grad():
        vae.decoder.linear.bias[0] += 0.3  # still a mixture, with another mean
        moved = evaluate.log_likelihood(vae, new, "exact").value
        assert not torch.allclose(moved, expected)
        vae.decoder.linear.weight[-1, 0] += 0.3  # the shares are not those of the prior any more
    assert evaluate.plain_method(vae) == "importance"
    with pytest.raises(ValueError, match="no closed form"):
        evaluate.log_likelihood(vae, new, "exact")


@pytest.mark.usefixtures("untouched_random_state")
def test_samples_are_those_of_the_mixture() -> None:
    vae, model, _ = of_sheets(3)
    own, drawn = model.sample(4000, rng()), vae.sample(4000, generator=rng())
    torch.testing.assert_close(moments(drawn)[0], moments(own)[0], atol=0.15, rtol=0)
    torch.testing.assert_close(moments(drawn)[1], moments(own)[1], atol=0.4, rtol=0.1)
    heights = [model.log_prob(x).numpy() for x in (own, drawn.double())]
    assert stats.ks_2samp(*heights).pvalue > 1e-3


def test_z_is_that_of_the_linear_model_and_says_as_much() -> None:
    vae, _, x = of_sheets(2)
    linear = ppca(*moments(x), 2)
    mean = vae.encode(x.float()).mean.detach()
    torch.testing.assert_close(mean.double(), linear.posterior(x)[0], atol=1e-4, rtol=1e-4)
    left = (vae.decode(mean).mean.detach() - x).square().sum()
    of_linear = (linear.posterior(x)[0] @ linear.weight.T + linear.bias - x).square().sum()
    assert float(left) < 0.8 * float(of_linear)


def test_a_mixture_is_told_from_what_only_looks_like_one() -> None:
    plain = build((4,), 2, "linear", prior="mixture").double()
    assert evaluate.plain_method(plain) == "importance"
    bent = build((4,), 2, "residual", prior="mixture", likelihood="clustered_gaussian")
    assert evaluate.plain_method(bent) == "importance"


def test_noise_is_in_units_of_the_data_where_columns_are_mixed() -> None:
    from nelbo.data import Schema
    from nelbo.fitted.noise import mean_variance

    X = np.asarray(sheets(300)) * np.geomspace(0.1, 10, 6)
    schema = Schema.infer(X, scale="whitened", latent_dim=2)
    assert schema.mixing is not None
    p, _ = mixed(2, 6, (1,))
    drawn = schema.from_model(p.sample((40_000,), rng())[:, 0].float())
    np.testing.assert_allclose(mean_variance(p, schema), drawn.var(0), rtol=0.05)


# -- a default fit of a table ----------------------------------------------------------------------


def scaled(n: int, seed: int = 0) -> np.ndarray[Any, Any]:
    """Sheets of six columns, each in a unit of its own."""
    return np.asarray(sheets(n, 6, seed).numpy() * np.geomspace(0.1, 10, 6) + 3)


@pytest.fixture(scope="module")
def fitted() -> VariationalAutoencoder:
    return VariationalAutoencoder(random_state=0).fit(scaled(400))


@pytest.fixture(scope="module")
def new() -> np.ndarray[Any, Any]:
    return scaled(300, seed=1)


def test_a_default_fit_of_thin_sheets_is_a_mixture(
    fitted: VariationalAutoencoder, new: np.ndarray[Any, Any], tmp_path: Path
) -> None:
    train = scaled(400)
    scale = train.std(0)
    found = [
        GaussianMixture(k, random_state=0).fit(train / scale).score(new / scale) for k in (3, 6)
    ]
    best = max(found) - np.log(scale).sum()
    assert fitted.score(new) > best - 0.2
    assert fitted.recipe_["start"]["value"] == "mixture of factor analysers"
    assert "nats beside the trained network" in fitted.recipe_["start"]["reason"]
    assert not fitted.kept_start_
    assert fitted.log_likelihood(new[:9]).method == "exact"
    fitted.save(tmp_path / "run")
    again = VariationalAutoencoder.load(tmp_path / "run")
    np.testing.assert_array_equal(again.score_samples(new), fitted.score_samples(new))
    np.testing.assert_array_equal(again.sample(5), fitted.sample(5))
    assert "| likelihood | ClusteredGaussian" in (tmp_path / "run" / "README.md").read_text()


def test_its_z_and_its_units_are_those_of_the_data(
    fitted: VariationalAutoencoder, new: np.ndarray[Any, Any]
) -> None:
    unit = new.std(0)
    left = (fitted.reconstruct(new) - new) / unit
    assert (left**2).mean() < 0.01
    drawn = fitted.sample(20_000, random_state=0)
    np.testing.assert_allclose(drawn.mean(0), new.mean(0), atol=0.25 * unit.max())
    np.testing.assert_allclose(drawn.std(0), unit, rtol=0.15)
    noise = fitted.noise_variance_
    assert bool((noise < unit**2).all())


def test_incomplete_rows_become_a_mixture_that_fills_in_what_is_missing(
    new: np.ndarray[Any, Any], tmp_path: Path
) -> None:
    whole = scaled(160)
    gone = np.random.default_rng(0).random(whole.shape) < 0.25
    rows = np.where(gone, np.nan, whole)
    model = VariationalAutoencoder(objective_samples=1, random_state=0).fit(rows)
    assert model.recipe_["start"]["value"] == "mixture of factor analysers"
    assert model.log_likelihood(rows[:9]).method == "exact"
    left = ((model.impute(rows) - whole) / whole.std(0))[gone]
    linear = VariationalAutoencoder(network="linear", max_steps=1, random_state=0).fit(rows)
    of_linear = ((linear.impute(rows) - whole) / whole.std(0))[gone]
    assert np.square(left).mean() < 0.3 * np.square(of_linear).mean()
    assert model.score(new) > linear.score(new) + 1
    z, of_whole = model.transform(rows), model.transform(whole)
    poor = model.transform(np.where(gone, np.nanmean(rows, 0), rows))
    assert np.abs(z - of_whole).mean() < np.abs(poor - of_whole).mean()
    assert model.elbo(rows).mean() <= model.score(rows)
    model.save(tmp_path / "run")
    again = VariationalAutoencoder.load(tmp_path / "run")
    np.testing.assert_array_equal(again.score_samples(rows), model.score_samples(rows))
    np.testing.assert_array_equal(again.transform(rows), z)


def test_no_better_q_is_looked_for_where_the_encoder_has_the_posterior(
    fitted: VariationalAutoencoder, new: np.ndarray[Any, Any]
) -> None:
    """The search would take minutes with hundreds of components, and find what there is."""
    x = fitted.schema_.to_model(new, noise="hash")[:40]
    found = diagnose.inference_gap(fitted.model_, x)
    q = fitted.model_.encode(x)
    assert torch.equal(found.q.loc, q.mean)
    assert torch.equal(found.q.scale, q.stddev)
    assert found.amortisation.value == 0
    assert abs(found.total.value) < 1e-4


def test_more_training_goes_on_from_the_mixture(
    fitted: VariationalAutoencoder, new: np.ndarray[Any, Any]
) -> None:
    more = copy.deepcopy(fitted).set_params(warm_start=True, max_steps=5)
    more.fit(scaled(400))
    assert more.score(new) > fitted.score(new) - 0.5
    more.fit(scaled(400))
    assert more.fitted_.spec == fitted.fitted_.spec


@pytest.mark.parametrize(
    ("options", "taken"),
    [
        ({}, True),
        ({"latent_dim": 2}, False),
        ({"max_steps": 10}, False),
        ({"hidden": (8,)}, False),
        ({"likelihood": "student_t"}, False),
        ({"validation_fraction": 0}, False),
        ({"prior": "standard_normal"}, False),
        ({"scale": "standard", "batch_size": 50, "objective_samples": 3}, True),
        ({"device": "cpu", "random_state": 3, "latent_dim": 8}, True),
    ],
    ids=str,
)
def test_the_mixture_is_a_candidate_where_nothing_else_is_asked_for(
    options: dict[str, Any], taken: bool
) -> None:
    X = sheets(60).numpy()
    assert VariationalAutoencoder(**options).explain(X)["clusters"]["value"] is taken


def test_weights_are_those_that_predict_best() -> None:
    """Two kinds of which each knows half of the rows; a third knows nothing."""
    knows = torch.arange(200) % 4 < 2
    log_prob = torch.stack([torch.where(knows, a, b) for a, b in ((-9.0, -9), (0, -9), (-9, 0))], 1)
    weights = Stack().weights(log_prob.double())
    torch.testing.assert_close(weights[1:], torch.tensor([0.5, 0.5]).double(), atol=0.01, rtol=0)
    assert weights[0] == pytest.approx(0.01, abs=1e-3)
    assert float(Stack().predicted(log_prob.double()).mean()) == pytest.approx(-0.7, abs=0.02)
