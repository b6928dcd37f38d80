"""The one latent-variable model that can be solved exactly: `x = W z + b + noise`.

    z ~ N(0, I),    x | z ~ N(W z + b, Psi),    p(x) = N(b, W W^T + Psi),    Psi diagonal

With `Psi = beta^2 I` this is probabilistic PCA, whose maximum likelihood is an eigendecomposition;
with one variance per feature it is factor analysis, whose maximum likelihood is a smooth problem in
`Psi` alone. It is both the yardstick (a linear VAE can be no better) and the starting point of the
networks (they begin here).

References: Tipping & Bishop 1999, "Probabilistic principal component analysis"; Joreskog 1967,
"Some contributions to maximum likelihood factor analysis"; Lucas et al. 2019, "Don't blame the
ELBO!".
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from .brief import Brief

__all__ = ["Chunks", "LinearGaussian", "factor_analysis", "moments", "ppca"]

_CHUNK_ELEMENTS = 1 << 22  # numbers per working chunk: 16 MB of float32, which stays near the cores
# below this many products float64 costs under about 50 ms, so rounding is not worth saving
_EXACT_WORK = 4e9
_DEPTH, _RESTARTS = 5, 30  # of the Krylov iteration: blocks between restarts, and the most restarts


@dataclass(frozen=True, eq=False, repr=False)
class LinearGaussian(Brief):
    """`p(x) = N(x | b, W W^T + Psi)` with latent `z ~ N(0, I)`, every answer exact and in float64.

    Args:
        weight: W, shape (D, q), float64.
        bias: b, shape (D,), float64, in the units of x.
        variance: the diagonal of Psi, one number for all features, shape (), or one each, shape
            (D,); float64, positive, in squared units of x.

    Raises:
        TypeError: a tensor is not float64.
        ValueError: shapes disagree, or a variance is not positive.
    """

    weight: Tensor
    bias: Tensor
    variance: Tensor

    def __post_init__(self) -> None:
        for name in ("weight", "bias", "variance"):
            dtype = getattr(self, name).dtype
            if dtype != torch.float64:
                raise TypeError(
                    f"{name} must be a float64 tensor, got {dtype}. Convert it with .double()."
                )
        if self.weight.ndim != 2 or self.bias.shape != self.weight.shape[:1]:
            raise ValueError(
                f"weight must have shape (D, q) and bias (D,), got {tuple(self.weight.shape)} and "
                f"{tuple(self.bias.shape)}."
            )
        if self.variance.shape not in (torch.Size([]), self.bias.shape):
            raise ValueError(
                f"variance must have shape () or ({len(self.bias)},), got "
                f"{tuple(self.variance.shape)}."
            )
        if not bool((self.variance > 0).all()):
            raise ValueError(
                f"variance must be positive, got {self.variance.min().item():g} as its least."
            )

    def log_prob(self, x: Tensor) -> Tensor:
        """`log p(x)` of each row of x (n, D): shape (n,), nats, float64.

        By Woodbury only a (q, q) matrix is factorised. The squared Mahalanobis distance is written
        as `min_z |x - b - W z|^2_Psi + |z|^2`, reached at the posterior mean: a sum of squares, so
        nothing cancels when Psi is small.
        """
        scale = self.variance.sqrt()
        log_det = (
            self.variance.log().expand_as(self.bias).sum() + 2 * self._factor.diagonal().log().sum()
        )
        constant = len(self.bias) * math.log(2 * math.pi) + log_det
        parts = []
        for centred in self._centred(x):
            z = centred @ self._gain.T
            misfit = (centred - z @ self.weight.T) / scale
            parts.append(-0.5 * (constant + misfit.square().sum(1) + z.square().sum(1)))
        return torch.cat(parts)

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """`p(z | x)`: its mean for each row of x, shape (n, q), and the covariance all rows share,
        (q, q).
        """
        mean = torch.cat([centred @ self._gain.T for centred in self._centred(x)])
        return mean, torch.cholesky_inverse(self._factor)

    def posterior_affine(self) -> tuple[Tensor, Tensor]:
        """`(A, a)`, shapes (q, D) and (q,), with posterior mean `A x + a`: the exact linear
        encoder.
        """
        return self._gain, -(self._gain @ self.bias)

    @cached_property
    def _factor(self) -> Tensor:
        """Cholesky factor of the posterior precision `I + W^T Psi^-1 W`."""
        whitened = self.weight / self.variance.sqrt().reshape(-1, 1)
        identity = torch.eye(self.weight.shape[1], dtype=torch.float64, device=self.weight.device)
        factor: Tensor = torch.linalg.cholesky(identity + whitened.T @ whitened)
        return factor

    @cached_property
    def _gain(self) -> Tensor:
        return torch.cholesky_solve((self.weight / self.variance.reshape(-1, 1)).T, self._factor)

    def _centred(self, x: Tensor) -> Iterator[Tensor]:
        """`x - b` in float64, a bounded number of rows at a time."""
        if x.ndim != 2 or x.shape[1] != len(self.bias):
            raise ValueError(f"x must have shape (n, {len(self.bias)}), got {tuple(x.shape)}.")
        for chunk in x.split(max(1, _CHUNK_ELEMENTS // 2 // len(self.bias))):
            yield chunk.to(self.bias) - self.bias


class Chunks(Protocol):
    """What `moments` needs of rows (n, D): a tensor has it, and so has what reads them a part at a
    time.
    """

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> torch.dtype: ...
    @property
    def device(self) -> torch.device: ...
    def split(self, size: int, /) -> Iterable[Tensor]: ...


@torch.no_grad()
def moments(x: Tensor | Chunks, exact: bool = False) -> tuple[Tensor, Tensor]:
    """Mean (D,) and covariance (D, D) of the rows of x (n, D), divided by n, in float64 on the
    device of x.

    Large inputs are multiplied in float32, in centred chunks accumulated in float64: the relative
    error is about 1e-7 (at worst 1e-5, where a column holds few distinct values, which all round
    alike). Small ones are multiplied in float64. Rows are centred before they are squared, so a
    mean far greater than the spread costs no accuracy. Memory beyond the result is bounded.

    Args:
        x: the rows.
        exact: multiply large inputs in float64, too.

    Raises:
        ValueError: x is not a matrix of at least one row and one column, or holds NaN or infinity.
    """
    if len(x.shape) != 2 or math.prod(x.shape) == 0:
        raise ValueError(f"x must have shape (n, D) with n, D >= 1, got {tuple(x.shape)}.")
    fits_float32 = x.dtype in (
        torch.float32,
        torch.float16,
        torch.bfloat16,
        torch.uint8,
        torch.int8,
        torch.bool,
    )
    wide = torch.float32 if fits_float32 else torch.float64
    if not exact and x.shape[0] * x.shape[1] ** 2 > _EXACT_WORK:
        mean, covariance = _two_pass(x, wide, torch.float32)
        # Squares of values beyond about 1e-19 .. 1e19 leave float32's range: only then take the
        # slow road.
        if 1e-25 < covariance.diagonal().mean().item() < 1e25:
            return mean, covariance
    mean, covariance = _two_pass(x, torch.float64, torch.float64)
    if not bool(covariance.diagonal().isfinite().all()):
        raise ValueError(
            "x holds NaN, infinity or values beyond 1e150. Remove or replace those rows first."
        )
    return mean, covariance


def _two_pass(x: Tensor | Chunks, wide: torch.dtype, work: torch.dtype) -> tuple[Tensor, Tensor]:
    """Centre in `wide` at a first estimate of the mean, multiply in `work`, then correct for the
    estimate.
    """
    n, features = x.shape
    home = torch.device("cpu") if x.device.type == "mps" else x.device  # mps knows no float64
    size = max(256, _CHUNK_ELEMENTS // features)
    pivot = torch.zeros(features, dtype=torch.float64, device=home)
    # summed at once: small results kept between large chunks would hold memory
    for chunk in x.split(size):
        pivot += chunk.to(wide).sum(0).to(home)
    pivot = (pivot / n).to(x.device, wide)
    blocks = math.ceil(features / 200)
    width = math.ceil(features / blocks)
    total = torch.zeros(features, dtype=torch.float64, device=home)
    products = torch.zeros(features, features, dtype=torch.float64, device=home)
    for chunk in x.split(size):
        centred = (chunk.to(wide) - pivot).to(work)
        total += centred.sum(0).to(home)
        # The matrix is symmetric: the strips on and right of the diagonal are little more than half
        # the work.
        for i in range(0, features, width):
            products[i : i + width, i:] += (centred[:, i : i + width].T @ centred[:, i:]).to(home)
    offset = total / n
    covariance = products.triu_().div_(n)
    covariance += covariance.triu(1).T
    covariance -= torch.outer(offset, offset)
    covariance.diagonal().clamp_(min=0.0)
    return pivot.to(home, torch.float64) + offset, covariance


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
    values, vectors, rest = _leading(covariance, rank)
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
    """Maximum-likelihood factor analysis of data with these moments: one noise variance per
    feature.

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
    """Negative log-likelihood of factor analysis as a function of the noise alone, W being the best
    for it.

    In nats per example, up to a constant. `psi = lower + exp(free)`, so the floor is never crossed.
    """

    correlation: Tensor
    lower: Tensor
    rank: int

    def noise(self, free: Tensor) -> Tensor:
        return self.lower + free.clamp(max=30.0).exp()  # a wild line-search step must stay finite

    def weight(self, psi: Tensor) -> tuple[Tensor, Tensor]:
        """The best W for this noise, and the eigenvalues its columns explain where the noise is
        white.
        """
        scale = psi.sqrt()
        values, vectors, _ = _leading(self.correlation / torch.outer(scale, scale), self.rank)
        return scale[:, None] * vectors * (values - 1).clamp(min=0.0).sqrt(), values

    def loss_and_gradient(self, free: Tensor) -> tuple[Tensor, Tensor]:
        psi = self.noise(free)
        weight, values = self.weight(psi)
        variances = self.correlation.diagonal()
        explained = values[values > 1]
        loss = 0.5 * ((psi.log() + variances / psi).sum() + (explained.log() - explained + 1).sum())
        slope = 0.5 * (weight.square().sum(1) + psi - variances) / psi.square()
        return loss, slope * (psi - self.lower)


