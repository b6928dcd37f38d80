"""Objectives: bounds with known answers, gradients by finite differences,
and wrappers around them.
"""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from torch import distributions as torch_distributions

from helpers import (
    Bytes,
    build,
    draw,
    equal_bits,
    linear_gaussian,
    loosen,
    normal,
    rng,
    started,
    weights,
)
from nelbo import (
    VAE,
    VariationalAutoencoder,
    checkpoint,
    evaluate,
    fit,
    objective,
    posterior,
    spec,
    training,
)
from nelbo.cli.options import FitOptions
from nelbo.data import as_rows
from nelbo.distributions import DiagonalNormal
from nelbo.linear import LinearGaussian
from nelbo.training.noise_step import VarianceStep

WEIGHTED = ("beta_vae", "capacity", "free_bits", "kl_warm_up")
IMPORTANCE = ("ciwae", "dreg", "iwae", "miwae", "piwae")
NATS = ("elbo", "stl", *IMPORTANCE, *WEIGHTED)


def exact_elbo(vae: VAE, model: LinearGaussian, x: Tensor) -> Tensor:
    """E_q log p(x|z) - KL for a linear decoder and the q that the VAE has, without sampling."""
    q = vae.encode(x)
    variance = model.variance.expand_as(model.bias)
    residual = x - (q.mean @ model.weight.T + model.bias)
    spread = q.variance @ model.weight.square().T
    log_lik = -0.5 * ((residual.square() + spread) / variance + (2 * math.pi * variance).log()).sum(
        -1
    )
    kl = 0.5 * (q.mean.square() + q.variance - 1 - q.variance.log()).sum(-1)
    return (log_lik - kl).detach()


@pytest.mark.parametrize("per_feature", [False, True])
def test_elbo_is_the_closed_form_on_a_linear_model_on_average(per_feature: bool) -> None:
    variance = normal(6, seed=4).exp() if per_feature else 0.3
    model = linear_gaussian(orthogonal=False, variance=variance)
    vae = loosen(started(model, variance="per_feature" if per_feature else "learned"))
    x = draw(model, 40)
    draws = torch.stack([objective.ELBO(vae)(x, rng(seed)).detach() for seed in range(400)])
    error = (draws.mean(0) - exact_elbo(vae, model, x)) / (draws.std(0) / 20)
    assert float(error.abs().max()) < 4.5
    assert float(error.mean().abs()) < 4.5 / math.sqrt(40)
    gap = model.log_prob(x) - exact_elbo(vae, model, x)
    assert float(gap.min()) > 0.05


def test_what_is_hidden_from_the_encoder_leaves_a_bound_and_ends_with_training() -> None:
    model = linear_gaussian()
    vae, x = started(model), draw(model, 40)
    loss = objective.ELBO(vae, corruption=0.25)
    seen: list[Tensor] = []
    vae.encoder.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    draws = torch.stack([loss(x, rng(seed)).detach() for seed in range(400)])
    error = draws.std(0) / 20
    assert bool((draws.mean(0) < model.log_prob(x) + 3 * error).all())
    # q is the posterior of too few values
    assert float((model.log_prob(x) - draws.mean(0)).mean()) > 1
    shown = torch.stack(seen) != 0
    assert float(shown.double().mean()) == pytest.approx(0.75, abs=0.005)
    # the same on average
    torch.testing.assert_close(torch.stack(seen)[shown], (x / 0.75).expand(400, -1, -1)[shown])
    assert torch.equal(loss(x, rng(1)), loss(x, rng(1)))
    loss.eval()
    assert torch.equal(loss(x, rng(1)), objective.ELBO(vae)(x, rng(1)))


@pytest.mark.parametrize("corruption", [-0.1, 1.0, "half", float("nan")])
def test_a_corruption_that_is_no_share_is_refused(corruption: object) -> None:
    with pytest.raises(
        ValueError, match=r"corruption must be a number of at least 0, at most 0\.9"
    ):
        objective.ELBO(build(), corruption=corruption)  # type: ignore[arg-type]


def test_noise_on_what_the_encoder_sees_leaves_a_bound_and_ends_with_training() -> None:
    model = linear_gaussian()
    vae, x = started(model), draw(model, 40)
    loss = objective.ELBO(vae, input_noise=0.5)
    seen: list[Tensor] = []
    vae.encoder.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    draws = torch.stack([loss(x, rng(seed)).detach() for seed in range(400)])
    error = draws.std(0) / 20
    assert bool((draws.mean(0) < model.log_prob(x) + 3 * error).all())
    # means move by A n, A = M^-1 W^T the encoder's matrix; the posterior's precision is M / beta^2
    w, variance = model.weight, model.variance
    m = w.T @ w + variance * torch.eye(2)
    lost = 0.5 * 0.5**2 / variance * (w @ m.inverse() @ w.T).trace()
    gone = float((exact_elbo(vae, model, x) - draws.mean(0)).mean())
    assert gone == pytest.approx(float(lost), rel=0.05)
    noise = torch.stack(seen) - x
    assert float(noise.std()) == pytest.approx(0.5, rel=0.01)
    assert float(noise.mean()) == pytest.approx(0, abs=0.01)
    assert torch.equal(loss(x, rng(1)), loss(x, rng(1)))
    loss.eval()
    assert torch.equal(loss(x, rng(1)), objective.ELBO(vae)(x, rng(1)))


