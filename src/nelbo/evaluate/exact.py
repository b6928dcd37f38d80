r"""log p(x) in closed form, where the decoder is affine:
:math:`p(x) = \mathcal{N}(x \mid b, W W^\top + \beta^2 I)`; or a mixture of such.
"""

from __future__ import annotations

__all__ = ["affine_decoder", "closed_form", "exact", "solved", "solved_exactly"]

import math
import time

import torch
from torch import Tensor

from ..linear import LinearGaussian, MixtureOfFactorAnalysers
from ..vae import VAE
from .exact_mixture import mixture_decoder
from .examples import Examples
from .judging import in_precision
from .result import Cost, LogLikelihood, from_numbers


def exact(vae: VAE, x: Examples) -> LogLikelihood:
    """Return log p(x), or log p(x|c), of a linear-Gaussian model.

    Arguments:
        vae: The model.
        x: The examples. Missing values are left out: of the others it is the marginal density.

    Raises:
        ValueError: The model has no closed form.
    """
    found = solved_exactly(vae, x)
    if found is None:
        raise ValueError(
            'method="exact" needs an affine decoder, a Gaussian likelihood whose variance does not '
            "depend on z, and a standard normal prior, or a mixture of factor analysers. This "
            "model has no closed form: "
            'use method="importance" or "ais".'
        )
    return found


def solved_exactly(vae: VAE, x: Examples) -> LogLikelihood | None:
    """Return the same, or None where there is no closed form."""
    begun = time.perf_counter()
    value = closed_form(vae, x)
    if value is None:
        return None
    cost = Cost(seconds=time.perf_counter() - begun)
    return from_numbers(value, torch.zeros_like(value), "exact", cost)


def closed_form(vae: VAE, x: Examples) -> Tensor | None:
    """Return log p(x) of each row, of shape (n,), float64, or None where it has no closed form."""
    rows = x.x.flatten(1).double().cpu()
    if x.c is None:
        model = solved(vae)
        if model is None:
            return None
        return model.log_prob(rows)
    distinct, which = x.c.unique(dim=0, return_inverse=True)
    value = torch.full((len(rows),), math.nan, dtype=torch.float64)
    for number, c in enumerate(distinct):
        model = solved(vae, c)
        if model is None:
            return None
        mine = (which == number).cpu()
        value[mine] = model.log_prob(rows[mine])
    return value


def solved(vae: VAE, c: Tensor | None = None) -> LinearGaussian | MixtureOfFactorAnalysers | None:
    """Return the model with a closed form that a VAE is, or None if it is not one.

    Arguments:
        vae: The model.
        c: The condition (k,) of a model of p(x|c).
    """
    return affine_decoder(vae, c) or mixture_decoder(vae, c)


@torch.no_grad()
def affine_decoder(vae: VAE, c: Tensor | None = None) -> LinearGaussian | None:
    """Return the linear-Gaussian model that a VAE is, or None if it is not one.

    Any network will do: it is affine if f(z) = W z + b holds, to rounding, at random z, with W and
    b read off the axes. Each feature is judged by how far it moves, so that neither its units nor
    its offset hide what bends.

    Arguments:
        vae: The model.
        c: The condition (k,) of a model of p(x|c), given which it is linear.
    """
    if not vae.prior_given(c).standard:
        return None
    if vae.likelihood.models_missing:
        return None
    copied = in_precision(vae, torch.float64)
    noise = copied.likelihood.noise()
    if noise.variance is None or not noise.normal:
        return None
    q = vae.latent_dim
    generator = torch.Generator().manual_seed(0)
    probes = 3 * torch.randn(16, q, generator=generator, dtype=torch.float64)
    axes = torch.cat([torch.zeros(1, q, dtype=torch.float64), torch.eye(q, dtype=torch.float64)])
    z = torch.cat([axes, probes]).to(noise.variance.device)
    given: tuple[Tensor, ...] = ()
    if c is not None:
        given = (c.to(z).expand(len(z), -1),)
    outputs = copied.decode(z, *given).mean.flatten(1)
    bias = outputs[0]
    weight = (outputs[1 : q + 1] - bias).T
    gap = (outputs[q + 1 :] - (z[q + 1 :] @ weight.T + bias)).abs().amax(0)
    rounding = 64 * torch.finfo(torch.float64).eps * outputs.abs().amax(0)
    if not bool((gap <= 1e-9 * (outputs - bias).abs().amax(0) + rounding).all()):
        return None
    variance = noise.variance
    if not noise.is_one_number:
        variance = variance.flatten()
    return LinearGaussian(weight.cpu(), bias.cpu(), variance.cpu())
