"""Your own networks, heads, data and loops:
what torch users bring works, or is refused by name with a cure.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.distributions import (
    Categorical,
    Independent,
    Laplace,
    LowRankMultivariateNormal,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
    TransformedDistribution,
    transforms,
)
from torch.utils.data import DataLoader, Dataset, IterableDataset, RandomSampler, TensorDataset

from helpers import (
    Bytes,
    build,
    digits,
    equal_bits,
    linear_gaussian,
    normal,
    ring,
    small_estimator,
    started,
    weights,
)
from nelbo import (
    VAE,
    VariationalAutoencoder,
    evaluate,
    fit,
    likelihood,
    objective,
    posterior,
    prior,
)
from nelbo.cli import main
from nelbo.data import as_rows
from nelbo.training import VarianceStep

pytestmark = pytest.mark.fault

SIDE, PIXELS, LATENTS = 4, 16, 2


class View(nn.Module):
    """What a DCGAN's decoder ends in."""

    def forward(self, h: Tensor) -> Tensor:
        return h.view(-1, 1, SIDE, SIDE)


def decoders() -> dict[str, Callable[[], nn.Module]]:
    return {
        "view": lambda: nn.Sequential(nn.Linear(LATENTS, PIXELS), View()),
        "unflatten": lambda: nn.Sequential(
            nn.Linear(LATENTS, PIXELS), nn.Unflatten(1, (1, SIDE, SIDE))
        ),
        "batchnorm": lambda: nn.Sequential(
            nn.Linear(LATENTS, 8),
            nn.BatchNorm1d(8),
            nn.Linear(8, PIXELS),
            nn.Unflatten(1, (1, SIDE, SIDE)),
        ),
        "convolutions": lambda: nn.Sequential(
            nn.Linear(LATENTS, 8),
            nn.Unflatten(1, (2, 2, 2)),
            nn.ConvTranspose2d(2, 1, 2, stride=2),
            nn.BatchNorm2d(1),
        ),
    }


def picture_model(decoder: nn.Module, encoder: nn.Module | None = None) -> VAE:
    if encoder is None:
        encoder = nn.Sequential(
            nn.Conv2d(1, 3, 3, padding=1),
            nn.BatchNorm2d(3),
            nn.Flatten(),
            nn.Linear(3 * PIXELS, 2 * LATENTS),
        )
    head = likelihood.Gaussian((1, SIDE, SIDE), variance="learned")
    return VAE(
        prior.StandardNormal(LATENTS), decoder, head, encoder, posterior.DiagonalNormal(LATENTS)
    )


@pytest.mark.parametrize(
    "loss", [objective.ELBO, objective.IWAE, objective.DReG], ids=lambda kind: kind.__name__
)
@pytest.mark.parametrize("name", decoders())
def test_networks_that_know_one_batch_axis_train_and_are_evaluated(name: str, loss: Any) -> None:
    vae = picture_model(decoders()[name]())
    x = normal(40, 1, SIDE, SIDE, dtype=torch.float32)
    fit(loss(vae, 3), x[:30], validation=x[30:], max_steps=4)
    for method in ("importance", "quadrature", "ais"):
        found = evaluate.log_likelihood(vae, x[:3], method, None if method == "quadrature" else 4)
        assert found.value.shape == (3,)
    alone = [evaluate.log_likelihood(vae, row[None], samples=7).value for row in x[:3]]
    torch.testing.assert_close(
        evaluate.log_likelihood(vae, x[:3], samples=7).value, torch.cat(alone)
    )


def test_networks_see_every_z_as_a_row_of_one_batch() -> None:
    """With as many rows as channels,
    batch statistics used to be taken over the wrong axis without a word.
    """
    seen: list[tuple[int, ...]] = []

    class Spy(nn.Module):
        def forward(self, h: Tensor) -> Tensor:
            seen.append(tuple(h.shape))
            return h

    decoder = nn.Sequential(Spy(), nn.BatchNorm1d(LATENTS), nn.Linear(LATENTS, PIXELS), View())
    vae = picture_model(decoder, nn.Sequential(Spy(), nn.Flatten(), nn.Linear(PIXELS, 2 * LATENTS)))
    # two leading axes, the second as long as z
    x = normal(3, LATENTS, 1, SIDE, SIDE, dtype=torch.float32)
    terms = vae.terms(x, 5)
    assert seen == [(6, 1, SIDE, SIDE), (30, LATENTS)]
    assert terms.log_lik.shape == terms.log_prior.shape == terms.log_post.shape == (5, 3, LATENTS)
    vae.eval()
    assert vae.encode(x[0, 0]).mean.shape == (LATENTS,)
    assert vae.decode(torch.zeros(LATENTS)).mean.shape == (1, SIDE, SIDE)
    p = vae.decode(terms.z)
    torch.testing.assert_close(p.mean[2, 1, 0], vae.decode(terms.z[2, 1, 0]).mean)
    torch.testing.assert_close(vae.encode(x).mean[1, 1], vae.encode(x[1, 1]).mean)


