r"""The multi-layer perceptron: hidden layers, and a linear output.

.. math:: h_1 = act(W_1 x + b_1), \dots, h_d = act(W_d h_{d-1} + b_d)
"""

from __future__ import annotations

__all__ = ["MLP"]

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .activation import activation_layer
from .linear import dense, flat, shaped


class MLP(nn.Module):
    """A multi-layer perceptron between any two shapes.

    Arguments:
        in_shape: Shape of one input.
        out_shape: Shape of one output.
        hidden: Width of each hidden layer; its length is the depth. Empty is a linear map.
        activation: Name of the activation, one of `networks.activation.ACTIVATIONS`.
        generator: Source of the initial weights; torch's global one where None.

    Raises:
        ValueError: A width is not positive, or the activation is unknown.
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        out_shape: Sequence[int],
        hidden: Sequence[int] = (512, 512),
        activation: str = "silu",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if any(width < 1 for width in hidden):
            raise ValueError(f"hidden must hold positive widths, got {tuple(hidden)}.")
        self.in_shape, self.out_shape = tuple(in_shape), tuple(out_shape)
        widths = [math.prod(in_shape), *hidden, math.prod(out_shape)]
        layers = [
            layer
            for a, b in itertools.pairwise(widths)
            for layer in (dense(a, b, generator), activation_layer(activation))
        ]
        self.layers = nn.Sequential(*layers[:-1])

    @property
    def last(self) -> nn.Linear:
        """The output layer."""
        return self.layers[-1]  # type: ignore[return-value]

    def forward(self, x: Tensor) -> Tensor:
        """Map (*batch, *in_shape) to (*batch, *out_shape)."""
        return shaped(self.layers(flat(x, self.in_shape)), self.out_shape)
