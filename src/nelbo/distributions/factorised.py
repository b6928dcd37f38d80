r"""Distributions whose coordinates are independent, and what they say of rows with missing values.

A missing value is NaN. The marginal density of the values that are there leaves the factors of the
others out:

.. math:: \log p(x_O) = \sum_{i \in O} \log p(x_i)
"""

from __future__ import annotations

__all__ = ["Factorised", "Incomplete", "given_observed", "of_observed", "slopes_of_observed"]

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution


class Incomplete(Distribution):
    """Abstract distribution that can leave values out.

    Attributes:
        missing: Whether values may be missing. Where none may be, a log-density takes no look at
            its values, and is NaN where one of them is.
        fill: A value that there may be: what is computed in place of a missing one.
    """

    missing: bool = False
    fill: ClassVar[float] = 0.0

    def log_prob_of_observed(self, value: Tensor) -> Tensor:
        """Return the log-density of the coordinates of ``value`` that are there, in nats."""
        raise NotImplementedError(f"{type(self).__name__} cannot leave values out. Write how.")

    def given(self, value: Tensor) -> Distribution:
        """Return the distribution of rows (*batch, *event) whose values are there but for the
        missing ones (NaN): its mean, variance and draws of those are conditional on the others.
        """
        return self

    def local_quadratic(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor] | None:
        """Return what log p(x) is made of and how it bends there (see `Likelihood`); None where
        that is not known.
        """
        return None


class Factorised(Incomplete):
    """A distribution with independent coordinates: `each` is the log-density of every one."""

    event_dim: int

    def each(self, value: Tensor) -> Tensor:
        """Return the log-density of each coordinate of ``value``, of its and the mean's shape."""
        raise NotImplementedError(f"{type(self).__name__} has no `each`. Write one.")

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density of ``value`` (*sample, *batch, *event), in nats."""
        if self.missing:
            return self.log_prob_of_observed(value)
        return self.each(value).sum(tuple(range(-self.event_dim, 0)))

    def log_prob_of_observed(self, value: Tensor) -> Tensor:
        """Return the log-density of the coordinates of ``value`` that are there, in nats.

        Neither it nor its gradient is NaN; of a row without any value it is 0.
        """
        return self.each_observed(value).sum(tuple(range(-self.event_dim, 0)))

    def each_observed(self, value: Tensor) -> Tensor:
        """Return the log-density of each coordinate of ``value``, 0 where that is missing."""
        gone = value.isnan()
        return torch.where(gone, 0.0, self.each(value.masked_fill(gone, self.fill)))


def of_observed(p: Distribution) -> Distribution:
    """Return p(x|z) as a distribution of the values that are there.

    Raises:
        TypeError: p cannot leave values out.
    """
    if not isinstance(p, Incomplete):
        raise TypeError(
            f"x holds missing values, and p(x|z) is of type {type(p).__name__}, which cannot leave "
            "them out. Let the likelihood return a nelbo.distributions.Factorised, or fill in "
            "missing values first."
        )
    p.missing = True
    return p


def given_observed(p: Distribution, x: Tensor) -> Distribution:
    """Return p(x|z) given the values of rows x (*batch, *event) that are there.

    Raises:
        TypeError: p cannot leave values out.
    """
    of_observed(p)
    found: Distribution = p.given(x)  # type: ignore[attr-defined]
    return found


def slopes_of_observed(p: Distribution, x: Tensor) -> tuple[Tensor, Tensor, Tensor] | None:
    """Return ``p.local_quadratic(x)`` with a gradient and an information of 0 where a value is
    missing; None where p does not say (see `Likelihood.local_quadratic`).

    Its features are one number for each value, or several in turn, such as all means and then all
    widths.
    """
    known: Callable[[Tensor], tuple[Tensor, Tensor, Tensor] | None]
    known = getattr(p, "local_quadratic", lambda _: None)
    gone = x.isnan()
    if not bool(gone.any()):
        return known(x)
    found = known(x.masked_fill(gone, getattr(p, "fill", 0.0)))
    if found is None:
        return None
    features, score, information = found
    gone = gone.flatten(1).repeat(1, score.shape[1] // gone[0].numel())
    return features, score.masked_fill(gone, 0.0), information.masked_fill(gone, 0.0)
