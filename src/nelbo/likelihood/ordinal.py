r"""Ordered levels, whose location the decoder outputs; their thresholds are learned."""

from __future__ import annotations

__all__ = ["Ordinal"]

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from .. import distributions
from .levels import Levels, frequencies


class Ordinal(Levels):
    r""":math:`P(x_i \le k \mid z) = \sigma(t_{i, k} - h_i)`, with ordered thresholds t that are the
    same for every z (McCullagh, 1980).

    Arguments:
        shape: The shape of one example. The decoder outputs one location h for each value.
        levels: How many levels there are, at least 2; a value is the index of one.

    Raises:
        TypeError: ``levels`` is no integer.
        ValueError: It is less than 2, or ``shape`` is ().
    """

    least: ClassVar[float] = 1e-4
    """The smallest gap between two thresholds: without one, a level could be impossible."""
    raw: nn.Parameter

    def __init__(self, shape: tuple[int, ...], levels: int) -> None:
        super().__init__(shape, levels)
        self.raw = nn.Parameter(torch.empty(*shape, self.levels - 1))
        self._take(torch.full((*shape, self.levels), 1 / self.levels))

    @property
    def thresholds(self) -> Tensor:
        """The thresholds, in ascending order, of shape (*shape, levels - 1)."""
        gaps = softplus(self.raw[..., 1:]) + self.least
        return torch.cat([self.raw[..., :1], gaps], -1).cumsum(-1)

    @torch.no_grad()
    def _take(self, frequencies: Tensor) -> None:
        """Take the thresholds that give levels these frequencies at h = 0."""
        below = frequencies.cumsum(-1)[..., :-1]
        above = frequencies.flip(-1).cumsum(-1).flip(-1)[..., 1:]
        thresholds = below.log() - above.log()
        gaps = (thresholds.diff(dim=-1) - self.least).clamp_min(1e-6)
        raw = torch.cat([thresholds[..., :1], distributions.softplus_inverse(gaps)], -1)
        self.raw.copy_(raw)

    def forward(self, h: Tensor) -> distributions.Ordinal:
        """Map locations h, of shape (*batch, *shape), to p(x|z)."""
        return distributions.Ordinal(h, self.thresholds.to(h.dtype), len(self.shape))

    def reading(self) -> dict[str, Any]:
        """Return that a network is to read the index as a number."""
        return {"as": "number"}

    def at_marginals(self, x: Tensor, left: Tensor | None = None) -> Tensor:
        """Take the thresholds of how frequent the levels are, and return locations of 0."""
        self._take(frequencies(x, self.levels))
        return x.new_zeros(self.shape, dtype=torch.float64)
