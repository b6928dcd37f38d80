"""x = shift + scale * (R t) with R the root of the correlation matrix: columns of t are uncorrelated.

R is symmetric, so that t_j stays as close to column j as uncorrelated columns can (Kessy, Lewin & Strimmer 2018). Noise
that is independent in t is correlated in x as the data are, and its Jacobian is counted: log |R|.

Correlations of few rows are too large and their smallest eigenvalues far too small. A share of each is taken away where
that predicts rows better that were left out (shrinkage towards no correlation: Ledoit & Wolf 2004; its share by
cross-validation, as their formula was worse than none on columns that nearly are sums of others).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nelbo.data.scaling import chunks

__all__ = ["mix", "mixed_variance", "root", "root_of", "shrinkage", "unmix"]

Matrix = npt.NDArray[np.float64]

FLOOR = 1e-6
"""Least eigenvalue of the correlation matrix, relative to the largest: copies of a column are left at that."""
SHARES = (0.0, 0.01, 0.03, 0.1, 0.3)
"""Of the correlations that may be taken away."""
FOLDS = 5
SURE = 1.0
"""Standard errors by which shrinking must predict better: rows far from all others could decide otherwise."""
MOST_VALUES = 2**22
"""Of larger tables the correlations are known well enough, and the comparison would take a copy of them."""


def root(flat: npt.NDArray[Any], shift: Matrix, scale: Matrix) -> Matrix:
    """Return R of rows (n, D), the root of the mean of t t^T, symmetric and positive definite, of shape (D, D)."""
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
    return root_of(correlation)


def shrinkage(t: Tensor, correlation: Tensor) -> float:
    """Return which of the `SHARES` predicts standardised rows t (n, D) best that were left out.

    Only correlations are in question: a column counts with the variance it has in the rows it is predicted from, or
    else one rare value would decide for all others. A constant column counts for nothing.
    """
    varies = correlation.diagonal() > 0
    t, correlation = t[:, varies], correlation[varies][:, varies]
    order = np.random.default_rng(0).permutation(len(t))
    density = torch.zeros(len(SHARES), len(t), dtype=torch.float64)  # its logarithm, up to a constant
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
            density[i, order[fold::FOLDS]] = -0.5 * ((square / variance).sum(1) + variance.log().sum())
    best = int(density.sum(1).argmax())
    gain = density[best] - density[0]
    return SHARES[best] if float(gain.mean()) > SURE * float(gain.std()) / math.sqrt(len(t)) else 0.0


def root_of(correlation: Tensor) -> Matrix:
    """Return the root of a correlation or covariance matrix (D, D), symmetric and positive definite."""
    correlation = correlation.clone()
    fixed = correlation.diagonal() == 0  # a constant column is left alone
    correlation.diagonal()[fixed] = 1.0
    values, vectors = torch.linalg.eigh(correlation)
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
    """Multiply rows (n, D) by a symmetric matrix, column by column: a row's result is the same whatever stands by."""
    total = torch.zeros_like(rows)
    for column, weights in zip(rows.T, torch.tensor(matrix), strict=True):
        total.addcmul_(column[:, None], weights)
    return total


def mixed_variance(variance: Matrix, mixing: Matrix) -> Matrix:
    """Return the diagonal of R diag(variance) R, of shape (D,), for one variance or one for each column of t."""
    found: Matrix = np.square(mixing) @ np.broadcast_to(variance, len(mixing))
    return found
