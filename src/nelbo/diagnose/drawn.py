"""Samples of a model under the conditions of given rows."""

from __future__ import annotations

__all__ = ["drawn_like"]

import torch
from torch import Tensor

from ..distributions import draw
from ..evaluate import Examples
from ..vae import VAE


def drawn_like(vae: VAE, like: Examples, count: int, seed: int) -> Tensor:
    """Draw ``count`` rows x ~ p(x), or x ~ p(x|c) given the conditions of some rows in turn.

    Arguments:
        vae: The model, in the precision of the rows.
        like: The rows.
        count: How many rows to draw.
        seed: The seed of the draws.
    """
    generator = torch.Generator(like.device).manual_seed(seed)
    if like.c is None:
        return vae.sample(count, generator=generator)
    c = like.c[torch.arange(count, device=like.device) % len(like)]
    p = vae.decode(draw(vae.prior(), (count,), generator, gradients=False), c)
    return draw(p, (), generator, gradients=False)