def _leading(matrix: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """The `count` greatest eigenvalues, descending, their vectors (D, count), and the sum of the
    others.
    """
    block = count + 8
    if len(matrix) > max(500, 16 * block):
        pairs = _krylov(matrix, count, block)
        if pairs is not None:
            values, vectors = pairs
            return values, vectors, (matrix.trace() - values.sum()).clamp(min=0.0)
    values, vectors = torch.linalg.eigh(matrix)
    values = values.clamp(min=0.0)
    kept = len(matrix) - count
    return values[kept:].flip(0), vectors[:, kept:].flip(1), values[:kept].sum()


def _krylov(matrix: Tensor, count: int, block: int) -> tuple[Tensor, Tensor] | None:
    """Leading eigenpairs by restarted block Krylov iteration, as exact as `eigh`; None if
    unsettled.
    """
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(len(matrix), block, generator=generator, dtype=matrix.dtype).to(
        matrix.device
    )
    basis = torch.linalg.qr(start)[0]
    image = matrix @ basis
    for _ in range(_RESTARTS):
        new_image = image
        for _ in range(_DEPTH - 1):
            new = new_image
            for _ in range(2):  # twice is enough (Parlett): once leaves rounding along the basis
                new = torch.linalg.qr(new - basis @ (basis.T @ new))[0]
            new_image = matrix @ new
            basis, image = torch.cat([basis, new], 1), torch.cat([image, new_image], 1)
        values, rotation = torch.linalg.eigh(basis.T @ image)
        values, rotation = values[-block:].flip(0), rotation[:, -block:].flip(1)
        basis, image = basis @ rotation, image @ rotation
        residual = (image - basis * values)[:, :count].norm(dim=0)
        if bool((residual <= 1e-11 * values[0]).all()):
            return values[:count].clamp(min=0.0), basis[:, :count]
    return None


def _arranged(weight: Tensor, latent_dim: int) -> Tensor:
    """Make the largest entry of each column positive (the first of equals); add columns of
    zeros.
    """
    size = weight.abs()
    first = (size >= (1 - 1e-6) * size.amax(0)).byte().argmax(0, keepdim=True)
    signed = torch.where(weight.gather(0, first) < 0, -weight, weight)
    return torch.nn.functional.pad(signed, (0, latent_dim - weight.shape[1]))


def _least(covariance: Tensor, floor: float) -> float:
    """The floor of every variance: relative to the mean feature variance, absolute where there is
    none.
    """
    typical = covariance.diagonal().mean().item()
    return floor * typical if typical > 0 else floor


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
