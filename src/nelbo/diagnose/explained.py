r"""How much of the data z explains:
the share of their variance that the reconstructions f(E[z|x]) account for.

.. math:: R^2 = 1 - \sum_i |x_i - f(\mu(x_i))|^2 \Big/ \sum_i |x_i - \bar x|^2

Principal components stand beside it, as many as there are latents, fitted to the same rows. They
reproduce noise as far as they can. Probabilistic PCA does not: its E[z|x] shrinks along directions
that hardly stand out (Tipping & Bishop, 1999). So z explains too little only where it is behind
both.
"""

from __future__ import annotations

__all__ = ["Explained", "compared", "explained", "ratio"]

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..data.units import Units
from ..evaluate import MEMORY, Examples, judged, rows_at_once
from ..linear import LinearGaussian, Regression, moments, ppca
from ..vae import VAE
from .standard_error import Estimate


@dataclass(frozen=True)
class Explained:
    """The share of variance that z explains, and what linear models of as many latents explain.

    Attributes:
        share: R² of the model's reconstructions.
        pca: R² of principal components; None where rows are too wide, too few or incomplete to find
            them, or columns are of different kinds.
        ppca: R² of the posterior means of probabilistic PCA; None likewise.
        behind_pca, behind_ppca: How much less the model explains, paired by row; None likewise.
    """

    share: Estimate
    pca: Estimate | None = None
    ppca: Estimate | None = None
    behind_pca: Estimate | None = None
    behind_ppca: Estimate | None = None

    def behind(self, margin: float) -> bool:
        """Whether the model is behind both by more than a margin, and two standard errors."""
        found = (self.behind_pca, self.behind_ppca)
        return all(difference is not None and difference.above(margin) for difference in found)


def explained(
    vae: VAE,
    x: Tensor,
    train: Tensor | None = None,
    units: Units | None = None,
    memory: int = MEMORY,
    widest: int = 4096,
    values: int = 2**23,
    c: Tensor | None = None,
    train_c: Tensor | None = None,
) -> Explained:
    """Measure how much of the variance of rows their reconstructions account for.

    Arguments:
        vae: The model.
        x: Rows of shape (n, *vae.shape), in model units, best such that the model has not seen.
        train: Rows it was fitted to, (m, *vae.shape): principal components are found in them.
            Without any they are found in one half of x and judged on the other.
        units: Units of the data. Columns of a table are standardised by the training rows; None,
            and images, keep the model's scale.
        memory: Bytes for intermediate results.
        widest: Values of a row up to which the covariance matrix of the linear model is made.
        values: Values of training rows in which components are found, at most: 10,000 rows of 784
            features.
        c, train_c: Conditions of the rows, (n, k) and (m, k), for a model of p(x|c): then all of it
            is about what a linear regression on c leaves of the rows.

    Raises:
        ValueError: The rows do not fit the model.
    """
    x_hat = _decoded(vae, x, c, memory)
    known = Examples(x, c)
    if train is not None:
        known = Examples(train, train_c)[:: math.ceil(train.numel() / values)]
    x, x_hat, reference, numbers = compared(x, x_hat, known, units, c)
    incomplete = bool(x.isnan().any() or reference.isnan().any())
    if incomplete:  # of the values that are there
        x_hat = torch.where(x.isnan(), 0.0, x_hat)
        x = x.nan_to_num(0.0)
    total, error = x.square().sum(1), (x - x_hat).square().sum(1)
    share = ratio(total - error, total)
    alone = numbers or incomplete or x.shape[1] > widest
    if alone or len(reference) < 3 or not bool(total.sum() > 0):
        return Explained(share)
    pca, shrunk = _left_by_components(x, reference, vae.latent_dim, crossed=train is None)
    return Explained(
        share,
        ratio(total - pca, total),
        ratio(total - shrunk, total),
        ratio(error - pca, total),
        ratio(error - shrunk, total),
    )