@pytest.mark.parametrize("noise", [-0.1, "much", float("inf")])
def test_noise_that_is_no_standard_deviation_is_refused(noise: object) -> None:
    with pytest.raises(ValueError, match="input_noise must be a number of at least 0, got"):
        objective.ELBO(build(), input_noise=noise)  # type: ignore[arg-type]


@pytest.mark.parametrize("samples", [1, 3])
def test_elbo_and_iwae_are_reductions_of_the_same_terms(samples: int) -> None:
    vae, x = build(), normal(5, 6)
    terms = vae.terms(x, samples, rng(1))
    torch.testing.assert_close(
        objective.ELBO(vae, samples)(x, rng(1)), terms.log_lik.mean(0) - terms.kl
    )
    expected = (terms.log_weight.exp().mean(0)).log()
    torch.testing.assert_close(objective.IWAE(vae, samples)(x, rng(1)), expected)


def test_iwae_of_one_sample_is_a_monte_carlo_elbo() -> None:
    vae, x = build(), normal(5, 6)
    assert torch.equal(objective.IWAE(vae)(x, rng(1)), vae.terms(x, 1, rng(1)).log_weight[0])


def test_more_samples_lower_the_elbos_variance_and_not_its_mean() -> None:
    model = linear_gaussian(orthogonal=False)
    vae, x = loosen(started(model)), draw(model, 8)
    one = torch.stack([objective.ELBO(vae, 1)(x, rng(seed)).detach() for seed in range(300)])
    many = torch.stack(
        [objective.ELBO(vae, 25)(x, rng(1000 + seed)).detach() for seed in range(300)]
    )
    ratio = (one.var(0) / many.var(0)).mean()
    assert 18 < float(ratio) < 35
    assert float((many.mean(0) - exact_elbo(vae, model, x)).abs().max()) < 5 * float(
        many.std(0).max()
    ) / math.sqrt(300)


class Anonymous(torch_distributions.Independent):
    """A normal of which nelbo knows no closed form, and that takes a generator."""

    def rsample(
        self, sample_shape: tuple[int, ...] = (), generator: torch.Generator | None = None
    ) -> Tensor:
        base = self.base_dist
        shape = (*sample_shape, *base.loc.shape)
        return base.loc + base.scale * torch.randn(shape, generator=generator, dtype=base.loc.dtype)


class AnonymousHead(posterior.DiagonalNormal):
    def forward(self, h: Tensor) -> Anonymous:
        q = super().forward(h)
        return Anonymous(torch_distributions.Normal(q.loc, q.scale), 1)


def test_without_a_closed_form_the_kl_is_averaged_over_the_same_samples() -> None:
    vae, x = build(), normal(5, 6)
    other = VAE(vae.prior, vae.decoder, vae.likelihood, vae.encoder, AnonymousHead(2))
    assert other.terms(x, 1, rng()).kl is None
    expected = vae.terms(x, 4, rng(3)).log_weight.mean(0)
    torch.testing.assert_close(objective.ELBO(other, 4)(x, rng(3)), expected)


def test_autoencoder_is_minus_the_squared_distance_of_the_reconstruction() -> None:
    vae, x = build((2, 3), 2, "mlp"), normal(5, 2, 3)
    x_hat = vae.decode(vae.encode(x).mean).mean
    torch.testing.assert_close(
        objective.Autoencoder(vae)(x), -(x - x_hat).square().flatten(1).sum(1)
    )


def test_autoencoder_is_the_elbos_limit_as_beta_vanishes() -> None:
    """2 beta^2 times the ELBO's gradient for the decoder,
    with a vanishing sigma: the plain autoencoder's.
    """
    x = normal(20, 6)
    vae = build((6,), 2, "linear", variance=1e-6)
    with torch.no_grad():
        vae.encoder.linear.weight[2:] = 0
        vae.encoder.linear.bias[2:] = -12.0
    (limit,) = torch.autograd.grad(objective.Autoencoder(vae)(x).mean(), vae.decoder.linear.weight)
    (bound,) = torch.autograd.grad(
        objective.ELBO(vae, 100)(x, rng()).mean(), vae.decoder.linear.weight
    )
    torch.testing.assert_close(2 * vae.likelihood.variance * bound, limit, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["elbo", "iwae", "autoencoder", "miwae", "ciwae", *WEIGHTED])
@pytest.mark.parametrize(
    "options",
    [
        {"network": "mlp"},
        {"network": "residual", "variance": "per_feature"},
        {"network": "linear", "variance": "heteroscedastic"},
        {"network": "conv", "shape": (1, 2, 2), "channels": (2,)},
        {"network": "mlp", "likelihood": "bernoulli"},
    ],
    ids=str,
)
def test_gradients_are_those_of_finite_differences(name: str, options: dict) -> None:
    vae = build(
        **({"shape": (4,), "latent_dim": 2, "hidden": (3,), "activation": "tanh"} | options)
    )
    loss = spec.build_objective(name, vae, 2, {"groups": 2} if name == "miwae" else {})
    loss.progress.fill_(0.2)
    x = (normal(2, *vae.shape) > 0).double() if options.get("likelihood") else normal(2, *vae.shape)
    names = [key for key, _ in loss.named_parameters()]
    start = tuple(
        (p.detach() + 0.3 * normal(*p.shape, seed=i)).requires_grad_()
        for i, p in enumerate(vae.parameters())
    )

    def bound(*parameters: Tensor) -> Tensor:
        return torch.func.functional_call(
            loss, dict(zip(names, parameters, strict=True)), (x, rng(5))
        )

    assert torch.autograd.gradcheck(
        bound, start, eps=1e-6, atol=1e-6, rtol=1e-5, fast_mode=name != "elbo"
    )
    used = torch.autograd.grad(bound(*start).sum(), start, allow_unused=True)
    idle = {key for key, gradient in zip(names, used, strict=True) if gradient is None}
    assert idle <= ({"vae.likelihood.log_variance"} if name == "autoencoder" else set())


