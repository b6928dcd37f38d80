r"""A normalising flow over z.

.. math:: \log p(z) = \log \mathcal{N}(T(z) \mid 0, I) + \log |\det T'(z)|
"""

from __future__ import annotations

__all__ = ["Flow"]

from typing import Any

import torch
from torch import Tensor

from ..distributions import Transported
from ..integers import integer
from ..networks.flow import silence_flow, spline_flow
from .base import Prior
from .curvature import slope_and_curvature


class Flow(Prior):
    r"""A neural spline flow (Durkan et al., 2019), learned with the model or fitted to it: the
    aggregate posterior has any shape, N(0, I) one (Chen et al., 2017).

    At first it is N(0, I) exactly, and the model starts as any other does. It needs zuko:
    ``pip install "nelbo[flow]"``.

    Arguments:
        latent_dim: Number of latent dimensions d, at least 1.
        transforms: How many maps follow each other.
        width: Units of both hidden layers of each.
        bins: Bins of each spline, at least 2.
        passes: How many passes a draw takes; 2 are couplings of two halves, None is d, where each
            coordinate depends on all before it. A density takes one.
        learned: Whether it is trained with the rest of the model; else it is fitted to z after
            training (`fix`).
        generator: Source of the initial weights; torch's global one where None.

    Raises:
        ImportError: zuko is not installed.
        TypeError: A number is no integer, or ``learned`` is not True or False.
        ValueError: It is too small.
    """

    origin: Tensor

    def __init__(
        self,
        latent_dim: int,
        transforms: int = 3,
        width: int = 64,
        bins: int = 8,
        passes: int | None = None,
        learned: bool = True,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.latent_dim = integer("latent_dim", latent_dim)
        if not isinstance(learned, bool):
            raise TypeError(f"learned must be True or False, got {learned!r}.")
        self.learned = learned
        self._options = {"transforms": transforms, "width": width, "bins": bins, "passes": passes}
        self.register_buffer("origin", torch.zeros(self.latent_dim), persistent=False)
        self.flow = spline_flow(
            self.latent_dim, 0, transforms, (width, width), bins, passes, generator
        )
        if not learned:
            self.fix()

    def fix(self) -> None:
        """Stay as it is from now on: no gradient reaches it."""
        self.learned = False
        self.flow.requires_grad_(False)

    @property
    def options(self) -> dict[str, Any]:
        """What it was built with besides the number of latent dimensions."""
        return {**self._options, "learned": self.learned}

    def restart(self) -> None:
        """Make p(z) N(0, I), where it is learned."""
        if self.learned:
            silence_flow(self.flow)

    def forward(self) -> Transported:
        """Return p(z), with event shape (latent_dim,)."""
        return Transported(self.flow(), self.origin, torch.ones_like(self.origin))

    def slopes(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gradient of log p(z), (n, d), and its curvature, (n, d, d), in float64."""
        return slope_and_curvature(self(), z)
