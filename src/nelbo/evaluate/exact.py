r"""log p(x) in closed form, where the decoder is affine:
:math:`p(x) = \mathcal{N}(x \mid b, W W^\top + \beta^2 I)`.
"""

from __future__ import annotations

__all__ = ["affine_decoder", "exact"]

import time

import torch
from torch import Tensor

from ..linear import LinearGaussian
from ..vae import VAE
from .judging import in_precision
from .result import Cost, LogLikelihood, from_numbers


def exact(vae: VAE, x: Tensor) -> LogLikelihood:
    """Return log p(x) of a linear-Gaussian model.

    Arguments:
        vae: The model.
        x: Rows (n, *shape).

    Raises:
        ValueError: The model has no closed form.
    """
    begun = time.perf_counter()
    model = affine_decoder(vae)
    if model is None:
        raise ValueError(
            'method="exact" needs an affine decoder, a Gaussian likelihood whose variance does not '
            "depend on z, and a standard normal prior. This model has no closed form: "
            'use method="importance" or "ais".'
        )
    value = model.log_prob(x.flatten(1).double().cpu())
    return from_numbers(
        value, torch.zeros_like(value), "exact", Cost(seconds=time.perf_counter() - begun)
    )


@torch.no_grad()
def affine_decoder(vae: VAE) -> LinearGaussian | None:
    """Return the linear-Gaussian model that a VAE is, or None if it is not one.

    Any network will do: it is affine if f(z) = W z + b holds, to rounding, at random z, with W and
    b read off the axes. Each feature is judged by how far it moves, so that neither its units nor
    its offset hide what bends.
    """
    if not vae.prior.standard:
        return None
    copied = in_precision(vae, torch.float64)
    noise = copied.likelihood.noise()
    if noise.variance is None or not noise.normal:
        return None
    q, device = vae.latent_dim, noise.variance.device
    generator = torch.Generator().manual_seed(0)
    probes = 3 * torch.randn(16, q, generator=generator, dtype=torch.float64).to(device)
    axes = torch.cat(
        [torch.zeros(1, q, dtype=torch.float64), torch.eye(q, dtype=torch.float64)]
    ).to(device)
    outputs = copied.decode(torch.cat([axes, probes])).mean.flatten(1)
    bias, weight = outputs[0], (outputs[1 : q + 1] - outputs[0]).T
    gap = (outputs[q + 1 :] - (probes @ weight.T + bias)).abs().amax(0)
    rounding = 64 * torch.finfo(torch.float64).eps * outputs.abs().amax(0)
    if not bool((gap <= 1e-9 * (outputs - bias).abs().amax(0) + rounding).all()):
        return None
    variance = noise.variance
    if not noise.is_one_number:
        variance = variance.flatten()
    return LinearGaussian(weight.cpu(), bias.cpu(), variance.cpu())
