"""The linear start: a model at probabilistic PCA or factor analysis, encoder included."""

from __future__ import annotations

__all__ = [
    "check_init",
    "closed_form",
    "closed_form_start",
    "has_closed_form",
    "has_linear_paths",
    "place_prior",
    "start_at",
    "start_prior",
]

import dataclasses
import math

import torch
from torch import Tensor

from ..distributions import draw
from ..likelihood import Likelihood
from ..linear import Chunks, LinearGaussian, Regression
from ..networks.paths import fill, is_masked, linear_path, silence
from ..posterior import Posterior
from ..vae import VAE
from .rows import Readable


def has_linear_paths(vae: VAE) -> bool:
    """Return whether encoder and decoder both hold a linear path that a closed form can fill."""
    paths = (linear_path(vae.encoder), linear_path(vae.decoder))
    return all(path is not None for path in paths) and vae.posterior.starts_linear


def closed_form(vae: VAE, x: Tensor | Chunks) -> LinearGaussian | None:
    r"""Return the maximum-likelihood linear model: pPCA, or factor analysis for noise per feature.

    Arguments:
        vae: The model; its likelihood says which noise. A fixed :math:`\beta^2` is kept.
        x: Training rows, of shape (n, *vae.shape), in model units; or what reads them flat, a part
            at a time.

    Returns:
        The linear model in model units, or None where the likelihood has none. A discretised
        Gaussian gets that of the values as they are, a good start though not its optimum.
    """
    if not vae.likelihood.starts_linear:
        return None
    if isinstance(x, Tensor):
        x = x.flatten(1).cpu()
    mean, covariance = vae.likelihood.moments(x)
    found = vae.likelihood.linear_model(mean, covariance, vae.latent_dim)
    if vae.prior.follows_rows and vae.latent_dim >= len(mean):
        return _spoken(vae, found)
    return found


def _spoken(vae: VAE, model: LinearGaussian, share: float = 0.01) -> LinearGaussian:
    """Return a linear model in which z says all but this share of the variance that was noise.

    With as many latents as values p(x) is the same whether z or noise says it. Groups of rows are
    only seen by a prior where z says it.
    """
    if vae.likelihood.noise().kind == "fixed":
        return model
    return model.with_noise(share)


@torch.no_grad()
def start_at(vae: VAE, model: LinearGaussian, regression: Regression | None = None) -> None:
    """Fill the linear paths with a linear model and its posterior; the nonlinear paths start at
    zero, and the prior where it is N(0, I), if it can.

    Arguments:
        vae: A model whose networks have linear paths.
        model: What `closed_form` returned, in model units.
        regression: What c says of x, for a model of p(x|c): then ``model`` is one of what that
            leaves.

    Raises:
        TypeError: A network has no linear path, or the likelihood or the posterior does not start
            at a linear model.
    """
    decoder, encoder = linear_path(vae.decoder), linear_path(vae.encoder)
    able = vae.likelihood.starts_linear and vae.posterior.starts_linear
    if decoder is None or encoder is None or not able:
        raise TypeError(
            "Only Gaussian models whose networks have a linear path (linear, residual, conv) can "
            "start at pPCA, got "
            f"{type(vae.encoder).__name__}, {type(vae.decoder).__name__}, "
            f"{type(vae.likelihood).__name__} and {type(vae.posterior).__name__}."
        )
    masked = is_masked(vae.encoder)
    for layer, head in ((decoder, vae.likelihood), (encoder, vae.posterior)):
        weight, bias = head.start_at(model)
        of_condition = None
        if regression is not None:
            of_condition = _of_condition(head, model, regression.slope)
            bias = bias - of_condition @ regression.centre
        fill(layer, weight, bias, of_condition, masked and layer is encoder)
    for network in (vae.encoder, vae.decoder):
        silence(network)
    vae.prior.restart()


def _of_condition(head: Likelihood | Posterior, model: LinearGaussian, slope: Tensor) -> Tensor:
    """Return the weight of c, (features, k): c moves the mean of a linear model, in which the bias
    of its affine decoder and that of its affine encoder are affine.
    """
    rest = head.start_at(model)[1]
    moved = [dataclasses.replace(model, bias=model.bias + column) for column in slope.T]
    return torch.stack([head.start_at(one)[1] - rest for one in moved], 1)


def closed_form_start(
    model: VAE, x: Tensor | Chunks, init: str, regression: Regression | None = None
) -> LinearGaussian | None:
    """Put the model at its closed-form solution where it has one and ``init`` wants it.

    Arguments:
        model: The model.
        x: Training rows, or what a regression on c leaves of them.
        init: "auto", "ppca" or "random".
        regression: That regression, for a model of p(x|c).

    Raises:
        ValueError: ``init`` is unknown, or asks for pPCA where there is none.
    """
    check_init(model, init)
    if init == "random" or not has_closed_form(model):
        return None
    start = closed_form(model, x)
    if start is not None:
        start_at(model, start, regression)
        if regression is None:
            start_prior(model, x)
    return start


@torch.no_grad()
def start_prior(model: VAE, x: Tensor | Chunks, rows: int = 10_000) -> None:
    """Put a prior that follows rows at where z ~ q(z|x) of some of them are.

    Arguments:
        model: The model at its start.
        x: Training rows, in model units.
        rows: How many of them are enough, at most.
    """
    if not model.prior.follows_rows:
        return
    generator, z = torch.Generator(model.device).manual_seed(0), []
    step = math.ceil(x.shape[0] / rows)
    for part in x.split(4096):
        few = part[::step].reshape(-1, *model.shape).to(model.device, model.dtype)
        z.append(draw(model.encode(few), (), generator, gradients=False))
    model.prior.start_at(torch.cat(z))


def place_prior(model: VAE, rows: Readable) -> None:
    """Put a prior that starts at training rows there, before anything else of the model starts.

    Arguments:
        model: The model.
        rows: The training rows, of which evenly spaced ones are taken.
    """
    wanted = model.prior.rows_wanted
    if wanted:
        x = rows.every(max(1, len(rows) // wanted)).read()
        model.prior.start_at_rows(x.reshape(-1, *model.shape))


def check_init(model: VAE, init: str) -> None:
    """Refuse a start that a model cannot have.

    Raises:
        ValueError: ``init`` is unknown, or asks for pPCA where there is none.
    """
    if init not in ("auto", "ppca", "random"):
        raise ValueError(f'init must be "auto", "ppca" or "random", got {init!r}.')
    if init != "ppca" or has_closed_form(model):
        return
    if has_linear_paths(model):
        raise ValueError('init="ppca" needs a Gaussian likelihood.')
    raise ValueError(
        'init="ppca" needs networks with a linear path: "linear", "residual" or "conv".'
    )


def has_closed_form(model: VAE) -> bool:
    """Return whether networks and likelihood of a model have a closed-form start."""
    return model.likelihood.starts_linear and has_linear_paths(model)
