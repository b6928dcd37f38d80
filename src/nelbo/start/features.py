"""One step further in closed form: the last layer of a decoder of random features."""

from __future__ import annotations

__all__ = ["quick_model", "random_features"]

import copy
import math

import torch
from torch import Tensor

from ..distributions import draw
from ..networks import paths
from ..vae import VAE
from .rows import READ, Readable

ROWS_PER_FEATURE = 6
"""Rows for each random feature:
with fewer, least squares learns them by heart, and more only cost time.
"""


RIDGE = 1e-3
"""Of the least squares with random features, in units of their mean square over the rows."""


@torch.no_grad()
def random_features(vae: VAE, x: Tensor, generator: torch.Generator) -> bool:
    r"""Solve for the last layer of the decoder's nonlinear path,
    and for a learned :math:`\beta^2`, given q(z|x).

    Arguments:
        vae: A model at its closed-form start, whose hidden layers have their first random weights.
        x: Training rows, of shape (n, *vae.shape), in model units.
        generator: Source of z ~ q(z|x), one for each row.

    Returns:
        Whether there is such a form (for a residual decoder and one learned :math:`\beta^2`) and
        enough rows to find it from. If not, nothing is changed.
    """
    decoder, log_variance = paths.random_features(vae.decoder), vae.likelihood.learned_variance()
    if decoder is None or log_variance is None or not vae.likelihood.solves_least_squares():
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
    log_variance.copy_(left.clamp_min(vae.likelihood.floor).log())
    return True


def quick_model(model: VAE, x: Tensor | Readable, noise: torch.Generator) -> VAE | None:
    """Return what a run of little time may end with:
    the start, and a decoder of random features in closed form.

    Training does not go on from it, as it would learn features of its own more slowly from there.
    """
    quick = copy.deepcopy(model)
    x = x if isinstance(x, Tensor) else x.every(math.ceil(math.prod(x.shape) / READ)).read()
    return quick if random_features(quick, x, noise) else None
