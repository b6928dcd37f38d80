"""A network that reads a condition beside its input."""

from __future__ import annotations

__all__ = ["Conditioned"]

import torch
from torch import Tensor, nn


class Conditioned(nn.Module):
    """Give a network its input and a condition c side by side, flat.

    An encoder, a decoder or both of this kind make a model of p(x|c) (Sohn et al., 2015).

    Arguments:
        network: A network from (n, values of the input + values of c).

    >>> import nelbo
    >>> nelbo.networks.Conditioned(nelbo.networks.MLP((5 + 2,), (4,)))(
    ...     torch.zeros(3, 5), torch.zeros(3, 2)
    ... ).shape
    torch.Size([3, 4])
    """

    takes_condition = True

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    @property
    def takes_missing(self) -> bool:
        """Whether the network reads rows with missing values."""
        return bool(getattr(self.network, "takes_missing", False))

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        """Map x (n, ...) and c (n, k) to what the network makes of both."""
        h: Tensor = self.network(torch.cat([x.flatten(1), c.to(x.dtype)], 1))
        return h