class Wrapper(nn.Module):
    """What DistributedDataParallel looks like from outside."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs: object) -> Tensor:
        return self.module(*inputs)


def test_an_objective_can_be_wrapped_whole() -> None:
    vae, x = build(), normal(5, 6)
    plain = objective.ELBO(vae)
    assert torch.equal(Wrapper(plain)(x, rng(1)), plain(x, rng(1)))


def test_the_bound_of_an_example_does_not_depend_on_its_batchs_shape() -> None:
    vae, x = build(network="mlp"), normal(6, 6)
    torch.testing.assert_close(
        objective.ELBO(vae, 3)(x.reshape(2, 3, 6), rng(1)).flatten(),
        objective.ELBO(vae, 3)(x, rng(1)),
    )


@pytest.mark.parametrize("name", spec.choices("objective"))
def test_samples_must_be_at_least_one(name: str) -> None:
    with pytest.raises(ValueError, match="samples must be at least 1, got 0"):
        spec.resolve("objective", name)(build(), 0)


# -- every member
# ------------------------------------------------------------------------------------


def test_the_lists_above_are_complete() -> None:
    assert {*NATS, "autoencoder"} == set(spec.choices("objective"))


@pytest.mark.parametrize("samples", [1, 4])
@pytest.mark.parametrize("name", NATS)
def test_every_bound_is_log_p_where_the_posterior_is_exact(name: str, samples: int) -> None:
    """Judged, each is a bound; and while training, each that says so."""
    model = linear_gaussian()
    vae, x = started(model), draw(model, 7)
    loss, exact = spec.build_objective(name, vae, samples), model.log_prob(x)
    tight = (
        {}
        if name in ("elbo", *WEIGHTED) or (name, samples) == ("ciwae", 1)
        else {"rtol": 1e-9, "atol": 1e-9}
    )
    judged = torch.stack([loss.eval()(x, rng(seed)).detach() for seed in range(60)])
    # the rest have the closed form of the KL, and log p(x|z) is drawn
    if tight and name not in ("stl", "ciwae"):
        torch.testing.assert_close(judged, exact.expand(60, 7), **tight)
        torch.testing.assert_close(loss.train()(x, rng(3)).detach(), exact, **tight)
    error = (judged.mean(0) - exact) / (judged.std(0) / math.sqrt(60) + 1e-9)
    assert float(error.abs().max()) < 5


@pytest.mark.parametrize("name", NATS)
def test_judged_every_objective_is_below_log_p_and_the_weighted_are_the_elbo(name: str) -> None:
    model = linear_gaussian()
    vae, x = loosen(started(model), 1.6, 0.5), draw(model, 50)
    loss = spec.build_objective(name, vae, 2).eval()
    draws = torch.stack([loss(x, rng(seed)).detach() for seed in range(60)]).mean(1)
    gap = float((model.log_prob(x).mean() - draws.mean()) / (draws.std() / math.sqrt(60)))
    assert gap > 5
    if name in ("elbo", "stl", *WEIGHTED):
        assert torch.equal(loss(x, rng(1)), objective.ELBO(vae, 2)(x, rng(1)))


@pytest.mark.parametrize("name", NATS)
def test_weights_of_the_log_likelihood_sum_to_one(name: str) -> None:
    """Then the batch's best beta^2 can be read off the gradient: here the decoder ignores z, and
    all z agree on it.
    """
    vae, x = build(network="linear"), normal(9, 6)
    with torch.no_grad():
        vae.decoder.linear.weight.zero_()
    loss = spec.build_objective(name, vae, 3)
    loss.progress.fill_(0.2)
    step = VarianceStep(loss)
    (-loss(x, rng()).mean()).backward()
    step.step(0, 1.0, torch.tensor(True))
    best = (x - vae.decoder.linear.bias).square().mean().detach()
    torch.testing.assert_close(vae.likelihood.variance.detach(), best)


@pytest.mark.parametrize("name", [*IMPORTANCE, "stl"])
def test_beta_goes_to_the_residual_as_the_bound_weighs_it(name: str) -> None:
    vae, x = loosen(build(network="linear")), normal(9, 6)
    options = {"groups": 2} if name in ("miwae", "piwae") else {}
    loss = spec.build_objective(name, vae, 3, options)
    terms = vae.terms(x, loss.draws, rng(2))
    log_weight = terms.log_weight.detach()
    equal = torch.full_like(log_weight, 1 / loss.draws)
    share = {
        "miwae": log_weight.unflatten(0, (-1, 3)).softmax(1).flatten(0, 1) / 2,
        "ciwae": (log_weight.softmax(0) + equal) / 2,
        "stl": equal,
    }.get(name, log_weight.softmax(0))
    best = (share * (x - vae.decode(terms.z).mean).square().mean(-1)).sum(0).mean().detach()
    step = VarianceStep(loss)
    (-loss(x, rng(2)).mean()).backward()
    step.step(0, 1.0, torch.tensor(True))
    torch.testing.assert_close(vae.likelihood.variance.detach(), best)


def test_beta_ends_at_the_plain_mean_where_the_likelihood_is_averaged_and_only_there() -> None:
    vae = build()
    averaged = {
        name: [spec.build_objective(name, vae, k).averages for k in (1, 3)] for name in NATS
    }
    plain = {"elbo", "stl", *WEIGHTED}
    assert {name for name in NATS if averaged[name] == [True, True]} == plain
    assert {name for name in NATS if averaged[name] == [True, False]} == {
        "iwae",
        "dreg",
        "miwae",
        "ciwae",
    }
    assert averaged["piwae"] == [False, False]  # 8 groups: its decoder weighs them all
    assert objective.CIWAE(vae, 3, beta=1).averages


@pytest.mark.parametrize(("name", "changes"), [("STL", True), ("DReG", False)])
def test_the_closed_form_of_beta_follows_the_last_step_of_an_average_alone(
    name: str, changes: bool
) -> None:
    vae, x = build((3,), 1, "linear", dtype=torch.float32), draw(linear_gaussian(3, 1), 60).float()
    seen: list[float] = []
    fit(
        getattr(objective, name)(vae, 3),
        x,
        max_steps=5,
        callbacks=[lambda record: seen.append(record.beta)],
    )
    assert (
        float(vae.likelihood.variance.detach().sqrt()) != pytest.approx(seen[-1], rel=1e-5)
    ) is changes


# -- gradients of the encoder
# ------------------------------------------------------------------------


def gradients(loss: objective.Objective, x: Tensor, seed: int) -> dict[str, Tensor]:
    loss.zero_grad()
    loss(x, rng(seed)).mean().backward()
    return {name: p.grad.clone() for name, p in loss.vae.named_parameters()}


def parted(found: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """What a gradient holds for the encoder (and q), and for all that generates."""
    inner = [v.flatten() for k, v in found.items() if k.startswith(("encoder", "posterior"))]
    return torch.cat(inner), torch.cat(
        [v.flatten() for k, v in found.items() if k.startswith(("decoder", "like"))]
    )


class Movable(posterior.DiagonalNormal):
    """A q with a parameter of its own and of a class that nelbo does not know."""

    def __init__(self, latent_dim: int) -> None:
        super().__init__(latent_dim)
        self.move = nn.Parameter(torch.zeros(latent_dim, dtype=torch.float64))

    def forward(self, h: Tensor) -> Anonymous:
        q = super().forward(h)
        return Anonymous(torch_distributions.Normal(q.loc + self.move, q.scale), 1)


@pytest.mark.parametrize("samples", [1, 5])
def test_at_the_exact_posterior_the_path_has_no_noise(samples: int) -> None:
    model = linear_gaussian()
    vae, x = started(model), draw(model, 7)
    foreign = VAE(vae.prior, vae.decoder, vae.likelihood, vae.encoder, Movable(2))
    for net in (vae, foreign):
        for name in ("stl", "dreg"):
            encoder, decoder = parted(gradients(spec.build_objective(name, net, samples), x, 4))
            assert float(encoder.abs().max()) < 1e-12
            assert float(decoder.abs().max()) > 1e-2
        for name in ("elbo", "iwae"):
            encoder, _ = parted(gradients(spec.build_objective(name, net, samples), x, 4))
            assert float(encoder.abs().max()) > 1e-2


@pytest.mark.parametrize("name", ["stl", "dreg", "piwae"])
def test_a_foreign_posterior_has_the_same_gradients(name: str) -> None:
    vae, x = loosen(build(network="linear")), normal(5, 6)
    other = VAE(vae.prior, vae.decoder, vae.likelihood, vae.encoder, AnonymousHead(2))
    own, foreign = (gradients(spec.build_objective(name, net, 3), x, 1) for net in (vae, other))
    for key in own:
        torch.testing.assert_close(own[key], foreign[key])


def test_dreg_is_its_formula() -> None:
    """sum_k w_k^2 d log w_k / dz_k dz_k / dphi,
    written with a copy of q that has fixed parameters.
    """
    vae, x = loosen(build(network="linear")), normal(5, 6)
    q = vae.encode(x)
    z = q.rsample((4,), generator=rng(1))
    fixed = DiagonalNormal(q.loc.detach(), q.scale.detach())
    log_weight = vae.decode(z).log_prob(x) + vae.prior().log_prob(z) - fixed.log_prob(z)
    square = log_weight.detach().softmax(0).square()
    expected = torch.autograd.grad(
        (square * log_weight).sum(0).mean(), list(vae.encoder.parameters())
    )
    found = gradients(objective.DReG(vae, 4), x, 1)
    for name, wanted in zip((n for n, _ in vae.encoder.named_parameters()), expected, strict=True):
        torch.testing.assert_close(found[f"encoder.{name}"], wanted)


@pytest.mark.parametrize("samples", [1, 4])
def test_dreg_has_the_value_of_iwae_and_its_gradient_for_all_that_generates(samples: int) -> None:
    vae, x = build(), normal(5, 6)
    loss, plain = objective.DReG(vae, samples), objective.IWAE(vae, samples)
    torch.testing.assert_close(loss(x, rng(1)), plain(x, rng(1)))
    torch.testing.assert_close(parted(gradients(loss, x, 1))[1], parted(gradients(plain, x, 1))[1])


@pytest.mark.parametrize(
    ("name", "plain", "samples"), [("DReG", "IWAE", 4), ("STL", "ELBO", 1), ("STL", "ELBO", 3)]
)
def test_the_encoders_gradient_is_that_of_the_bound_on_average(
    name: str, plain: str, samples: int
) -> None:
    model = linear_gaussian(3, 1)
    vae, x = loosen(started(model)), draw(model, 4)
    rows = x.repeat(500, 1)
    means = []
    for kind in (name, plain):
        loss = getattr(objective, kind)(vae, samples)
        draws = torch.stack([parted(gradients(loss, rows, seed))[0] for seed in range(40)])
        means.append((draws.mean(0), draws.var(0) / 40))
    (found, noise), (wanted, more) = means
    assert float(((found - wanted) / (noise + more).sqrt()).abs().max()) < 5
    assert float((wanted / more.sqrt()).abs().max()) > 20  # and there is something to find
    assert float((noise / more).mean()) < 1


def test_the_encoders_signal_to_noise_falls_with_k_for_iwae_and_not_for_dreg() -> None:
    """As 1 / sqrt(K) for IWAE (Rainforth et al., 2018),
    and as sqrt(K) for DReG (Tucker et al., 2019).
    """
    model = linear_gaussian(6, 2)
    vae, x = loosen(started(model)), draw(model, 8)

    def ratio(kind: type[objective.Objective], samples: int) -> float:
        loss = kind(vae, samples)
        draws = torch.stack([parted(gradients(loss, x, seed))[0] for seed in range(200)])
        return float((draws.mean(0).abs() / draws.std(0)).median())

    few, many = ratio(objective.IWAE, 1), ratio(objective.IWAE, 64)
    assert many < 0.5 * few
    assert ratio(objective.DReG, 64) > 2 * ratio(objective.DReG, 1) > 0


@pytest.mark.parametrize(("groups", "samples"), [(1, 1), (1, 4), (4, 1), (3, 2)])
def test_piwae_has_the_decoders_gradient_of_one_bound_and_the_encoders_of_another(
    groups: int, samples: int
) -> None:
    vae, x = build(), normal(5, 6)
    loss = objective.PIWAE(vae, samples, groups)
    tight, loose = objective.IWAE(vae, groups * samples), objective.MIWAE(vae, samples, groups)
    torch.testing.assert_close(loss(x, rng(1)), tight(x, rng(1)))
    encoder, decoder = parted(gradients(loss, x, 1))
    torch.testing.assert_close(encoder, parted(gradients(loose, x, 1))[0])
    torch.testing.assert_close(decoder, parted(gradients(tight, x, 1))[1])


def test_piwae_has_a_gradient_where_a_whole_group_weighs_nothing() -> None:
    """Weights that differ by more than e^88 underflow in float32,
    and their ratio would overflow.
    """
    vae, x = build(network="linear", dtype=torch.float32, variance=1e-3), 3 * normal(5, 6).float()
    log_weight = vae.terms(x, 3, rng(1)).log_weight
    assert bool((log_weight.softmax(0) == 0).any())
    found, wanted = (
        gradients(loss, x, 1) for loss in (objective.PIWAE(vae, 1, 3), objective.MIWAE(vae, 1, 3))
    )
    torch.testing.assert_close(parted(found)[0], parted(wanted)[0], rtol=1e-4, atol=1e-2)


class Unpathed(Anonymous):
    has_rsample = False


class UnpathedHead(posterior.DiagonalNormal):
    def forward(self, h: Tensor) -> Unpathed:
        q = super().forward(h)
        return Unpathed(torch_distributions.Normal(q.loc, q.scale), 1)


@pytest.mark.parametrize("name", ["stl", "dreg", "piwae"])
def test_draws_without_a_gradient_are_refused_where_it_is_needed(name: str) -> None:
    vae, x = build(), normal(5, 6)
    loss = spec.build_objective(
        name, VAE(vae.prior, vae.decoder, vae.likelihood, vae.encoder, UnpathedHead(2)), 2
    )
    with pytest.raises(
        ValueError, match=r"Unpathed draws z without gradients.*Use a posterior with rsample"
    ):
        loss(x)
    with torch.no_grad():
        assert bool(loss(x).isfinite().all())


@pytest.mark.parametrize("name", ["stl", "dreg", "piwae"])
def test_a_frozen_encoder_leaves_the_decoder_its_gradient(name: str) -> None:
    vae, x = build(), normal(5, 6)
    loss = spec.build_objective(name, vae, 3)
    wanted = parted(gradients(loss, x, 1))[1]
    vae.encoder.requires_grad_(False)
    loss.zero_grad()
    loss(x, rng(1)).mean().backward()
    found = {k: p.grad for k, p in vae.named_parameters() if not k.startswith("encoder")}
    torch.testing.assert_close(torch.cat([g.flatten() for g in found.values()]), wanted)


# -- importance-weighted bounds
# ----------------------------------------------------------------------


def test_miwae_and_ciwae_have_their_siblings_as_limits() -> None:
    vae, x = build(), normal(5, 6)
    six = objective.IWAE(vae, 6)(x, rng(1))
    torch.testing.assert_close(objective.MIWAE(vae, 6, groups=1)(x, rng(1)), six)
    torch.testing.assert_close(
        objective.MIWAE(vae, 1, groups=6)(x, rng(1)), vae.terms(x, 6, rng(1)).log_weight.mean(0)
    )
    torch.testing.assert_close(objective.CIWAE(vae, 6, beta=0)(x, rng(1)), six)
    torch.testing.assert_close(
        objective.CIWAE(vae, 6, beta=1)(x, rng(1)), objective.ELBO(vae, 6)(x, rng(1))
    )
    half = (six + objective.ELBO(vae, 6)(x, rng(1))) / 2
    torch.testing.assert_close(objective.CIWAE(vae, 6, beta=0.5)(x, rng(1)), half)


def test_miwae_is_the_mean_of_independent_groups() -> None:
    vae, x = build(), normal(5, 6)
    weight = vae.terms(x, 6, rng(1)).log_weight.exp()
    expected = torch.stack([weight[:3].mean(0).log(), weight[3:].mean(0).log()]).mean(0)
    torch.testing.assert_close(objective.MIWAE(vae, 3, groups=2)(x, rng(1)), expected)


def test_jensen_orders_the_bounds_of_the_same_samples() -> None:
    """Mean of logs <= mean of logs of means <= log of means:
    for every example, not only on average.
    """
    vae, x = loosen(build(network="linear"), 2.0), normal(40, 6)
    plain = vae.terms(x, 12, rng(1)).log_weight.mean(0)
    losses = [objective.MIWAE(vae, k, groups=12 // k) for k in (1, 2, 4, 12)]
    values = torch.stack([plain, *(loss(x, rng(1)) for loss in losses)])
    steps = values.detach().diff(dim=0)
    assert float(steps[0].abs().max()) < 1e-9
    assert float(steps[1:].min()) > -1e-9
    assert float(steps[1:].mean(1).min()) > 0.05


def test_draws_count_every_group() -> None:
    vae = build()
    assert (objective.MIWAE(vae, 3, groups=2).draws, objective.PIWAE(vae, 3, groups=2).draws) == (
        6,
        6,
    )
    assert objective.CIWAE(vae, 3).draws == 3


# -- weights on the KL
# -------------------------------------------------------------------------------


@pytest.mark.parametrize("head", [posterior.DiagonalNormal, AnonymousHead])
def test_weighted_objectives_are_their_formulas(head: type) -> None:
    vae, x = build(), 2 * normal(5, 6)
    vae = VAE(vae.prior, vae.decoder, vae.likelihood, vae.encoder, head(2))
    terms = vae.terms(x, 3, rng(1))
    log_lik = terms.log_lik.mean(0)
    kl = (terms.log_post - terms.log_prior).mean(0) if terms.kl is None else terms.kl
    torch.testing.assert_close(objective.BetaVAE(vae, 3, beta=4)(x, rng(1)), log_lik - 4 * kl)
    torch.testing.assert_close(objective.BetaVAE(vae, 3, beta=0)(x, rng(1)), log_lik)
    capacity = objective.Capacity(vae, 3, capacity=1.5, gamma=7, share=0.5)
    warm = objective.KLWarmUp(vae, 3, share=0.5)
    for progress, part in ((0.0, 0.0), (0.25, 0.5), (0.5, 1.0), (0.75, 1.0), (1.0, 1.0)):
        capacity.progress.fill_(progress)
        warm.progress.fill_(progress)
        torch.testing.assert_close(warm(x, rng(1)), log_lik - part * kl)
        torch.testing.assert_close(capacity(x, rng(1)), log_lik - 7 * (kl - part * 1.5).abs())


@pytest.mark.parametrize("head", [posterior.DiagonalNormal, AnonymousHead])
def test_the_elbo_is_the_limit_of_the_weighted(head: type) -> None:
    vae, x = build(), normal(5, 6)
    vae = VAE(vae.prior, vae.decoder, vae.likelihood, vae.encoder, head(2))
    elbo = objective.ELBO(vae, 3)(x, rng(1))
    same = [objective.BetaVAE(vae, 3, beta=1), objective.KLWarmUp(vae, 3)]  # outside of a run
    # a drawn KL may be negative, where max and |KL| differ from it
    if head is posterior.DiagonalNormal:
        same += [
            objective.FreeBits(vae, 3, free=0),
            objective.Capacity(vae, 3, capacity=0, gamma=1),
        ]
    for loss in same:
        torch.testing.assert_close(loss(x, rng(1)), elbo)


def test_free_bits_charge_a_dimension_for_what_exceeds_them() -> None:
    vae, x = build(network="linear", latent_dim=3), normal(50, 6)
    with torch.no_grad():  # the first latent says nothing, the others a little and a lot
        vae.encoder.linear.weight[0] = 0
        vae.encoder.linear.weight[3:] = 0
        vae.encoder.linear.bias.zero_()
        vae.encoder.linear.bias[3:] = math.log(math.e - 1)
        vae.encoder.linear.weight[2] *= 5
    terms = vae.terms(x, 1, rng(1))
    kl = 0.5 * (terms.q.mean.square() + terms.q.variance - 1 - terms.q.variance.log())
    low, high = float(kl.mean(0)[1].detach()), float(kl.mean(0)[2].detach())
    assert 0 < low < high
    free = (low + high) / 2
    loss = objective.FreeBits(vae, free=free)
    expected = terms.log_lik.mean() - kl.mean(0).clamp_min(free).sum()
    torch.testing.assert_close(loss(x, rng(1)).mean(), expected)
    wanted = torch.autograd.grad(expected, vae.encoder.linear.weight)[0]
    torch.testing.assert_close(gradients(loss, x, 1)["encoder.linear.weight"], wanted)
    torch.testing.assert_close(loss(x[0], rng(1)).shape, torch.Size([]))


def test_free_bits_take_all_latents_as_one_where_they_cannot_be_told_apart() -> None:
    vae, x = build(), normal(50, 6)
    other = VAE(vae.prior, vae.decoder, vae.likelihood, vae.encoder, AnonymousHead(2))
    terms = other.terms(x, 4, rng(1))
    kl = (terms.log_post - terms.log_prior).mean(0)
    half = float(kl.detach().mean()) / 2
    for free in (0.9 * half, 1.1 * half):
        found = objective.FreeBits(other, 4, free=free)(x, rng(1)).mean()
        torch.testing.assert_close(found, terms.log_lik.mean() - kl.mean().clamp_min(2 * free))


def test_only_values_that_are_bounds_say_so() -> None:
    vae = build()
    bounds = {
        name for name in spec.choices("objective") if spec.build_objective(name, vae).is_bound
    }
    assert bounds == {"elbo", "stl", *IMPORTANCE, "beta_vae"}  # with its default weight of 4
    assert [objective.BetaVAE(vae, beta=beta).is_bound for beta in (0.5, 1, 2)] == [
        False,
        True,
        True,
    ]


# -- in a run
# ----------------------------------------------------------------------------------------


class Spy(objective.KLWarmUp):
    """Notes the weight of the KL at every training step."""

    def __init__(self, vae: VAE, share: float = 0.3) -> None:
        super().__init__(vae, 1, share)
        self.seen: list[float] = []

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        if torch.is_grad_enabled():
            self.seen.append(float(self.done()))
        return super().forward(x, generator)


def tiny(**options: object) -> VAE:
    return build((3,), 2, "mlp", hidden=(4,), dtype=torch.float32, variance=0.5, **options)


ROWS = normal(40, 3).float()


@pytest.mark.parametrize("wrap", [Wrapper, lambda loss: loss], ids=["wrapped", "plain"])
@pytest.mark.parametrize(
    ("steps", "share"), [(1, 0.3), (2, 0.9), (10, 0.3), (100, 0.3), (100, 0.9)]
)
def test_the_kls_weight_rises_to_one_and_stays_whatever_the_number_of_steps(
    wrap: type, steps: int, share: float
) -> None:
    spy = Spy(tiny(), share)
    fit(wrap(spy), ROWS, max_steps=steps)
    expected = [min(1.0, (step + 1) / steps / share) for step in range(steps)]
    assert spy.seen == pytest.approx(expected, abs=1e-5)
    assert spy.seen[-1] == 1.0
    assert float(spy.progress) == 1.0
    assert "progress" not in spy.state_dict()


def test_the_kls_weight_rises_with_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that goes on by a hundredth of a second whenever it is looked at."""
    ticks = itertools.count()
    monkeypatch.setattr(
        "nelbo.training.run.time", SimpleNamespace(monotonic=lambda: next(ticks) / 100)
    )
    spy = Spy(tiny())
    history = fit(spy, ROWS, max_seconds=10.0)
    assert history.stopped == "seconds"
    assert spy.seen[0] < 0.1
    assert spy.seen == sorted(spy.seen)
    assert 0.6 * len(spy.seen) < spy.seen.count(1.0) < 0.8 * len(spy.seen)


