"""A network that reads rows with missing values."""

from __future__ import annotations

__all__ = ["Masked"]

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Masked(nn.Module):
    """Give a network zeros in place of missing values (NaN), and a mask that tells them from zeros.

    An encoder of this kind makes a model one that takes rows with missing values: its ELBO is that
    of the values that are there (Mattei & Frellsen, 2019).

    Arguments:
        network: A network from `Masked.shape(in_shape)`, which holds the values and then the mask,
            along the first axis of an example: from (n, 2 d) for rows (n, d).

    >>> import nelbo
    >>> nelbo.networks.Masked(nelbo.networks.MLP(nelbo.networks.Masked.shape((5,)), (4,)))(
    ...     torch.full((3, 5), float("nan"))
    ... ).shape
    torch.Size([3, 4])
    """

    takes_missing = True

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    @staticmethod
    def shape(in_shape: Sequence[int]) -> tuple[int, ...]:
        """Return the shape that the network must take, for examples of ``in_shape``."""
        first, *others = in_shape
        return (2 * first, *others)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, *in_shape) to what the network makes of values and mask."""
        gone = x.isnan()
        h: Tensor = self.network(torch.cat([x.masked_fill(gone, 0.0), (~gone).to(x.dtype)], 1))
        return h
