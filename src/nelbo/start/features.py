"""One step further in closed form: the last layer of a decoder of random features."""

from __future__ import annotations

__all__ = ["quick_model", "random_features"]

import copy

import torch
from torch import Tensor

from ..distributions import draw
from ..networks import paths
from ..vae import VAE
from .rows import Effort, Readable


@torch.no_grad()
def random_features(
    vae: VAE,
    x: Tensor,
    generator: torch.Generator,
    rows_per_feature: int = 6,
    ridge: float = 1e-3,
) -> bool:
    r"""Solve for the last layer of the decoder's nonlinear path, and for a learned
    :math:`\beta^2`, given q(z|x).

    Arguments:
        vae: A model at its closed-form start, whose hidden layers have their first random weights.
        x: Training rows, of shape (n, *vae.shape), in model units.
        generator: Source of z ~ q(z|x), one for each row.
        rows_per_feature: Rows for each random feature: with fewer, least squares overfits them, and
            more only cost time.
        ridge: Ridge of the least squares, in units of the features' mean square over the rows.

    Returns:
        Whether there is such a form (for a residual decoder and one learned :math:`\beta^2`) and
        enough rows to find it from. If not, nothing is changed.
    """
    decoder = paths.random_features(vae.decoder)
    log_variance = vae.likelihood.learned_variance()
    if decoder is None or log_variance is None or not vae.likelihood.solves_least_squares():
        return False
    enough = rows_per_feature * decoder.body.last.in_features
    if len(x) < enough:
        return False
    x = x[torch.linspace(0, len(x) - 1, enough).long()]
    z = draw(vae.encode(x), (), generator)
    hidden = decoder.features(z)
    h = torch.cat([hidden, hidden.new_ones(len(hidden), 1)], 1)
    residual = x.flatten(1) - decoder.linear(z)
    gram = (h.T @ h).double()
    gram.diagonal().add_(ridge * len(h))
    solution = torch.linalg.solve(gram, (h.T @ residual).double())
    decoder.body.last.weight.copy_(solution[:-1].T)
    decoder.body.last.bias.copy_(solution[-1])
    left = (residual - h @ solution.to(h)).square().mean().double()
    log_variance.copy_(left.clamp_min(vae.likelihood.floor).log())
    return True


def quick_model(model: VAE, x: Tensor | Readable, noise: torch.Generator) -> VAE | None:
    """Return what a run of little time may end with: a decoder of random features in closed form.

    The rest of the model is that of the start.

    Training does not continue from it, since it would learn features of its own more slowly from
    there.

    Arguments:
        model: A model at its closed-form start.
        x: Training rows.
        noise: Source of z ~ q(z|x).
    """
    quick = copy.deepcopy(model)
    if not isinstance(x, Tensor):
        x = Effort().some(x)
    if random_features(quick, x, noise):
        return quick
    return None
