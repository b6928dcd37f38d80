"""Samples of a model under the conditions of given rows."""

from __future__ import annotations

__all__ = ["drawn_like"]

import torch
from torch import Tensor

from ..distributions import draw
from ..evaluate import MEMORY, Examples, decoded_bytes
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
    numbers = torch.arange(count, device=like.device)
    drawn = []
    # for a row of twelve columns a decoder of many components outputs thousands of numbers
    for part in numbers.split(max(1, MEMORY // decoded_bytes(vae, like))):
        if like.c is None:
            drawn.append(vae.sample(len(part), generator=generator))
            continue
        z = draw(vae.prior(), (len(part),), generator, gradients=False)
        p = vae.decode(z, like.c[part % len(like)])
        drawn.append(draw(p, (), generator, gradients=False))
    return torch.cat(drawn)
