r"""Two layers of latent variables, as one vector.

.. math:: p(z) = \mathcal{N}(z_2 \mid 0, I) \, \mathcal{N}(z_1 \mid m(z_2), \operatorname{diag}
    s^2(z_2)), \qquad z = (z_2, z_1)
"""

from __future__ import annotations

__all__ = ["Hierarchical"]

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

from ..distributions import (
    DiagonalNormal,
    Layered,
    Normal01,
    check_width,
    fewest_of,
    layers_of,
    softplus_inverse,
)
from ..networks import MLP
from .base import Prior


class Hierarchical(Prior):
    r"""A prior of two layers (Rezende et al., 2014): a small network says where the lower one is,
    given the upper one.

    The decoder is given both. At first p(z) is N(0, I), and the model starts as any other does.
    `posterior.Hierarchical` follows the same order.

    Arguments:
        latent_dim: Number of latent dimensions of both layers together, at least 2.
        top: How many of them are the upper layer; None is half of them.
        width: Units of the network's hidden layer.
        generator: Source of its initial weights; torch's global one where None.

    Raises:
        ValueError: A layer would be empty, or the width is not positive.
    """

    origin: Tensor

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
        self.latent_dim, self.top, self.width = latent_dim, upper, width
        self.register_buffer("origin", torch.zeros(upper), persistent=False)
        self.network = MLP((upper,), (2 * lower,), (width,), generator=generator)
        self.restart()

    @classmethod
    def fewest(cls, options: Mapping[str, Any]) -> int:
        """Return the fewest latent dimensions that leave something to both layers."""
        return fewest_of(options.get("top"))

    @torch.no_grad()
    def restart(self) -> None:
        """Make p(z) N(0, I)."""
        for parameter in self.network.last.parameters():
            parameter.zero_()

    @property
    def options(self) -> dict[str, Any]:
        """What it was built with besides the number of latent dimensions."""
        return {"top": self.top, "width": self.width}

    def forward(self) -> Layered:
        """Return p(z), with event shape (latent_dim,)."""
        return Layered(Normal01(self.origin), self._lower, self.latent_dim)

    def _lower(self, upper: Tensor) -> DiagonalNormal:
        """Return p(z_1 | z_2)."""
        loc, raw = self.network(upper).chunk(2, -1)
        one = softplus_inverse(raw.new_ones(()))
        return DiagonalNormal(loc, softplus(raw + one).clamp_min(1e-6))
