r"""What every likelihood answers."""

from __future__ import annotations

__all__ = ["VARIANCE_FLOOR", "Likelihood", "of_values"]

import abc

from torch import Tensor, nn
from torch.distributions import Distribution

VARIANCE_FLOOR = 1e-6
"""Default floor of a learned variance, for data scaled to unit variance: a relative 0.1 % of its
standard deviation.
"""


class Likelihood(nn.Module, abc.ABC):
    r"""Abstract likelihood head.

    Attributes:
        shape: The shape of one example x.
        in_shape: What the decoder must output for one example.
    """

    shape: tuple[int, ...]
    in_shape: tuple[int, ...]

    @abc.abstractmethod
    def forward(self, h: Tensor) -> Distribution:
        """Map features h, of shape (*batch, *in_shape), to p(x|z), with event shape ``shape``."""


def of_values(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of one example, if that has axes: sums over none would be sums over all
    examples.
    """
    if not shape:
        raise ValueError(
            "shape must have at least one axis, got (). An example of a single number has shape "
            "(1,)."
        )
    return tuple(shape)
