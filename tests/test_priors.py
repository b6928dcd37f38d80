"""Priors that are learned with the model or fitted to it, held against exact answers."""

from __future__ import annotations

import copy
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, MultivariateNormal
from torch.distributions import Normal as TorchNormal

from helpers import build, draw, linear_gaussian, normal, ring, rng, small_estimator, started
from nelbo import (
    VAE,
    VariationalAutoencoder,
    distributions,
    evaluate,
    fit,
    objective,
    posterior,
    prior,
)
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


# -- flows -----------------------------------------------------------------------------------------


def bent(module: torch.nn.Module, by: float = 0.3) -> Any:
    """The same module with random weights, so that no flow is the identity any more."""
    with torch.no_grad():
        for number, parameter in enumerate(module.parameters()):
            parameter.add_(by * normal(*parameter.shape, seed=number))
    return module


@torch.no_grad()
@pytest.mark.parametrize("passes", [None, 2])
@pytest.mark.parametrize("d", [1, 2, 5])
def test_a_flow_is_standard_normal_until_it_learns(d: int, passes: int | None) -> None:
    head = prior.Flow(d, transforms=2, width=8, passes=passes, generator=rng()).double()
    z, standard = normal(9, d), prior.StandardNormal(d).double()()
    torch.testing.assert_close(head().log_prob(z), standard.log_prob(z))
    bent(head)
    assert float((head().log_prob(z) - standard.log_prob(z)).abs().max()) > 0.01
    torch.testing.assert_close(head().to_noise(head().from_noise(z)), z)
    head.restart()
    torch.testing.assert_close(head().log_prob(z), standard.log_prob(z))


@torch.no_grad()
def test_the_density_of_a_flow_integrates_to_one() -> None:
    grid = torch.linspace(-8, 8, 201, dtype=torch.float64)
    points = torch.cartesian_prod(grid, grid)
    p = bent(prior.Flow(2, width=8, generator=rng()).double())()
    h = torch.cat([torch.zeros(2), torch.ones(2), normal(3)])  # as wide as the prior
    q = bent(posterior.Flow(2, 3, width=8, generator=rng()).double(), 0.2)(h)
    for found in (p, q):
        mass = found.log_prob(points).exp().sum() * (grid[1] - grid[0]) ** 2
        assert mass.item() == pytest.approx(1, abs=1e-2)


@torch.no_grad()
def test_a_posterior_flow_starts_as_its_normal_and_each_row_has_its_own() -> None:
    head = posterior.Flow(3, context=4, width=8, generator=rng()).double()
    h, z = normal(5, 10), normal(7, 5, 3, seed=1)
    same = posterior.DiagonalNormal(3)(h[:, :6])
    torch.testing.assert_close(head(h).log_prob(z), same.log_prob(z))
    bent(head)
    torch.testing.assert_close(head(h[2:3]).log_prob(z[:, 2:3]), head(h).log_prob(z)[:, 2:3])
    assert not torch.allclose(head(h).log_prob(z), same.log_prob(z))


@torch.no_grad()
def test_scores_under_a_flow_prior_are_the_integral_over_z() -> None:
    x, line = draw(linear_gaussian(6, 2), 30), torch.linspace(-6, 6, 121, dtype=torch.float64)
    z = torch.cartesian_prod(line, line)
    for name in ("diagonal_normal", "flow"):
        vae = started(linear_gaussian(6, 2), prior="flow", posterior=name)
        bent(vae.prior, 0.1)
        joint = vae.decode(z[:, None]).log_prob(x) + vae.prior().log_prob(z)[:, None]
        exact = joint.logsumexp(0) + 2 * (line[1] - line[0]).log()
        found = evaluate.log_likelihood(vae, x, "importance", 800, proposal="mixture")
        assert bool(((found.value - exact).abs() < 4 * found.standard_error + 0.02).all())
        assert float((found.value - exact).mean().abs()) < 0.02


def test_without_zuko_a_flow_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zuko", None)
    for part in ("prior", "posterior"):
        with pytest.raises(ImportError, match=r'pip install "nelbo\[flow\]"'):
            small_estimator(**{part: "flow"}).fit(normal(30, 3).numpy())


def test_flows_refuse_sizes_that_they_cannot_have() -> None:
    for options, why in (
        ({"transforms": 0}, "transforms must be at least 1"),
        ({"bins": 1}, "bins must be at least 2"),
        ({"passes": 1}, "passes must be at least 2"),
        ({"width": 0}, "width must be at least 1"),
    ):
        with pytest.raises(ValueError, match=why):
            build((4,), 2, prior="flow", prior_options=options)
        with pytest.raises(ValueError, match=why):
            build((4,), 2, posterior="flow", posterior_options=options)


def test_a_flow_is_learned_under_a_running_mean_of_weights() -> None:
    vae = build((4,), 2, prior="flow", prior_options={"transforms": 1, "width": 4}).float()
    before = {name: value.clone() for name, value in vae.prior.state_dict().items()}
    x = draw(linear_gaussian(4, 2), 60).float()
    fit(objective.ELBO(vae), x, average=0.1, max_steps=60, seed=0, device="cpu")
    after = vae.prior.state_dict()
    # the masks and orders of its networks have no mean
    assert {value.dtype for value in after.values()} == {torch.float32, torch.bool, torch.int64}
    for name, value in after.items():
        assert value.is_floating_point() or torch.equal(value, before[name])


# -- a flow fitted after training ------------------------------------------------------------------


def test_a_fitted_flow_is_kept_where_held_out_rows_gain(tmp_path: Path) -> None:
    X = ring(900)
    options = {"prior_options": {"learned": False, "transforms": 2, "width": 16}}
    made: dict[str, Any] = {"latent_dim": 2, "max_steps": 60, "network": "linear", "variance": 0.01}
    plain = small_estimator(**made, prior="standard_normal").fit(X)
    model = small_estimator(**made, prior="flow", **options).fit(X)
    test = ring(300, seed=1)
    assert model.recipe_["prior"]["value"] == "flow"
    assert "held-out rows is +" in model.recipe_["prior"]["reason"]
    assert model.score(test) > plain.score(test) + 0.3
    for name, weight in plain.model_.decoder.state_dict().items():
        torch.testing.assert_close(model.model_.decoder.state_dict()[name], weight)
    model.save(tmp_path / "run")
    again = VariationalAutoencoder.load(tmp_path / "run")
    np.testing.assert_array_equal(again.score_samples(test), model.score_samples(test))
    assert not any(p.requires_grad for p in again.model_.prior.parameters())


def test_a_flow_that_gains_nothing_is_not_kept() -> None:
    X = draw(linear_gaussian(4, 2), 300).numpy()
    model = small_estimator(
        prior="flow",
        prior_options={"learned": False, "transforms": 1, "width": 4},
        max_steps=20,
        network="mlp",
    ).fit(X)
    assert model.recipe_["prior"]["value"] != "flow"
    assert model.spec_.prior != "flow"


def test_a_flow_is_not_fitted_to_a_model_that_reads_conditions() -> None:
    X = draw(linear_gaussian(4, 2), 60).numpy()
    options: dict[str, Any] = {"prior": "flow", "prior_options": {"learned": False}}
    with pytest.raises(ValueError, match="which is for models without conditions"):
        small_estimator(**options).fit(X, c=X[:, :1])
    with pytest.raises(TypeError, match="learned must be True or False"):
        small_estimator(prior="flow", prior_options={"learned": "no"}).fit(X)