def test_the_kls_weight_goes_on_where_an_interrupted_run_stopped() -> None:
    whole, store = Spy(tiny()), Bytes(interrupt_at_step=12)
    fit(whole, ROWS, max_steps=60)
    first = Spy(tiny())
    with pytest.raises(KeyboardInterrupt):
        fit(first, ROWS, max_steps=60, store=store, store_every=-1.0)
    assert float(first.progress) == 1.0
    second = Spy(tiny())
    fit(second, ROWS, max_steps=60, store=store, store_every=1e9)
    assert first.seen + second.seen == whole.seen
    assert equal_bits(weights(whole), weights(second))


def test_nothing_stops_early_before_the_weight_has_settled() -> None:
    """The learning rate moves nothing: no validation beats the first."""
    ends = []
    for loss in (objective.ELBO(tiny()), Spy(tiny(), 0.5)):
        history = fit(
            loss,
            ROWS,
            validation=ROWS,
            max_steps=150,
            batch_size=20,
            learning_rate=1e-30,
            decay=None,
        )
        assert history.stopped == "early"
        ends.append(history.records[-1].progress)
    assert ends[0] == pytest.approx(0.2, abs=0.05)
    assert ends[1] == pytest.approx(0.7, abs=0.05)


@pytest.mark.parametrize("name", NATS)
def test_training_and_validation_report_one_quantity_with_the_jacobian(name: str) -> None:
    """Where training maximises something else, too: the record's two numbers can be compared."""
    rows, units = normal(1000, 3).float(), training.Units(-7.5, 1.0)
    loss = spec.build_objective(name, tiny(), 2)
    taken = as_rows(rows, units=units)
    history = fit(loss, taken, validation=rows, max_epochs=1, learning_rate=1e-30)
    with torch.no_grad():
        values = loss(rows, rng(1))
        spread = float((values - loss(rows, rng(2))).std()) / math.sqrt(1000)
    assert history.records[0].train is None
    for found in (history.records[-1].train, history.records[-1].validation):
        assert abs(found - float(values.mean()) + 7.5) < 5 * spread