def test_batch_normalisation_trains_where_one_row_would_be_left_over() -> None:
    vae = picture_model(decoders()["batchnorm"]())
    history = fit(
        objective.ELBO(vae),
        normal(33, 1, SIDE, SIDE, dtype=torch.float32),
        batch_size=8,
        max_epochs=2,
    )
    assert history.stopped == "steps"
    assert history.records[-1].step == 8  # 8, 8, 8 and 9 rows, twice


# -- what is passed wrongly
# --------------------------------------------------------------------------

X = normal(12, 6, dtype=torch.float32)


def model(latent_dim: int = 2) -> VAE:
    return build((6,), latent_dim, dtype=torch.float32, variance="learned")


JUDGES: dict[str, Callable[[VAE, Any], object]] = {
    "log_likelihood": evaluate.log_likelihood,
    "elbo": evaluate.elbo,
    "fit": lambda vae, x: fit(objective.ELBO(vae), x, max_steps=1),
    "validation": lambda vae, x: fit(objective.ELBO(vae), X, validation=x, max_steps=1),
}
NAN = X.clone()
NAN[7, 2] = math.nan


@pytest.mark.parametrize("judge", JUDGES)
@pytest.mark.parametrize(
    ("x", "kind", "message"),
    [
        (
            X.numpy(),
            TypeError,
            r"must be a tensor of floats, got ndarray\. Pass torch\.as_tensor\(\w+\)\.float\(\)",
        ),
        (X.tolist(), TypeError, r"must be a tensor of floats, got list"),
        (X.long(), TypeError, r"must be a tensor of floats, got torch\.int64"),
        (X[:, :5], ValueError, r"has shape \(12, 5\), but the model needs \('n', 6\)"),
        (X[0], ValueError, r"has shape \(6,\), but the model needs \('n', 6\)"),
        (X[None], ValueError, r"has shape \(1, 12, 6\), but the model needs \('n', 6\)"),
        (X[:0], ValueError, "has no rows"),
        (
            NAN,
            ValueError,
            r"contains NaN or infinite values in 1 of 12 rows, the first of them row 7",
        ),
        (
            NAN.nan_to_num(math.inf, math.inf),
            ValueError,
            "contains NaN or infinite values in 1 of 12 rows",
        ),
    ],
    ids=["numpy", "list", "integers", "narrow", "one row", "wide", "empty", "nan", "infinite"],
)
def test_rows_of_a_wrong_kind_are_refused_by_name(
    judge: str, x: Any, kind: Any, message: str
) -> None:
    with pytest.raises(kind, match=message):
        JUDGES[judge](model(), x)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (model, r"objective must be an objective, got VAE\. Pass nelbo\.objective\.ELBO\(vae\)"),
        (lambda: nn.Linear(6, 1), r"got Linear.*subclass of nelbo\.objective\.Objective"),
        (lambda: objective.ELBO, "got the class ELBO"),
        (lambda: "elbo", "got str"),
    ],
)
def test_what_is_no_objective_is_refused(wrong: Callable[[], Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        fit(wrong(), X, max_steps=1)


def test_what_is_no_model_cannot_be_evaluated() -> None:
    with pytest.raises(
        TypeError, match=r"vae must be a nelbo\.VAE, got ELBO\. Pass objective\.vae"
    ):
        evaluate.log_likelihood(objective.ELBO(model()), X)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"got VariationalAutoencoder\. Pass model\.model_"):
        evaluate.elbo(VariationalAutoencoder(), X)  # type: ignore[arg-type]


def test_swapped_parts_are_refused_when_the_model_is_made() -> None:
    p, head, q = prior.StandardNormal(2), likelihood.Gaussian((6,)), posterior.DiagonalNormal(2)
    encoder, decoder = nn.Linear(6, 4), nn.Linear(2, 6)
    order = r"The order is VAE\(prior, decoder, likelihood, encoder, posterior\)"
    with pytest.raises(
        TypeError, match=rf"prior must be a nelbo\.prior\.Prior, got Linear\. {order}"
    ):
        VAE(encoder, decoder, head, p, q)  # type: ignore[arg-type]
    with pytest.raises(
        TypeError, match=rf"decoder must be a network \(torch\.nn\.Module\), got Gaussian\. {order}"
    ):
        VAE(p, head, decoder, encoder, q)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"encoder must be a network .* got DiagonalNormal"):
        VAE(p, decoder, head, q, encoder)  # type: ignore[arg-type]
    with pytest.raises(
        TypeError, match=r"posterior must be a nelbo\.posterior\.Posterior, got StandardNormal"
    ):
        VAE(p, decoder, head, encoder, p)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="The prior has latent_dim=3, but the posterior has 2"):
        VAE(prior.StandardNormal(3), decoder, head, encoder, q)
    swapped = VAE(p, encoder, head, decoder, q)
    with pytest.raises(
        ValueError, match=r"The encoder must map \(n, 6\) to \(n, 4\), but it failed: .*swapped"
    ):
        swapped.encode(X)
    with pytest.raises(
        ValueError, match=r"The decoder must map \(n, 2\) to \(n, 6\), but it failed: .*swapped"
    ):
        swapped.decode(torch.zeros(3, 2))


