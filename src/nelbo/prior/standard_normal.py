r"""The prior without a parameter, :math:`\mathcal{N}(0, I)`."""

from __future__ import annotations

__all__ = ["StandardNormal"]

import torch
from torch import Tensor

from ..distributions import Normal01
from .base import Prior


class StandardNormal(Prior):
    r"""The fixed prior :math:`p(z) = \mathcal{N}(0, I)` (Kingma & Welling, 2014).

    Arguments:
        latent_dim: Number of latent dimensions, at least 1.
    """

    loc: Tensor

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        if latent_dim < 1:
            raise ValueError(f"latent_dim must be at least 1, got {latent_dim}.")
        self.latent_dim = latent_dim
        self.register_buffer("loc", torch.zeros(latent_dim), persistent=False)

    def forward(self) -> Normal01:
        """Return N(0, I), with event shape (latent_dim,)."""
        return Normal01(self.loc)
