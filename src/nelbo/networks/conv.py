"""Convolutions between an image (channels, height, width) and a vector, in either direction.

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
                f"on the other, got shapes {tuple(in_shape)} and {tuple(out_shape)}. "
                "For tables use the mlp or residual network."
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
        image, vector = self.out_shape, self.in_shape
        if inwards:
            image, vector = self.in_shape, self.out_shape
        sizes = _halvings(image[1:], len(channels))
        corner = (channels[-1], *sizes[-1])
        widths = [math.prod(corner), *hidden, math.prod(vector)]
        depths = [image[0], *channels]
        layers: list[nn.Module] = []
        if inwards:
            for a, b in itertools.pairwise(depths):
                layers += [_down(a, b, generator), activation_layer(activation)]
            layers.append(nn.Flatten())
            for a, b in itertools.pairwise(widths):
                layers += [dense(a, b, generator), activation_layer(activation)]
        else:
            for a, b in itertools.pairwise(reversed(widths)):
                layers += [dense(a, b, generator), activation_layer(activation)]
            layers.append(nn.Unflatten(1, corner))
            stages = itertools.pairwise(reversed(depths))
            for (a, b), size in zip(stages, reversed(sizes[:-1]), strict=True):
                layers += [_up(a, b, size, generator), activation_layer(activation)]
        # the last layer is an output, so its activation is left out
        body = nn.Sequential(*layers[:-1])
        self.body = body.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        for parameter in self.body[-1].parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """Map (*batch, *in_shape) to (*batch, *out_shape)."""
        batch = x.shape[: x.ndim - len(self.in_shape)]
        flat = x.reshape(-1, *self.in_shape)  # convolutions take exactly one batch dimension
        h: Tensor = self.linear(flat.flatten(1)) + self.body(soft_clip(flat)).flatten(1)
        return h.reshape(*batch, *self.out_shape)


class _Down(nn.Conv2d):
    """A convolution that halves an image, and leaves torch's global generator alone."""

    kernel = 5
    """Side of the kernel in pixels."""

    def reset_parameters(self) -> None:
        """Do nothing."""


class _Up(nn.ConvTranspose2d):
    """A transposed convolution that doubles an image, and leaves torch's global generator alone."""

    kernel = _Down.kernel

    def reset_parameters(self) -> None:
        """Do nothing."""


def _halvings(size: Sequence[int], times: int) -> list[tuple[int, ...]]:
    """Return the image size before and after each of ``times`` halvings, rounded up."""
    sizes = [tuple(size)]
    for _ in range(times):
        sizes.append(tuple((n + 1) // 2 for n in sizes[-1]))
    return sizes


def _down(inputs: int, outputs: int, generator: torch.Generator | None) -> nn.Conv2d:
    """Return a layer that halves an image, rounding up."""
    kernel = _Down.kernel
    layer = _Down(inputs, outputs, kernel, stride=2, padding=kernel // 2)
    seed_weights(layer, inputs * kernel**2, generator)
    return layer


def _up(
    inputs: int, outputs: int, size: tuple[int, ...], generator: torch.Generator | None
) -> nn.ConvTranspose2d:
    """Return a layer that doubles an image to exactly ``size``, which may be odd."""
    height, width = size
    extra, kernel = (1 - height % 2, 1 - width % 2), _Up.kernel
    layer = _Up(inputs, outputs, kernel, stride=2, padding=kernel // 2, output_padding=extra)
    # with a stride of 2, a quarter of the kernel's weights meet each output
    seed_weights(layer, inputs * kernel**2 // 4, generator)
    return layer
