r"""A normal for each row, bent by a flow that reads x.

.. math:: z = \mu(x) + \sigma(x) \, T^{-1}(u; h(x)), \qquad u \sim \mathcal{N}(0, I)
"""

from __future__ import annotations

__all__ = ["Flow"]

import torch
from torch import Tensor
from torch.nn.functional import pad

from ..distributions import Transported
from ..integers import integer
from ..linear import LinearGaussian
from ..networks.flow import silence_flow, spline_flow
from .base import Posterior
from .diagonal_normal import independent_normal, mean_field


class Flow(Posterior):
    r"""A neural spline flow with context (Rezende & Mohamed, 2015; Durkan et al., 2019).

    The features are those of `DiagonalNormal`, means and raw widths, and ``context`` further
    numbers that the flow reads. At first it is that normal. It needs zuko:
    ``pip install "nelbo[flow]"``.

    Arguments:
        latent_dim: Number of latent dimensions d, at least 1.
        context: How many numbers about x the flow reads, at least 1.
        transforms: How many maps follow each other.
        width: Units of both hidden layers of each.
        bins: Bins of each spline, at least 2.
        passes: How many passes a draw takes, 2 or more; 2 are couplings of two halves.
        generator: Source of the initial weights; torch's global one where None.

    Raises:
        ImportError: zuko is not installed.
        TypeError: A number is no integer.
        ValueError: It is too small.
    """

    starts_linear = True

    def __init__(
        self,
        latent_dim: int,
        context: int = 16,
        transforms: int = 2,
        width: int = 64,
        bins: int = 8,
        passes: int = 2,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.latent_dim = integer("latent_dim", latent_dim)
        self.context = integer("context", context)
        self.in_shape = (2 * self.latent_dim + self.context,)
        self.flow = spline_flow(
            self.latent_dim, self.context, transforms, (width, width), bins, passes, generator
        )

    def forward(self, h: Tensor) -> Transported:
        """Map features h, of shape (*batch, *in_shape), to q(z|x)."""
        loc, raw, context = h.split((self.latent_dim, self.latent_dim, self.context), -1)
        base = independent_normal(loc, raw)
        return Transported(self.flow(context), base.loc, base.scale)

    def start_at(self, model: LinearGaussian) -> tuple[Tensor, Tensor]:
        """Return the exact means, and the conditional standard deviations of the exact posterior;
        the flow is the identity again, and reads nothing yet.
        """
        silence_flow(self.flow)
        weight, bias = mean_field(model)
        return pad(weight, (0, 0, 0, self.context)), pad(bias, (0, self.context))
