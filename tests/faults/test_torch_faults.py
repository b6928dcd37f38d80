"""Your own networks, heads, data and loops: what torch users bring works, or is refused by name with a cure."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Laplace, Normal

from helpers import build, normal
from nelbo import VAE, VariationalAutoencoder, evaluate, fit, likelihood, objective, posterior, prior

pytestmark = pytest.mark.fault

SIDE, PIXELS, LATENTS = 4, 16, 2


class View(nn.Module):
    """What a DCGAN's decoder ends in."""

    def forward(self, h: Tensor) -> Tensor:
        return h.view(-1, 1, SIDE, SIDE)


def decoders() -> dict[str, Callable[[], nn.Module]]:
    return {
        "view": lambda: nn.Sequential(nn.Linear(LATENTS, PIXELS), View()),
        "unflatten": lambda: nn.Sequential(nn.Linear(LATENTS, PIXELS), nn.Unflatten(1, (1, SIDE, SIDE))),
        "batchnorm": lambda: nn.Sequential(
            nn.Linear(LATENTS, 8), nn.BatchNorm1d(8), nn.Linear(8, PIXELS), nn.Unflatten(1, (1, SIDE, SIDE))
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
            nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(3 * PIXELS, 2 * LATENTS)
        )
    head = likelihood.Gaussian((1, SIDE, SIDE), variance="learned")
    return VAE(prior.StandardNormal(LATENTS), decoder, head, encoder, posterior.DiagonalNormal(LATENTS))


@pytest.mark.parametrize("loss", [objective.ELBO, objective.IWAE, objective.DReG], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("name", decoders())
def test_networks_that_know_one_batch_axis_train_and_are_evaluated(name: str, loss: Any) -> None:
    vae = picture_model(decoders()[name]())
    x = normal(40, 1, SIDE, SIDE, dtype=torch.float32)
    fit(loss(vae, 3), x[:30], validation=x[30:], max_steps=4)
    for method in ("importance", "quadrature", "ais"):
        found = evaluate.log_likelihood(vae, x[:3], method, None if method == "quadrature" else 4)
        assert found.value.shape == (3,)
    alone = [evaluate.log_likelihood(vae, row[None], samples=7).value for row in x[:3]]
    torch.testing.assert_close(evaluate.log_likelihood(vae, x[:3], samples=7).value, torch.cat(alone))


def test_networks_see_every_z_as_a_row_of_one_batch() -> None:
    """With as many rows as channels, batch statistics used to be taken over the wrong axis without a word."""
    seen: list[tuple[int, ...]] = []

    class Spy(nn.Module):
        def forward(self, h: Tensor) -> Tensor:
            seen.append(tuple(h.shape))
            return h

    decoder = nn.Sequential(Spy(), nn.BatchNorm1d(LATENTS), nn.Linear(LATENTS, PIXELS), View())
    vae = picture_model(decoder, nn.Sequential(Spy(), nn.Flatten(), nn.Linear(PIXELS, 2 * LATENTS)))
    x = normal(3, LATENTS, 1, SIDE, SIDE, dtype=torch.float32)  # two leading axes, the second as long as z
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
    history = fit(objective.ELBO(vae), normal(33, 1, SIDE, SIDE, dtype=torch.float32), batch_size=8, max_epochs=2)
    assert history.stopped == "steps"
    assert history.records[-1].step == 8  # 8, 8, 8 and 9 rows, twice


# -- what is passed wrongly --------------------------------------------------------------------------

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
        (X.numpy(), TypeError, r"must be a tensor of floats, got ndarray\. Pass torch\.as_tensor\(\w+\)\.float\(\)"),
        (X.tolist(), TypeError, r"must be a tensor of floats, got list"),
        (X.long(), TypeError, r"must be a tensor of floats, got torch\.int64"),
        (X[:, :5], ValueError, r"has shape \(12, 5\), but the model needs \('n', 6\)"),
        (X[0], ValueError, r"has shape \(6,\), but the model needs \('n', 6\)"),
        (X[None], ValueError, r"has shape \(1, 12, 6\), but the model needs \('n', 6\)"),
        (X[:0], ValueError, "has no rows"),
        (NAN, ValueError, r"contains NaN or infinite values in 1 of 12 rows, the first of them row 7"),
        (NAN.nan_to_num(math.inf, math.inf), ValueError, "contains NaN or infinite values in 1 of 12 rows"),
    ],
    ids=["numpy", "list", "integers", "narrow", "one row", "wide", "empty", "nan", "infinite"],
)
def test_rows_of_a_wrong_kind_are_refused_by_name(judge: str, x: Any, kind: Any, message: str) -> None:
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
    with pytest.raises(TypeError, match=r"vae must be a nelbo\.VAE, got ELBO\. Pass objective\.vae"):
        evaluate.log_likelihood(objective.ELBO(model()), X)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"got VariationalAutoencoder\. Pass model\.model_"):
        evaluate.elbo(VariationalAutoencoder(), X)  # type: ignore[arg-type]


