r"""Numbers some of which come up again and again, such as hours of work or capital gains: points of
their own, and a mixture of logistics for all else.
"""

from __future__ import annotations

__all__ = ["SpikeAndSlab"]

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from .. import distributions
from ..integers import integer
from .base import Likelihood, of_values
from .noise import Noise


class SpikeAndSlab(Likelihood):
    r"""Each number is one of P points or comes from one of K logistics; which, and where these are
    and how wide, depends on z.

    .. math:: p(x_i \mid z) = \sum_v \pi_v(z) \, [x_i = v] + \sum_k \pi_k(z) \, f\Bigl(\frac{x_i -
        m_k(z)}{s_k(z)}\Bigr)

    Columns of tables often have values that no smooth density gives: 40 hours of work a week, a
    capital gain of 0, an income that is cut off at 99,999; and several modes, besides. The name is
    that of Mitchell & Beauchamp (1988). On a grid, such as that of whole numbers, p(x|z) is a
    probability, with f that of a bin (Salimans et al., 2017).

    Arguments:
        shape: The shape of one example. The decoder outputs P + 3 K features for each value: logits
            of points and logistics, and then the means of these and the logarithms of their scales,
            both in units of the column's mean and spread.
        points: The numbers that have a probability of their own.
        components: How many logistics K there are.
        step: The distance of neighbours on the grid that all numbers are on; None is no grid.

    Raises:
        TypeError: ``components`` is no integer.
        ValueError: It is less than 1, the step is not positive, a point is not finite or is there
            twice, or ``shape`` is ().
    """

    least: ClassVar[float] = 1e-3
    """The smallest scale of a logistic, in units of the column's spread: a density that is narrower
    would be that of a point."""
    most: ClassVar[float] = 10.0
    """The greatest logarithm of a scale, likewise: what is wider is no number."""
    centre: Tensor
    spread: Tensor
    points: Tensor

    def __init__(
        self,
        shape: tuple[int, ...],
        points: Sequence[float] = (),
        components: int = 8,
        step: float | None = None,
    ) -> None:
        super().__init__()
        self.shape = of_values(shape)
        self.components = integer("components", components)
        self.step = step
        if step is not None and not 0 < step < math.inf:
            raise ValueError(f"step must be a positive number, or None, got {step!r}.")
        numbers = torch.tensor([float(point) for point in points])
        if not bool(numbers.isfinite().all()) or len(numbers.unique()) < len(numbers):
            raise ValueError(f"points must be different, finite numbers, got {list(points)}.")
        self.register_buffer("points", numbers, persistent=False)
        self.register_buffer("centre", torch.zeros(self.shape))
        self.register_buffer("spread", torch.ones(self.shape))
        self.in_shape = (*self.shape, len(numbers) + 3 * self.components)
        self.density = step is None
        self.measure = "probability"
        if step is None:
            self.measure = "density"
            if len(numbers):
                self.measure = "probability at points, density elsewhere"

    def forward(self, h: Tensor) -> distributions.SpikeAndSlab:
        """Map features h, of shape (*batch, *in_shape), to p(x|z)."""
        k = self.components
        logits, loc, raw = h.split([h.shape[-1] - 2 * k, k, k], -1)
        centre, spread = self.centre.to(h)[..., None], self.spread.to(h)[..., None]
        scale = spread * (raw.clamp_max(self.most).exp() + self.least)
        return distributions.SpikeAndSlab(
            logits, centre + spread * loc, scale, self.points.to(h), self.step, len(self.shape)
        )

    def noise(self) -> Noise:
        """Return that it depends on z."""
        return Noise("from z", "points and logistics")

    def reading(self) -> dict[str, Any]:
        """Return that a network is to read the number, and which of the points it is."""
        return {"as": "points", "points": self.points.tolist()}

    @torch.no_grad()
    def at_marginals(self, x: Tensor, left: Tensor | None = None) -> Tensor:
        """Take mean and spread of what is no point, and return the features of how frequent points
        are and of a mixture of logistics of all else, of shape ``in_shape``.
        """
        columns = x.flatten(1).double().T
        found = [self._marginal(column[~column.isnan()], at) for at, column in enumerate(columns)]
        return torch.stack(found).reshape(self.in_shape)

    def _marginal(self, column: Tensor, at: int) -> Tensor:
        """Return the features of one column, (P + 3 K,)."""
        spike = column[:, None].float() == self.points.float()
        rest = column[~spike.any(1)]
        if len(rest) < 2:
            rest = column
        centre, spread = 0.0, 1.0
        if len(rest):
            centre = float(rest.mean())
        if len(rest) > 1 and float(rest.std()) > 0:
            spread = float(rest.std())
        self.centre.view(-1)[at], self.spread.view(-1)[at] = centre, spread
        least = self.least
        if self.step is not None:
            least = max(least, 0.3 * self.step / spread)
        weight, loc, scale = distributions.fit_logistics(
            (rest - centre) / spread, self.components, least
        )
        # as if one further row had been of all in equal parts
        size = len(self.points) + self.components
        counts = torch.cat([spike.sum(0), weight * float((~spike.any(1)).sum())]) + 1 / size
        logits = counts.log() - counts.sum().log()
        return torch.cat([logits, loc, (scale - self.least).clamp_min(1e-6).log()])
