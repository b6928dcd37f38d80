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

__all__ = ["Axes", "mix", "mixed_variance", "root_of", "shrinkage", "unmix"]

Matrix = npt.NDArray[np.float64]

FLOOR = 1e-6
"""Least eigenvalue of the correlation matrix, relative to the largest:
copies of a column are left at that.
"""
LEFT, LEFT_OF_ALL = 0.01, 0.015
"""Share of the variance along its axes that reconstructions from z leave out at the start: R^2 has
to stay within 0.02 of PCA's. The second where z has an axis for every column, so that there is no
other noise: on other splits than those reported, the first cost a table of five columns 0.2
nats."""
LEAST_SHARE, LEAST_SHARE_OF_ALL, LARGEST_SHARE = 0.05, 0.1, 0.9
"""Of the variance along one axis that is noise. Less, and t would have standard deviations far from
1, which networks learn badly from; more, and no gradient would lead z out of its silence."""
SHARES = (0.0, 0.01, 0.03, 0.1, 0.3)
"""Of the correlations that may be taken away."""
FOLDS = 5
SURE = 1.0
"""Standard errors by which shrinking must predict better:
rows far from all others could decide otherwise.
"""
MOST_VALUES = 2**22
"""Of larger tables the correlations are known well enough,
and the comparison would take a copy of them.
"""


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
        values = values.clamp_min(FLOOR * float(values.max()))
        found = (np.ascontiguousarray(part.numpy()) for part in (values.flip(0), vectors.flip(1)))
        values, vectors = found
        left, least = (
            (LEFT, LEAST_SHARE) if latent_dim < len(values) else (LEFT_OF_ALL, LEAST_SHARE_OF_ALL)
        )
        return cls(values, vectors, _noise_shares(values[:latent_dim], left, least))

    @property
    def root(self) -> Matrix:
        """R, the symmetric root of what is noise at the start, (D, D)."""
        variance = self.values.copy()
        variance[: len(self.noise)] *= self.noise
        found: Matrix = self.vectors * np.sqrt(variance) @ self.vectors.T
        return (found + found.T) / 2

    @property
    def weight(self) -> Matrix:
        """What z is multiplied by at the start, in units of t, (D, min(q, D))."""
        found: Matrix = self.vectors[:, : len(self.noise)] * np.sqrt(1 / self.noise - 1)
        return found


def _noise_shares(values: Matrix, left: float, least: float) -> Matrix:
    """Return the share of noise along axes of these variances (q,):
    one noise level for all, as PCA has it.

    The level is the largest at which reconstructions E[x | E[z | x]], which leave out rho^2 of the
    variance along an axis, leave out a given share of all. Axes along which rows vary little thus
    say less to z than those along which they vary much: distances between rows stay about what they
    are.
    """

    def shares(level: float) -> Matrix:
        return np.clip(level / values, least, LARGEST_SHARE)

    low, high = 0.0, float(values.max(initial=0.0))
    for _ in range(60):  # bisection, to the last bit
        middle = (low + high) / 2
        if float(values @ shares(middle) ** 2) > left * float(values.sum()):
            high = middle
        else:
            low = middle
    return shares(low)


def _correlation(flat: npt.NDArray[Any], shift: Matrix, scale: Matrix) -> Tensor:
    """Return the mean of t t^T over standardised rows (n, D), shrunk where that predicts better."""
    total = torch.zeros(flat.shape[1], flat.shape[1], dtype=torch.float64)
    for rows in chunks(len(flat), flat.shape[1], 2**20):
        t = torch.from_numpy((flat[rows] - shift) / scale)
        total += t.T @ t
    correlation = total / len(flat)
    if len(flat) >= 2 * FOLDS and flat.size <= MOST_VALUES:
        share = shrinkage(torch.from_numpy((flat - shift) / scale), correlation)
        diagonal = correlation.diagonal().clone()
        correlation = (1 - share) * correlation
        correlation.diagonal().copy_(diagonal)
    return correlation


def _positive(correlation: Tensor) -> Tensor:
    """Return a correlation matrix in which a constant column is a column of unit variance,
    correlated with none.
    """
    correlation = correlation.clone()
    correlation.diagonal()[correlation.diagonal() == 0] = 1.0
    return correlation


def shrinkage(t: Tensor, correlation: Tensor) -> float:
    """Return which of the `SHARES` predicts standardised rows t (n, D) best that were left out.

    Only correlations are in question: a column counts with the variance it has in the rows it is
    predicted from, or else one rare value would decide for all others. A constant column counts for
    nothing.
    """
    varies = correlation.diagonal() > 0
    if not bool(varies.any()):
        return 0.0
    t, correlation = t[:, varies], correlation[varies][:, varies]
    order = np.random.default_rng(0).permutation(len(t))
    # its logarithm, up to a constant
    density = torch.zeros(len(SHARES), len(t), dtype=torch.float64)
    for fold in range(FOLDS):
        held = t[order[fold::FOLDS]]
        rest = (len(t) * correlation - held.T @ held) / (len(t) - len(held))
        spread = rest.diagonal().clamp_min(FLOOR).sqrt()
        rest = rest / spread / spread[:, None]
        rest.diagonal().fill_(1.0)
        values, vectors = torch.linalg.eigh(rest)
        square = (held / spread @ vectors).square()
        for i, share in enumerate(SHARES):
            variance = ((1 - share) * values + share).clamp_min(FLOOR * float(values.max()))
            density[i, order[fold::FOLDS]] = -0.5 * (
                (square / variance).sum(1) + variance.log().sum()
            )
    best = int(torch.tensor([trimmed_mean(row - density[0])[0] for row in density]).argmax())
    gain, error = trimmed_mean(density[best] - density[0])
    return SHARES[best] if gain > SURE * error else 0.0


def root_of(correlation: Tensor) -> Matrix:
    """Return the root of a correlation or covariance matrix (D, D),
    symmetric and positive definite.
    """
    values, vectors = torch.linalg.eigh(_positive(correlation))
    values = values.clamp_min(FLOOR * float(values.max()))
    found: Matrix = (vectors * values.sqrt() @ vectors.T).numpy()
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
