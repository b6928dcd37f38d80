r"""Rows whose columns are of different kinds.

.. math:: \log p(x) = \sum_j \log p_j(x_j)
"""

from __future__ import annotations

__all__ = ["ByColumn", "Place"]

from collections.abc import Sequence

import torch
from torch import Tensor

from .drawing import draw
from .factorised import Factorised, slopes_of_observed

Place = slice | Tensor
"""Which columns a distribution is of: neighbours, or their numbers."""


class ByColumn(Factorised):
    """Independent columns: each distribution is that of some of them.

    Arguments:
        parts: Distributions of one batch shape, each of event shape (columns of it,).
        places: Which columns each is of.
        order: Where each column stands among those of all parts, one after another; None where
            that is its own place.
    """

    arg_constraints = {}  # noqa: RUF012 (the base class asks for a dict)

    def __init__(
        self, parts: Sequence[Factorised], places: Sequence[Place], order: Tensor | None = None
    ) -> None:
        self.parts, self.places, self.order, self.event_dim = parts, places, order, 1
        columns = sum(part.event_shape[0] for part in parts)
        super().__init__(parts[0].batch_shape, torch.Size((columns,)), validate_args=False)

    @property
    def mean(self) -> Tensor:
        """The mean of each column, of categories the most probable one, of shape (*batch, D)."""
        return self.joined([part.mean for part in self.parts])

    @property
    def mode(self) -> Tensor:
        """The most probable value of each column, of shape (*batch, D)."""
        return self.joined([part.mode for part in self.parts])

    @property
    def variance(self) -> Tensor:
        """The variance of each column, of shape (*batch, D)."""
        return self.joined([part.variance for part in self.parts])

    def probabilities(self, column: int) -> Tensor | None:
        """Return the probabilities of a column's levels, (*batch, levels); None where it has none.

        Arguments:
            column: Its number.
        """
        numbers = torch.arange(self.event_shape[0])
        for part, place in zip(self.parts, self.places, strict=True):
            at = place
            if isinstance(place, Tensor):
                at = place.cpu()
            mine = numbers[at].tolist()
            if column in mine and hasattr(part, "probabilities"):
                levels: Tensor = part.probabilities()
                return levels[..., mine.index(column), :]
        return None

    @torch.no_grad()
    def sample(
        self, sample_shape: Sequence[int] = (), generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw rows, of shape (*sample_shape, *batch, D)."""
        drawn = [draw(part, sample_shape, generator, gradients=False) for part in self.parts]
        return self.joined(drawn)

    def each(self, value: Tensor) -> Tensor:
        """Return the log-density or log-probability of each column, of value's and mean's shape."""
        return self.joined([part.each(x) for part, x in self.split(value)])

    def each_observed(self, value: Tensor) -> Tensor:
        """Return what `each` does, 0 where a value is missing."""
        return self.joined([part.each_observed(x) for part, x in self.split(value)])

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density of rows ``value`` (*sample, *batch, D), in nats."""
        parts = self.split(value)
        found = _log_prob(*parts[0], self.missing)
        for part, x in parts[1:]:
            found = found + _log_prob(part, x, self.missing)
        return found

    def local_quadratic(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor] | None:
        """Return what the parts do, one after another, with 0 where a value is missing; None where
        one of them does not say (see `Likelihood.local_quadratic`).
        """
        found = [slopes_of_observed(part, values) for part, values in self.split(x)]
        known = [one for one in found if one is not None]
        if len(known) < len(found):
            return None
        features, score, information = (torch.cat(each, -1) for each in zip(*known, strict=True))
        return features, score, information

    def split(self, value: Tensor) -> list[tuple[Factorised, Tensor]]:
        """Return each part, and its columns of ``value``."""
        return [(p, value[..., at]) for p, at in zip(self.parts, self.places, strict=True)]

    def joined(self, values: Sequence[Tensor]) -> Tensor:
        """Return the columns of all parts in the order of the table."""
        joined = torch.cat(list(values), -1)
        if self.order is None:
            return joined
        return joined[..., self.order]


def _log_prob(part: Factorised, x: Tensor, missing: bool) -> Tensor:
    """Return the log-density of some columns, or of those of their values that are there."""
    if missing:
        return part.log_prob_of_observed(x)
    found: Tensor = part.log_prob(x)
    return found
