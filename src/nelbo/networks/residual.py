r"""A linear path beside a nonlinear one: :math:`W x + b + g(x)`, where :math:`g` starts at zero.

The linear path can start at a closed form (probabilistic PCA), so that training only improves on
it. Far outside the data (:math:`|x| \gg c`) the nonlinear path sees :math:`x / \sqrt{1 + (x/c)^2}`,
which is bounded: there the network goes on as its linear path does, and an outlier is no worse off
than under PCA.
"""

from __future__ import annotations

__all__ = ["Residual"]

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .linear import Linear, flat, shaped
from .mlp import MLP


class Residual(nn.Module):
    """A linear map plus an MLP whose last layer starts at zero.

    Arguments:
        in_shape: Shape of one input.
        out_shape: Shape of one output.
        hidden: Width of each hidden layer of the nonlinear path.
        activation: Name of that path's activation, one of `networks.activation.ACTIVATIONS`.
        generator: Source of the initial weights; torch's global one where None.
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
        path = Linear(in_shape, out_shape, generator)
        self.in_shape, self.out_shape = path.in_shape, path.out_shape
        self.linear = path.linear
        self.hidden = tuple(hidden)
        self.body = MLP(in_shape, out_shape, hidden, activation, generator)
        for parameter in self.body.last.parameters():
            nn.init.zeros_(parameter)

    def features(self, x: Tensor) -> Tensor:
        """Return the input of the nonlinear path's last layer for x (*batch, *in_shape)."""
        h = soft_clip(flat(x, self.in_shape))
        for layer in list(self.body.layers)[:-1]:
            h = layer(h)
        return h

    def forward(self, x: Tensor) -> Tensor:
        """Map (*batch, *in_shape) to (*batch, *out_shape)."""
        x = flat(x, self.in_shape)
        return shaped(self.linear(x) + self.body.layers(soft_clip(x)), self.out_shape)


def soft_clip(x: Tensor) -> Tensor:
    """Return x where it is small, and a value that levels off where it is large; see `bend`."""
    return x * bend(x)  # three passes over x


def bend(x: Tensor, reach: float = 6.0) -> Tensor:
    r"""Return :math:`1 / \sqrt{1 + (x / c)^2}`, the factor that `soft_clip` multiplies x by.

    Its third power is the derivative of `soft_clip`.

    Arguments:
        x: Any shape, in standard deviations of scaled data.
        reach: The limit c that ``soft_clip`` tends to; few values of real data are larger.
    """
    return torch.addcmul(x.new_ones(()), x, x, value=1 / reach**2).rsqrt()
