"""What others may ask of a network, ours or theirs:
a layer that somebody else calls linear is no linear path.
"""

from __future__ import annotations

__all__ = ["is_linear", "linear_path", "name_of", "random_features", "silence"]

import torch
from torch import nn

from .conv import Conv
from .linear import Linear
from .mlp import MLP
from .quadratic import Quadratic
from .residual import Residual

NAMES: dict[type[nn.Module], str] = {
    Conv: "conv",
    Linear: "linear",
    MLP: "mlp",
    Quadratic: "quadratic",
    Residual: "residual",
}


def name_of(network: nn.Module) -> str:
    """Return what options call a network, "custom" if it is none of ours."""
    return NAMES.get(type(network), "custom")


def is_linear(network: nn.Module) -> bool:
    """Return whether a network is one affine map, and known to be."""
    return isinstance(network, Linear)


def linear_path(network: nn.Module) -> nn.Linear | None:
    """Return the affine layer that a network adds to all else it does; None if it has none."""
    if isinstance(network, Linear | Residual | Quadratic | Conv):
        return network.linear
    return None


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
    body = getattr(network, "body", None)
    if body is not None:
        for parameter in list(body.parameters())[-2:]:
            parameter.zero_()
