r"""Categories, whose logits the decoder outputs."""

from __future__ import annotations

__all__ = ["Categorical", "frequencies", "level_count"]

import numbers
from typing import Any

import torch
from torch import Tensor

from .. import distributions
from .base import Likelihood, of_values
from .noise import Noise


class Categorical(Likelihood):
    r""":math:`p(x \mid z) = \prod_i \operatorname{softmax}(h_i)_{x_i}`: each value is the index of
    one of k levels.

    Arguments:
        shape: The shape of one example. The decoder outputs k logits for each value.
        levels: How many levels k there are, at least 2.

    Raises:
        TypeError: ``levels`` is no integer.
        ValueError: It is less than 2, or ``shape`` is ().
    """

    takes = "levels"
    density = False
    measure = "probability"

    def __init__(self, shape: tuple[int, ...], levels: int) -> None:
        super().__init__()
        self.shape, self.levels = of_values(shape), level_count(levels)
        self.in_shape = (*self.shape, self.levels)
        self.expects = f"the index of a level, 0 to {self.levels - 1}"

    def forward(self, h: Tensor) -> distributions.Categorical:
        """Map logits h, of shape (*batch, *shape, levels), to p(x|z)."""
        return distributions.Categorical(h, len(self.shape))

    def noise(self) -> Noise:
        """Return that there is none besides the choice of a level."""
        return Noise("none", f"categorical of {self.levels} levels")

    def possible(self, x: Tensor) -> Tensor:
        """Return which values are indices of a level, or missing."""
        return x.isnan() | ((x >= 0) & (x < self.levels) & (x == x.floor()))

    def reading(self) -> dict[str, Any]:
        """Return that a network is to tell levels apart."""
        return {"as": "levels", "levels": self.levels}

    def at_marginals(self, x: Tensor, left: Tensor | None = None) -> Tensor:
        """Return the logarithms of how frequent the levels are, of shape (*shape, levels)."""
        return frequencies(x, self.levels).log()


def level_count(levels: Any) -> int:
    """Return a number of levels.

    Raises:
        TypeError: It is no integer.
        ValueError: It is less than 2.
    """
    if not isinstance(levels, numbers.Integral) or isinstance(levels, bool):
        raise TypeError(f"levels must be an integer, got {levels!r}.")
    if levels < 2:
        raise ValueError(f"levels must be at least 2, got {levels}. Leave out what never varies.")
    return int(levels)


def frequencies(x: Tensor, levels: int) -> Tensor:
    """Return how frequent each level is among the values of rows x (n, *shape) that are there, as
    if one further row had held all levels in equal parts: of shape (*shape, levels), in float64.
    """
    columns = x.flatten(1).T
    counts = [torch.bincount(c[~c.isnan()].long(), minlength=levels) for c in columns]
    share = torch.stack(counts).double() + 1 / levels
    return (share / share.sum(1, keepdim=True)).reshape(*x.shape[1:], levels)
