r"""Coin flips, whose logits the decoder outputs."""

from __future__ import annotations

__all__ = ["Bernoulli"]

from torch import Tensor

from .. import distributions
from .base import Likelihood, of_values


class Bernoulli(Likelihood):
    r""":math:`p(x \mid z) = \prod_i p_i^{x_i} (1 - p_i)^{1 - x_i}` for binary x; the decoder
    outputs logits.

    Arguments:
        shape: The shape of one example.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = self.in_shape = of_values(shape)

    def forward(self, h: Tensor) -> distributions.Bernoulli:
        """Map logits h, of shape (*batch, *shape), to p(x|z)."""
        return distributions.Bernoulli(h, len(self.shape))
