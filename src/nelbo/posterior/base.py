r"""What every posterior answers."""

from __future__ import annotations

__all__ = ["SMALLEST_STD", "Posterior"]

import abc

from torch import Tensor, nn
from torch.distributions import Distribution

SMALLEST_STD = 1e-6
"""The least standard deviation of q(z|x), where the prior's is 1; only examples far from all data
reach it.
"""


class Posterior(nn.Module, abc.ABC):
    r"""Abstract posterior head. ``in_shape`` is what the encoder must output for one example."""

    in_shape: tuple[int, ...]

    @abc.abstractmethod
    def forward(self, h: Tensor) -> Distribution:
        """Map features h, of shape (*batch, *in_shape), to q(z|x), with event shape
        (latent_dim,).
        """
