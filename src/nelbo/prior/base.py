r"""What every prior answers."""

from __future__ import annotations

__all__ = ["Prior"]

import abc

from torch import nn
from torch.distributions import Distribution


class Prior(nn.Module, abc.ABC):
    r"""Abstract prior: a module whose forward pass returns :math:`p(z)`."""

    latent_dim: int

    @abc.abstractmethod
    def forward(self) -> Distribution:
        """Return p(z), with event shape (latent_dim,)."""
