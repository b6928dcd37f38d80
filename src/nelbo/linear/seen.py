r"""The rows that EM of a mixture looks at: complete ones, and ones of which values are missing.

Under the normal of component k, what is missing from a row given what is there is normal as well
(Little & Rubin, 2002, section 11.3; of mixtures: Ghahramani & Jordan, 1994):

.. math:: E[x_M \mid x_O, k] = \mu_M + C_{MO} C_{OO}^{-1} (x_O - \mu_O), \quad
    \operatorname{Cov}[x_M \mid x_O, k] = C_{MM} - C_{MO} C_{OO}^{-1} C_{OM}

so that the moments that EM needs are those of the rows filled in, and these covariances.
"""

from __future__ import annotations

__all__ = ["Complete", "Incomplete", "seen"]

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from .covariance import moments
from .model import CHUNK_ELEMENTS


@dataclass(frozen=True, eq=False)
class Complete:
    """Rows of which no value is missing.

    Attributes:
        x: The rows, (n, D), float64.
    """

    x: Tensor

    def __len__(self) -> int:
        return len(self.x)

    @cached_property
    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean (D,) and covariance (D, D) of all rows."""
        return moments(self.x)

    def log_joint(self, share: Tensor, mean: Tensor, covariance: Tensor) -> Tensor:
        """Return log(share N(x | mean, covariance)) of each row and component, (n, K).

        Arguments:
            share: That of each component, (K,).
            mean: That of each component, (K, D).
            covariance: That of each component, (K, D, D).
        """
        components, features = mean.shape
        triangle = torch.linalg.cholesky(covariance)
        identity = torch.eye(features, dtype=torch.float64, device=self.x.device)
        inverse = torch.linalg.solve_triangular(triangle, identity.expand_as(triangle), upper=False)
        log_det = triangle.diagonal(dim1=1, dim2=2).log().sum(1)
        constant = share.log() - log_det - 0.5 * features * math.log(2 * math.pi)
        joint = self.x.new_empty(components, len(self.x))
        for k in range(components):
            joint[k] = ((self.x - mean[k]) @ inverse[k].T).square_().sum(1)
        found: Tensor = constant - 0.5 * joint.T
        return found

    def filled(self) -> Tensor:
        """Return the rows, (n, D)."""
        return self.x

    def shared(self, share: Tensor, mean: Tensor, covariance: Tensor) -> _SharedComplete:
        """Return the rows as components share them.

        Arguments:
            share: Which share of each row is of which component, (n, K).
            mean, covariance: The components, which say what is missing.
        """
        return _SharedComplete(self.x, share)


@dataclass(frozen=True, eq=False)
class _SharedComplete:
    """Complete rows (n, D) as components share them, (n, K)."""

    x: Tensor
    share: Tensor

    @property
    def total(self) -> Tensor:
        """The sum of the rows of each component, (K, D)."""
        return self.share.T @ self.x

    def scatter(self, onto: Tensor, centre: Tensor) -> None:
        """Add what the rows of each component scatter around its centre (K, D) onto matrices
        (K, D, D).
        """
        for k, part in enumerate(onto):
            centred = self.x - centre[k]
            part.addmm_((self.share[:, k, None] * centred).T, centred)


@dataclass(frozen=True, eq=False)
class _Group:
    """Rows of which as many values are there.

    Attributes:
        rows: Which of all rows they are, (r,).
        at: Which values are there, (r, m).
        x: Those, (r, m).
    """

    rows: Tensor
    at: Tensor
    x: Tensor

    def __getitem__(self, some: Tensor) -> _Group:
        return _Group(self.rows[some], self.at[some], self.x[some])

    def split(self, size: int) -> Iterator[_Group]:
        """Yield so many of them at a time."""
        for some in torch.arange(len(self.rows)).split(size):
            yield self[some]

    def of(self, covariance: Tensor) -> Tensor:
        """Return what is of the values that are there, (..., r, m, m), of one matrix (..., D, D)
        for all of them.
        """
        return covariance[..., self.at[:, :, None], self.at[:, None, :]]

    def each_of(self, covariance: Tensor) -> Tensor:
        """Return what is of the values that are there, (r, m, m), of a matrix (r, D, D) for
        each.
        """
        number = torch.arange(len(self.rows))[:, None, None]
        return covariance[number, self.at[:, :, None], self.at[:, None, :]]


@dataclass(frozen=True, eq=False)
class Incomplete:
    """Rows of which values are missing.

    Attributes:
        x: The rows, (n, D), float64, in which a missing value is NaN.
        least: The share of a row below which a component does not look at it.
    """

    x: Tensor
    least: float = 1e-4

    def __len__(self) -> int:
        return len(self.x)

    @cached_property
    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean (D,) and covariance (D, D) of all rows, and of what is missing from them."""
        return moments(self.x)

    @cached_property
    def _groups(self) -> list[_Group]:
        """The rows by how many of their values are there: small matrices where these are few."""
        there = ~self.x.isnan()
        counts = there.sum(1)
        order = (~there).to(torch.uint8).argsort(dim=1, stable=True)
        found = []
        for count in counts.unique().tolist():
            rows = (counts == count).nonzero()[:, 0]
            at = order[rows, :count]
            found.append(_Group(rows, at, self.x[rows[:, None], at]))
        return found

    def log_joint(self, share: Tensor, mean: Tensor, covariance: Tensor) -> Tensor:
        """Return log(share N(x_O | mean_O, covariance_OO)) of what is there, for each row and
        component, (n, K); the arguments are those of `Complete.log_joint`.
        """
        found = self.x.new_empty(len(mean), len(self.x))
        for group in self._groups:
            for part in group.split(_together(len(mean) * group.at.shape[1] ** 2)):
                triangle = torch.linalg.cholesky(part.of(covariance))
                centred = part.x - mean[:, part.at]
                scaled = torch.linalg.solve_triangular(triangle, centred[..., None], upper=False)
                square = scaled[..., 0].square().sum(-1)
                log_det = 2 * triangle.diagonal(dim1=-2, dim2=-1).log().sum(-1)
                constant = part.at.shape[1] * math.log(2 * math.pi)
                found[:, part.rows] = -0.5 * (square + log_det + constant)
        return share.log() + found.T

    def filled(self) -> Tensor:
        """Return the rows with what is missing as one normal of all rows expects it, (n, D)."""
        mean, covariance = self.moments
        covariance = covariance + 1e-6 * torch.diag(covariance.diagonal().clamp_min(1e-300))
        one = self.x.new_ones(len(self.x), 1)
        total = self.x.new_zeros(self.x.shape)
        for part, of in self._shared(one):
            triangle = torch.linalg.cholesky(part.of(covariance))
            total[part.rows] = _expected(part, of, triangle, mean[None], covariance[None])
        return total

    def shared(self, share: Tensor, mean: Tensor, covariance: Tensor) -> _SharedIncomplete:
        """Return the rows as components share them, what is missing as each expects it; the
        arguments are those of `Complete.shared`.
        """
        counts, total = torch.zeros_like(share[0]), torch.zeros_like(mean)
        spread, precision = torch.zeros_like(covariance), torch.zeros_like(covariance)
        for part, of in self._shared(share):
            weight = share[part.rows, of]
            counts.index_add_(0, of, weight)
            triangle = torch.linalg.cholesky(part.each_of(covariance[of]))
            centred = _expected(part, of, triangle, mean, covariance) - mean[of]
            total.index_add_(0, of, weight[:, None] * centred)
            for k, some in _by_component(of):
                spread[k].addmm_((weight[some, None] * centred[some]).T, centred[some])
            inverse = weight[:, None, None] * torch.cholesky_inverse(triangle)
            where = (of[:, None, None], part.at[:, :, None], part.at[:, None, :])
            precision.index_put_(where, inverse, accumulate=True)
        # what is missing has the covariance of all values, less what those that are there say of it
        spread += counts[:, None, None] * covariance - covariance @ precision @ covariance
        return _SharedIncomplete(counts, mean, total, spread)

    def _shared(self, share: Tensor) -> Iterator[tuple[_Group, Tensor]]:
        """Yield rows, each as often as components have a share of it, and which component, (r,)."""
        for group in self._groups:
            number, of = (share[group.rows] >= self.least).nonzero(as_tuple=True)
            size = _together(self.x.shape[1] ** 2)
            for some, k in zip(number.split(size), of.split(size), strict=True):
                yield group[some], k


