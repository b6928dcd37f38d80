"""Defects that reviews found, each kept from coming back."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Independent, Laplace, Normal

from helpers import build, normal, rng
from nelbo import (
    VAE,
    VariationalAutoencoder,
    diagnose,
    fit,
    initialize,
    likelihood,
    objective,
    posterior,
    prior,
)
from nelbo.cli import main
from nelbo.data import as_rows
from nelbo.data.units import Units
from nelbo.evaluate import pareto_shape
from nelbo.training.precision import bfloat16_pays


@pytest.mark.parametrize("variance", [0.3, 2.0, 0.0123])
def test_a_fixed_variance_is_exact_in_float64(variance: float) -> None:
    head = likelihood.Gaussian((64,), variance=variance).float().double()
    x, mean = 3 * normal(2, 64), torch.zeros(2, 64, dtype=torch.float64)
    expected = Normal(mean, math.sqrt(variance)).log_prob(x).sum(-1)
    torch.testing.assert_close(head(mean).log_prob(x), expected, rtol=0, atol=1e-10)
    assert head(mean.float()).scale.dtype == torch.float32


def test_the_noise_of_an_iwae_fit_stays_at_its_own_optimum() -> None:
    """With K samples the weights decide what a residual counts for:
    the plain average would be far too large.
    """
    t = torch.rand(600, 1, generator=rng(3)) * 6 - 3
    x = torch.cat([t, t.sin(), t.cos()], 1) + 0.1 * torch.randn(600, 3, generator=rng(4))
    vae = build((3,), 1, "mlp", hidden=(32,), dtype=torch.float32)
    goal = objective.IWAE(vae, 16)
    history = fit(goal, x, validation=x[:200], max_steps=500, batch_size=100, seed=1)
    with torch.no_grad():
        after = float(torch.stack([goal(x[:200], rng(i)) for i in range(20)]).mean())
    assert after == pytest.approx(max(r.validation for r in history.records), abs=0.1)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_unscaled_data_start_at_the_same_closed_form_in_any_unit(scale: float) -> None:
    x = normal(300, 2) @ normal(2, 6, seed=1) + 0.1 * normal(300, 6, seed=2)
    options = {"network": "linear", "scale": None, "max_steps": 1, "random_state": 0}
    model = VariationalAutoencoder(2, **options).fit(scale * x.numpy())
    plain = VariationalAutoencoder(2, **options | {"scale": "global"}).fit(x.numpy())
    assert model.score(scale * x.numpy()) + 6 * math.log(scale) == pytest.approx(
        plain.score(x.numpy()), abs=0.02
    )


def test_every_noise_decides_about_bfloat16() -> None:
    assert bfloat16_pays(build(variance=0.5))
    assert not bfloat16_pays(build(variance=1e-4))
    assert not bfloat16_pays(build(variance="heteroscedastic"))


def test_broken_weights_have_no_good_tail() -> None:
    for broken in (math.nan, -math.inf):
        assert (
            pareto_shape(torch.full((20, 1), broken, dtype=torch.float64), 100).item() == math.inf
        )


def test_the_elbo_is_log_p_where_the_posterior_is_exact() -> None:
    X = np.random.default_rng(0).normal(size=(200, 5))
    model = VariationalAutoencoder(2, max_steps=15, random_state=0).fit(X)
    assert model.kept_start_
    np.testing.assert_allclose(model.elbo(X), model.score_samples(X), atol=1e-5)


def test_a_distance_gets_no_jacobian() -> None:
    x = normal(50, 6).float()
    history = fit(
        objective.Autoencoder(build(dtype=torch.float32)),
        as_rows(x, units=Units(1000.0, 1.0)),
        max_steps=3,
    )
    assert history.records[-1].train is not None
    assert history.records[-1].train < 0


class Named(nn.Module):
    """A network of somebody else's, whose hidden layer happens to be called linear."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear, self.out = nn.Linear(inputs, 7), nn.Linear(7, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.linear(x).relu())


def test_a_layer_called_linear_is_not_a_linear_path() -> None:
    torch.manual_seed(0)
    vae = VAE(
        prior.StandardNormal(2),
        Named(2, 6),
        likelihood.Gaussian((6,)),
        Named(6, 4),
        posterior.DiagonalNormal(2),
    )
    assert not initialize.has_linear_paths(vae)


class Foreign(posterior.Posterior):
    """A posterior that returns a distribution of torch's own."""

    in_shape = (4,)

    def forward(self, h: Tensor) -> Independent:
        loc, raw = h.chunk(2, -1)
        return Independent(Normal(loc, raw.exp(), validate_args=False), 1, validate_args=False)


class LaplaceHead(likelihood.Likelihood):
    shape = in_shape = (6,)

    def forward(self, h: Tensor) -> Independent:
        return Independent(Laplace(h, 1.0, validate_args=False), 1, validate_args=False)


@pytest.mark.usefixtures("untouched_random_state")
def test_distributions_that_take_no_generator_train_and_sample_by_the_seed() -> None:
    ends = []
    for _ in range(2):
        plain = build((6,), 2, "mlp", dtype=torch.float32)
        vae = VAE(plain.prior, plain.decoder, LaplaceHead(), plain.encoder, Foreign())
        fit(objective.ELBO(vae), normal(40, 6).float(), max_steps=5, seed=3)
        ends.append(vae.sample(4, generator=rng(1)))
    assert torch.equal(*ends)


def test_fit_takes_the_dtype_of_the_model_and_refuses_what_is_no_tensor_of_floats() -> None:
    goal = objective.ELBO(build(dtype=torch.float32))
    fit(goal, normal(20, 6), max_steps=2)
    for wrong in (np.zeros((20, 6)), torch.zeros(20, 6, dtype=torch.uint8)):
        with pytest.raises(TypeError, match=r"x must be a tensor of floats, got .*Pass torch"):
            fit(goal, wrong, max_steps=2)


def test_active_units_take_rows_of_any_precision() -> None:
    assert diagnose.active_units(build(dtype=torch.float32), normal(30, 6)).variance.shape == (2,)


@pytest.mark.parametrize("network", [3, nn.Linear(6, 4)])
def test_a_network_that_is_neither_name_nor_factory_is_refused(network: object) -> None:
    with pytest.raises(TypeError, match="network must be a name such as 'residual' or a factory"):
        VariationalAutoencoder(2, network=network).fit(np.zeros((9, 6)))


@pytest.mark.parametrize("command", ["fit", "evaluate", "score", "encode", "reconstruct", "sample"])
def test_a_bare_command_says_what_is_missing(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command]) == 2
    said = capsys.readouterr().err.strip()
    assert "\n" not in said
    assert re.search(rf"nelbo {command} needs (DATA|RUN)\b", said)