def test_another_dtype_or_device_than_the_weights_is_refused_by_name() -> None:
    vae = model()
    with pytest.raises(
        ValueError,
        match=r"x is torch\.float64, but the encoder's weights are torch\.float32\. Pass x",
    ):
        vae.encode(X.double())
    with pytest.raises(
        ValueError, match=r"z is torch\.float64, but the decoder's weights are torch\.float32"
    ):
        vae.decode(torch.zeros(3, 2).double())
    with pytest.raises(
        ValueError, match=r"x is on cpu, but the encoder is on meta\. Pass x\.to\('meta'\)"
    ):
        model().to("meta").encode(X)
    with pytest.raises(TypeError, match=r"x must be a tensor of floats, got ndarray"):
        objective.ELBO(vae)(X.numpy())  # type: ignore[arg-type]


class Forgetful(likelihood.Likelihood):
    """A head that leaves its features apart."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.shape = self.in_shape = (size,)

    def forward(self, h: Tensor) -> Any:
        return Laplace(h, 1.0)


class ForgetfulPosterior(posterior.Posterior):
    in_shape = (4,)

    def forward(self, h: Tensor) -> Any:
        loc, raw = h.chunk(2, -1)
        return Normal(loc, raw.exp())


class ForgetfulPrior(prior.Prior):
    latent_dim = 2

    def forward(self) -> Any:
        return Normal(torch.zeros(2), 1.0)


@pytest.mark.parametrize("rows", [6, 5, 2, 1], ids=lambda n: f"{n} rows")
@pytest.mark.parametrize("part", ["likelihood", "posterior", "prior"])
def test_a_density_that_is_not_one_number_for_a_row_is_refused(part: str, rows: int) -> None:
    """With as many rows as features it used to train in silence,
    each row on the sum over all rows.
    """
    parts: dict[str, Any] = {
        "prior": prior.StandardNormal(2),
        "decoder": nn.Linear(2, 6),
        "likelihood": likelihood.Gaussian((6,)),
        "encoder": nn.Linear(6, 4),
        "posterior": posterior.DiagonalNormal(2),
    }
    parts[part] = {
        "likelihood": Forgetful(6),
        "posterior": ForgetfulPosterior(),
        "prior": ForgetfulPrior(),
    }[part]
    loss = objective.ELBO(VAE(**parts))
    with pytest.raises(
        ValueError,
        match=rf"The {part} returned a .* event shape \(\).*Wrap it.*Independent\(p, 1\)",
    ):
        loss(X[:rows])


@pytest.mark.parametrize(
    "context", [torch.no_grad, torch.inference_mode], ids=["no_grad", "inference_mode"]
)
@pytest.mark.parametrize("network", ["mlp", "conv"])
def test_training_and_evaluation_do_not_depend_on_whether_gradients_are_on(
    context: Any, network: str
) -> None:
    shape = (1, 4, 4) if network == "conv" else (6,)
    x = normal(20, *shape, dtype=torch.float32)

    def trained(vae: VAE, x: Tensor) -> list[float]:
        fit(objective.IWAE(vae, 2), x, max_steps=5, seed=1)
        return [
            evaluate.log_likelihood(vae, x, method, 4).mean
            for method in ("importance", "auto", "ais")
        ]

    first, second = (
        build(shape, 3, network, dtype=torch.float32, variance="learned") for _ in range(2)
    )
    expected = trained(first, x)
    with context():
        assert trained(second, x.clone()) == expected


def test_weights_that_can_have_no_gradients_are_refused() -> None:
    with torch.inference_mode():
        vae = model()
    with pytest.raises(
        ValueError, match=r"The model was made under torch\.inference_mode\(\).*Make it outside"
    ):
        fit(objective.ELBO(vae), X, max_steps=1)


def test_numpy_in_and_out_is_one_conversion() -> None:
    vae, rows = model(), np.asarray(X.numpy(), dtype=np.float64)
    assert evaluate.log_likelihood(vae, torch.as_tensor(rows).float(), samples=3).value.shape == (
        12,
    )


# -- posteriors of one's own
# -------------------------------------------------------------------------


class OwnPosterior(posterior.Posterior):
    """Any q(z|x) made of means and widths."""

    in_shape = (4,)

    def __init__(self, make: Callable[[Tensor, Tensor], torch.distributions.Distribution]) -> None:
        super().__init__()
        self.make = make

    def forward(self, h: Tensor) -> torch.distributions.Distribution:
        loc, raw = h.chunk(2, -1)
        return self.make(loc, nn.functional.softplus(raw))


def full_covariance(loc: Tensor, std: Tensor) -> torch.distributions.Distribution:
    turn = torch.tensor([[1.0, 0.0], [0.4, 1.0]], dtype=loc.dtype)
    return MultivariateNormal(loc, scale_tril=turn * std[..., None])


def flow(loc: Tensor, std: Tensor) -> torch.distributions.Distribution:
    base = Independent(Normal(torch.zeros_like(loc), 1.0), 1)
    # u where it is low, exp(u) where high
    bend = [transforms.ExpTransform(), transforms.SoftplusTransform().inv]
    return TransformedDistribution(base, [*bend, transforms.AffineTransform(loc, std, event_dim=1)])


POSTERIORS: dict[str, Callable[[Tensor, Tensor], torch.distributions.Distribution]] = {
    "independent normals": lambda loc, std: Independent(Normal(loc, std), 1),
    "full covariance": full_covariance,
    "low rank": lambda loc, std: LowRankMultivariateNormal(loc, std[..., None], std.square()),
    "laplace": lambda loc, std: Independent(Laplace(loc, std), 1),
    "flow": flow,
    "mixture": lambda loc, std: MixtureSameFamily(
        Categorical(torch.ones(*loc.shape[:-1], 2, dtype=loc.dtype)),
        Independent(Normal(torch.stack([loc - std, loc + std], -2), std[..., None, :]), 1),
    ),
}


@pytest.mark.parametrize("kind", POSTERIORS)
def test_any_posterior_that_can_be_drawn_from_is_trained_and_evaluated(kind: str) -> None:
    torch.manual_seed(1)
    vae = VAE(
        prior.StandardNormal(2),
        nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 6)),
        likelihood.Gaussian((6,), variance=0.5),
        nn.Linear(6, 4),
        OwnPosterior(POSTERIORS[kind]),
    )
    x = 0.7 * normal(40, 6, dtype=torch.float32)
    fit(objective.ELBO(vae), x[:30], validation=x[30:], max_steps=30)
    truth = evaluate.log_likelihood(vae, x, "quadrature").value
    found = evaluate.log_likelihood(vae, x, samples=400)
    believed = ~found.unreliable
    assert believed.sum() > 10
    assert (found.value - truth)[believed].abs().max() < 6 * float(
        found.standard_error[believed].max()
    ) + 0.01
    assert (evaluate.elbo(vae, x, 200) < truth + 0.1).all()
    for method, options in (
        ("importance", {"proposal": "mixture"}),
        ("importance", {"proposal": "refined"}),
        ("ais", {"temperatures": 20, "start": "encoder"}),
        ("auto", {}),
    ):
        found = evaluate.log_likelihood(vae, x, method, **options)  # type: ignore[arg-type]
        assert abs(found.mean - float(truth.mean())) < 0.2
    alone = torch.cat([evaluate.log_likelihood(vae, row[None], samples=40).value for row in x[:5]])
    together = evaluate.log_likelihood(vae, x[:5].flip(0), samples=40).value.flip(0)
    torch.testing.assert_close(alone, together, rtol=0, atol=1e-4)


def test_independent_normals_are_the_diagonal_normal() -> None:
    x = normal(9, 6)
    vae = build((6,), 2, variance="learned")
    expected = evaluate.log_likelihood(vae, x, samples=50).value
    vae.posterior = OwnPosterior(lambda loc, std: Independent(Normal(loc, std.clamp_min(1e-6)), 1))
    torch.testing.assert_close(
        evaluate.log_likelihood(vae, x, samples=50).value, expected, rtol=0, atol=1e-9
    )


# -- outliers
# ----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_outliers_are_not_scored_far_too_low() -> None:
    """From the encoder alone such rows are scored hundreds of nats too low,
    however many samples are taken.
    """
    g = np.random.default_rng(0)
    train, test = (ring(n, n) + 0.07 * g.normal(size=(n, 3)) for n in (400, 30))
    model = small_estimator(max_steps=400).fit(train)
    rows = np.arange(30)
    test[rows, rows % 3] += np.where(rows % 2, -1, 1) * (8 + rows) * train.std(0)[rows % 3]
    plain = model.log_likelihood(test, "importance", proposal="encoder").value
    truth = model.log_likelihood(test, "quadrature")
    sure = np.isfinite(truth.standard_error)
    found = model.score_samples(test)
    assert sure.sum() > 20
    assert np.median((truth.value - plain)[sure]) > 100  # how far depends on the processor
    missed = (truth.value - found)[sure]
    assert (missed > 1).mean() <= 0.15  # beyond 25 standard deviations there are many modes
    assert np.median(missed) < 0.2
    one_by_one = np.concatenate([model.score_samples(row[None]) for row in test[:6]])
    np.testing.assert_allclose(one_by_one, found[:6], atol=0.02)
    assert np.array_equal(model.score_samples(test), found)


@pytest.mark.parametrize("head", ["gaussian", "heteroscedastic", "discretized", "bernoulli"])
def test_samples_from_a_fitted_normal_find_what_the_encoder_misses(head: str) -> None:
    options: dict[str, Any] = {
        "gaussian": {"variance": 0.05},
        "heteroscedastic": {"variance": "heteroscedastic"},
        "discretized": {"likelihood": "discretized_gaussian", "variance": 0.01},
        "bernoulli": {"likelihood": "bernoulli"},
    }[head]
    vae = build((12,), 2, "mlp", seed=3, **options)
    with torch.no_grad():
        vae.decoder.layers[-1].weight.mul_(3)
        # far off, and sure of it
        vae.encoder.layers[-1].bias += torch.tensor([3.0, -3.0, -2.0, -2.0])
    x = vae.sample(25, generator=torch.Generator().manual_seed(0))
    truth = evaluate.log_likelihood(vae, x, "quadrature").value
    encoder, mixed = (
        evaluate.log_likelihood(vae, x, samples=100, proposal=proposal)
        for proposal in ("encoder", "mixture")
    )
    missed, left = ((truth - found.value).abs() for found in (encoder, mixed))
    assert missed.median() > 1
    assert left.median() < 0.2
    assert left.mean() < 0.02 * missed.mean()
    one = evaluate.log_likelihood(vae, x[:1], samples=1, proposal="mixture")
    # the encoder's
    torch.testing.assert_close(one.value, evaluate.log_likelihood(vae, x[:1], samples=1).value)


class LaplacePrior(prior.Prior):
    """A prior that nobody here knows."""

    latent_dim = 2

    def forward(self) -> torch.distributions.Distribution:
        return Independent(Laplace(torch.zeros(2, dtype=torch.float64), 1.0), 1)


@pytest.mark.parametrize("kind", ["mixture", "laplace"])
def test_samples_from_a_fitted_normal_suit_any_prior(kind: str) -> None:
    vae = build((12,), 2, "mlp", seed=3, variance=0.05)
    with torch.no_grad():
        vae.encoder.layers[-1].bias += torch.tensor([3.0, -3.0, -2.0, -2.0])
    means, weight = 2 * normal(3, 2, seed=4), torch.tensor([0.2, 0.3, 0.5])
    several = prior.Mixture.of(weight, means, 0.2 * torch.eye(2).repeat(3, 1, 1)).double()
    vae.prior = several if kind == "mixture" else LaplacePrior()
    x = vae.sample(25, generator=torch.Generator().manual_seed(0))
    truth = evaluate.log_likelihood(vae, x, "quadrature").value
    encoder, mixed = (
        (truth - evaluate.log_likelihood(vae, x, samples=200, proposal=proposal).value).abs()
        for proposal in ("encoder", "mixture")
    )
    assert encoder.median() > 1
    assert mixed.median() < 0.2


def test_shares_of_a_mixture_are_exact_for_any_number_of_samples() -> None:
    """With the posterior known,
    the mean weight of a normal wider than it is p(x) whatever the number of samples.
    """
    vae = started(linear_gaussian(orthogonal=False))
    x = normal(3000, 6)
    truth = evaluate.log_likelihood(vae, x, "exact").value
    for samples in (2, 3, 5, 34):
        found = evaluate.log_likelihood(vae, x, "importance", samples, proposal="mixture").value
        ratio = (found - truth).exp()
        assert abs(ratio.mean() - 1) < 4 * ratio.std() / len(x) ** 0.5 < 0.1


# -- data that are no tensor
# -------------------------------------------------------------------------

ROWS = normal(65, 6, dtype=torch.float32)


class Pairs(Dataset[tuple[Tensor, int]]):
    """A Dataset as of labelled pictures, which counts what is read."""

    def __init__(self, rows: Tensor) -> None:
        self.rows, self.read = rows, 0

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        self.read += 1
        return self.rows[index], index


class Unsized(IterableDataset[Tensor]):
    def __iter__(self) -> Iterator[Tensor]:
        return iter(ROWS)


def trained_on(
    x: Any, loss: type[objective.Objective] = objective.ELBO, **options: Any
) -> dict[str, Tensor]:
    vae = model()
    fit(loss(vae), x, **({"max_steps": 12, "batch_size": 16, "seed": 3} | options))
    return weights(vae)


@pytest.mark.parametrize(
    "x",
    [
        lambda: TensorDataset(ROWS),
        lambda: TensorDataset(ROWS, torch.arange(65)),
        lambda: Pairs(ROWS),
        lambda: DataLoader(TensorDataset(ROWS), 16, shuffle=True),
        lambda: DataLoader(Pairs(ROWS), 16),
        lambda: DataLoader(Pairs(ROWS), 16, shuffle=True, drop_last=True),
    ],
    ids=["tensors", "tensors and labels", "dataset", "loader of tensors", "loader", "shuffled"],
)
@pytest.mark.parametrize("loss", [objective.ELBO, objective.KLWarmUp], ids=["ELBO", "KLWarmUp"])
def test_a_run_on_a_dataset_is_the_run_on_its_rows(
    x: Callable[[], Any], loss: type[objective.Objective]
) -> None:
    expected = trained_on(ROWS, loss)
    assert equal_bits(trained_on(x(), loss), expected)
    assert equal_bits(
        trained_on(x(), loss, batch_size=None) if isinstance(x(), DataLoader) else expected,
        expected,
    )
    held = {"validation": ROWS[:9]}
    assert equal_bits(
        trained_on(x(), loss, validation=Pairs(ROWS[:9])), trained_on(ROWS, loss, **held)
    )


@pytest.mark.usefixtures("untouched_random_state")
def test_workers_fetch_the_rows_of_the_same_run() -> None:
    loader = DataLoader(Pairs(ROWS), 16, num_workers=1, multiprocessing_context="fork")
    assert equal_bits(trained_on(loader, batch_size=None), trained_on(ROWS))


def test_an_interrupted_run_on_a_dataset_is_resumed_to_the_same_bits() -> None:
    store = Bytes(interrupt_at_step=6)
    options: dict[str, Any] = {"store": store, "store_every": 0.0}
    with pytest.raises(KeyboardInterrupt):
        trained_on(Pairs(ROWS), **options)
    assert equal_bits(trained_on(Pairs(ROWS), **options), trained_on(ROWS))


def test_no_more_of_a_dataset_is_read_than_is_needed() -> None:
    data = Pairs(normal(5000, 6, dtype=torch.float32))
    fit(objective.IWAE(model(), 2), data, max_steps=4, batch_size=8)
    assert data.read < 600


@pytest.mark.parametrize(
    "x",
    [
        lambda: list(ROWS.split(16)),
        lambda: [(part, torch.zeros(len(part))) for part in ROWS.split(16)],
        lambda: DataLoader(
            TensorDataset(ROWS), sampler=RandomSampler(ROWS, replacement=True), batch_size=16
        ),
        lambda: DataLoader(Unsized(), 16),
        lambda: DataLoader(Pairs(ROWS), batch_sampler=[[0, 1, 2], [3, 4], [5]]),
    ],
    ids=["list", "list of pairs", "sampler", "iterable", "batch sampler"],
)
def test_batches_that_come_in_their_own_order_are_taken_as_they_come(x: Callable[[], Any]) -> None:
    sizes: list[int] = []

    class Counted(objective.ELBO):
        def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
            if self.training:
                sizes.append(len(x))
            return super().forward(x, generator)

    vae = model()
    history = fit(Counted(vae), x(), validation=ROWS[:9], max_steps=9)
    assert history.records[-1].step == 9
    assert evaluate.elbo(vae, ROWS).mean() > evaluate.elbo(model(), ROWS).mean()
    assert min(sizes) > 1  # the single row at the end of a pass joins the batch before it
    assert len(sizes) in (9, 10)  # the first one twice where the variance was far off
    if isinstance(x(), list):
        assert sizes[-9:] == [16, 16, 16, 17] * 2 + [16]


@pytest.mark.parametrize(
    ("x", "kind", "message"),
    [
        (
            lambda: (part for part in ROWS.split(16)),
            ValueError,
            "a generator, which can be gone through only once",
        ),
        (
            Unsized,
            TypeError,
            r"IterableDataset, which yields rows one by one\. Pass a DataLoader of it",
        ),
        (
            lambda: DataLoader(Unsized(), 16),
            ValueError,
            "DataLoader of unknown length. Pass max_steps or max_seconds",
        ),
        (
            lambda: Pairs(ROWS.byte()),
            TypeError,
            r"x must yield tensors of floats, got torch\.uint8.*step",
        ),
        (lambda: [{"y": ROWS}], TypeError, "x must be a tensor of floats, got list"),
        (
            lambda: DataLoader([{"y": row} for row in ROWS], 16),
            TypeError,
            "first part is a tensor, got dict",
        ),
        (list, TypeError, "got list"),
        (lambda: Pairs(NAN), ValueError, "contains NaN or infinite values in 1 of 12 rows"),
        (
            lambda: Pairs(ROWS[:, :5]),
            ValueError,
            r"x has shape \(65, 5\), but the model needs \('n', 6\)",
        ),
        (
            lambda: [ROWS[:6], ROWS[:6, :5]],
            ValueError,
            r"rows of shape \(6,\), and others of shape \(5,\)",
        ),
    ],
)
def test_data_that_cannot_be_trained_on_are_refused_by_name(
    x: Callable[[], Any], kind: Any, message: str
) -> None:
    with pytest.raises(kind, match=message):
        fit(objective.ELBO(model()), x(), max_epochs=1)


def test_a_step_is_given_the_rows_of_a_dataset_as_they_are() -> None:
    pictures = (40 * ROWS.abs()).to(torch.uint8)

    def scaled(rows: Tensor, generator: torch.Generator) -> Tensor:
        assert rows.dtype == torch.uint8
        return rows / 40

    assert equal_bits(
        trained_on(as_rows(Pairs(pictures), step=scaled)),
        trained_on(as_rows(pictures, step=scaled)),
    )
    with pytest.raises(
        ValueError, match="batch_size cannot be chosen where x yields batches as they come"
    ):
        trained_on(list(ROWS.split(16)))


# -- a loop of one's own
# -----------------------------------------------------------------------------


def own_loop(
    vae: VAE, x: Tensor, loss: objective.Objective, optimizer: torch.optim.Optimizer, steps: int
) -> None:
    g = torch.Generator().manual_seed(0)
    for _ in range(steps):
        rows = x[torch.randint(len(x), (64,), generator=g)]
        optimizer.zero_grad()
        (-loss(rows, g).mean()).backward()
        optimizer.step()


HEADS: dict[str, Callable[[], likelihood.Likelihood]] = {
    "one": lambda: likelihood.Gaussian((64,), variance="learned"),
    "per feature": lambda: likelihood.Gaussian((64,), variance="per_feature", floor=1e-3),
    "discretised": lambda: likelihood.DiscretizedGaussian(
        (64,), variance="learned", bins=17, low=-1 / 32, width=1 / 16
    ),
}


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("loss", [objective.ELBO, objective.DReG], ids=lambda kind: kind.__name__)
def test_one_line_lets_a_plain_loop_learn_the_noise(
    head: str, loss: type[objective.Objective]
) -> None:
    """Stepped by Adam, log beta^2 moves by the learning rate a step,
    and the bound stays tens of nats too low.
    """
    x = torch.tensor(digits()[0] / 16)

    def made() -> VAE:
        torch.manual_seed(0)
        return VAE(
            prior.StandardNormal(4),
            nn.Sequential(nn.Linear(4, 32), nn.SiLU(), nn.Linear(32, 64)),
            HEADS[head](),
            nn.Sequential(nn.Linear(64, 32), nn.SiLU(), nn.Linear(32, 8)),
            posterior.DiagonalNormal(4),
        )

    plain, vae, fitted = made(), made(), made()
    own_loop(plain, x, loss(plain, 2), torch.optim.Adam(plain.parameters(), lr=2e-3), 300)
    optimizer = torch.optim.Adam(vae.parameters(), lr=2e-3)
    VarianceStep(vae).before(optimizer)
    own_loop(vae, x, loss(vae, 2), optimizer, 300)
    fit(loss(fitted, 2), x, max_steps=300, batch_size=64, learning_rate=2e-3)
    bounds = [float(evaluate.elbo(found, x).mean()) for found in (plain, vae, fitted)]
    assert bounds[1] > bounds[0] + (5 if head == "discretised" else 20)
    assert abs(bounds[1] - bounds[2]) < 5
    assert isinstance(vae.likelihood, likelihood.SharedVariance)
    assert vae.likelihood.log_variance.grad is None


def test_a_variance_that_is_far_off_does_not_spoil_the_first_steps() -> None:
    x = 1e4 * normal(256, 6, dtype=torch.float32)
    vae = model()
    before = weights(vae)
    optimizer = torch.optim.SGD(vae.parameters(), lr=1e-3, momentum=0.9, weight_decay=1e-2)
    VarianceStep(vae).before(optimizer)
    own_loop(vae, x, objective.ELBO(vae), optimizer, 1)
    moved = {name for name, value in weights(vae).items() if not torch.equal(value, before[name])}
    assert moved == {"likelihood.log_variance"}
    assert isinstance(vae.likelihood, likelihood.SharedVariance)
    assert 0.5 < float(vae.likelihood.variance.detach() / x.square().mean()) < 3


def test_the_variance_settles_where_the_learning_rate_falls() -> None:
    vae, x = model(), normal(512, 6, dtype=torch.float32)
    optimizer = torch.optim.SGD(vae.parameters(), lr=1e-6)
    VarianceStep(vae).before(optimizer)
    own_loop(vae, x, objective.ELBO(vae), optimizer, 30)
    optimizer.param_groups[0]["lr"] = 1e-14
    settled = float(vae.likelihood.log_variance.detach())  # type: ignore[operator]
    own_loop(vae, x, objective.ELBO(vae), optimizer, 5)
    found = vae.likelihood.log_variance.detach()  # type: ignore[operator]
    assert abs(float(found) - settled) < 0.02


# -- training that fails
# -----------------------------------------------------------------------------

FAILURES: dict[str, tuple[dict[str, Any], str]] = {
    "a step far too long": (
        {"learning_rate": 1e5, "network": "mlp"},
        (
            r"\d+ of 100 training steps were skipped, because their gradients were not "
            r"finite.*Lower "
            r"the learning rate"
        ),
    ),
    "nobody watching": (
        {"learning_rate": 1e3, "network": "mlp", "validation_fraction": 0},
        (
            r"Training made the model worse: the bound on training rows is -.* nats per example, "
            r"and "
            r"was -.*hold rows out"
        ),
    ),
    "no early stopping": (
        {"learning_rate": 1e3, "network": "mlp", "early_stopping": False},
        r"Training made the model worse: the bound on validation rows is",
    ),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_training_that_fails_says_so(failure: str) -> None:
    options, message = FAILURES[failure]
    x = np.random.default_rng(0).normal(size=(300, 2, 3))
    with pytest.warns(UserWarning, match=message):
        small_estimator(max_steps=100, **options).fit(x)


def test_training_that_fails_says_so_on_the_shell(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(300, 6)))
    options = ["--learning-rate", "1e5", "--network", "mlp", "--hidden", "16", "--max-steps", "100"]
    assert (
        main(
            [
                "fit",
                str(tmp_path / "x.npy"),
                "--out",
                str(tmp_path / "run"),
                "--seed",
                "0",
                *options,
            ]
        )
        == 0
    )
    found = json.loads((tmp_path / "run" / "results.json").read_text())
    assert any("training steps were skipped" in said for said in found["warnings"])
    assert "training steps were skipped" in "".join(capsys.readouterr())


def test_training_that_goes_well_says_nothing() -> None:
    x = np.random.default_rng(0).normal(size=(120, 6))
    for options in (
        {},
        {"validation_fraction": 0},
        {"network": "linear", "validation_fraction": 0},
    ):
        small_estimator(max_steps=60, **options).fit(x)  # warnings are errors here
    vae = model()
    fit(objective.BetaVAE(vae, beta=20), X, max_steps=40)  # the bound falls, as it should


@pytest.mark.slow
def test_a_bound_that_falls_far_in_mid_run_is_left_behind() -> None:
    """Convolutions at a rate too high
    for small noise fell thousands of nats below their closed-form start.
    """
    g = np.random.default_rng(0)
    basis = np.kron(g.normal(size=(5, 3, 4, 4)), np.ones((4, 4)))
    x = np.einsum("nk,kchw->nchw", np.tanh(g.normal(size=(300, 5))), basis) + 0.05 * g.normal(
        size=(300, 3, 16, 16)
    )
    estimator = VariationalAutoencoder(
        6, network="conv", channels=(8, 16), hidden=(64,), max_steps=240, random_state=0
    ).fit(x)
    judged = estimator.history_.judged()
    seen = np.array([bound for _, bound in judged])
    fallen = np.maximum.accumulate(seen) - seen > 0.1 * 768
    assert fallen[1:].any()
    assert estimator.score(x[:50]) >= seen[0] - 50
    # each time the best weights are taken up again, at half the rate, until it holds
    rates = [record.learning_rate for record, _ in judged]
    for fell, before, after in zip(fallen[1:], rates[1:], rates[2:], strict=False):
        assert not fell or after <= before / 2
    assert not fallen[-2:].any()
