r"""What c says of x by a linear regression, and what that leaves.

.. math:: x = A (c - m) + r

With noise :math:`r \sim N(b, W W^\top + \Psi)` this is a linear model of p(x|c). Whatever the
noise, the maximum-likelihood A is that of least squares, since all values of x are regressed on the
same c (Zellner, 1962); so W and :math:`\Psi` are those of probabilistic PCA, or factor analysis, of
r.
"""

from __future__ import annotations

__all__ = ["Regression", "Residuals"]

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from ..brief import Brief
from .covariance import Chunks


@dataclass(frozen=True, eq=False, repr=False)
class Regression(Brief):
    """A linear regression of x on c, in float64.

    Attributes:
        slope: A, of shape (D, k).
        centre: m, the mean of c, of shape (k,).
    """

    slope: Tensor
    centre: Tensor

    @classmethod
    def of(cls, x: Tensor | Chunks, c: Tensor, together: int = 2**14) -> Self:
        """Return the regression of least squares; of many, that of the smallest slope. A value of x
        that is missing (NaN) has no part in that of its column.

        Arguments:
            x: Rows (n, D); or what reads them a part at a time.
            c: What each is conditioned on, (n, k).
            together: How many rows to read at once.
        """
        c = c.double().cpu()
        centre = c.mean(0)
        centred = c - centre
        products = torch.zeros(c.shape[1], x.shape[1], dtype=torch.float64)
        start = 0
        for part in x.split(together):
            products += centred[start : start + len(part)].T @ part.double().cpu()
            start += len(part)
        if bool(products.isnan().any()):
            return cls(_of_observed(x, centred, together), centre)
        # the numbers of one label add up to 1, so the matrix is singular as a rule
        inverse = torch.linalg.pinv(centred.T @ centred, hermitian=True, rtol=1e-10)
        return cls((inverse @ products).T, centre)

    def residual(self, x: Tensor, c: Tensor) -> Tensor:
        """Return r of rows (n, D) with their conditions (n, k), float64."""
        return x.double() - (c.double().to(x.device) - self.centre) @ self.slope.T


def _of_observed(x: Tensor | Chunks, c: Tensor, together: int) -> Tensor:
    """Return the slope (D, k) of each column of x by the rows in which it is there."""
    columns, width = x.shape[1], c.shape[1] + 1
    gram = torch.zeros(columns, width, width, dtype=torch.float64)
    products, start = torch.zeros(columns, width, dtype=torch.float64), 0
    for part in x.split(together):
        y = part.double().cpu()
        read = torch.cat([c[start : start + len(y)], c.new_ones(len(y), 1)], 1)
        there = (~y.isnan()).double()
        gram += torch.einsum("nd,nj,nk->djk", there, read, read)
        products += y.nan_to_num(0.0).T @ read
        start += len(y)
    inverse = torch.linalg.pinv(gram, hermitian=True, rtol=1e-10)
    slope: Tensor = (inverse @ products[..., None])[:, :-1, 0]
    return slope


class Residuals:
    """Rows (n, D) less what c says of them, read a part at a time.

    Arguments:
        x: The rows.
        c: What each is conditioned on, (n, k).
        regression: What c says of x.
    """

    dtype = torch.float64
    device = torch.device("cpu")

    def __init__(self, x: Tensor | Chunks, c: Tensor, regression: Regression) -> None:
        self.x, self.c, self.regression = x, c, regression

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of rows, and of values in each."""
        return tuple(self.x.shape)

    def split(self, size: int) -> Iterator[Tensor]:
        """Go through the rows, ``size`` at a time."""
        start = 0
        for part in self.x.split(size):
            yield self.regression.residual(part.cpu(), self.c[start : start + len(part)])
            start += len(part)
