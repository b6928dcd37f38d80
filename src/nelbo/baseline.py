r"""Exact probabilistic PCA in the units of the data:
the linear model that every other is held against.

.. math:: p(x) = \mathcal{N}(x \mid m, \; S (W W^\top + \sigma^2 I) S)

S holds the unit of every column: its standard deviation for a table, one number for images.
This is what scikit-learn's `PCA(q).fit(x / S).score_samples(x / S)` says, less the sum of log S:
variances are divided by n - 1, and :math:`\sigma^2` is the mean of the variances left over, of
which there are min(n, D) - q. How the model beside it scales its data makes no difference.

The baseline of p(x|c) is a linear regression of x on c, with probabilistic PCA of what that leaves:
for labels, a mean for each, and one covariance within all.

References: Tipping & Bishop (1999), "Probabilistic principal component analysis".
"""

from __future__ import annotations

__all__ = ["ProbabilisticPCA", "fit_baseline"]

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from .brief import Brief
from .linear import Chunks, LinearGaussian, Regression, Residuals, moments, ppca


@dataclass(frozen=True, eq=False, repr=False)
class ProbabilisticPCA(Brief):
    """Probabilistic PCA of the columns that vary, in data units.

    Attributes:
        linear: The normal density of those columns, float64.
        kept: Whether each column is one of them, of shape (D,): constant columns of a table are
            left out.
        regression: What c says of x, for a baseline of p(x|c): then ``linear`` is of what that
            leaves.
    """

    linear: LinearGaussian
    kept: Tensor
    regression: Regression | None = None

    def log_prob(self, x: Tensor | Chunks, c: Tensor | None = None) -> Tensor:
        """Return log p(x), or log p(x|c), of each row of x (n, D), in nats in the units of the
        data: of shape (n,), float64.

        Raises:
            ValueError: It is a baseline of p(x|c), but there is no c.
        """
        if self.regression is not None:
            if c is None:
                raise ValueError("This is a baseline of p(x|c). Pass c.")
            x = Residuals(x, c, self.regression)
        parts = x.split(max(1, 2**22 // x.shape[1]))
        return torch.cat([self.linear.log_prob(part.double()[:, self.kept]) for part in parts])

    @property
    def latent_dim(self) -> int:
        """Number of latent dimensions."""
        return self.linear.weight.shape[1]

    def to_tensors(self) -> dict[str, Tensor]:
        """Return everything as tensors, from which `from_tensors` restores it."""
        linear = self.linear
        found = {
            "weight": linear.weight,
            "bias": linear.bias,
            "variance": linear.variance,
            "kept": self.kept,
        }
        if self.regression is not None:
            found |= {"slope": self.regression.slope, "centre": self.regression.centre}
        return found

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> ProbabilisticPCA:
        """Undo `to_tensors`."""
        linear = LinearGaussian(tensors["weight"], tensors["bias"], tensors["variance"])
        regression = None
        if "slope" in tensors:
            regression = Regression(tensors["slope"], tensors["centre"])
        return cls(linear, tensors["kept"], regression)


@torch.no_grad()
def fit_baseline(
    x: Tensor | Chunks,
    latent_dim: int,
    unit: Tensor | None = None,
    constant: tuple[int, ...] = (),
    floor: float = 1e-12,
    c: Tensor | None = None,
) -> ProbabilisticPCA | None:
    """Return exact probabilistic PCA of the rows of x, or, given c, of what a linear regression on
    c leaves of them.

    Arguments:
        x: Training rows (n, D), n >= 2, in data units; or what reads them a part at a time.
        latent_dim: q >= 1. With q >= D it is the normal with every correlation.
        unit: The unit of each column, (D,), its standard deviation. None takes columns as they are.
        constant: Columns to leave out.
        floor: Least noise variance, relative to the mean variance of the columns: below it there is
            only rounding.
        c: What each row is conditioned on, (n, k).

    Returns:
        The model, or None where no column varies or there are fewer than three rows.
    """
    regression = None
    if c is not None:
        regression = Regression.of(x, c)
        x = Residuals(x, c, regression)
    mean, covariance = moments(x, exact=True)
    kept = torch.ones(len(mean), dtype=torch.bool)
    if unit is not None:
        kept = covariance.diagonal().cpu() > 0
    kept[list(constant)] = False
    rows, columns = x.shape[0], int(kept.sum())
    if columns == 0 or rows < 3:
        return None
    own = torch.ones(columns, dtype=torch.float64)
    if unit is not None:
        own = unit.double()[kept]
    mean = mean.cpu()[kept] / own
    covariance = covariance.cpu()[kept][:, kept] * (rows / (rows - 1)) / own / own[:, None]
    # of n rows, n - 1 directions vary: one must be left for the noise
    rank = min(latent_dim, rows - 2)
    found = ppca(mean, covariance, rank, floor=floor, directions=min(rows, columns))
    variance = found.variance
    if unit is not None:
        variance = variance * own.square()
    linear = LinearGaussian(found.weight * own[:, None], mean * own, variance)
    return ProbabilisticPCA(linear, kept, regression)
