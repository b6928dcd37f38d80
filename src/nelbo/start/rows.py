"""Which rows the start is found from."""

from __future__ import annotations

__all__ = ["Effort", "Readable", "enough_rows", "regressed"]

import math
from dataclasses import dataclass
from typing import Protocol, Self

from torch import Tensor

from ..linear import Chunks, Regression
from ..networks.paths import is_linear
from ..vae import VAE


class Readable(Chunks, Protocol):
    """Rows that are read when they are needed, all at once or a part at a time."""

    def __len__(self) -> int: ...
    def every(self, step: int, /) -> Self: ...
    def read(self) -> Tensor: ...
    def conditions(self) -> Tensor | None: ...


@dataclass(frozen=True)
class Effort:
    """How much the start may cost.

    Attributes:
        products: Products that the covariance of the closed-form start may take: 8,000 rows of 784
            features, 0.1 s.
        numbers: Numbers that may be read at once.
    """

    products: float = 5e9
    numbers: int = 2**24

    def enough(self, model: VAE, rows: Readable) -> Tensor | Readable:
        """Return the rows that the start is found from."""
        if not (is_linear(model.encoder) and is_linear(model.decoder)):
            products = len(rows) * math.prod(model.shape) ** 2
            rows = rows.every(math.ceil(products / self.products))
        if math.prod(rows.shape) > self.numbers:
            return rows
        return rows.read()

    def regressed(self, model: VAE, rows: Readable) -> tuple[Tensor, Regression | None]:
        """Return what a regression on c leaves of as many rows, and that regression."""
        if not (is_linear(model.encoder) and is_linear(model.decoder)):
            products = len(rows) * math.prod(model.shape) ** 2
            rows = rows.every(math.ceil(products / self.products))
        rows = rows.every(math.ceil(math.prod(rows.shape) / self.numbers))
        x, c = rows.read().flatten(1), rows.conditions()
        if c is None:
            return x, None
        found = Regression.of(x, c)
        return found.residual(x, c), found

    def some(self, rows: Readable) -> Tensor:
        """Return as many of the rows, evenly spaced, as may be read at once."""
        return rows.every(math.ceil(math.prod(rows.shape) / self.numbers)).read()


def regressed(model: VAE, rows: Readable) -> tuple[Tensor, Regression | None]:
    """Return what a linear regression on c leaves of training rows of p(x|c), flat and in float64,
    and the regression: the start is found from the former.

    Arguments:
        model: The model.
        rows: The training rows; of many, evenly spaced ones are taken.
    """
    return Effort().regressed(model, rows)


def enough_rows(model: VAE, rows: Readable) -> Tensor | Readable:
    """Return the training rows that the start is found from, evenly spaced, read in parts.

    Networks with a nonlinear path leave the start at once; of many wide rows some are enough for
    them.

    Arguments:
        model: The model.
        rows: The training rows.
    """
    return Effort().enough(model, rows)