@dataclass(frozen=True, eq=False)
class _SharedIncomplete:
    """Incomplete rows as components share them.

    Attributes:
        counts: How many rows each component has, (K,).
        about: A point of each, (K, D).
        from_there: The sum of the rows of each, less that point, (K, D).
        spread: What they scatter around it, (K, D, D).
    """

    counts: Tensor
    about: Tensor
    from_there: Tensor
    spread: Tensor

    @property
    def total(self) -> Tensor:
        """The sum of the rows of each component, (K, D)."""
        return self.from_there + self.counts[:, None] * self.about

    def scatter(self, onto: Tensor, centre: Tensor) -> None:
        """Add what the rows of each component scatter around its centre (K, D), and the covariance
        of what is missing, onto matrices (K, D, D).
        """
        move = centre - self.about
        crossed = self.from_there[:, :, None] * move[:, None, :]
        onto += self.spread - crossed - crossed.mT
        onto += self.counts[:, None, None] * move[:, :, None] * move[:, None, :]


def _expected(
    part: _Group, of: Tensor, triangle: Tensor, mean: Tensor, covariance: Tensor
) -> Tensor:
    """Return E[x | x_O, k] of rows, (r, D).

    Arguments:
        part: The rows.
        of: The component of each, (r,).
        triangle: The Cholesky factor of the covariance of what is there, (r, m, m).
        mean, covariance: The components.
    """
    own = covariance[of]
    centred = part.x - mean[of[:, None], part.at]
    slope = torch.zeros_like(own[..., 0])
    slope.scatter_(1, part.at, torch.cholesky_solve(centred[..., None], triangle)[..., 0])
    found = mean[of] + (own @ slope[..., None])[..., 0]
    return found.scatter_(1, part.at, part.x)


def _by_component(of: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Yield each component that is there, and the numbers of its rows."""
    order, components = of.argsort(), int(of.max()) + 1 if len(of) else 0
    sizes = torch.bincount(of, minlength=components).tolist()
    for k, some in enumerate(order.split(sizes)):
        if len(some):
            yield k, some


def _together(numbers: int) -> int:
    """Return how many rows are looked at at once, where each needs so many numbers."""
    return max(1, CHUNK_ELEMENTS // max(1, numbers))


def seen(x: Tensor) -> Complete | Incomplete:
    """Return rows (n, D) as EM looks at them."""
    x = x.double()
    if bool(x.isnan().any()):
        return Incomplete(x)
    return Complete(x)
