"""Gradients that are written out are those of autograd, and are taken where they apply."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import nelbo
from nelbo import VAE, likelihood, networks, objective, posterior, prior
from nelbo.training.fast.direct import Direct
from nelbo.training.fast.known import BETWEEN

CPU = torch.device("cpu")
NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "mlp": networks.MLP,
    "residual": networks.Residual,
    "linear": lambda a, b, hidden, activation: networks.Linear(a, b),
    "no hidden layer": lambda a, b, hidden, activation: networks.MLP(a, b, ()),
}
NOISES: dict[str, Callable[..., likelihood.Likelihood]] = {
    "learned": likelihood.Gaussian,
    "fixed": lambda shape: likelihood.Gaussian(shape, 0.3),
    "from z": likelihood.HeteroscedasticGaussian,
}
OBJECTIVES: dict[str, Callable[[VAE], objective.Objective]] = {
    "elbo": objective.ELBO,
    "dreg, one sample": lambda vae: objective.DReG(vae, 1),
    "dreg": lambda vae: objective.DReG(vae, 4),
}


def model(
    network: str = "residual",
    activation: str = "silu",
    noise: str = "learned",
    shape: tuple[int, ...] = (6,),
    hidden: tuple[int, ...] = (7, 5),
) -> VAE:
    """Return a model whose weights, those that start at zero as well, have moved."""
    head, q = NOISES[noise](shape), posterior.DiagonalNormal(3)
    build = NETWORKS[network]
    vae = VAE(
        prior.StandardNormal(3),
        build((3,), head.in_shape, hidden, activation),
        head,
        build(shape, q.in_shape, hidden, activation),
        q,
    )
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in vae.parameters():
            parameter.copy_(0.4 * torch.randn(parameter.shape, generator=generator))
    return vae


def both_ways(
    target: objective.Objective, x: Tensor, low: torch.dtype | None = None
) -> list[tuple[Tensor, Tensor]]:
    """Return the bounds and all gradients by autograd, each with that of the direct step."""
    step = Direct.of(target.train(), CPU)
    assert step is not None
    with torch.autocast("cpu", low, enabled=low is not None):
        bound = target(x, torch.Generator().manual_seed(1))
    (-bound.mean()).backward()
    gradients = [p.grad for p in target.parameters()]
    for parameter in target.parameters():
        parameter.grad = None
    pairs = [(bound.detach(), step(x, torch.Generator().manual_seed(1), low))]
    for parameter, by_autograd in zip(target.parameters(), gradients, strict=True):
        assert (parameter.grad is None) == (by_autograd is None)
        if parameter.grad is not None and by_autograd is not None:
            pairs.append((by_autograd, parameter.grad))
    return pairs


def assert_equal(pairs: list[tuple[Tensor, Tensor]], rtol: float = 1e-10) -> None:
    for expected, found in pairs:
        assert found.dtype == expected.dtype
        torch.testing.assert_close(
            found, expected, rtol=rtol, atol=rtol * float(expected.abs().max())
        )


@pytest.mark.parametrize("shape", [(6,), (1, 2, 3)])
@pytest.mark.parametrize("target", OBJECTIVES)
@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("network", NETWORKS)
def test_gradients_are_those_of_autograd(
    network: str, noise: str, target: str, shape: tuple[int, ...]
) -> None:
    x = torch.randn(8, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    assert_equal(
        both_ways(OBJECTIVES[target](model(network, noise=noise, shape=shape).double()), x)
    )


@pytest.mark.parametrize("activation", ["relu", "silu", "tanh", "gelu", "sigmoid"])
def test_every_activation_has_its_derivative(activation: str) -> None:
    x = torch.randn(8, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    assert_equal(both_ways(objective.ELBO(model("mlp", activation).double()), x))
    assert len(BETWEEN) == 5


def test_an_outlier_reaches_the_least_width_of_q_and_the_bend_of_the_path() -> None:
    vae = model().double()
    with torch.no_grad():
        bias = vae.encoder.linear.bias
        bias[3:] = -60.0
    x = torch.randn(8, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    x[3] *= 1e3
    assert float(vae.encode(x[:1]).stddev.detach().min()) == pytest.approx(1e-6)
    assert_equal(both_ways(objective.ELBO(vae), x))


@pytest.mark.parametrize("network", ["mlp", "residual"])
@pytest.mark.parametrize("target", OBJECTIVES)
def test_bfloat16_is_that_of_autocast(network: str, target: str) -> None:
    x = torch.randn(32, 40, generator=torch.Generator().manual_seed(2))
    vae = model(network, shape=(40,), hidden=(64, 64))
    with torch.no_grad():
        for parameter in vae.parameters():
            # else q is so narrow that autograd's z - mu has no digits left in float32
            parameter *= 0.3
    for expected, found in both_ways(OBJECTIVES[target](vae), x, torch.bfloat16):
        assert found.dtype == torch.float32
        assert float((found - expected).norm()) <= 0.01 * float(expected.norm())


def test_frozen_weights_get_no_gradient() -> None:
    vae = model()
    for parameter in vae.encoder.parameters():
        parameter.requires_grad_(False)
    assert (
        len(both_ways(objective.ELBO(vae), torch.randn(8, 6)))
        == 1 + len(list(vae.decoder.parameters())) + 1
    )


def shared(vae: VAE) -> VAE:
    """The same matrix twice, which autograd adds up."""
    layers = vae.decoder.body.layers
    layers[0].weight = vae.decoder.linear.weight
    return vae


def with_hook(vae: VAE) -> VAE:
    vae.decoder.body.layers[0].register_forward_hook(lambda *_: None)
    return vae


def with_gradient_hook(vae: VAE) -> VAE:
    next(vae.parameters()).register_hook(lambda gradient: gradient * 2)
    return vae


class OtherELBO(objective.ELBO):
    """Somebody's own."""


