"""Maximum likelihood of linear models: probabilistic PCA and factor analysis."""

from __future__ import annotations

__all__ = ["factor_analysis", "ppca"]

from dataclasses import dataclass

import torch
from torch import Tensor

from .eigen import leading
from .model import LinearGaussian


@torch.no_grad()
def ppca(
    mean: Tensor,
    covariance: Tensor,
    latent_dim: int,
    *,
    floor: float = 1e-6,
    directions: int | None = None,
) -> LinearGaussian:
    """Maximum-likelihood probabilistic PCA of data with these moments (Tipping & Bishop 1999).

    `W = U (L - beta^2 I)^(1/2)` with the `latent_dim` leading eigenpairs `(L, U)` of the
    covariance, in descending order, and beta^2 the mean of the discarded eigenvalues. Columns of W
    are orthogonal, so that the exact posterior is diagonal; the largest entry of each is positive.
    At most D - 1 directions leave anything to estimate beta^2 from: further columns, and those
    whose eigenvalue does not exceed beta^2, are zero.

    Args:
        mean: shape (D,).
        covariance: shape (D, D), symmetric positive semi-definite.
        latent_dim: q >= 1, the number of columns of W.
        floor: least beta^2, relative to the mean feature variance (absolute where all variances are
            zero).
        directions: how many there are to spread the variance over, None is D. As many as rows,
            where these are fewer, gives what scikit-learn's PCA has, whose beta^2 is greater by D /
            n.

    Raises:
        ValueError: shapes disagree, an entry is not finite, `latent_dim` < 1, or `floor` <= 0.
    """
    mean, covariance = _checked(mean, covariance, latent_dim, floor)
    features = len(mean)
    spread = features if directions is None else min(directions, features)
    rank = min(latent_dim, spread - 1)
    least = _least(covariance, floor)
    values, vectors, rest = leading(covariance, rank)
    variance = (rest / (spread - rank)).clamp(min=least)
    weight = vectors * (values - variance).clamp(min=0.0).sqrt()
    return LinearGaussian(_arranged(weight, latent_dim), mean, variance)


@torch.no_grad()
def factor_analysis(
    mean: Tensor,
    covariance: Tensor,
    latent_dim: int,
    *,
    max_iter: int = 1000,
    tol: float = 1e-8,
    floor: float = 1e-6,
) -> LinearGaussian:
    """Maximum-likelihood factor analysis of data with these moments:
    one noise variance per feature.

    Given Psi the best W is pPCA's in the units where the noise is white, which leaves a smooth
    function of Psi with the gradient `(Sigma_jj - S_jj) / 2 psi_j^2` (Joreskog 1967), minimised by
    L-BFGS. Columns of W are such that `W^T Psi^-1 W` is diagonal and descending, so that the exact
    posterior is diagonal.

    Args:
        mean: shape (D,).
        covariance: shape (D, D), symmetric positive semi-definite.
        latent_dim: q >= 1, the number of columns of W; those beyond D - 1 are zero.
        max_iter: most L-BFGS iterations.
        tol: stop when an iteration gains less than this many nats per example.
        floor: least variance, relative to the mean feature variance (absolute where all variances
            are zero).

    Raises:
        ValueError: shapes disagree, an entry is not finite, `latent_dim` < 1, or `floor` <= 0.
    """
    mean, covariance = _checked(mean, covariance, latent_dim, floor)
    least = _least(covariance, floor)
    # the model is equivariant: work with correlations
    unit = covariance.diagonal().clamp(min=least).sqrt()
    correlation = covariance / torch.outer(unit, unit)
    profile = _Profile(correlation, least / unit.square(), min(latent_dim, len(mean) - 1))
    free = torch.full_like(unit, 0.5).log()
    optimiser = torch.optim.LBFGS(
        [free], max_iter=max_iter, tolerance_grad=0.0, tolerance_change=tol, history_size=20,
        line_search_fn="strong_wolfe",
    )  # fmt: skip

    def closure() -> Tensor:
        loss, free.grad = profile.loss_and_gradient(free.detach())
        return loss

    optimiser.step(closure)
    psi = profile.noise(free.detach())
    weight = profile.weight(psi)[0] * unit[:, None]
    return LinearGaussian(_arranged(weight, latent_dim), mean, psi * unit.square())


@dataclass(frozen=True)
class _Profile:
    """Negative log-likelihood of factor analysis as a function of the noise alone,
    W being the best for it.

    In nats per example, up to a constant. `psi = lower + exp(free)`, so the floor is never crossed.
    """

    correlation: Tensor
    lower: Tensor
    rank: int

    def noise(self, free: Tensor) -> Tensor:
        return self.lower + free.clamp(max=30.0).exp()  # a wild line-search step must stay finite

    def weight(self, psi: Tensor) -> tuple[Tensor, Tensor]:
        """The best W for this noise,
        and the eigenvalues its columns explain where the noise is white.
        """
        scale = psi.sqrt()
        values, vectors, _ = leading(self.correlation / torch.outer(scale, scale), self.rank)
        return scale[:, None] * vectors * (values - 1).clamp(min=0.0).sqrt(), values

    def loss_and_gradient(self, free: Tensor) -> tuple[Tensor, Tensor]:
        psi = self.noise(free)
        weight, values = self.weight(psi)
        variances = self.correlation.diagonal()
        explained = values[values > 1]
        loss = 0.5 * ((psi.log() + variances / psi).sum() + (explained.log() - explained + 1).sum())
        slope = 0.5 * (weight.square().sum(1) + psi - variances) / psi.square()
        return loss, slope * (psi - self.lower)


def _arranged(weight: Tensor, latent_dim: int) -> Tensor:
    """Make the largest entry of each column positive (the first of equals);
    add columns of zeros.
    """
    size = weight.abs()
    first = (size >= (1 - 1e-6) * size.amax(0)).byte().argmax(0, keepdim=True)
    signed = torch.where(weight.gather(0, first) < 0, -weight, weight)
    return torch.nn.functional.pad(signed, (0, latent_dim - weight.shape[1]))


def _least(covariance: Tensor, floor: float) -> float:
    """The floor of every variance:
    relative to the mean feature variance, absolute where there is none.
    """
    typical = covariance.diagonal().mean().item()
    if typical > 0:
        return floor * typical
    return floor


def _checked(
    mean: Tensor, covariance: Tensor, latent_dim: int, floor: float
) -> tuple[Tensor, Tensor]:
    if latent_dim < 1:
        raise ValueError(f"latent_dim must be at least 1, got {latent_dim}.")
    if not floor > 0:
        raise ValueError(f"floor must be positive, got {floor}.")
    if mean.ndim != 1 or len(mean) == 0 or covariance.shape != (len(mean), len(mean)):
        raise ValueError(
            f"mean must have shape (D,) and covariance (D, D), got {tuple(mean.shape)} and "
            f"{tuple(covariance.shape)}."
        )
    if not bool(mean.isfinite().all() and covariance.isfinite().all()):
        raise ValueError(
            "mean and covariance must be finite, got NaN or inf. Take them from moments(x)."
        )
    return mean.double(), covariance.double()
