r"""The last stage of a convolutional decoder, in a third of the time where nothing is learned.

.. math:: x_{2p+a} = \sum_d z_{p+d} \, w_{a+2-2d}

A transposed convolution of stride 2 gives each of the 2 x 2 pixels of a place, a in {0, 1}, a
kernel of its own. So it is a convolution with four times as many channels, which are laid out as
pixels (Shi et al., 2016). Where few channels come out, processors take a third of the time for it.
"""

from __future__ import annotations

__all__ = ["quickened"]

import copy
from typing import TypeGuard

import torch
from torch import Tensor, nn
from torch.nn import functional


class _SubPixel(nn.Module):
    """A transposed convolution as a convolution whose channels become pixels.

    Arguments:
        layer: The transposed convolution, of stride 2.
    """

    def __init__(self, layer: nn.ConvTranspose2d) -> None:
        super().__init__()
        self.odd = tuple(1 - extra for extra in layer.output_padding)
        inputs, outputs, side = layer.in_channels, layer.out_channels, layer.kernel_size[0]
        pad = side // 2
        reach = (pad + 1) // 2
        kernel = layer.weight.new_zeros(outputs, 2, 2, inputs, 2 * reach + 1, 2 * reach + 1)
        for a, b in ((0, 0), (0, 1), (1, 0), (1, 1)):
            for d in range(-reach, reach + 1):
                for e in range(-reach, reach + 1):
                    u, v = a + pad - 2 * d, b + pad - 2 * e
                    if 0 <= u < side and 0 <= v < side:
                        kernel[:, a, b, :, d + reach, e + reach] = layer.weight[:, :, u, v].T
        self.conv = nn.Conv2d(inputs, 4 * outputs, 2 * reach + 1, padding=reach, device="meta")
        kernel = kernel.reshape(4 * outputs, *kernel.shape[3:])
        bias = layer.weight.new_zeros(outputs)
        if layer.bias is not None:
            bias = layer.bias
        self.conv.weight = nn.Parameter(kernel.contiguous(memory_format=torch.channels_last))
        self.conv.bias = nn.Parameter(bias.repeat_interleave(4))
        self.conv.requires_grad_(False)

    def forward(self, h: Tensor) -> Tensor:
        """Map (n, inputs, height, width) to (n, outputs, 2 height, 2 width), less a line where the
        image has an odd number."""
        x = functional.pixel_shuffle(self.conv(h), 2)
        return x[..., : x.shape[-2] - self.odd[0], : x.shape[-1] - self.odd[1]]


@torch.no_grad()
def quickened(network: nn.Module, most: int = 4) -> nn.Module:
    """Return a network that maps alike but for rounding, and takes less time where it ends in a
    transposed convolution; it is not for training.

    Arguments:
        network: A network; it is left as it was, and returned where nothing can be made quicker.
        most: Channels that come out of such a layer, at most: more make it no quicker.
    """
    if not any(_slow(layer, most) for layer in network.modules()):
        return network
    network = copy.deepcopy(network).requires_grad_(False)
    for parent in [*network.modules()]:
        for name, layer in [*parent.named_children()]:
            if _slow(layer, most):
                setattr(parent, name, _SubPixel(layer))
    return network


def _slow(layer: nn.Module, most: int) -> TypeGuard[nn.ConvTranspose2d]:
    """Return whether a layer is a transposed convolution that `_SubPixel` takes the place of."""
    if type(layer).forward is not nn.ConvTranspose2d.forward:
        return False
    if not isinstance(layer, nn.ConvTranspose2d) or layer.out_channels > most:
        return False
    side = layer.kernel_size[0]
    shape = (layer.stride, layer.kernel_size, layer.padding, layer.dilation, layer.groups)
    return side % 2 == 1 and shape == ((2, 2), (side, side), (side // 2, side // 2), (1, 1), 1)
