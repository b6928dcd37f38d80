"""What likelihoods of levels have in common, whose values are indices of one of k."""

from __future__ import annotations

__all__ = ["Levels", "frequencies"]

import torch
from torch import Tensor

from ..integers import integer
from .base import Likelihood, of_values
from .noise import Noise


class Levels(Likelihood):
    """Abstract likelihood of values each of which is the index of one of k levels.

    Arguments:
        shape: The shape of one example.
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
        self.shape = self.in_shape = of_values(shape)
        self.levels = integer("levels", levels, 2, "Leave out what never varies.")
        self.expects = f"the index of a level, 0 to {self.levels - 1}"

    def noise(self) -> Noise:
        """Return that there is none besides the choice of a level."""
        return Noise("none", f"{type(self).__name__.lower()} of {self.levels} levels")

    def possible(self, x: Tensor) -> Tensor:
        """Return which values are indices of a level, or missing."""
        return x.isnan() | ((x >= 0) & (x < self.levels) & (x == x.floor()))


def frequencies(x: Tensor, levels: int) -> Tensor:
    """Return how frequent each level is among the values of rows x (n, *shape) that are there, as
    if one further row had held all levels in equal parts: of shape (*shape, levels), in float64.
    """
    columns = x.flatten(1).T
    counts = [torch.bincount(c[~c.isnan()].long(), minlength=levels) for c in columns]
    share = torch.stack(counts).double() + 1 / levels
    return (share / share.sum(1, keepdim=True)).reshape(*x.shape[1:], levels)
