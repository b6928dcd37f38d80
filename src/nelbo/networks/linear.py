"""A linear map between shapes, and the seeded layers that every network is made of."""

from __future__ import annotations

__all__ = ["Dense", "Linear", "dense", "flat", "seed_weights", "shaped"]

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Linear(nn.Module):
    """``W x + b`` between any two shapes. As decoder it makes the model probabilistic PCA.

    Arguments:
        in_shape: Shape of one input.
        out_shape: Shape of one output.
        generator: Source of the initial weights; torch's global one where None.
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        out_shape: Sequence[int],
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.in_shape, self.out_shape = tuple(in_shape), tuple(out_shape)
        self.linear = dense(math.prod(in_shape), math.prod(out_shape), generator)

    def forward(self, x: Tensor) -> Tensor:
        """Map (*batch, *in_shape) to (*batch, *out_shape)."""
        return shaped(self.linear(flat(x, self.in_shape)), self.out_shape)


def flat(x: Tensor, shape: Sequence[int]) -> Tensor:
    """Return x (*batch, *shape) as (*batch, features)."""
    if not shape:
        return x.unsqueeze(-1)
    if len(shape) == 1:
        return x  # flattening one dimension would cost a call
    return x.flatten(x.ndim - len(shape))


def shaped(h: Tensor, shape: Sequence[int]) -> Tensor:
    """Return h (*batch, features) as (*batch, *shape)."""
    if len(shape) == 1:
        return h
    return h.reshape(*h.shape[:-1], *shape)


class Dense(nn.Linear):
    """An affine layer that leaves torch's global generator alone; see `seed_weights`."""

    def reset_parameters(self) -> None:
        """Do nothing."""


def dense(inputs: int, outputs: int, generator: torch.Generator | None = None) -> nn.Linear:
    """Return an affine layer whose outputs have unit variance where its inputs do."""
    layer = Dense(inputs, outputs)
    seed_weights(layer, inputs, generator)
    return layer


@torch.no_grad()
def seed_weights(layer: nn.Module, fan_in: int, generator: torch.Generator | None) -> None:
    """Draw a layer's weights uniformly with variance 1 / fan_in, and set its biases to zero."""
    bound = math.sqrt(3 / fan_in)
    weight, bias = layer.weight, layer.bias
    if isinstance(weight, Tensor) and isinstance(bias, Tensor):
        weight.uniform_(-bound, bound, generator=generator)
        bias.zero_()