def parametrised(vae: VAE) -> VAE:
    nn.utils.parametrizations.weight_norm(vae.decoder.linear)
    return vae


def edited(change: Callable[[VAE], object]) -> VAE:
    """Return a model that somebody has changed."""
    vae = model(hidden=(7, 7, 7))
    change(vae)
    return vae


def in_columns(vae: VAE) -> None:
    vae.decoder.linear.weight = nn.Parameter(
        vae.decoder.linear.weight.detach().t().contiguous().t()
    )


def repeat(vae: VAE) -> None:
    vae.decoder.body.layers[4] = vae.decoder.body.layers[2]


class OwnLinear(nn.Linear):
    """With a forward pass that may be anything."""


def own_layer(vae: VAE) -> None:
    vae.decoder.body.layers[2] = OwnLinear(7, 7)


def without_bias(vae: VAE) -> None:
    vae.decoder.body.layers[2] = nn.Linear(7, 7, bias=False)


def q3() -> posterior.DiagonalNormal:
    return posterior.DiagonalNormal(3)


OTHERS: dict[str, Callable[[], Any]] = {
    "two samples": lambda: objective.ELBO(model(), 2),
    "hidden values": lambda: objective.ELBO(model(), corruption=0.2),
    "another objective": lambda: objective.IWAE(model(), 2),
    "a subclass": lambda: OtherELBO(model()),
    "an activation": lambda: objective.ELBO(model(activation="elu")),
    "a variance for each column": lambda: objective.ELBO(
        VAE(
            prior.StandardNormal(3),
            model().decoder,
            likelihood.Gaussian((6,), "per_feature"),
            model().encoder,
            q3(),
        )
    ),
    "a hook": lambda: objective.ELBO(with_hook(model())),
    "a gradient's hook": lambda: objective.ELBO(with_gradient_hook(model())),
    "a weight used twice": lambda: objective.ELBO(shared(model(shape=(7,)))),
    "a parametrisation": lambda: objective.ELBO(parametrised(model())),
    "something else": lambda: nn.Linear(2, 2),
    "a weight in columns": lambda: objective.ELBO(edited(in_columns)),
    "a layer used twice": lambda: objective.ELBO(edited(repeat)),
    "an activation at the end": lambda: objective.ELBO(
        edited(lambda vae: vae.encoder.body.layers.append(nn.Tanh()))
    ),
    "a layer of somebody's own": lambda: objective.ELBO(edited(own_layer)),
    "a layer without bias": lambda: objective.ELBO(edited(without_bias)),
    "another linear path": lambda: objective.ELBO(
        edited(lambda vae: setattr(vae.decoder, "linear", nn.Identity()))
    ),
    "a forward of its own": lambda: objective.ELBO(
        edited(lambda vae: setattr(vae.encoder, "forward", len))
    ),
    "an encode of its own": lambda: objective.ELBO(edited(lambda vae: setattr(vae, "encode", len))),
    "nothing to learn": lambda: objective.ELBO(edited(lambda vae: vae.requires_grad_(False))),
    "a compiled path": lambda: objective.ELBO(
        edited(
            lambda vae: setattr(
                vae.encoder.body, "layers", nn.ModuleList([vae.encoder.body.layers])
            )
        )
    ),
}


