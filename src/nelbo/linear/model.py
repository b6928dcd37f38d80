"""The linear model itself: every answer exact and in float64."""

from __future__ import annotations

__all__ = ["CHUNK_ELEMENTS", "LinearGaussian"]

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ..brief import Brief

CHUNK_ELEMENTS = 1 << 22  # numbers per working chunk: 16 MB of float32, which stays near the cores


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

        A missing value is NaN: of a row with such, this is the marginal density of the values that
        are there, 0 for a row without any.
        """
        missing = x.isnan()
        if bool(missing.any()):
            return self._log_prob_of_observed(x, missing)
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

    def _log_prob_of_observed(self, x: Tensor, missing: Tensor) -> Tensor:
        """`log p(x_O) = N(x_O | b_O, W_O W_O^T + Psi_O)` of the observed values of each row.

        A missing value has precision 0 in `I + W^T Psi^-1 W`, which then is one matrix a row.
        """
        size = max(1, CHUNK_ELEMENTS // max(self.weight.numel(), self.weight.shape[1] ** 2))
        variance = self.variance.expand_as(self.bias)
        identity = torch.eye(self.weight.shape[1], dtype=torch.float64, device=self.weight.device)
        parts = []
        for chunk, gone in zip(x.split(size), missing.split(size), strict=True):
            there = (~gone).to(self.bias)
            centred = (chunk.to(self.bias) - self.bias).masked_fill(gone, 0.0)
            precision = there / variance
            weighted = precision[:, :, None] * self.weight
            factor = torch.linalg.cholesky(identity + self.weight.T @ weighted)
            pull = weighted.mT @ centred[:, :, None]
            z = torch.cholesky_solve(pull, factor)[..., 0]
            misfit = precision.sqrt() * (centred - z @ self.weight.T)
            log_det = (there * variance.log()).sum(1)
            log_det = log_det + 2 * factor.diagonal(dim1=1, dim2=2).log().sum(1)
            square = misfit.square().sum(1) + z.square().sum(1)
            constant = there.sum(1) * math.log(2 * math.pi)
            parts.append(-0.5 * (constant + log_det + square))
        return torch.cat(parts)

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """`p(z | x)`: its mean for each row of x, shape (n, q), and its covariance, (q, q).

        The covariance is the same for all rows.
        """
        mean = torch.cat([centred @ self._gain.T for centred in self._centred(x)])
        return mean, torch.cholesky_inverse(self._factor)

    def with_noise(self, share: float) -> LinearGaussian:
        """The same p(x) with this share of the noise, and z that says the rest: for models of as
        many latents as features, whose p(x) does not say which of both it is.

        Raises:
            ValueError: there are fewer latents than features, or the share is not within (0, 1].
        """
        features, latent_dim = self.weight.shape
        if latent_dim < features:
            raise ValueError(
                f"with_noise needs at least as many latents as features, got {latent_dim} and "
                f"{features}."
            )
        if not 0 < share <= 1:
            raise ValueError(f"share must be above 0 and at most 1, got {share}.")
        noise = share * self.variance
        values, vectors = torch.linalg.eigh(self.covariance - torch.diag(noise.expand(features)))
        weight = torch.zeros_like(self.weight)
        weight[:, :features] = (vectors * values.clamp_min(0).sqrt()).flip(1)
        return LinearGaussian(weight, self.bias, noise)

    def posterior_affine(self) -> tuple[Tensor, Tensor]:
        """`(A, a)`, (q, D) and (q,), of the exact linear encoder: posterior mean `A x + a`."""
        return self._gain, -(self._gain @ self.bias)

    @property
    def covariance(self) -> Tensor:
        """`W W^T + Psi`, shape (D, D)."""
        return self.weight @ self.weight.T + torch.diag(self.variance.expand_as(self.bias))

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw n rows, shape (n, D), float64."""
        features, latents = self.weight.shape
        noise = torch.randn(n, latents + features, generator=generator, dtype=torch.float64)
        z, rest = noise.split([latents, features], 1)
        drawn: Tensor = z @ self.weight.T + self.bias + self.variance.sqrt() * rest
        return drawn

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
        for chunk in x.split(max(1, CHUNK_ELEMENTS // 2 // len(self.bias))):
            yield chunk.to(self.bias) - self.bias
