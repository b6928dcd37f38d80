r"""Ordered levels, by a cumulative logit.

.. math:: P(x_i \le k) = \sigma(t_{i, k} - h_i), \qquad t_{i, 0} < \dots < t_{i, k - 2}
"""

from __future__ import annotations

__all__ = ["Ordinal"]

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from .factorised import Factorised


class Ordinal(Factorised):
    r"""A logistic variable around a location, seen through ordered thresholds (McCullagh, 1980).

    A value is the index of a level, 0 to k - 1. With the thresholds a above and b below it,

    .. math:: p(x) = \sigma(a - h) - \sigma(b - h) = \sigma(a - h) \, \sigma(h - b) \,
        (1 - e^{b - a}),

    of which no factor cancels, however far from them the location is.

    Arguments:
        loc: The location h, of shape (*batch, *event).
        thresholds: In ascending order, of shape (*event, k - 1).
        event_dim: How many trailing dimensions make up one event.
    """

    arg_constraints = {}  # noqa: RUF012 (the base class asks for a dict)

    def __init__(self, loc: Tensor, thresholds: Tensor, event_dim: int = 1) -> None:
        self.loc, self.thresholds, self.event_dim = loc, thresholds, event_dim
        split = loc.ndim - event_dim
        super().__init__(loc.shape[:split], loc.shape[split:], validate_args=False)

    @property
    def levels(self) -> int:
        """How many levels k there are."""
        return self.thresholds.shape[-1] + 1

    @property
    def mean(self) -> Tensor:
        """The mean of the index, of shape (*batch, *event)."""
        return self._above().sum(-1)

    @property
    def mode(self) -> Tensor:
        """The most probable levels, of shape (*batch, *event)."""
        return self.probabilities().argmax(-1).to(self.loc.dtype)

    @property
    def variance(self) -> Tensor:
        """The variance of the index, of shape (*batch, *event)."""
        above = self._above()
        odd = 2 * torch.arange(self.levels - 1, dtype=above.dtype, device=above.device) + 1
        return ((odd * above).sum(-1) - above.sum(-1).square()).clamp_min(0)

    def probabilities(self) -> Tensor:
        """Return the probability of each level, of shape (*batch, *event, k)."""
        index = torch.arange(self.levels, dtype=self.loc.dtype, device=self.loc.device)
        apart = index.view(-1, *(1,) * self.loc.ndim)
        return self.each(apart).exp().movedim(0, -1)

    @torch.no_grad()
    def sample(
        self, sample_shape: Sequence[int] = (), generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw indices of levels, of shape (*sample_shape, *batch, *event)."""
        shape = torch.Size(sample_shape) + self.loc.shape
        like: dict[str, Any] = {"dtype": self.loc.dtype, "device": self.loc.device}
        drawn = self.loc + torch.rand(shape, generator=generator, **like).logit(eps=1e-7)
        return (drawn.unsqueeze(-1) > self.thresholds).sum(-1).to(self.loc.dtype)

    def each(self, value: Tensor) -> Tensor:
        """Return the log-probability of each level, of value's and loc's shape."""
        above, below, lowest, highest = self._around(value)
        gap = torch.where(lowest | highest, 1.0, above - below)
        up = torch.where(highest, 0.0, logsigmoid(above - self.loc))
        down = torch.where(lowest, 0.0, logsigmoid(self.loc - below))
        return up + down + torch.where(lowest | highest, 0.0, torch.log(-torch.expm1(-gap)))

    def local_quadratic(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        r"""Return the locations, and for them the gradient of log p(x) and Fisher's information.

        The gradient is :math:`P(< x) - P(> x)`, the information :math:`(1 - \sum_k p_k^3) / 3`.
        Both are those at the first sample: see `Likelihood.local_quadratic`.
        """
        first = Ordinal(self.loc[0], self.thresholds, self.event_dim)
        above, below, lowest, highest = first._around(x)
        less = torch.where(lowest, 0.0, (below - first.loc).sigmoid())
        more = torch.where(highest, 0.0, (first.loc - above).sigmoid())
        information = (1 - first.probabilities().pow(3).sum(-1)).clamp_min(0) / 3
        return self.loc.flatten(2), (less - more).flatten(1), information.flatten(1)

    def _above(self) -> Tensor:
        """Return the probabilities of passing each threshold, (*batch, *event, k - 1)."""
        return (self.loc.unsqueeze(-1) - self.thresholds).sigmoid()

    def _around(self, value: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the thresholds above and below each value, and whether its level is the lowest,
        and the highest: then the nearest threshold stands for the one that there is not.
        """
        shape = torch.broadcast_shapes(value.shape, self.loc.shape)
        index = value.long().expand(shape).unsqueeze(-1)
        table = self.thresholds.expand(*shape, self.levels - 1)
        last = self.levels - 2
        above = table.gather(-1, index.clamp_max(last)).squeeze(-1)
        below = table.gather(-1, (index - 1).clamp_min(0)).squeeze(-1)
        index = index.squeeze(-1)
        return above, below, index == 0, index == self.levels - 1
