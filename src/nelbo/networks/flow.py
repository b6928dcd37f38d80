r"""Invertible maps of :math:`\mathbb{R}^d`, by zuko: neural spline flows.

.. math:: u = T(z), \qquad u_i = s(z_i; \theta_i(z_{<i}))

with monotonic rational-quadratic splines s (Durkan et al., 2019) whose bins an MLP sets.
"""

from __future__ import annotations

__all__ = ["silence_flow", "spline_flow"]

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from ..integers import integer


def spline_flow(
    features: int,
    context: int,
    transforms: int,
    hidden: Sequence[int],
    bins: int,
    passes: int | None,
    generator: torch.Generator | None,
) -> nn.Module:
    """Return a module whose forward pass takes the context, (*batch, context) or None, and returns
    a `torch.distributions.Transform`; at first the identity.

    Arguments:
        features: d.
        context: How many numbers the map depends on.
        transforms: How many maps follow each other, in alternating order of the coordinates.
        hidden: Widths of the hidden layers of each.
        bins: Of each spline.
        passes: How many passes the inverse takes; 2 are couplings of two halves, None is one for
            each coordinate, where each depends on all before it.
        generator: Source of the weights; torch's global one where None.

    Raises:
        ImportError: zuko is not installed; the message names the extra.
        TypeError: A number is no integer.
        ValueError: It is too small.
    """
    flows = _zuko()
    shape = {
        "features": features,
        "context": context,
        "transforms": integer("transforms", transforms),
        "bins": integer("bins", bins, 2),
        "hidden_features": [integer("width", width) for width in hidden],
    }
    if passes is not None:
        shape["passes"] = integer("passes", passes, 2)
    # zuko draws its weights from torch's global generator, and counts masks as it builds, which
    # tensors without memory cannot.
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        if generator is not None:
            torch.manual_seed(int(torch.randint(2**62, (), generator=generator)))
        flow: nn.Module = flows.NSF(**shape).transform
    silence_flow(flow)
    return flow


@torch.no_grad()
def silence_flow(flow: nn.Module) -> None:
    """Make every spline of a `spline_flow` the identity: all bins alike, all slopes 1."""
    for transform in flow.modules():
        # One coordinate without context has bins of its own; all others are set by an MLP.
        own, network = (getattr(transform, name, None) for name in ("phi", "hyper"))
        if isinstance(network, nn.Module):
            own = [layer for layer in network.modules() if isinstance(layer, nn.Linear)][-1]
        if isinstance(own, nn.Module):
            for parameter in own.parameters():
                parameter.zero_()


def _zuko() -> Any:
    """Import zuko.

    Raises:
        ImportError: It is not installed.
    """
    try:
        from zuko import flows
    except ImportError:
        raise ImportError('Flows need zuko. Install it with: pip install "nelbo[flow]"') from None
    return flows
