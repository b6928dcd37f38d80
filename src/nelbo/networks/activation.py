"""Activations by name."""

from __future__ import annotations

__all__ = ["ACTIVATIONS", "activation_layer"]

from torch import nn

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "leaky_relu": nn.LeakyReLU,
    "mish": nn.Mish,
    "relu": nn.ReLU,
    "selu": nn.SELU,
    "sigmoid": nn.Sigmoid,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
    "tanh": nn.Tanh,
}
"""The activations that a network may be asked for, by the name that options use."""


def activation_layer(name: str) -> nn.Module:
    """Return a new activation layer.

    Raises:
        ValueError: The name is unknown; the message lists those known.
    """
    if name not in ACTIVATIONS:
        raise ValueError(
            f"activation {name!r} is unknown. Known: {', '.join(sorted(ACTIVATIONS))}."
        )
    return ACTIVATIONS[name]()
