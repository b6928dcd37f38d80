r"""Coin flips, whose logits the decoder outputs."""

from __future__ import annotations

__all__ = ["Bernoulli"]

from typing import Any

from torch import Tensor

from .. import distributions
from .base import Likelihood, of_values
from .noise import Noise


class Bernoulli(Likelihood):
    r""":math:`p(x \mid z) = \prod_i p_i^{x_i} (1 - p_i)^{1 - x_i}` for binary x;
    the decoder outputs logits.

    Arguments:
        shape: The shape of one example.
    """

    takes = "binary"
    density = False
    usual_variance = "none"
    usual_noise = "Zeros and ones have no noise besides their probabilities."
    measure = "probability"
    expects = "0 or 1"

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = self.in_shape = of_values(shape)

    def forward(self, h: Tensor) -> distributions.Bernoulli:
        """Map logits h, of shape (*batch, *shape), to p(x|z)."""
        return distributions.Bernoulli(h, len(self.shape))

    @classmethod
    def check(cls, x: Any) -> None:
        """Refuse values that are neither 0 nor 1.

        Raises:
            ValueError: There is one.
        """
        bad = ~((x == 0) | (x == 1) | (x != x))  # noqa: PLR0124 (NaN, of array or tensor)
        if bad.any():
            raise ValueError(
                f"likelihood='bernoulli' is for zeros and ones, but X holds {x[bad].ravel()[0]}. "
                "Binarise it, as in (X > threshold).astype('float32'), or use "
                "likelihood='gaussian'."
            )

    def possible(self, x: Tensor) -> Tensor:
        """Return which values are 0 or 1, or missing."""
        return x.isnan() | (x == 0) | (x == 1)

    def at_marginals(self, x: Tensor, left: Tensor | None = None) -> Tensor:
        """Return the logits of how frequent ones are, of shape ``shape``."""
        ones, zeros = ((x == value).sum(0).double() + 0.5 for value in (1, 0))
        return ones.log() - zeros.log()

    def noise(self) -> Noise:
        """Return that there is none besides the coin flips."""
        return Noise("none", type(self).__name__)
