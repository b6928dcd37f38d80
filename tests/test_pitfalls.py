"""What goes wrong in VAE libraries, one property each,
in the order and with the numbers of PITFALLS.
"""

from __future__ import annotations

import builtins
import math
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from helpers import (
    Memory,
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
from nelbo import VariationalAutoencoder, checkpoint, evaluate, fit, objective, training
from nelbo.data import to_uint8
from nelbo.data.order import epoch_order, stream_seed
from nelbo.linear import moments, ppca
from nelbo.training.rate import RateSchedule

STILL = 1e-30
"""A learning rate that moves no weight."""


def table(n: int = 200, features: int = 5, seed: int = 0, noise: float = 0.3) -> np.ndarray:
    model = linear_gaussian(features, 2, seed=seed, variance=noise**2)
    return draw(model, n, seed=seed).numpy()


def quick(latent_dim: int = 2, **options: Any) -> VariationalAutoencoder:
    defaults = {"hidden": (16,), "max_steps": 60, "random_state": 0}
    return VariationalAutoencoder(latent_dim, **(defaults | options))


class FixedWeights(nn.Module):
    """A "model" whose log-weights are given, (samples, batch)."""

    def __init__(self, log_weight: Tensor) -> None:
        super().__init__()
        self.log_weight = log_weight

    def terms(
        self, x: Tensor, samples: int, generator: torch.Generator | None = None
    ) -> SimpleNamespace:
        assert len(self.log_weight) == samples
        return SimpleNamespace(log_weight=self.log_weight, log_lik=self.log_weight, kl=None)


# -- the objective is the ELBO
# -----------------------------------------------------------------------


@pytest.mark.parametrize(("features", "latent_dim"), [(1, 1), (7, 3), (50, 2)])
def test_01_log_density_and_kl_are_sums_and_only_examples_are_averaged(
    features: int, latent_dim: int
) -> None:
    beta = 0.5
    vae, x = build((features,), latent_dim, "mlp", variance=beta**2), normal(40, features)
    h = vae.encoder(x)
    mean, std = h[:, :latent_dim], torch.nn.functional.softplus(h[:, latent_dim:])
    z = mean + std * torch.randn((1, 40, latent_dim), generator=rng(1), dtype=torch.float64)[0]
    square = (x - vae.decoder(z)).square().sum(1)
    log_lik = (
        -square / (2 * beta**2) - features * math.log(beta) - features / 2 * math.log(2 * math.pi)
    )
    kl = 0.5 * (mean.square() + std.square() - 1 - 2 * std.log()).sum(1)
    expected = (log_lik - kl).detach()
    torch.testing.assert_close(
        objective.ELBO(vae)(x, rng(1)).detach(), expected, rtol=1e-6, atol=1e-6
    )
    record = fit(objective.ELBO(vae), x, max_epochs=1, batch_size=40, learning_rate=STILL).records[
        -1
    ]
    order = epoch_order(40, 0, 0)
    own = objective.ELBO(vae)(x[order], rng(stream_seed(0, "noise", 0))).detach()
    assert record.train == pytest.approx(float(own.mean()), rel=1e-9)
    assert record.kl == pytest.approx(float(kl.detach().mean()), rel=1e-9)


@pytest.mark.parametrize("epochs", [1, 2, 30])
def test_02_training_and_validation_report_one_quantity_with_the_whole_kl_from_first_to_last(
    epochs: int,
) -> None:
    """A still model with a large KL:
    were it weighed less at any time, some record would lie nats higher.
    """
    model = linear_gaussian(6, 2, variance=0.01)
    x = draw(model, 600)
    vae = started(model)
    vae.likelihood.log_variance.requires_grad_(False)
    bound = float(evaluate.elbo(vae, x, samples=64).mean())
    loss = objective.ELBO(vae)
    history = fit(
        loss, x, validation=x, max_epochs=epochs, learning_rate=STILL, early_stopping=False
    )
    assert float(vae.terms(x, 1, rng()).kl.detach().mean()) > 4.5
    assert history.column("validation") == [pytest.approx(bound, abs=0.35)] * (epochs + 1)
    assert history.column("train")[1:] == [pytest.approx(bound, abs=0.35)] * epochs


@pytest.mark.parametrize("network", ["linear", "mlp", "residual", "conv"])
def test_03_gaussian_means_are_unbounded(network: str) -> None:
    """Negative data far from [0, 1] are reconstructed and scored as well as pPCA does,
    whatever ends the decoder.
    """
    X = table(300, 6, noise=0.1) * 40 - 500
    shaped = X.reshape(-1, 2, 3) if network == "conv" else X
    options = {"channels": (4,)} if network == "conv" else {}
    model = quick(
        network=network,
        max_steps=400,
        batch_size=100,
        scale="global",
        validation_fraction=0,
        learning_rate=1e-2,
        **options,
    )
    found = model.fit(shaped).reconstruct(shaped).reshape(X.shape)
    assert found.min() < -550
    assert found.max() > -470
    assert np.square(found - X).mean() < 0.05 * X.var(0).mean()
    raw = build((2, 2, 3), 2, network)
    with torch.no_grad():
        for parameter in raw.decoder.parameters():
            parameter.fill_(3.0)
    means = raw.decode(torch.tensor([[9.0, 9.0], [-9.0, -9.0]]).double()).mean
    assert float(means.detach().abs().max()) > 30


@pytest.mark.filterwarnings("ignore:Computed from others")
def test_04_variance_floors_are_relative_stated_and_tell_the_columns() -> None:
    X = table(200, 4)
    X[:, 3] = X[:, 2]  # two columns that predict each other
    noise = []
    for unit in (1.0, 1e-7, 1e7):
        model = quick(
            2, network="linear", variance="per_feature", max_steps=400, validation_fraction=0
        )
        with pytest.warns(
            UserWarning, match=r"noise .*column 2, column 3 reached its floor, 0.001 of the data's"
        ):
            model.fit(X * unit)
        assert np.isfinite(model.score_samples(X * unit)).all()
        noise.append(model.noise_variance_ / unit**2)
    np.testing.assert_allclose(noise[1], noise[0], rtol=1e-3)
    np.testing.assert_allclose(noise[2], noise[0], rtol=1e-3)
    assert noise[0][0] > 1e-3


@pytest.mark.filterwarnings("error")
def test_04_variances_above_the_floor_are_not_clamped() -> None:
    """Noise of a hundredth of the data's scale comes out as that, and nothing warns."""
    X = table(1500, 6, noise=0.01)
    model = quick(network="linear", scale="global", validation_fraction=0, max_steps=300).fit(X)
    assert model.noise_variance_**0.5 == pytest.approx(0.01, rel=0.03)


# -- importance-weighted bounds
# ----------------------------------------------------------------------


def test_05_weights_are_softmax_over_samples() -> None:
    """The gradient for each log-weight is its share among the K samples of its own example."""
    log_weight = (5 * normal(10, 3)).requires_grad_()
    bound = objective.IWAE(FixedWeights(log_weight), samples=10)(torch.zeros(3, 1))
    assert bound.shape == (3,)
    (share,) = torch.autograd.grad(bound.sum(), log_weight)
    torch.testing.assert_close(share, log_weight.detach().softmax(0))
    model = linear_gaussian(orthogonal=False, variance=0.5)
    vae, x = loosen(started(model)), draw(model, 2000)
    gain = (objective.IWAE(vae, 10)(x, rng(1)) - objective.ELBO(vae, 10)(x, rng(2))).detach()
    gap = model.log_prob(x) - objective.ELBO(vae, 10)(x, rng(2)).detach()
    assert 0.6 * float(gap.mean()) < float(gain.mean()) < float(gap.mean())
    assert float(gain.mean()) > 6 * float(gain.std()) / math.sqrt(2000)


def test_06_what_is_reported_is_the_bound_not_the_weighted_mean_of_log_weights() -> None:
    """sum(softmax(log w) log w) lies above the bound, and here above log p(x) itself."""
    log_weight = 3 * normal(16, 400)
    bound = objective.IWAE(FixedWeights(log_weight), samples=16)(torch.zeros(400, 1))
    torch.testing.assert_close(bound, log_weight.exp().mean(0).log())
    assert bool((bound < (log_weight.softmax(0) * log_weight).sum(0)).all())
    model = linear_gaussian(orthogonal=False, variance=0.5)
    vae, x = loosen(started(model)), draw(model, 2000)
    exact = model.log_prob(x)
    terms = vae.terms(x, 10, rng(3)).log_weight.detach()
    assert float(((terms.softmax(0) * terms).sum(0) - exact).mean()) > 0.1
    for found in (
        objective.IWAE(vae, 10)(x, rng(3)).detach(),
        evaluate.log_likelihood(vae, x, "importance", 10).value,
    ):
        assert float((found - exact).mean()) < 0


@pytest.mark.parametrize("samples", [1, 5, 32, 33, 50, 97])
def test_07_any_k_is_its_own_divisor_and_sums_are_per_example(samples: int) -> None:
    """Rows 1e5 nats apart in one batch keep their own values;
    with the exact q each is exact for every K.
    """
    model = linear_gaussian()
    x = draw(model, 6) + torch.tensor([0.0, 0, 0, 30, 100, 300]).double()[:, None]
    exact = model.log_prob(x)
    assert float(exact.max() - exact.min()) > 1e5
    for memory in (1, 10**9):
        found = evaluate.log_likelihood(started(model), x, "importance", samples, memory=memory)
        torch.testing.assert_close(found.value, exact, rtol=1e-11, atol=1e-9)


class Spy(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.sizes, self.gradients = network, [], []

    def forward(self, x: Tensor) -> Tensor:
        self.sizes.append(x.shape[:-1].numel())
        self.gradients.append(torch.is_grad_enabled())
        return self.network(x)


def test_08_evaluation_runs_without_autograd_in_bounded_chunks_and_encodes_each_row_once() -> None:
    x, results = normal(40, 6), []
    for memory in (2_000_000, 20_000_000, 10**10):
        vae = build()
        vae.encoder, vae.decoder = Spy(vae.encoder), Spy(vae.decoder)
        results.append(
            evaluate.log_likelihood(vae, x, "importance", samples=70, memory=memory).value
        )
        assert sum(vae.encoder.sizes) == 40
        assert sum(vae.decoder.sizes) == 40 * 70 + 1  # one more to see what a decode takes
        assert max(vae.decoder.sizes) * 8 * 6 < memory
        assert not any(vae.encoder.gradients + vae.decoder.gradients)
        torch.testing.assert_close(results[-1], results[0], rtol=1e-12, atol=1e-12)


def test_09_log_likelihood_is_log_p_of_x_with_its_own_sign() -> None:
    # narrow: log p(x) is positive on the data and very negative off them
    model = linear_gaussian(variance=1e-4)
    x = torch.cat([draw(model, 5), draw(model, 5) + 1])
    vae = started(model)
    for method in ("exact", "importance"):
        value = evaluate.log_likelihood(vae, x, method).value
        torch.testing.assert_close(value, model.log_prob(x), rtol=1e-9, atol=1e-9)
        assert float(value[:5].min()) > 5
        assert float(value[5:].max()) < -1000
    assert float(evaluate.elbo(vae, x)[:5].min()) > 0
    X = table(noise=0.01)
    fitted = quick(network="linear", max_steps=5).fit(X)
    far = X + 1
    assert fitted.score(X) > 0 > fitted.score(far)
    assert fitted.score(X) == pytest.approx(fitted.score_samples(X).mean())


# -- learned variance
# --------------------------------------------------------------------------------


def test_10_beta_comes_from_the_training_rows_alone() -> None:
    """Not from held-out rows a hundred times as noisy, nor from the rows that are scored."""
    model = linear_gaussian(variance=0.04)
    x, held = draw(model, 500), 100 * normal(300, 6)
    runs = []
    for validation in (None, held):
        vae = started(model)
        fit(objective.ELBO(vae), x, validation=validation, max_steps=60, early_stopping=False)
        runs.append(float(vae.likelihood.variance.detach()))
    assert runs[0] == runs[1] == pytest.approx(0.04, rel=0.1)
    X = table()
    fitted = quick(max_steps=20).fit(X)
    before, state = fitted.score_samples(X), weights(fitted.model_)
    fitted.score_samples(100 * X[:50])
    fitted.elbo(100 * X[:50])
    assert equal_bits(weights(fitted.model_), state)
    mixed = np.concatenate([X[:3], 100 * X[:50]])
    np.testing.assert_allclose(fitted.score_samples(mixed)[:3], before[:3], rtol=1e-9)


@pytest.mark.parametrize("variance", ["learned", "per_feature", 0.37])
def test_11_one_beta_in_training_evaluation_sampling_and_on_disk(
    tmp_path: Path, variance: str | float
) -> None:
    X = table(300, 5) * 3 + 1
    model = quick(network="linear", variance=variance, max_steps=100).fit(X)
    noise = np.broadcast_to(model.noise_variance_, (5,))
    if variance == 0.37:
        np.testing.assert_allclose(noise, 0.37, rtol=1e-6)
    # evaluation: the Gaussian that these numbers and this decoder define
    means = model.inverse_transform(np.concatenate([np.zeros((1, 2)), np.eye(2)]))
    W = (means[1:] - means[0]).T
    law = torch.distributions.MultivariateNormal(
        torch.tensor(means[0]), torch.tensor(W @ W.T + np.diag(noise))
    )
    np.testing.assert_allclose(
        model.score_samples(X), law.log_prob(torch.tensor(X)).numpy(), rtol=1e-5, atol=1e-4
    )
    # sampling
    drawn = model.sample(20_000, noise=True, random_state=3) - model.sample(
        20_000, noise=False, random_state=3
    )
    np.testing.assert_allclose(np.square(drawn).mean(0), noise, rtol=0.06)
    # on disk
    model.save(tmp_path / "run")
    again = VariationalAutoencoder.load(tmp_path / "run")
    assert np.array_equal(again.score_samples(X), model.score_samples(X))
    assert np.array_equal(again.elbo(X), model.elbo(X))
    assert np.array_equal(again.noise_variance_, model.noise_variance_)
    assert np.array_equal(again.sample(5, random_state=1), model.sample(5, random_state=1))


@pytest.mark.parametrize(
    ("noise", "init", "off"), [(0.01, "auto", 0.02), (0.3, "random", 2e-3), (3.0, "random", 3e-3)]
)
def test_12_learned_beta_converges_to_the_closed_form(noise: float, init: str, off: float) -> None:
    X = table(800, 6, noise=noise)
    best = ppca(*moments(torch.from_numpy(X)), 2)
    options = {
        "scale": "global",
        "validation_fraction": 0,
        "max_steps": 1200,
        "batch_size": 400,
        "learning_rate": 2e-2,
    }
    model = quick(network="linear", init=init, **options).fit(X)
    assert model.noise_variance_**0.5 == pytest.approx(float(best.variance.sqrt()), rel=off)
    assert model.score(X) == pytest.approx(
        float(best.log_prob(torch.from_numpy(X)).mean()), abs=0.02
    )


# -- generation
# --------------------------------------------------------------------------------------


def test_13_samples_have_noise_where_asked_are_seeded_and_bytes_are_rounded_to_nearest() -> None:
    model = quick().fit(table())
    means, noisy = (model.sample(4000, noise=n, random_state=1) for n in (False, True))
    spread = np.square(noisy - means).mean()
    assert spread == pytest.approx(float(np.mean(model.noise_variance_)), rel=0.1)
    z = model.transform(table()[:9])
    assert np.array_equal(model.inverse_transform(z), model.inverse_transform(z))
    for n in (False, True):
        first, second, other = (model.sample(20, noise=n, random_state=s) for s in (1, 1, 2))
        assert np.array_equal(first, second)
        assert not np.array_equal(first, other)
    levels = np.arange(256)
    assert np.array_equal(to_uint8((levels + 0.5 + 0.49) / 256), levels)
    assert np.array_equal(to_uint8((levels + 0.5 - 0.49) / 256), levels)


def test_14_what_is_not_called_sample_is_deterministic() -> None:
    X = table()
    model = quick(network="mlp").fit(X)
    for name in ("transform", "reconstruct", "score_samples", "elbo"):
        method = getattr(model, name)
        first = method(X)
        torch.manual_seed(99)
        np.random.seed(99)  # noqa: NPY002
        model.sample(3)
        assert np.array_equal(first, method(X)), name
    assert model.score(X) == model.score(X)


# -- the loop
# ----------------------------------------------------------------------------------------


class Spoiled(objective.ELBO):
    """An ELBO that is multiplied by a factor in one training step,
    and notes the weights before each.
    """

    def __init__(self, vae: Any, at: int, factor: float) -> None:
        super().__init__(vae)
        self.at, self.factor, self.before = at, factor, []

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        bound = super().forward(x, generator)
        if torch.is_grad_enabled():
            self.before.append(weights(self))
            return bound * (self.factor if len(self.before) - 1 == self.at else 1.0)
        return bound


def test_15_clipping_stands_between_backward_and_step() -> None:
    """A gradient 1e8 times too long reaches the optimiser's running mean little longer
    than an ordinary one.
    """
    at, moved = RateSchedule.WARMUP + 10, {}
    for clip in (10.0, None):
        loss = Spoiled(build(network="mlp", variance=1.0), at, 1e8)
        store = Memory()
        fit(
            loss,
            normal(60, 6),
            max_steps=at + 2,
            batch_size=60,
            clip=clip,
            store=store,
            store_every=-1.0,
        )
        before, after = (
            torch.cat([v.flatten() for k, v in tensors.items() if ".first." in k]).norm()
            for config, tensors in store.states
            if config["step"] in (at, at + 1)
        )
        moved[clip] = float(after / before)
    assert moved[10.0] < 10
    assert moved[None] > 1e6


def test_16_best_weights_are_copies_and_states_whole_and_every_row_counts_once() -> None:
    vae = build((3,), 2, "mlp", hidden=(64,), variance=0.05)
    seen: dict[int, dict[str, Tensor]] = {}
    history = fit(
        objective.ELBO(vae),
        normal(12, 3),
        validation=normal(200, 3, seed=1),
        max_steps=800,
        learning_rate=1e-2,
        callbacks=[lambda record: seen.update({record.step: weights(vae)})],
    )
    assert history.best_step < history.records[-1].step
    assert equal_bits(weights(vae), seen[history.best_step])
    # the state on disk is one moment's: weights, their moments, and the position in the data
    x, finals = normal(23, 3), []
    for at in (None, 8):
        model, store = build((3,), 2, "mlp"), Memory(interrupt_at_step=at)
        if at is not None:
            with pytest.raises(KeyboardInterrupt):
                fit(
                    objective.ELBO(model),
                    x,
                    max_steps=20,
                    batch_size=5,
                    store=store,
                    store_every=-1.0,
                )
        fit(objective.ELBO(model), x, max_steps=20, batch_size=5, store=store)
        finals.append(weights(model))
    assert equal_bits(*finals)
    # rows of the last short batch weigh as much as any
    loss = objective.Autoencoder(build((3,), 2, "mlp"))
    uneven = torch.cat([torch.zeros(9, 3), torch.full((1, 3), 100.0)]).double()
    record = fit(
        loss, uneven, validation=uneven, max_epochs=1, batch_size=4, learning_rate=STILL
    ).records[-1]
    expected = float(loss(uneven).detach().mean())
    assert record.train == pytest.approx(expected)
    assert record.validation == pytest.approx(expected)
    assert len(evaluate.log_likelihood(loss.vae, normal(1031, 3), samples=2).value) == 1031


def test_17_selection_uses_rows_that_training_never_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}
    plain = training.fit

    def spy(loss: Any, x: Any, **options: Any) -> Any:
        history = plain(loss, x, **options)
        if not given:  # the second training, on all rows, selects nothing
            given.update(x=x.read(), validation=options["validation"], history=history)
        return history

    monkeypatch.setattr(training, "fit", spy)
    X = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    quick(hidden=(128,), max_steps=1500, learning_rate=1e-2, init="random").fit(X)
    x, held, history = given["x"], given["validation"], given["history"]
    assert len(x) + len(held) == 60
    assert len(held) >= 6
    both = {tuple(r) for r in x.tolist()} & {tuple(r) for r in held.read().tolist()}
    assert not both
    judged = {record.step: value for record, value in history.judged()}
    best = max(judged, key=judged.__getitem__)
    trained = {record.step: record.train for record in history.records if record.train is not None}
    assert best != max(trained, key=trained.__getitem__)
    assert history.best_step in (0, best)


# -- files
# -------------------------------------------------------------------------------------------


def test_18_loading_runs_no_code_and_refuses_damage_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    X = table()
    model = quick(max_steps=5).fit(X)
    model.save(tmp_path / "run")
    expected = model.score_samples(X)

    def forbidden(*_: Any, **__: Any) -> None:
        raise AssertionError("code was about to be run from a file")

    with monkeypatch.context() as patched:
        for owner, name in (
            (pickle, "load"),
            (pickle, "loads"),
            (pickle, "Unpickler"),
            (torch, "load"),
        ):
            patched.setattr(owner, name, forbidden)
        for name in ("eval", "exec"):
            patched.setattr(builtins, name, forbidden)
        again = VariationalAutoencoder.load(tmp_path / "run")
    assert np.array_equal(again.score_samples(X), expected)
    for file in ("config.json", "model.safetensors", "manifest.json", "metrics.jsonl"):
        path = tmp_path / "run" / file
        whole = path.read_bytes()
        tampered = bytearray(whole)
        tampered[len(whole) // 2] ^= 1
        for damaged in (bytes(tampered), whole[:-7]):
            path.write_bytes(damaged)
            with pytest.raises(checkpoint.CheckpointError, match=file.replace(".", r"\.")):
                VariationalAutoencoder.load(tmp_path / "run")
        path.write_bytes(whole)
    assert np.array_equal(VariationalAutoencoder.load(tmp_path / "run").score_samples(X), expected)
