r"""Which values are missing, given z: what puts holes into rows that are drawn, as data have them.

.. math:: P(m = m_k \mid z) \propto e^{w_k^\top z + b_k} \quad\text{or}\quad
    P(m_j = 1 \mid z) = \sigma(w_j^\top z + b_j)

Where a few patterns of missing columns make up nearly all rows, these are drawn as wholes, by a
softmax; else each column by itself. It is a logistic regression on z ~ q(z|x) of training rows, and
no part of log p(x).
"""

from __future__ import annotations

__all__ = ["MissingGivenZ"]

import random
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..brief import Brief

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Limits:
    """How it is fitted.

    Attributes:
        patterns: How many patterns at most are drawn as wholes.
        covered: If they make up this share of the rows.
        fewest: Rows of a pattern, or missing values of a column, at least; of fewer only their
            frequency is known.
    """

    patterns: int = 50
    covered: float = 0.98
    fewest: int = 10


@dataclass(frozen=True, eq=False, repr=False)
class MissingGivenZ(Brief):
    """Which values of a row are missing, given its z.

    Attributes:
        patterns: Which columns are missing in each pattern, (P, D); or, where columns are drawn by
            themselves, (0, D).
        weight: Of z, (P, latent_dim) or (D, latent_dim).
        bias: The constant, (P,) or (D,).
    """

    patterns: npt.NDArray[np.bool_]
    weight: Array
    bias: Array

    @classmethod
    def of(
        cls,
        z: Array,
        missing: npt.NDArray[np.bool_],
        limits: Limits = Limits(),
    ) -> MissingGivenZ:
        """Fit it to rows.

        Arguments:
            z: A draw from q(z|x) of each row, (n, latent_dim).
            missing: Which values are missing, (n, D).
            limits: How it is fitted.
        """
        patterns, index, counts = np.unique(
            missing, axis=0, return_inverse=True, return_counts=True
        )
        index = index.ravel()
        order = np.argsort(-counts, kind="stable")[: limits.patterns]
        order = order[(counts[order] >= limits.fewest) | (np.arange(len(order)) == 0)]
        if counts[order].sum() < limits.covered * len(z):
            fitted = [_regression(z, column, limits) for column in missing.T]
            weight, bias = (np.stack(parts) for parts in zip(*fitted, strict=True))
            return cls(np.zeros((0, missing.shape[1]), dtype=np.bool_), weight, bias)
        place = np.full(len(counts), -1)
        place[order] = np.arange(len(order))
        label = place[index]
        weight, bias = _softmax(z[label >= 0], label[label >= 0], len(order))
        return cls(patterns[order], weight, bias)

    def draw(self, z: Tensor, generator: torch.Generator) -> npt.NDArray[np.bool_]:
        """Draw which values are missing, (n, D), for z (n, latent_dim)."""
        logits = z.double() @ torch.from_numpy(self.weight).T + torch.from_numpy(self.bias)
        if len(self.patterns):
            chosen = torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]
            found: npt.NDArray[np.bool_] = self.patterns[chosen.numpy()]
            return found
        uniform = torch.rand(logits.shape, generator=generator, dtype=torch.float64)
        return np.asarray((uniform < logits.sigmoid()).numpy())

    def to_tensors(self) -> dict[str, Tensor]:
        """Return its arrays as tensors, by name."""
        return {name: torch.from_numpy(np.array(value)) for name, value in vars(self).items()}

    @classmethod
    def from_tensors(
        cls, tensors: Mapping[str, Tensor], columns: int, latent_dim: int
    ) -> MissingGivenZ:
        """Restore it.

        Raises:
            ValueError: The tensors do not belong together.
        """
        patterns, weight, bias = (tensors[name].numpy() for name in ("patterns", "weight", "bias"))
        count = len(patterns) or columns
        fits = (
            patterns.dtype.name == "bool"
            and weight.dtype.name == bias.dtype.name == "float64"
            and patterns.shape == (len(patterns), columns)
            and weight.shape == (count, latent_dim)
            and bias.shape == (count,)
        )
        if not fits or not np.isfinite(weight).all() or not np.isfinite(bias).all():
            raise ValueError("patterns, weight and bias of missing values do not belong together")
        return cls(patterns, weight, bias)


def _softmax(z: Array, label: Array, kinds: int) -> tuple[Array, Array]:
    """Return weights (kinds, latent_dim) and biases (kinds,) of a logistic regression."""
    if kinds == 1:
        return np.zeros((1, z.shape[1])), np.zeros(1)
    model = _logistic(z, label)
    if kinds > 2:
        return model.coef_.astype(np.float64), model.intercept_.astype(np.float64)
    weight, bias = model.coef_[0].astype(np.float64), float(model.intercept_[0])
    return np.stack([-weight / 2, weight / 2]), np.array([-bias / 2, bias / 2])


def _regression(z: Array, missing: Array, limits: Limits) -> tuple[Array, float]:
    """Return weight and bias of one column: those of its frequency alone where it says no more."""
    count = int(missing.sum())
    if min(count, len(missing) - count) < limits.fewest:
        odds = (count + 1e-9) / (len(missing) - count + 1e-9)
        return np.zeros(z.shape[1]), float(np.log(odds))
    model = _logistic(z, missing)
    return model.coef_[0].astype(np.float64), float(model.intercept_[0])


def _logistic(z: Array, label: Array) -> Any:
    """Fit scikit-learn's logistic regression; its imports draw from Python's random state."""
    before = random.getstate()
    from sklearn.linear_model import LogisticRegression

    random.setstate(before)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # where it has not converged it is as good as it is
        return LogisticRegression(max_iter=200).fit(z, label)