@pytest.mark.parametrize("name", NATS)
def test_every_objective_makes_the_true_bound_better(name: str) -> None:
    model = linear_gaussian(4, 1)
    x = draw(model, 200).float()
    vae = build((4,), 1, "linear", dtype=torch.float32)
    options = {"capacity": {"capacity": 1.5, "gamma": 1.0}, "beta_vae": {"beta": 0.8}}.get(name, {})
    loss = spec.build_objective(name, vae, 2, options)
    before = evaluate.log_likelihood(vae, x, "exact").mean
    history = fit(loss, x, validation=x, max_steps=160, learning_rate=5e-2)
    after, best = (
        evaluate.log_likelihood(vae, x, "exact").mean,
        float(model.log_prob(x.double()).mean()),
    )
    assert history.records[-1].skipped == 0
    assert before < best - 2
    assert after > best - 0.2


# -- by name
# -----------------------------------------------------------------------------------------


def test_an_unknown_name_or_option_is_refused_with_those_known() -> None:
    with pytest.raises(
        ValueError, match=r"'dregs' is unknown. Did you mean 'dreg'\? Known: .*beta_vae.*stl"
    ):
        spec.build_objective("dregs", build())
    with pytest.raises(
        ValueError,
        match=r"objective 'capacity' has no option 'beta'. Known: capacity, gamma, share\.",
    ):
        spec.build_objective("capacity", build(), 1, {"beta": 4})
    with pytest.raises(
        ValueError, match=r"objective 'elbo' has no option 'beta'. Known: corruption, input_noise\."
    ):
        VariationalAutoencoder(objective_options={"beta": 4}).fit(ROWS.numpy())
    with pytest.raises(ValueError, match=r"objective 'iwae' has no option 'beta'. It has none\."):
        VariationalAutoencoder(objective="iwae", objective_options={"beta": 4}).fit(ROWS.numpy())
    with pytest.raises(TypeError, match="objective_options must be a dict"):
        VariationalAutoencoder(objective_options="beta=4").fit(ROWS.numpy())


