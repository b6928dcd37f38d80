r"""A mixture of factor analysers as a VAE, inference included.

A mixture says what x is, and a linear encoder what z is to say of it. Together they are a joint
density whose factors all have closed forms:

.. math::
    p(x) = \sum_k \pi_k \, \mathcal{N}(x \mid \mu_k, C_k), \quad
    q(z \mid x) = \mathcal{N}(z \mid A x + a, S)
    \;\Rightarrow\;
    p(z) = \sum_k \pi_k \, \mathcal{N}(z \mid m_k, V_k), \quad
    p(x \mid z) = \sum_k r_k(z) \, \mathcal{N}(x \mid \mu_k + G_k (z - m_k), \; C_k - G_k V_k
    G_k^\top)

with :math:`m_k = A \mu_k + a`, :math:`V_k = A C_k A^\top + S`, :math:`G_k = C_k A^\top V_k^{-1}`
and :math:`r_k(z) = p(k \mid z)`, whose logarithm is quadratic in z. q(z|x) is the exact posterior,
so that the ELBO is log p(x) at every z, and z carries what it carries under any other decoder: with
the encoder of probabilistic PCA, the principal components.
"""

from __future__ import annotations

__all__ = ["clustered"]

import torch
from torch import Tensor, nn

from ..likelihood import VARIANCE_FLOOR, ClusteredGaussian
from ..linear import LinearGaussian, MixtureOfFactorAnalysers
from ..networks import FactorEncoder, Linear, Quadratic
from ..posterior import DiagonalNormal
from ..prior import Mixture
from ..vae import VAE


@torch.no_grad()
def clustered(
    model: MixtureOfFactorAnalysers,
    linear: LinearGaussian,
    floor: float = VARIANCE_FLOOR,
    *,
    missing: bool = False,
) -> VAE:
    """Return the VAE with the p(x) of a mixture and the q(z|x) of a linear model.

    Arguments:
        model: The mixture, of rows (n, D).
        linear: The linear model whose posterior says what z is; where that is not diagonal, the
            diagonal nearest to it.
        floor: The smallest variance of the noise.
        missing: Whether values of the rows may be missing: then z is encoded by those that are
            there.
    """
    features, latents = linear.weight.shape
    components = model.components
    generator = torch.Generator()  # of weights that are filled below
    posterior = DiagonalNormal(latents)
    weight, bias = (one.float() for one in posterior.start_at(linear))
    # As they are after rounding, or else q(z|x) would be the posterior of another model.
    a, offset = weight[:latents].double(), bias[:latents].double()
    noise = posterior(bias).stddev.double().square()
    encoder: nn.Module
    if missing:
        encoder = FactorEncoder((features,), (2 * latents,), generator)
        encoder.start_at(linear.weight, linear.bias, linear.variance)
    else:
        encoder = Linear((features,), (2 * latents,), generator)
        encoder.linear.weight.copy_(weight)
        encoder.linear.bias.copy_(bias)
    means, covariances = model.means, model.covariances
    where = means @ a.T + offset
    spread = a @ covariances @ a.T + torch.diag(noise)
    gain = torch.linalg.solve(spread, a @ covariances).mT  # (K, D, d)
    rest = covariances - gain @ spread @ gain.mT
    likelihood = ClusteredGaussian((features,), floor, components)
    likelihood.take(_triangles(rest, floor))
    decoder = Quadratic((latents,), likelihood.in_shape, generator)
    _fill(decoder, means - (gain @ where[..., None])[..., 0], gain, _logits(model, where, spread))
    prior = Mixture.of(model.share, where, spread)
    return VAE(prior, decoder, likelihood, encoder, posterior).eval()


def _triangles(covariances: Tensor, floor: float) -> Tensor:
    """Return the Cholesky factor of each covariance, (K, D, D), even where rounding left none."""
    values, vectors = torch.linalg.eigh((covariances + covariances.mT) / 2)
    safe = vectors * values.clamp_min(floor)[:, None] @ vectors.mT
    found: Tensor = torch.linalg.cholesky(safe)
    return found


def _logits(
    model: MixtureOfFactorAnalysers, where: Tensor, spread: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return log p(k, z) up to a constant as a quadratic form of z: its constant (K,), slope (K, d)
    and curvature (K, d, d).
    """
    precision = torch.linalg.inv(spread)
    slope = (precision @ where[..., None])[..., 0]
    constant = model.share.log() - 0.5 * (torch.logdet(spread) + (slope * where).sum(1))
    return constant, slope, precision


def _fill(
    decoder: Quadratic, bias: Tensor, weight: Tensor, logits: tuple[Tensor, Tensor, Tensor]
) -> None:
    """Make a decoder that outputs ``weight z + bias`` and the logit of each component."""
    constant, slope, precision = logits
    decoder.linear.weight.copy_(torch.cat([weight, slope[:, None]], 1).flatten(0, 1))
    decoder.linear.bias.copy_(torch.cat([bias, constant[:, None]], 1).flatten())
    first, second = decoder.first, decoder.second
    once = torch.where(first == second, 0.5, 1.0).double()  # i and j, and j and i
    products = torch.zeros(len(bias), bias.shape[1] + 1, len(first), dtype=torch.float64)
    products[:, -1] = -once * precision[:, first, second]
    decoder.body.weight.copy_(products.flatten(0, 1))
