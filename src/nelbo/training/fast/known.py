"""What the steps without autograd know: exactly these classes, as we make them.

A class derived from one of them may do anything else, so a part is asked for its very class, here
and nowhere else. Adding a part never needs an entry: what is not known goes through autograd.
"""

from __future__ import annotations

__all__ = ["BETWEEN", "Activation", "Layers", "Known", "taken_apart"]

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, silu

from ...likelihood import Gaussian, HeteroscedasticGaussian
from ...networks import MLP, Linear, Residual
from ...networks.linear import Dense
from ...objective import ELBO, DReG
from ...posterior import DiagonalNormal
from ...prior import StandardNormal
from ...vae import VAE

aten = torch.ops.aten


class Activation(NamedTuple):
    """A function, and the gradient of its input from that of its output,
    its input h and its output a.
    """

    forward: Callable[[Tensor], Tensor]
    backward: Callable[[Tensor, Tensor, Tensor], Tensor]


BETWEEN: dict[type[nn.Module], Activation] = {
    nn.ReLU: Activation(torch.relu, lambda g, h, a: aten.threshold_backward(g, a, 0)),
    nn.SiLU: Activation(silu, lambda g, h, a: aten.silu_backward(g, h)),
    nn.Tanh: Activation(torch.tanh, lambda g, h, a: aten.tanh_backward(g, a)),
    nn.GELU: Activation(gelu, lambda g, h, a: aten.gelu_backward(g, h)),
    nn.Sigmoid: Activation(torch.sigmoid, lambda g, h, a: aten.sigmoid_backward(g, a)),
}
"""Those that are known, as `networks.activation` makes them."""


class Layers(NamedTuple):
    """A network taken apart.

    Attributes:
        layers: The affine layers of its nonlinear path, or the one of a linear net.
        activations: What stands between them.
        residual: The linear path beside them.
    """

    layers: list[nn.Linear]
    activations: list[Activation]
    residual: nn.Linear | None


class Known(NamedTuple):
    """An objective taken apart.

    Attributes:
        weighs: Whether it is DReG, or else the ELBO.
        samples: Draws of z for a row.
        shape: The shape of one example.
        log_variance: The noise where it is one number; None where it is read off z.
        floor: The smallest variance that is read off z.
        input_noise: Standard deviation of the noise on what the encoder sees.
    """

    weighs: bool
    samples: int
    shape: tuple[int, ...]
    log_variance: Tensor | None
    floor: float
    input_noise: float
    encoder: Layers
    decoder: Layers


def taken_apart(objective: nn.Module) -> Known | None:
    """Return what an objective is made of; None where any of it is not known."""
    goal: Any = objective
    if not _is_known_goal(goal):
        return None
    vae = goal.vae
    if not is_exactly(vae.prior, StandardNormal) or not is_exactly(vae.posterior, DiagonalNormal):
        return None
    encoder, decoder = _layers_of(vae.encoder), _layers_of(vae.decoder)
    if encoder is None or decoder is None:
        return None
    head, log_variance = vae.likelihood, None
    if is_exactly(head, Gaussian) and head.log_variance.ndim == 0:
        log_variance = head.log_variance
    elif not is_exactly(head, HeteroscedasticGaussian):
        return None
    weighs = is_exactly(goal, DReG)
    noise = getattr(goal, "input_noise", 0.0)
    return Known(
        weighs, goal.samples, head.shape, log_variance, head.floor, noise, encoder, decoder
    )


def _is_known_goal(goal: Any) -> bool:
    """Return whether this is DReG, or the plain ELBO of one draw, of a VAE of ours."""
    if not is_exactly(goal, ELBO, DReG) or getattr(goal, "corruption", False):
        return False
    return (is_exactly(goal, DReG) or goal.samples == 1) and is_exactly(goal.vae, VAE)


def is_exactly(part: object, *classes: type) -> bool:
    """Return whether a part is of one of these classes, and of none derived from it."""
    return type(part) in classes


def _layers_of(network: Any) -> Layers | None:
    """Take a network of ours apart, as we make them, with activations that are known."""
    if is_exactly(network, Linear):
        return _alternating([network.linear], None)
    if is_exactly(network, MLP):
        return _body(network, None)
    if is_exactly(network, Residual) and _is_affine(network.linear):
        return _body(network.body, network.linear)
    return None


def _body(body: Any, residual: nn.Linear | None) -> Layers | None:
    """Take the nonlinear path of a network apart."""
    if not is_exactly(body, MLP) or not is_exactly(body.layers, nn.Sequential):
        return None
    return _alternating(list(body.layers), residual)


def _alternating(layers: list[Any], residual: nn.Linear | None) -> Layers | None:
    """Part affine layers from the activations between them, where all of them are known."""
    if len(layers) % 2 != 1 or not all(map(_is_affine, layers[::2])):
        return None
    between = [BETWEEN.get(type(a)) for a in layers[1::2] if _is_plain(a)]
    found = [activation for activation in between if activation is not None]
    if len(found) != len(layers) // 2:
        return None
    return Layers(layers[::2], found, residual)


def _is_plain(activation: nn.Module) -> bool:
    """Return whether an activation is the function itself, no approximation of it."""
    return getattr(activation, "approximate", "none") == "none"


def _is_affine(layer: nn.Module) -> bool:
    """Return whether a layer is W x + b, and nothing else."""
    return is_exactly(layer, nn.Linear, Dense) and isinstance(layer.bias, Tensor)
