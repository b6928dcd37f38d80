"""What is wrong with a model, in numbers."""

from __future__ import annotations

__all__ = ["ActiveUnits", "active_units"]

from dataclasses import dataclass

import torch
from torch import Tensor

from .vae import VAE

ACTIVE = 0.01
"""A latent dimension is active if its posterior mean varies by more than this over the data (Burda et al., 2016)."""


@dataclass(frozen=True)
class ActiveUnits:
    """Which latent dimensions carry information.

    Attributes:
        variance: Variance of each posterior mean over the data, of shape (latent_dim,); the prior's is 1.
        active: Whether each exceeds 0.01.
    """

    variance: Tensor
    active: Tensor

    @property
    def count(self) -> int:
        """How many dimensions are active."""
        return int(self.active.sum())


@torch.no_grad()
def active_units(vae: VAE, x: Tensor, chunk: int = 4096) -> ActiveUnits:
    """Count the active units, those with Var_x(E_q[z_u]) > 0.01 (Burda et al., 2016).

    Arguments:
        vae: The model.
        x: Rows of shape (n, *vae.shape), in model units.
        chunk: Rows encoded at once.
    """
    weight = next(vae.parameters())
    means = torch.cat([vae.encode(part.to(weight)).mean for part in x.split(chunk)])
    variance = means.double().var(0, correction=0)
    return ActiveUnits(variance, variance > ACTIVE)