@pytest.mark.parametrize(
    ("name", "option", "value", "message"),
    [
        ("miwae", "groups", 0, "groups must be a number of at least 1, got 0"),
        ("piwae", "groups", 2.5, "groups must be a whole number, got 2.5"),
        ("ciwae", "beta", 1.5, "beta must be a number of at least 0, at most 1, got 1.5"),
        ("beta_vae", "beta", -1, "beta must be a number of at least 0, got -1"),
        ("beta_vae", "beta", math.nan, "beta must be a number of at least 0, got nan"),
        ("beta_vae", "beta", "4", "beta must be a number of at least 0, got '4'"),
        ("free_bits", "free", -0.1, "free must be a number of at least 0"),
        ("kl_warm_up", "share", 0, "share must be a number above 0, at most 0.9, got 0"),
        ("kl_warm_up", "share", 1.1, "share must be a number above 0, at most 0.9"),
        ("capacity", "capacity", -1, "capacity must be a number of at least 0"),
        ("capacity", "gamma", True, "gamma must be a number of at least 0, got True"),
        ("capacity", "share", 2, "share must be a number above 0, at most 0.9"),
    ],
)
def test_an_option_out_of_range_is_refused(
    name: str, option: str, value: object, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        spec.build_objective(name, build(), 1, {option: value})


@pytest.mark.parametrize(
    ("name", "options"),
    [("beta_vae", {"beta": 2}), ("capacity", {"gamma": 2.0, "capacity": 1.0}), ("dreg", None)],
)
def test_options_reach_the_objective_and_the_file(
    name: str, options: dict | None, tmp_path: Path
) -> None:
    made: dict = {
        "latent_dim": 2,
        "hidden": (4,),
        "max_steps": 30,
        "random_state": 0,
        "validation_fraction": 0,
    }
    made |= {"objective": name, "objective_samples": 2}
    X = ROWS.numpy().astype("float64")
    model = VariationalAutoencoder(**made, objective_options=options).fit(X)
    model.save(tmp_path / "run")
    loaded = VariationalAutoencoder.load(tmp_path / "run")
    assert loaded.get_params()["objective_options"] == options
    assert loaded.fit(X).elbo(X).tolist() == model.elbo(X).tolist()
    if options is not None:
        other = VariationalAutoencoder(**made).fit(X)
        assert other.elbo(X).tolist() != model.elbo(X).tolist()


def test_a_run_is_resumed_with_the_same_options_alone(tmp_path: Path) -> None:
    def interrupt(record: training.Record) -> None:
        if record.step >= 10:
            raise KeyboardInterrupt

    made: dict = {
        "latent_dim": 2,
        "hidden": (4,),
        "max_steps": 30,
        "random_state": 0,
        "objective": "capacity",
    }
    made |= {"checkpoint_dir": tmp_path / "state", "validation_fraction": 0}
    options = {"gamma": 2.0, "capacity": 1.0}
    X = ROWS.numpy()
    with pytest.raises(KeyboardInterrupt):
        VariationalAutoencoder(**made, objective_options=options, callbacks=[interrupt]).fit(X)
    with pytest.raises(checkpoint.CheckpointError):
        VariationalAutoencoder(**made, objective_options={"gamma": 3.0}).fit(X)
    again = VariationalAutoencoder(**made, objective_options=dict(reversed(options.items()))).fit(X)
    assert again.history_.records[-1].step == 30


def test_the_command_line_reads_options() -> None:
    made = FitOptions(objective="capacity", objective_options="capacity=10, gamma=0.5").estimator()
    assert made.objective_options == {"capacity": 10, "gamma": 0.5}
    for text in ("capacity", "capacity=", ""):
        with pytest.raises(ValueError, match="--objective-options must be name=value"):
            FitOptions(objective_options=text).estimator()
