r"""A posterior of two layers, the upper one first.

.. math:: q(z \mid x) = q(z_2 \mid x) \, q(z_1 \mid z_2, x), \qquad z = (z_2, z_1)
"""

from __future__ import annotations

__all__ = ["Hierarchical"]

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..distributions import DiagonalNormal, Layered, check_width, fewest_of, layers_of
from ..linear import LinearGaussian
from ..networks import MLP
from .base import Posterior
from .diagonal_normal import independent_normal, mean_field


class Hierarchical(Posterior):
    r"""Normals of two layers, the lower one's mean and width depending on a draw of the upper one
    (Sønderby et al., 2016).

    The features are those of `DiagonalNormal`: means, then raw widths. A small network adds to
    those of the lower layer what z_2 and x say together; at first nothing.

    Arguments:
        latent_dim: Number of latent dimensions of both layers together, at least 2.
        top: How many of them are the upper layer; None is half of them.
        width: Units of the network's hidden layer.
        generator: Source of its initial weights; torch's global one where None.

    Raises:
        ValueError: A layer would be empty, or the width is not positive.
    """

    starts_linear = True

    def __init__(
        self,
        latent_dim: int,
        top: int | None = None,
        width: int = 64,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        upper, lower = layers_of(latent_dim, top)
        check_width(width)
        self.latent_dim, self.layers = latent_dim, (upper, lower)
        self.in_shape = (2 * latent_dim,)
        self.network = MLP((upper + 2 * lower,), (2 * lower,), (width,), generator=generator)
        self._silence()

    @classmethod
    def fewest(cls, options: Mapping[str, Any]) -> int:
        """Return the fewest latent dimensions that leave something to both layers."""
        return fewest_of(options.get("top"))

    @torch.no_grad()
    def _silence(self) -> None:
        for parameter in self.network.last.parameters():
            parameter.zero_()

    def forward(self, h: Tensor) -> Layered:
        """Map features h, of shape (*batch, 2 * latent_dim), to q(z|x)."""
        loc, raw = h.chunk(2, -1)
        (upper, lower), (wide, narrow) = (half.split(self.layers, -1) for half in (loc, raw))
        rest = torch.cat([lower, narrow], -1)

        def second(z: Tensor) -> DiagonalNormal:
            """Return q(z_1 | z_2, x)."""
            batch = torch.broadcast_shapes(z.shape[:-1], rest.shape[:-1])
            z, known = (part.expand(*batch, part.shape[-1]) for part in (z, rest))
            both = known + self.network(torch.cat([z, known], -1))
            mean, width = both.chunk(2, -1)
            return independent_normal(mean, width)

        return Layered(independent_normal(upper, wide), second, self.latent_dim)

    def start_at(self, model: LinearGaussian) -> tuple[Tensor, Tensor]:
        """Return the exact means, and the conditional standard deviations of the exact posterior;
        layers do not depend on each other.
        """
        self._silence()
        return mean_field(model)
