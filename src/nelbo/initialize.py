r"""Start where linear algebra ends: the closed-form probabilistic PCA, encoder included.

With a linear decoder and one :math:`\beta^2` the model is probabilistic PCA, whose maximum
likelihood is an eigendecomposition (Tipping & Bishop, 1999). Its columns are orthogonal, so the
diagonal q(z|x) is the exact posterior (Lucas et al., 2019) and the ELBO equals log p(x): training
starts at the best linear model and can only improve on it.

One step further is still linear algebra: a decoder whose hidden layers keep their random weights is
linear in its last one, so that its best last layer for a given q(z|x), and the best :math:`\beta^2`
with it, solve a least-squares problem (random features: Rahimi & Recht, 2007). It is the M step of
the EM algorithm for these parameters.
"""

from __future__ import annotations

__all__ = ["closed_form", "has_linear_paths", "random_features", "start_at"]

import math

import torch
from torch import Tensor, nn

from .distributions import draw
from .likelihood import Bernoulli, Gaussian, HeteroscedasticGaussian, SharedVariance
from .linear_gaussian import Chunks, LinearGaussian, factor_analysis, moments, ppca
from .networks import Conv, Linear, Residual
from .vae import VAE

ROWS_PER_FEATURE = 6
"""Rows for each random feature: with fewer, least squares learns them by heart, and more only cost
time.
"""
RIDGE = 1e-3
"""Of the least squares with random features, in units of their mean square over the rows."""


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


@torch.no_grad()
def random_features(vae: VAE, x: Tensor, generator: torch.Generator) -> bool:
    r"""Solve for the last layer of the decoder's nonlinear path, and for a learned :math:`\beta^2`,
    given q(z|x).

    Arguments:
        vae: A model at its closed-form start, whose hidden layers have their first random weights.
        x: Training rows, of shape (n, *vae.shape), in model units.
        generator: Source of z ~ q(z|x), one for each row.

    Returns:
        Whether there is such a form (for a residual decoder and one learned :math:`\beta^2`) and
        enough rows to find it from. If not, nothing is changed.
    """
    decoder, likelihood = vae.decoder, vae.likelihood
    if not isinstance(decoder, Residual) or not decoder.hidden:
        return False
    if (
        not isinstance(likelihood, Gaussian)
        or not likelihood.learned
        or likelihood.log_variance.ndim
    ):
        return False
    enough = ROWS_PER_FEATURE * decoder.body.last.in_features
    if len(x) < enough:
        return False
    x = x[torch.linspace(0, len(x) - 1, enough).long()]
    z = draw(vae.encode(x), (), generator)
    hidden = decoder.features(z)
    h = torch.cat([hidden, hidden.new_ones(len(hidden), 1)], 1)
    residual = x.flatten(1) - decoder.linear(z)
    gram = (h.T @ h).double()
    gram.diagonal().add_(RIDGE * len(h))
    solution = torch.linalg.solve(gram, (h.T @ residual).double())
    decoder.body.last.weight.copy_(solution[:-1].T)
    decoder.body.last.bias.copy_(solution[-1])
    left = (residual - h @ solution.to(h)).square().mean().double()
    likelihood.log_variance.copy_(left.clamp_min(likelihood.floor).log())
    return True


def _silence(network: nn.Module) -> None:
    """Set the output layer of a network's nonlinear path, where it has one, to zero."""
    body = getattr(network, "body", None)
    if body is not None:
        for parameter in list(body.parameters())[-2:]:
            parameter.zero_()


def _softplus_inverse(y: Tensor) -> Tensor:
    """Return the number that softplus maps to y > 0, without overflow or cancellation."""
    return y + torch.log(-torch.expm1(-y))
