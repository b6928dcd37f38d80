r"""x = shift + scale * (R t) with R a symmetric root of the correlations that z is not to explain.

The correlation matrix of the columns is :math:`S = U \Lambda U^T`. Its first q principal axes are
left to z, but for a share :math:`\rho_i` of their variance; all else is noise from the start:

.. math::
    R = U \operatorname{diag}(\nu)^{1/2} U^T, \qquad \nu_i = \rho_i \lambda_i \; (i \le q), \quad
    \nu_i = \lambda_i \; (i > q)

In t that noise is N(0, I), and the linear model with the weights :math:`U_q (1/\rho - 1)^{1/2}` is
exactly N(m, S): it has every correlation, and z is what principal component analysis finds. R is
symmetric, so that t_j stays as close to column j as it can (Kessy, Lewin & Strimmer 2018): noise
that is independent in t is correlated in x as what z leaves is. Its Jacobian is counted, log |R|.

Correlations of few rows are too large and their smallest eigenvalues far too small. A share of each
is taken away where that predicts rows better that were left out (shrinkage towards no correlation:
Ledoit & Wolf 2004; its share by cross-validation, as their formula was worse than none on columns
that nearly are sums of others).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nelbo.data.moments import chunks
from nelbo.paired import trimmed_mean

__all__ = [
    "Axes",
    "NoiseShares",
    "Shrinkage",
    "mix",
    "mixed_variance",
    "root_of",
    "shrinkage",
    "unmix",
]

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True)
class NoiseShares:
    """How much of the variance along the axes of z is noise at the start.

    Attributes:
        left: The share of the variance along its axes that reconstructions from z leave out: R^2
            has to stay within 0.02 of PCA's.
        left_of_all: The same where z has an axis for every column, so that there is no other noise:
            on other splits than those reported, `left` cost a table of five columns 0.2 nats.
        least, least_of_all: The smallest share of noise along one axis, in both cases. With less, t
            would have standard deviations far from 1, from which networks learn badly.
        largest: The largest share: with more, no gradient would make z carry anything.
    """

    left: float = 0.01
    left_of_all: float = 0.015
    least: float = 0.05
    least_of_all: float = 0.1
    largest: float = 0.9

    def __call__(self, values: Matrix, latent_dim: int) -> Matrix:
        """Return the share of noise along the first axes: one noise level for all, as in PCA.

        The level is the largest at which reconstructions E[x | E[z | x]], which leave out rho^2 of
        the variance along an axis, leave out a given share of all. Axes along which rows vary
        little thus say less to z than those along which they vary much: distances between rows
        stay about what they are.

        Arguments:
            values: The variances along all axes, descending, (D,).
            latent_dim: The number of axes that z has.

        Returns:
            rho, (min(latent_dim, D),).
        """
        left, least = self.left, self.least
        if latent_dim >= len(values):
            left, least = self.left_of_all, self.least_of_all
        values = values[:latent_dim]

        def shares(level: float) -> Matrix:
            return np.clip(level / values, least, self.largest)

        low, high = 0.0, float(values.max(initial=0.0))
        for _ in range(60):  # bisection, to the last bit
            middle = (low + high) / 2
            if float(values @ shares(middle) ** 2) > left * float(values.sum()):
                high = middle
            else:
                low = middle
        return shares(low)


@dataclass(frozen=True)
class Shrinkage:
    """How the share of the correlations is chosen that is taken away.

    Attributes:
        shares: The shares that are compared; the first is none.
        folds: The parts of the rows of which each is predicted from all others.
        sure: The standard errors by which shrinking must predict better: otherwise rows far from
            all others could decide.
        most_values: The size of a table above which its correlations are known well enough; the
            comparison takes a copy of it.
        floor: The smallest eigenvalue, relative to the largest, and the smallest variance.
    """

    shares: tuple[float, ...] = (0.0, 0.01, 0.03, 0.1, 0.3)
    folds: int = 5
    sure: float = 1.0
    most_values: int = 2**22
    floor: float = 1e-6

    def deserved(self, rows: int, columns: int) -> bool:
        """Return whether a table of this size is compared at all."""
        return rows >= 2 * self.folds and rows * columns <= self.most_values

    def __call__(self, t: Tensor, correlation: Tensor) -> float:
        """Return the share that predicts standardised rows t (n, D) best that were left out.

        Only correlations are in question: a column counts with the variance it has in the rows it
        is predicted from, or else one rare value would decide for all others. A constant column
        counts for nothing.
        """
        varies = correlation.diagonal() > 0
        if not bool(varies.any()):
            return 0.0
        t, correlation = t[:, varies], correlation[varies][:, varies]
        order = np.random.default_rng(0).permutation(len(t))
        # its logarithm, up to a constant
        density = torch.zeros(len(self.shares), len(t), dtype=torch.float64)
        for fold in range(self.folds):
            rows = order[fold :: self.folds]
            held = t[rows]
            rest = (len(t) * correlation - held.T @ held) / (len(t) - len(held))
            density[:, rows] = self._log_density(held, rest)
        best = int(torch.tensor([trimmed_mean(row - density[0])[0] for row in density]).argmax())
        gain, error = trimmed_mean(density[best] - density[0])
        if gain > self.sure * error:
            return self.shares[best]
        return 0.0

    def _log_density(self, held: Tensor, covariance: Tensor) -> Tensor:
        """Return the log-density of rows (n, D) with each share taken away, (shares, n)."""
        spread = covariance.diagonal().clamp_min(self.floor).sqrt()
        correlation = covariance / spread / spread[:, None]
        correlation.diagonal().fill_(1.0)
        values, vectors = torch.linalg.eigh(correlation)
        square = (held / spread @ vectors).square()
        found = []
        for share in self.shares:
            variance = _floored((1 - share) * values + share, self.floor, values)
            found.append(-0.5 * ((square / variance).sum(1) + variance.log().sum()))
        return torch.stack(found)


@dataclass(frozen=True, eq=False)
class Axes:
    """The principal axes of standardised columns, and how much of each is noise.

    Attributes:
        values: Eigenvalues of the correlation matrix, descending, (D,).
        vectors: Its eigenvectors, one a column, (D, D).
        noise: rho, the share of the variance along the first axes that is noise, (min(q, D),).
    """

    values: Matrix
    vectors: Matrix
    noise: Matrix

    @classmethod
    def of(cls, flat: npt.NDArray[Any], shift: Matrix, scale: Matrix, latent_dim: int) -> Axes:
        """Find them for rows (n, D) in data units.

        Arguments:
            flat: Rows (n, D).
            shift, scale: What standardises them, (D,).
            latent_dim: q, how many axes are left to z; 0 makes all of it noise.
        """
        values, vectors = torch.linalg.eigh(_positive(_correlation(flat, shift, scale)))
        descending = (_floored(values).flip(0), vectors.flip(1))
        values, vectors = (np.ascontiguousarray(part.numpy()) for part in descending)
        return cls(values, vectors, NoiseShares()(values, latent_dim))

    @property
    def root(self) -> Matrix:
        """The symmetric root R of what is noise at the start, (D, D)."""
        variance = self.values.copy()
        variance[: len(self.noise)] *= self.noise
        found: Matrix = self.vectors * np.sqrt(variance) @ self.vectors.T
        return (found + found.T) / 2

    @property
    def weight(self) -> Matrix:
        """What z is multiplied by at the start, in units of t, (D, min(q, D))."""
        found: Matrix = self.vectors[:, : len(self.noise)] * np.sqrt(1 / self.noise - 1)
        return found


def _correlation(flat: npt.NDArray[Any], shift: Matrix, scale: Matrix) -> Tensor:
    """Return the mean of t t^T over standardised rows (n, D), shrunk where that predicts better."""
    total = torch.zeros(flat.shape[1], flat.shape[1], dtype=torch.float64)
    for rows in chunks(len(flat), flat.shape[1], 2**20):
        t = torch.from_numpy((flat[rows] - shift) / scale)
        total += t.T @ t
    correlation = total / len(flat)
    if Shrinkage().deserved(*flat.shape):
        share = shrinkage(torch.from_numpy((flat - shift) / scale), correlation)
        diagonal = correlation.diagonal().clone()
        correlation = (1 - share) * correlation
        correlation.diagonal().copy_(diagonal)
    return correlation


def _positive(correlation: Tensor) -> Tensor:
    """Return a correlation matrix in which a constant column has variance 1, and no correlation."""
    correlation = correlation.clone()
    correlation.diagonal()[correlation.diagonal() == 0] = 1.0
    return correlation


def _floored(values: Tensor, floor: float = 1e-6, among: Tensor | None = None) -> Tensor:
    """Return eigenvalues, none below a share of the largest: copies of a column are left at that.

    Arguments:
        values: The eigenvalues.
        floor: The share.
        among: The eigenvalues of which the largest counts; by default the same.
    """
    if among is None:
        among = values
    return values.clamp_min(floor * float(among.max()))


def shrinkage(t: Tensor, correlation: Tensor) -> float:
    """Return the share of the correlations to take away, as `Shrinkage` does by default."""
    return Shrinkage()(t, correlation)


def root_of(correlation: Tensor) -> Matrix:
    """Return the root of a correlation or covariance matrix (D, D),
    symmetric and positive definite.
    """
    values, vectors = torch.linalg.eigh(_positive(correlation))
    found: Matrix = (vectors * _floored(values).sqrt() @ vectors.T).numpy()
    return (found + found.T) / 2


def mix(t: Tensor, mixing: Matrix) -> Tensor:
    """Return R t of rows t (n, D), in float64."""
    return _product(t.double(), mixing)


def unmix(x: Tensor, mixing: Matrix) -> Tensor:
    """Return R^-1 x of standardised rows (n, D), in float64."""
    return _product(x.double(), np.asarray(np.linalg.inv(mixing), dtype=np.float64))


def _product(rows: Tensor, matrix: Matrix) -> Tensor:
    """Multiply rows (n, D) by a symmetric matrix, column by column:
    a row's result is the same whatever stands by.
    """
    total = torch.zeros_like(rows)
    for column, weights in zip(rows.T, torch.tensor(matrix), strict=True):
        total.addcmul_(column[:, None], weights)
    return total


def mixed_variance(variance: Matrix, mixing: Matrix) -> Matrix:
    """Return the diagonal of R diag(variance) R, of shape (D,),
    for one variance or one for each column of t.
    """
    found: Matrix = np.square(mixing) @ np.broadcast_to(variance, len(mixing))
    return found
