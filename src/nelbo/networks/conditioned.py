"""A network that reads a condition beside its input."""

from __future__ import annotations

__all__ = ["Conditioned"]

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Conditioned(nn.Module):
    """Give a network its input and a condition c side by side.

    An encoder, a decoder or both of this kind make a model of p(x|c) (Sohn et al., 2015).

    Arguments:
        network: A network from `Conditioned.shape(in_shape, width)`: from (n, values of the input +
            values of c), or, with ``channels``, from images that have a further channel for each
            value of c.
        channels: Whether the input is an image, and each value of c a channel of it.

    >>> import nelbo
    >>> nelbo.networks.Conditioned(nelbo.networks.MLP((5 + 2,), (4,)))(
    ...     torch.zeros(3, 5), torch.zeros(3, 2)
    ... ).shape
    torch.Size([3, 4])
    """

    takes_condition = True

    def __init__(self, network: nn.Module, channels: bool = False) -> None:
        super().__init__()
        self.network = network
        self.channels = channels

    @staticmethod
    def shape(in_shape: Sequence[int], width: int, channels: bool = False) -> tuple[int, ...]:
        """Return the shape that the network must take, for inputs and c of these sizes."""
        if channels:
            first, *others = in_shape
            return (first + width, *others)
        return (math.prod(in_shape) + width,)

    @property
    def takes_missing(self) -> bool:
        """Whether the network reads rows with missing values."""
        return bool(getattr(self.network, "takes_missing", False))

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        """Map x (n, ...) and c (n, k) to what the network makes of both."""
        if self.channels:
            constant = c.to(x.dtype)[:, :, None, None].expand(-1, -1, *x.shape[2:])
            return self._read(torch.cat([x, constant], 1))
        return self._read(torch.cat([x.flatten(1), c.to(x.dtype)], 1))

    def _read(self, both: Tensor) -> Tensor:
        h: Tensor = self.network(both)
        return h
