r"""Mixtures of normals.

.. math:: \log p(z) = \log \sum_k \pi_k \, \mathcal{N}(z \mid m_k, L_k L_k^\top)
"""

from __future__ import annotations

__all__ = ["DiagonalMixture", "NormalMixture"]

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import Distribution

from .normal import LOG_2PI


class NormalMixture(Distribution):
    r"""A mixture of k normals over one event of d coordinates.

    Arguments:
        log_weight: :math:`\log \pi`, of shape (k,).
        loc: The means m, of shape (k, d).
        scale_tril: Lower triangles L, of shape (k, d, d), with a positive diagonal.
    """

    arg_constraints = {}  # noqa: RUF012 (the base class asks for a dict)
    has_rsample = False

    def __init__(self, log_weight: Tensor, loc: Tensor, scale_tril: Tensor) -> None:
        self.log_weight, self.loc, self.scale_tril = log_weight, loc, scale_tril
        super().__init__(torch.Size(), loc.shape[1:], validate_args=False)

    @property
    def mean(self) -> Tensor:
        """The mean, of shape (d,)."""
        return self.log_weight.exp() @ self.loc

    @property
    def variance(self) -> Tensor:
        """The variance of each coordinate, of shape (d,)."""
        inside = self.scale_tril.square().sum(2) + (self.loc - self.mean).square()
        return self.log_weight.exp() @ inside

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density of ``value`` (*sample, d), in nats."""
        return self.log_joint(value).logsumexp(0)

    def log_joint(self, value: Tensor) -> Tensor:
        """Return the log-density of ``value`` (*sample, d) and each normal, (k, *sample)."""
        eye = torch.eye(self.loc.shape[1], dtype=self.loc.dtype, device=self.loc.device)
        whitening = torch.linalg.solve_triangular(
            self.scale_tril, eye.expand_as(self.scale_tril), upper=False
        )
        constant = self.log_weight - self.scale_tril.diagonal(dim1=1, dim2=2).log().sum(1)
        constant = constant - 0.5 * LOG_2PI * self.loc.shape[1]
        parts = [
            c - 0.5 * ((value - m) @ w.T).square().sum(-1)
            for c, m, w in zip(constant, self.loc, whitening, strict=True)
        ]
        return torch.stack(parts)

    @torch.no_grad()
    def sample(
        self, sample_shape: Sequence[int] = (), generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw z, of shape (*sample, d)."""
        n, d = math.prod(sample_shape), self.loc.shape[1]
        chosen = torch.multinomial(self.log_weight.exp(), n, replacement=True, generator=generator)
        noise = torch.randn(
            n, d, 1, generator=generator, dtype=self.loc.dtype, device=self.loc.device
        )
        z = self.loc[chosen] + (self.scale_tril[chosen] @ noise)[..., 0]
        return z.view(*sample_shape, d)


class DiagonalMixture(Distribution):
    r"""A mixture of many normals with independent coordinates.

    The squares of all components come from one matrix product,
    :math:`(z - m)^2 / s^2 = z^2 / s^2 - 2 z m / s^2 + m^2 / s^2`, in float64, as these differences
    cancel where s is small. It is differentiable twice, and in its parameters.

    Arguments:
        log_weight: :math:`\log \pi`, of shape (k,).
        loc: The means m, of shape (k, d).
        scale: The standard deviations s, of shape (k, d).
    """

    arg_constraints = {}  # noqa: RUF012 (the base class asks for a dict)
    has_rsample = False

    def __init__(self, log_weight: Tensor, loc: Tensor, scale: Tensor) -> None:
        self.log_weight, self.loc, self.scale = log_weight, loc, scale
        super().__init__(torch.Size(), loc.shape[1:], validate_args=False)

    @property
    def mean(self) -> Tensor:
        """The mean, of shape (d,)."""
        return self.log_weight.exp() @ self.loc

    @property
    def variance(self) -> Tensor:
        """The variance of each coordinate, of shape (d,)."""
        return self.log_weight.exp() @ (self.scale.square() + (self.loc - self.mean).square())

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density of ``value`` (*sample, d), in nats."""
        precision = self.scale.double().pow(-2)
        loc, z = self.loc.double(), value.double()
        constant = self.log_weight.double() - self.scale.double().log().sum(1)
        constant = constant - 0.5 * ((loc.square() * precision).sum(1) + LOG_2PI * loc.shape[1])
        both = torch.cat([-0.5 * precision, precision * loc], 1)
        parts = torch.cat([z.square(), z], -1) @ both.T + constant
        return parts.logsumexp(-1).to(value.dtype)

    @torch.no_grad()
    def sample(
        self, sample_shape: Sequence[int] = (), generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw z, of shape (*sample, d)."""
        n, d = math.prod(sample_shape), self.loc.shape[1]
        chosen = torch.multinomial(self.log_weight.exp(), n, replacement=True, generator=generator)
        noise = torch.randn(n, d, generator=generator, dtype=self.loc.dtype, device=self.loc.device)
        return torch.addcmul(self.loc[chosen], self.scale[chosen], noise).view(*sample_shape, d)
