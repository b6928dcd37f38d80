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

    def sums(self, share: Tensor, mean: Tensor, covariance: Tensor) -> Tensor:
        """Return the sum of the rows of each component, (K, D).

        Arguments:
            share: Which share of each row is of which component, (n, K).
            mean, covariance: The components, which say what is missing.
        """
        return share.T @ self.x

    def scatter(
        self, onto: Tensor, share: Tensor, centre: Tensor, mean: Tensor, covariance: Tensor
    ) -> None:
        """Add what the rows of each component scatter around its new centre (K, D) onto matrices
        (K, D, D); the other arguments are those of `sums`.
        """
        for k, part in enumerate(onto):
            centred = self.x - centre[k]
            part.addmm_((share[:, k, None] * centred).T, centred)


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

    def log_joint(self, share: Tensor, mean: Tensor, covariance: Tensor) -> Tensor:
        """Return log(share N(x_O | mean_O, covariance_OO)) of what is there, for each row and
        component, (n, K); the arguments are those of `Complete.log_joint`.
        """
        parts = []
        for x in self.x.split(self._together(covariance.numel())):
            there = ~x.isnan()[:, None].expand(-1, len(mean), -1)
            triangle = _triangle(covariance, there)
            centred = (x[:, None] - mean).nan_to_num(0.0)
            scaled = torch.linalg.solve_triangular(triangle, centred[..., None], upper=False)
            log_det = 2 * triangle.diagonal(dim1=-2, dim2=-1).log().sum(-1)
            constant = there.sum(-1) * math.log(2 * math.pi)
            parts.append(-0.5 * (scaled[..., 0].square().sum(-1) + log_det + constant))
        return share.log() + torch.cat(parts)

    def filled(self) -> Tensor:
        """Return the rows with what is missing as one normal of all rows expects it, (n, D)."""
        mean, covariance = self.moments
        covariance = covariance + 1e-6 * torch.diag(covariance.diagonal().clamp_min(1e-300))
        one = self.x.new_ones(len(self.x), 1)
        rows, _, found = self._expected(one, mean[None], covariance[None])
        return self.x.new_zeros(self.x.shape).index_add_(0, rows, found)

    def sums(self, share: Tensor, mean: Tensor, covariance: Tensor) -> Tensor:
        """Return the sum of the rows of each component with what it expects where values are
        missing, (K, D); the arguments are those of `Complete.sums`.
        """
        rows, of, found = self._expected(share, mean, covariance)
        return torch.zeros_like(mean).index_add_(0, of, share[rows, of, None] * found)

    def scatter(
        self, onto: Tensor, share: Tensor, centre: Tensor, mean: Tensor, covariance: Tensor
    ) -> None:
        """Do what `Complete.scatter` does, of rows filled in, and add the covariance that what is
        missing has.
        """
        rows, of, found = self._expected(share, mean, covariance)
        order, sizes = of.argsort(), torch.bincount(of, minlength=len(mean)).tolist()
        centred = (found - centre[of])[order].split(sizes)
        weights = share[rows, of][order].split(sizes)
        for part, values, weight in zip(onto, centred, weights, strict=True):
            part.addmm_((weight[:, None] * values).T, values)
        onto += self._spread(share, covariance)

    def _expected(
        self, share: Tensor, mean: Tensor, covariance: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return E[x | x_O, k] of each row for each component that has a share of it: their
        numbers, both (m,), and the rows, (m, D).
        """
        rows, of = (share >= self.least).nonzero(as_tuple=True)
        parts = []
        size = self._together(covariance[0].numel())
        for n, k in zip(rows.split(size), of.split(size), strict=True):
            x = self.x[n]
            there = ~x.isnan()
            centred = (x - mean[k]).nan_to_num(0.0)
            slope = torch.cholesky_solve(centred[..., None], _triangle(covariance, there, k))
            expected = mean[k] + (covariance[k] @ slope)[..., 0]
            parts.append(torch.where(there, x, expected))
        return rows, of, torch.cat(parts)

    def _spread(self, share: Tensor, covariance: Tensor) -> Tensor:
        """Return the sum of Cov[x | x_O, k] over the rows of each component, (K, D, D)."""
        rows, of = (share >= self.least).nonzero(as_tuple=True)
        total = torch.zeros_like(covariance)
        size = self._together(covariance[0].numel())
        for n, k in zip(rows.split(size), of.split(size), strict=True):
            there = ~self.x[n].isnan()
            precision = torch.cholesky_inverse(_triangle(covariance, there, k))
            precision *= (there[:, :, None] & there[:, None, :]) * share[n, k, None, None]
            total.index_add_(0, k, precision)
        looked_at = torch.zeros(len(covariance), dtype=torch.float64, device=of.device)
        looked_at.index_add_(0, of, share[rows, of])
        return looked_at[:, None, None] * covariance - covariance @ total @ covariance

    def _together(self, numbers: int) -> int:
        """Return how many rows are looked at at once, where each needs so many numbers."""
        return max(1, CHUNK_ELEMENTS // numbers)


def seen(x: Tensor) -> Complete | Incomplete:
    """Return rows (n, D) as EM looks at them."""
    x = x.double()
    if bool(x.isnan().any()):
        return Incomplete(x)
    return Complete(x)


def _triangle(covariance: Tensor, there: Tensor, of: Tensor | None = None) -> Tensor:
    """Return the Cholesky factor of each covariance of what is there, and 1 on the diagonal where
    nothing is.

    Arguments:
        covariance: Of each component, (K, D, D).
        there: Whether each value is, (n, K, D), or (n, D) where ``of`` says of which component.
        of: The component of each row, (n,); None is every one.
    """
    if of is not None:
        covariance = covariance[of]
    both = there[..., :, None] & there[..., None, :]
    some = torch.where(both, covariance, 0.0)
    some.diagonal(dim1=-2, dim2=-1).add_((~there).to(some.dtype))
    found: Tensor = torch.linalg.cholesky(some)
    return found