@pytest.mark.parametrize("other", OTHERS)
def test_all_else_is_left_to_autograd(other: str) -> None:
    assert Direct.of(OTHERS[other](), CPU) is None


def test_what_is_around_a_run_may_call_for_autograd() -> None:
    target = objective.ELBO(model())
    assert Direct.of(target, CPU) is not None
    assert Direct.of(target, torch.device("cuda")) is None
    with torch.autocast("cpu", torch.bfloat16):
        assert Direct.of(target, CPU) is None
    handle = nn.modules.module.register_module_forward_hook(lambda *_: None)
    assert Direct.of(target, CPU) is None
    handle.remove()
    assert Direct.of(target, CPU) is not None


def test_a_callback_may_change_the_model() -> None:
    calls: list[int] = []
    vae = model()

    def listen(record: nelbo.training.Record) -> None:
        if record.step == 0:
            vae.decoder.register_forward_hook(lambda *_: calls.append(record.step))

    nelbo.fit(
        objective.ELBO(vae), torch.randn(64, 6), max_steps=20, batch_size=16, callbacks=[listen]
    )
    assert len(calls) >= 20


def test_what_overflows_is_a_step_that_is_skipped() -> None:
    vae = model()
    with torch.no_grad():
        vae.likelihood.log_variance.fill_(math.log(1e-6))
    step = Direct.of(objective.ELBO(vae), CPU)
    assert step is not None
    step(1e18 * torch.ones(8, 6), torch.Generator())
    assert not bool(vae.likelihood.log_variance.grad.isfinite())


def test_bfloat16_is_not_for_float64() -> None:
    x = torch.randn(64, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    runs = [model().double() for _ in range(2)]
    for vae, precision in zip(runs, ("bf16", "float32"), strict=True):
        nelbo.fit(objective.ELBO(vae), x, max_steps=5, precision=precision)
    assert all(
        torch.equal(a, b) for a, b in zip(runs[0].parameters(), runs[1].parameters(), strict=True)
    )


@pytest.mark.parametrize("target", OBJECTIVES)
def test_a_run_gets_where_autograd_gets(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty steps, from the first, at which beta^2 is far off, in double precision."""
    x = 40 * torch.randn(64, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    weights = []
    for direct in (True, False):
        trained = OBJECTIVES[target](model().double())
        if not direct:
            monkeypatch.setattr(Direct, "of", lambda *_: None)
        nelbo.fit(trained, x, max_steps=20, batch_size=16)
        weights.append(torch.cat([p.detach().flatten() for p in trained.parameters()]))
    assert float((weights[0] - weights[1]).abs().max()) < 1e-6


@pytest.mark.parametrize("low", [None, torch.bfloat16])
def test_noise_on_what_the_encoder_sees_is_that_of_autograd(low: torch.dtype | None) -> None:
    dtype, rtol = (torch.float64, 1e-10) if low is None else (torch.float32, 0.05)
    x = torch.randn(8, 1, 2, 3, dtype=dtype, generator=torch.Generator().manual_seed(2))
    vae = model(shape=(1, 2, 3)).to(dtype)
    noisy = both_ways(objective.ELBO(vae, input_noise=0.4), x, low)
    assert_equal(noisy, rtol)
    plain = both_ways(objective.ELBO(vae), x, low)
    assert float((noisy[0][0] - plain[0][0]).abs().min()) > 1e-3