def compared(
    x: Tensor, x_hat: Tensor, known: Examples, units: Units | None, c: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, bool]:
    """Return rows, their reconstructions, and the rows that components are found in, all in
    standardised columns of numbers and less what conditions say; and whether columns that are no
    numbers were left out.
    """
    shift, scale = _scaling(known.x, units)
    x, x_hat, reference = (
        (_columns(t, units) - shift) / scale for t in (x.cpu(), x_hat, known.x.cpu())
    )
    numbers = None if units is None else units.numbers
    if numbers is not None:
        x, x_hat, reference = (t[:, numbers] for t in (x, x_hat, reference))
    if c is not None and known.c is not None:
        regression = Regression.of(reference, known.c)
        x, x_hat = (regression.residual(t, c.cpu()) for t in (x, x_hat))
        reference = regression.residual(reference, known.c.cpu())
    return x, x_hat, reference, numbers is not None


def _left_by_components(
    x: Tensor, reference: Tensor, latent_dim: int, crossed: bool
) -> tuple[Tensor, Tensor]:
    """Return what principal components leave of each row, and their posterior means, both (n,)."""
    left = (torch.zeros(len(x), dtype=torch.float64), torch.zeros(len(x), dtype=torch.float64))
    for fitted, others in _folds(len(x), reference, x, crossed):
        linear = ppca(*moments(fitted), latent_dim)
        for residual, x_bar in zip(
            left, _reconstructions(linear, x[others], latent_dim), strict=True
        ):
            residual[others] = (x[others] - x_bar).square().sum(1)
    return left


def _decoded(vae: VAE, x: Tensor, c: Tensor | None, memory: int) -> Tensor:
    """Return the reconstruction of each row, on the CPU."""
    with judged(vae, x, c) as (model, rows):
        parts = rows.split(rows_at_once(model, rows, 1, memory))
        return torch.cat([part.decode(model, part.encode(model).mean).mean.cpu() for part in parts])


def _columns(t: Tensor, units: Units | None) -> Tensor:
    """Return rows (n, D), float64, in the data's units where the data are a table."""
    if units is None or units.columns is None:
        return t.flatten(1).double()
    return units.columns(t)


def _scaling(t: Tensor, units: Units | None) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of columns, one of all columns but for tables."""
    x = _columns(t.cpu(), units)
    mean, deviation = x.mean(0), x.std(0, correction=0)
    if bool(x.isnan().any()):
        mean = x.nanmean(0).nan_to_num(0.0)
        deviation = (x - mean).square().nanmean(0).nan_to_num(0.0).sqrt()
    if units is None or units.columns is None:
        deviation = deviation.square().mean().sqrt()
    # what never varies has no weight
    return mean, torch.where(deviation > 0, deviation, math.inf)


def _folds(n: int, reference: Tensor, x: Tensor, crossed: bool) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield rows to find components in, and which rows of x to judge them on."""
    every = torch.arange(n)
    if not crossed:
        yield reference, every
        return
    for side in range(2):
        judged = every[every % 2 == side]
        yield x[every % 2 != side], judged


def _reconstructions(linear: LinearGaussian, x: Tensor, latent_dim: int) -> tuple[Tensor, Tensor]:
    """Return rows (n, D) projected on the principal components,
    and as their posterior means have them.
    """
    if latent_dim >= x.shape[1]:
        return x, linear.posterior(x)[0] @ linear.weight.T + linear.bias
    length = linear.weight.norm(dim=0)
    axes = linear.weight[:, length > 0] / length[length > 0]
    projected = (x - linear.bias) @ axes @ axes.T + linear.bias
    return projected, linear.posterior(x)[0] @ linear.weight.T + linear.bias


def ratio(part: Tensor, whole: Tensor) -> Estimate:
    """Return the sum of one over the sum of the other,
    with the standard error of a ratio (Cochran, 1977).
    """
    n = len(part)
    value = float(part.sum() / whole.sum().clamp_min(1e-300))
    residual = part - value * whole
    error = math.inf
    if n > 1:
        error = float(residual.std()) * math.sqrt(n) / max(float(whole.sum()), 1e-300)
    return Estimate(value, error, n)
