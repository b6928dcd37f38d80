r"""Categories, whose logits the decoder outputs."""

from __future__ import annotations

__all__ = ["Categorical"]

from typing import Any

from torch import Tensor

from .. import distributions
from .levels import Levels, frequencies


class Categorical(Levels):
    r""":math:`p(x \mid z) = \prod_i \operatorname{softmax}(h_i)_{x_i}`: each value is the index of
    one of k levels.

    Arguments:
        shape: The shape of one example. The decoder outputs k logits for each value.
        levels: How many levels k there are, at least 2.

    Raises:
        TypeError: ``levels`` is no integer.
        ValueError: It is less than 2, or ``shape`` is ().
    """

    def __init__(self, shape: tuple[int, ...], levels: int) -> None:
        super().__init__(shape, levels)
        self.in_shape = (*self.shape, self.levels)

    def forward(self, h: Tensor) -> distributions.Categorical:
        """Map logits h, of shape (*batch, *shape, levels), to p(x|z)."""
        return distributions.Categorical(h, len(self.shape))

    def reading(self) -> dict[str, Any]:
        """Return that a network is to tell levels apart."""
        return {"as": "levels", "levels": self.levels}

    def at_marginals(self, x: Tensor, left: Tensor | None = None) -> Tensor:
        """Return the logarithms of how frequent the levels are, of shape (*shape, levels)."""
        return frequencies(x, self.levels).log()