def test_swapped_parts_are_refused_when_the_model_is_made() -> None:
    p, head, q = prior.StandardNormal(2), likelihood.Gaussian((6,)), posterior.DiagonalNormal(2)
    encoder, decoder = nn.Linear(6, 4), nn.Linear(2, 6)
    order = r"The order is VAE\(prior, decoder, likelihood, encoder, posterior\)"
    with pytest.raises(TypeError, match=rf"prior must be a nelbo\.prior\.Prior, got Linear\. {order}"):
        VAE(encoder, decoder, head, p, q)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=rf"decoder must be a network \(torch\.nn\.Module\), got Gaussian\. {order}"):
        VAE(p, head, decoder, encoder, q)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"encoder must be a network .* got DiagonalNormal"):
        VAE(p, decoder, head, q, encoder)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"posterior must be a nelbo\.posterior\.Posterior, got StandardNormal"):
        VAE(p, decoder, head, encoder, p)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="The prior has latent_dim=3, but the posterior has 2"):
        VAE(prior.StandardNormal(3), decoder, head, encoder, q)
    swapped = VAE(p, encoder, head, decoder, q)
    with pytest.raises(ValueError, match=r"The encoder must map \(n, 6\) to \(n, 4\), but it failed: .*swapped"):
        swapped.encode(X)
    with pytest.raises(ValueError, match=r"The decoder must map \(n, 2\) to \(n, 6\), but it failed: .*swapped"):
        swapped.decode(torch.zeros(3, 2))


def test_another_dtype_or_device_than_the_weights_is_refused_by_name() -> None:
    vae = model()
    with pytest.raises(ValueError, match=r"x is torch\.float64, but the encoder's weights are torch\.float32\. Pass x"):
        vae.encode(X.double())
    with pytest.raises(ValueError, match=r"z is torch\.float64, but the decoder's weights are torch\.float32"):
        vae.decode(torch.zeros(3, 2).double())
    with pytest.raises(ValueError, match=r"x is on cpu, but the encoder is on meta\. Pass x\.to\('meta'\)"):
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
    """With as many rows as features it used to train in silence, each row on the sum over all rows."""
    parts: dict[str, Any] = {
        "prior": prior.StandardNormal(2),
        "decoder": nn.Linear(2, 6),
        "likelihood": likelihood.Gaussian((6,)),
        "encoder": nn.Linear(6, 4),
        "posterior": posterior.DiagonalNormal(2),
    }
    parts[part] = {"likelihood": Forgetful(6), "posterior": ForgetfulPosterior(), "prior": ForgetfulPrior()}[part]
    loss = objective.ELBO(VAE(**parts))
    with pytest.raises(ValueError, match=rf"The {part} returned a .* event shape \(\).*Wrap it.*Independent\(p, 1\)"):
        loss(X[:rows])


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode], ids=["no_grad", "inference_mode"])
@pytest.mark.parametrize("network", ["mlp", "conv"])
def test_training_and_evaluation_do_not_depend_on_whether_gradients_are_on(context: Any, network: str) -> None:
    shape = (1, 4, 4) if network == "conv" else (6,)
    x = normal(20, *shape, dtype=torch.float32)

    def trained(vae: VAE, x: Tensor) -> list[float]:
        fit(objective.IWAE(vae, 2), x, max_steps=5, seed=1)
        return [evaluate.log_likelihood(vae, x, method, 4).mean for method in ("importance", "auto", "ais")]

    first, second = (build(shape, 3, network, dtype=torch.float32, variance="learned") for _ in range(2))
    expected = trained(first, x)
    with context():
        assert trained(second, x.clone()) == expected


def test_weights_that_can_have_no_gradients_are_refused() -> None:
    with torch.inference_mode():
        vae = model()
    with pytest.raises(ValueError, match=r"The model was made under torch\.inference_mode\(\).*Make it outside"):
        fit(objective.ELBO(vae), X, max_steps=1)


def test_numpy_in_and_out_is_one_conversion() -> None:
    vae, rows = model(), np.asarray(X.numpy(), dtype=np.float64)
    assert evaluate.log_likelihood(vae, torch.as_tensor(rows).float(), samples=3).value.shape == (12,)
