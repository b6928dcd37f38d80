"""The linear start: a model at probabilistic PCA or factor analysis, encoder included."""

from __future__ import annotations

__all__ = [
    "check_init",
    "closed_form",
    "closed_form_start",
    "has_closed_form",
    "has_linear_paths",
    "start_at",
]

import torch
from torch import Tensor

from ..linear import Chunks, LinearGaussian, moments
from ..networks.paths import linear_path, silence
from ..vae import VAE


def has_linear_paths(vae: VAE) -> bool:
    """Return whether encoder and decoder both hold a linear path that a closed form can fill."""
    paths = (linear_path(vae.encoder), linear_path(vae.decoder))
    return all(path is not None for path in paths) and vae.posterior.starts_linear


def closed_form(vae: VAE, x: Tensor | Chunks) -> LinearGaussian | None:
    r"""Return the maximum-likelihood linear model of the VAE's noise: pPCA, or factor analysis if
    per feature.

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
    mean, covariance = moments(x)
    return vae.likelihood.linear_model(mean, covariance, vae.latent_dim)


@torch.no_grad()
def start_at(vae: VAE, model: LinearGaussian) -> None:
    """Fill the linear paths with a linear model and its posterior; the nonlinear paths start at
    zero, and the prior where it is N(0, I), if it can.

    Arguments:
        vae: A model whose networks have linear paths.
        model: What `closed_form` returned, in model units.

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
    for layer, head in ((decoder, vae.likelihood), (encoder, vae.posterior)):
        weight, bias = head.start_at(model)
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    for network in (vae.encoder, vae.decoder):
        silence(network)
    vae.prior.restart()


def closed_form_start(model: VAE, x: Tensor | Chunks, init: str) -> LinearGaussian | None:
    """Put the model at its closed-form solution where it has one and ``init`` wants it.

    Raises:
        ValueError: ``init`` is unknown, or asks for pPCA where there is none.
    """
    check_init(model, init)
    if init == "random" or not has_closed_form(model):
        return None
    start = closed_form(model, x)
    if start is not None:
        start_at(model, start)
    return start


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
