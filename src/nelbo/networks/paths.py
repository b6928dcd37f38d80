"""What others may ask of a network, ours or theirs:
a layer that somebody else calls linear is no linear path.
"""

from __future__ import annotations

__all__ = [
    "fill",
    "is_linear",
    "is_masked",
    "linear_path",
    "name_of",
    "random_features",
    "silence",
    "standardise",
]

import torch
from torch import Tensor, nn

from .conditioned import Conditioned
from .conv import Conv
from .factor_encoder import FactorEncoder
from .linear import Linear
from .masked import Masked
from .mlp import MLP
from .quadratic import Quadratic
from .read_columns import ReadColumns
from .residual import Residual

NAMES: dict[type[nn.Module], str] = {
    Conv: "conv",
    FactorEncoder: "factor_encoder",
    Linear: "linear",
    MLP: "mlp",
    Quadratic: "quadratic",
    Residual: "residual",
}


def name_of(network: nn.Module) -> str:
    """Return what options call a network, "custom" if it is none of ours."""
    return NAMES.get(type(_inner(network)), "custom")


def is_linear(network: nn.Module) -> bool:
    """Return whether a network is one affine map, and known to be."""
    return isinstance(_inner(network), Linear)


def linear_path(network: nn.Module) -> nn.Linear | None:
    """Return the affine layer that a network adds to all else it does; None if it has none."""
    network = _inner(network)
    if isinstance(network, Linear | Residual | Quadratic | Conv):
        return network.linear
    return None


def _inner(network: nn.Module) -> nn.Module:
    """Return the network behind those that only prepare its input; any other as it is."""
    while isinstance(network, Conditioned | ReadColumns | Masked):
        network = network.network
    return network


@torch.no_grad()
def fill(
    layer: nn.Linear,
    weight: Tensor,
    bias: Tensor,
    of_condition: Tensor | None,
    masked: bool = False,
) -> None:
    """Set the linear path of a network.

    A mask that the layer reads behind all else has no weight at first.

    Arguments:
        layer: What `linear_path` returned.
        weight: The weight of the input, (features, D).
        bias: The bias, (features,).
        of_condition: The weight of c, (features, k), where the network reads one: spread over the
            pixels of the channels, where each value of c is a channel.
        masked: Whether the layer is that of a network that reads a mask.
    """
    layer.bias.copy_(bias)
    layer.weight.zero_()
    inputs = layer.in_features
    if masked:
        inputs //= 2
    if of_condition is not None:
        values = (inputs - weight.shape[1]) // of_condition.shape[1]
        spread = of_condition.repeat_interleave(values, dim=1) / values
        weight = torch.cat([weight, spread], 1)
    layer.weight[:, :inputs] = weight


def is_masked(network: nn.Module) -> bool:
    """Return whether a network of ours reads values and a mask."""
    return any(isinstance(part, Masked) for part in network.modules())


def random_features(network: nn.Module) -> Residual | None:
    """Return a network whose output is affine in the ``features`` that its hidden layers make, and
    beside them its linear path; None for any other.
    """
    if isinstance(network, Residual) and network.hidden:
        return network
    return None


@torch.no_grad()
def silence(network: nn.Module) -> None:
    """Set the output layer of a network's nonlinear path, where it has one, to zero."""
    body = getattr(_inner(network), "body", None)
    if body is not None:
        for parameter in list(body.parameters())[-2:]:
            parameter.zero_()


def standardise(network: nn.Module, x: Tensor) -> None:
    """Give what reads columns inside a network the mean and spread of rows x, (n, columns)."""
    for part in network.modules():
        if isinstance(part, ReadColumns):
            part.standardise(x)
