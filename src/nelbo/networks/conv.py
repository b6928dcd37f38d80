"""Convolutions between an image (channels, height, width) and a vector, in whichever direction the
shapes say.

Each entry of ``channels`` is one stage that halves the image (rounding up) on the way in and
doubles it on the way out, so any size works, one row included. A linear path stands beside the
convolutions, as in `Residual`.
"""

from __future__ import annotations

__all__ = ["Conv"]

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .activation import activation_layer
from .linear import Linear, dense, seed_weights
from .residual import soft_clip

KERNEL = 5


class Conv(nn.Module):
    """A convolutional encoder (image to vector) or decoder (vector to image), beside a linear path.

    Arguments:
        in_shape: Shape of one input. Exactly one of the two shapes is an image (channels, height,
            width).
        out_shape: Shape of one output.
        channels: Width of each stage, from the image inwards; its length is the depth.
        hidden: Width of each dense layer between the last stage and the vector.
        activation: Name of the activation, one of `networks.activation.ACTIVATIONS`.
        generator: Source of the initial weights; torch's global one where None.

    Raises:
        ValueError: Not exactly one shape is an image, a width is not positive, or the activation is
            unknown.
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        out_shape: Sequence[int],
        channels: Sequence[int] = (32, 64),
        hidden: Sequence[int] = (256,),
        activation: str = "silu",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if (len(in_shape) == 3) == (len(out_shape) == 3):
            raise ValueError(
                "A convolution needs an image (channels, height, width) on one side and a vector "
                "on the other, "
                f"got shapes {tuple(in_shape)} and {tuple(out_shape)}. For tables use the mlp or "
                "residual network."
            )
        if not channels or any(width < 1 for width in (*channels, *hidden)):
            raise ValueError(
                f"channels and hidden must hold positive widths, got {tuple(channels)} and "
                f"{tuple(hidden)}."
            )
        path = Linear(in_shape, out_shape, generator)
        self.in_shape, self.out_shape = path.in_shape, path.out_shape
        self.linear = path.linear
        inwards = len(in_shape) == 3
        image, vector = (
            (self.in_shape, self.out_shape) if inwards else (self.out_shape, self.in_shape)
        )
        sizes = _halvings(image[1:], len(channels))
        corner = (channels[-1], *sizes[-1])
        widths = [math.prod(corner), *hidden, math.prod(vector)]
        if inwards:
            stages = [
                layer
                for a, b in itertools.pairwise([image[0], *channels])
                for layer in (_down(a, b, generator), activation_layer(activation))
            ]
            layers: list[nn.Module] = [*stages, nn.Flatten()]
            for a, b in itertools.pairwise(widths):
                layers += [dense(a, b, generator), activation_layer(activation)]
        else:
            layers = []
            for a, b in itertools.pairwise(reversed(widths)):
                layers += [dense(a, b, generator), activation_layer(activation)]
            layers.append(nn.Unflatten(1, corner))
            widening = itertools.pairwise([*reversed(channels), image[0]])
            for (a, b), size in zip(widening, reversed(sizes[:-1]), strict=True):
                layers += [_up(a, b, size, generator), activation_layer(activation)]
        self.body = nn.Sequential(*layers[:-1]).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        for parameter in self.body[-1].parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """Map (*batch, *in_shape) to (*batch, *out_shape)."""
        batch = x.shape[: x.ndim - len(self.in_shape)]
        flat = x.reshape(-1, *self.in_shape)  # convolutions take exactly one batch dimension
        h: Tensor = self.linear(flat.flatten(1)) + self.body(soft_clip(flat)).flatten(1)
        return h.reshape(*batch, *self.out_shape)


class _Down(nn.Conv2d):
    """A convolution that leaves torch's global generator alone."""

    def reset_parameters(self) -> None:
        """Do nothing."""


class _Up(nn.ConvTranspose2d):
    """A transposed convolution that leaves torch's global generator alone."""

    def reset_parameters(self) -> None:
        """Do nothing."""


def _halvings(size: Sequence[int], times: int) -> list[tuple[int, ...]]:
    """Return the image size before and after each of ``times`` halvings, rounded up."""
    sizes = [tuple(size)]
    for _ in range(times):
        sizes.append(tuple((n + 1) // 2 for n in sizes[-1]))
    return sizes


def _down(inputs: int, outputs: int, generator: torch.Generator | None) -> nn.Conv2d:
    layer = _Down(inputs, outputs, KERNEL, stride=2, padding=KERNEL // 2)
    seed_weights(layer, inputs * KERNEL**2, generator)
    return layer


def _up(
    inputs: int, outputs: int, size: tuple[int, ...], generator: torch.Generator | None
) -> nn.ConvTranspose2d:
    """Return a layer that doubles an image to exactly ``size``, which may be odd."""
    height, width = size
    extra = (1 - height % 2, 1 - width % 2)
    layer = _Up(inputs, outputs, KERNEL, stride=2, padding=KERNEL // 2, output_padding=extra)
    # a quarter of the taps meet each output
    seed_weights(layer, inputs * KERNEL**2 // 4, generator)
    return layer
