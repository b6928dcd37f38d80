"""The linear start: a model at probabilistic PCA or factor analysis, encoder included."""

from __future__ import annotations

__all__ = ["closed_form", "closed_form_start", "has_linear_paths", "start_at"]

import math

import torch
from torch import Tensor, nn

from ..likelihood import Bernoulli, HeteroscedasticGaussian, SharedVariance
from ..linear import Chunks, LinearGaussian, factor_analysis, moments, ppca
from ..networks import Conv, Linear, Residual
from ..vae import VAE


def has_linear_paths(vae: VAE) -> bool:
    """Return whether encoder and decoder both hold a linear path that a closed form can fill."""
    return _path(vae.encoder) is not None and _path(vae.decoder) is not None


def _path(network: nn.Module) -> nn.Linear | None:
    """Return a network's linear path, if it has one; a layer that somebody else calls linear is
    none.
    """
    return network.linear if isinstance(network, Linear | Residual | Conv) else None


def closed_form(vae: VAE, x: Tensor | Chunks) -> LinearGaussian | None:
    r"""Return the maximum-likelihood linear model of the VAE's noise: pPCA, or factor analysis if
    per feature.

    Arguments:
        vae: The model; its likelihood says which noise. A fixed :math:`\beta^2` is kept.
        x: Training rows, of shape (n, *vae.shape), in model units; or what reads them flat, a part
            at a time.

    Returns:
        The linear model in model units, or None where the likelihood is not Gaussian. A discretised
        Gaussian gets that of the values as they are, a good start though not its optimum.
    """
    likelihood = vae.likelihood
    if not isinstance(likelihood, SharedVariance | HeteroscedasticGaussian):
        return None
    mean, covariance = moments(x.flatten(1).cpu() if isinstance(x, Tensor) else x)
    spread = float(covariance.diagonal().mean())
    # theirs is relative to the mean variance
    floor = likelihood.floor / spread if spread > 0 else likelihood.floor
    if isinstance(likelihood, SharedVariance) and not likelihood.learned:
        return _fixed_noise(
            mean, covariance, vae.latent_dim, likelihood.variance.flatten().squeeze().double().cpu()
        )
    if isinstance(likelihood, SharedVariance) and likelihood.log_variance.ndim:
        return factor_analysis(mean, covariance, vae.latent_dim, floor=floor)
    return ppca(mean, covariance, vae.latent_dim, floor=floor)


def _fixed_noise(
    mean: Tensor, covariance: Tensor, latent_dim: int, variance: Tensor
) -> LinearGaussian:
    """Maximum likelihood for given noise: directions that vary less than the noise are left out."""
    std = variance.sqrt().expand_as(mean)
    values, vectors = torch.linalg.eigh(covariance / std / std[:, None])
    rank = min(latent_dim, len(mean))
    weight = mean.new_zeros(len(mean), latent_dim)
    gain = (values.flip(0)[:rank] - 1).clamp_min(0).sqrt()
    weight[:, :rank] = std[:, None] * vectors.flip(1)[:, :rank] * gain
    return LinearGaussian(weight, mean, variance)


@torch.no_grad()
def start_at(vae: VAE, model: LinearGaussian) -> None:
    """Fill the linear paths with a linear model and its exact posterior; the nonlinear paths start
    at zero.

    Arguments:
        vae: A model whose networks have linear paths.
        model: What `closed_form` returned, in model units.

    Raises:
        TypeError: A network has no linear path, or the likelihood is not Gaussian.
    """
    decoder, encoder = _path(vae.decoder), _path(vae.encoder)
    if decoder is None or encoder is None or isinstance(vae.likelihood, Bernoulli):
        raise TypeError(
            "Only Gaussian models whose networks have a linear path (linear, residual, conv) can "
            "start at pPCA, "
            f"got {type(vae.encoder).__name__}, {type(vae.decoder).__name__} and "
            f"{type(vae.likelihood).__name__}."
        )
    size = math.prod(vae.shape)
    gain, offset = model.posterior_affine()
    precision = 1 + (model.weight.square() / model.variance.expand_as(model.bias)[:, None]).sum(0)
    for layer in (decoder, encoder):
        layer.weight.zero_()
        layer.bias.zero_()
    decoder.weight[:size] = model.weight.to(decoder.weight)
    decoder.bias[:size] = model.bias.to(decoder.bias)
    encoder.weight[: vae.latent_dim] = gain.to(encoder.weight)
    encoder.bias[: vae.latent_dim] = offset.to(encoder.bias)
    encoder.bias[vae.latent_dim :] = _softplus_inverse(precision.rsqrt()).to(encoder.bias)
    if isinstance(vae.likelihood, SharedVariance) and vae.likelihood.learned:
        vae.likelihood.log_variance.copy_(
            model.variance.log().reshape(vae.likelihood.log_variance.shape)
        )
    elif isinstance(vae.likelihood, HeteroscedasticGaussian):
        std = (model.variance.sqrt() - vae.likelihood.floor**0.5).clamp_min(1e-6)
        decoder.bias[size:] = _softplus_inverse(std).to(decoder.bias)
    for part in (vae.encoder, vae.decoder):
        _silence(part)


def closed_form_start(model: VAE, x: Tensor | Chunks, init: str) -> LinearGaussian | None:
    """Put the model at its closed-form solution where it has one and ``init`` wants it.

    Raises:
        ValueError: ``init`` is unknown, or asks for pPCA where there is none.
    """
    if init not in ("auto", "ppca", "random"):
        raise ValueError(f'init must be "auto", "ppca" or "random", got {init!r}.')
    able = has_linear_paths(model)
    if init == "ppca" and not able:
        raise ValueError(
            'init="ppca" needs networks with a linear path: "linear", "residual" or "conv".'
        )
    start = closed_form(model, x) if able and init != "random" else None
    if start is None:
        if init == "ppca":
            raise ValueError('init="ppca" needs a Gaussian likelihood.')
        return None
    start_at(model, start)
    return start


def _silence(network: nn.Module) -> None:
    """Set the output layer of a network's nonlinear path, where it has one, to zero."""
    body = getattr(network, "body", None)
    if body is not None:
        for parameter in list(body.parameters())[-2:]:
            parameter.zero_()


def _softplus_inverse(y: Tensor) -> Tensor:
    """Return the number that softplus maps to y > 0, without overflow or cancellation."""
    return y + torch.log(-torch.expm1(-y))
