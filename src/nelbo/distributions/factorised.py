r"""Distributions whose coordinates are independent, and what they say of rows with missing values.

A missing value is NaN. The marginal density of the values that are there leaves the factors of the
others out:

.. math:: \log p(x_O) = \sum_{i \in O} \log p(x_i)
"""

from __future__ import annotations

__all__ = ["Factorised", "of_observed"]

import torch
from torch import Tensor
from torch.distributions import Distribution


class Factorised(Distribution):
    """A distribution with independent coordinates: `each` is the log-density of every one.

    Attributes:
        missing: Whether values may be missing. Where none may be, a log-density takes no look at
            its values, and is NaN where one of them is.
    """

    event_dim: int
    missing: bool = False

    def each(self, value: Tensor) -> Tensor:
        """Return the log-density of each coordinate of ``value``, of its and the mean's shape."""
        raise NotImplementedError(f"{type(self).__name__} has no `each`. Write one.")

    def log_prob_of_observed(self, value: Tensor) -> Tensor:
        """Return the log-density of the coordinates of ``value`` that are there, in nats.

        Neither it nor its gradient is NaN; of a row without any value it is 0.
        """
        gone = value.isnan()
        found = self.each(value.masked_fill(gone, 0.0))
        return torch.where(gone, 0.0, found).sum(tuple(range(-self.event_dim, 0)))


def of_observed(p: Distribution) -> Distribution:
    """Return p(x|z) as a distribution of the values that are there.

    Raises:
        TypeError: The coordinates of p are not independent, or it does not tell them apart.
    """
    if not isinstance(p, Factorised):
        raise TypeError(
            f"x holds missing values, and p(x|z) is of type {type(p).__name__}, which cannot leave "
            "them out. Let the likelihood return a nelbo.distributions.Factorised, or fill in "
            "missing values first."
        )
    p.missing = True
    return p
