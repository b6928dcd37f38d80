r"""A quadratic map between shapes: :math:`W x + b + \sum_{i \le j} Q_{ij} \, x_i x_j`."""

from __future__ import annotations

__all__ = ["Quadratic"]

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .linear import Dense, dense, flat, shaped


class Quadratic(nn.Module):
    """A linear map, and one of all products of two inputs, which starts at zero.

    As a decoder it says which cluster z is of: the logarithm of a normal density is quadratic.

    Arguments:
        in_shape: Shape of one input.
        out_shape: Shape of one output.
        generator: Source of the initial weights; torch's global one where None.
    """

    first: Tensor
    second: Tensor

    def __init__(
        self,
        in_shape: Sequence[int],
        out_shape: Sequence[int],
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.in_shape, self.out_shape = tuple(in_shape), tuple(out_shape)
        inputs, outputs = math.prod(in_shape), math.prod(out_shape)
        self.linear = dense(inputs, outputs, generator)
        # not torch.triu_indices: for a model without memory that imports torch's compiler, a second
        numbers = [*itertools.combinations_with_replacement(range(inputs), 2)]
        pairs = torch.tensor(numbers, dtype=torch.long).T.contiguous()
        self.register_buffer("first", pairs[0], persistent=False)
        self.register_buffer("second", pairs[1], persistent=False)
        self.body = Dense(pairs.shape[1], outputs, bias=False)
        nn.init.zeros_(self.body.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Map (*batch, *in_shape) to (*batch, *out_shape)."""
        x = flat(x, self.in_shape)
        pairs = x[..., self.first] * x[..., self.second]
        return shaped(self.linear(x) + self.body(pairs), self.out_shape)
