r"""Normals with independent coordinates.

.. math::
    \log \mathcal{N}(x \mid m, \operatorname{diag} s^2)
        = -\tfrac12 \sum_i \frac{(x_i - m_i)^2}{s_i^2} - \sum_i \log s_i - \tfrac{D}{2} \log 2\pi
"""

from __future__ import annotations

__all__ = ["LOG_2PI", "DiagonalNormal", "Normal01", "is_independent_normal"]

import math
from collections.abc import Sequence
from typing import TypeGuard

import torch
from torch import Tensor
from torch.distributions import Distribution, register_kl

from .factorised import Factorised
from .kernels import LOG_2PI, Isotropic, KLToStandard


class DiagonalNormal(Factorised):
    r"""A normal with independent coordinates, :math:`\mathcal{N}(m, \operatorname{diag} s^2)`.

    Arguments:
        loc: The mean m, of shape (*batch, *event).
        scale: The standard deviation s. It broadcasts against ``loc``: a single number is
            :math:`\beta` of :math:`\beta^2 I`, shape ``event`` is one per coordinate, and the
            shape of ``loc`` is one per example.
        event_dim: How many trailing dimensions make up one event; log-densities sum over them.
    """

    arg_constraints = {}  # noqa: RUF012 (the base class asks for a dict)
    has_rsample = True

    def __init__(self, loc: Tensor, scale: Tensor, event_dim: int = 1) -> None:
        self.loc, self.scale, self.event_dim = loc, scale, event_dim
        split = loc.ndim - event_dim
        super().__init__(loc.shape[:split], loc.shape[split:], validate_args=False)

    @property
    def mean(self) -> Tensor:
        """The mean, of shape (*batch, *event)."""
        return self.loc

    @property
    def mode(self) -> Tensor:
        """The mode, equal to the mean."""
        return self.loc

    @property
    def stddev(self) -> Tensor:
        """The standard deviation, of shape (*batch, *event)."""
        return self.scale.expand_as(self.loc)

    @property
    def variance(self) -> Tensor:
        """The variance, of shape (*batch, *event)."""
        return self.stddev.square()

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> DiagonalNormal:
        """Return the same distribution for a larger batch."""
        shape = torch.Size(batch_shape) + self.event_shape
        return DiagonalNormal(self.loc.expand(shape), self.stddev.expand(shape), self.event_dim)

    def rsample(
        self, sample_shape: Sequence[int] = (), generator: torch.Generator | None = None
    ) -> Tensor:
        """Return ``loc + scale * eps`` with eps ~ N(0, I): (*sample_shape, *batch, *event)."""
        shape = torch.Size(sample_shape) + self.loc.shape
        noise = torch.randn(
            shape, generator=generator, dtype=self.loc.dtype, device=self.loc.device
        )
        return torch.addcmul(self.loc, self.scale, noise)

    @torch.no_grad()
    def sample(
        self, sample_shape: Sequence[int] = (), generator: torch.Generator | None = None
    ) -> Tensor:
        """Like `rsample`, without gradients."""
        return self.rsample(sample_shape, generator)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density of ``value`` (*sample, *batch, *event), in nats."""
        if self.missing:
            return self.log_prob_of_observed(value)
        if self.scale.numel() == 1:  # beta^2 I: scale one number per example instead of every value
            log_prob: Tensor = Isotropic.apply(
                value, self.loc, self.scale.reshape(()), self.event_dim
            )  # type: ignore[no-untyped-call]
            return log_prob
        dims = tuple(range(-self.event_dim, 0))
        square = ((value - self.loc) / self.scale).square().sum(dims)
        log_scale = self.scale.log().expand(self.loc.shape).sum(dims)
        return -0.5 * square - log_scale - 0.5 * LOG_2PI * math.prod(self.event_shape)

    def each(self, value: Tensor) -> Tensor:
        """Return the log-density of each coordinate, of value's and loc's shape."""
        return -0.5 * (((value - self.loc) / self.scale).square() + LOG_2PI) - self.scale.log()

    def from_noise(self, u: Tensor) -> Tensor:
        """Return ``loc + scale * u`` for standard normal noise u (*sample, *batch, *event)."""
        return torch.addcmul(self.loc, self.scale, u)

    def to_noise(self, value: Tensor) -> Tensor:
        """Return the noise that `from_noise` maps to ``value`` (*sample, *batch, *event)."""
        return (value - self.loc) / self.scale

    def local_quadratic(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return mean and, where it depends on z, log s; and at the first sample the gradient of
        log p(x) for them and their Fisher information (see `Likelihood.local_quadratic`).
        """
        features = self.loc.flatten(2)
        residual = x.flatten(1) - features[0]
        if self.scale.shape != self.loc.shape:
            precision = self.scale.pow(-2).expand(self.loc.shape[1:]).flatten(1)
            return features, residual * precision, precision
        scale = self.scale.flatten(2)
        precision = scale[0].pow(-2)
        square = residual.square() * precision
        score = torch.cat([residual * precision, square - 1], -1)
        # Of log s the information is 2, what is observed 2 r^2 / s^2: their mean does not overshoot
        # far from a mode.
        information = torch.cat([precision, square + 1], -1)
        return torch.cat([features, scale.log()], -1), score, information

    def entropy(self) -> Tensor:
        """Return the entropy, of shape ``batch``, in nats."""
        dims = tuple(range(-self.event_dim, 0))
        return self.stddev.log().sum(dims) + 0.5 * (1 + LOG_2PI) * math.prod(self.event_shape)


class Normal01(DiagonalNormal):
    r"""The standard normal :math:`\mathcal{N}(0, I)`, with shorter closed forms."""

    def __init__(self, loc: Tensor) -> None:
        super().__init__(loc, loc.new_ones(()))

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density of ``value`` (*sample, latent), in nats."""
        return -0.5 * (value.square().sum(-1) + LOG_2PI * self.loc.shape[-1])


def is_independent_normal(p: Distribution) -> TypeGuard[DiagonalNormal]:
    """Return whether a distribution is a normal with independent coordinates."""
    return isinstance(p, DiagonalNormal)


@register_kl(DiagonalNormal, Normal01)  # type: ignore[untyped-decorator]
def _kl_normal_standard(q: DiagonalNormal, p: Normal01) -> Tensor:
    """1/2 sum(mu^2 + s^2 - 1 - log s^2)."""
    scale = q.scale if q.scale.shape == q.loc.shape else q.stddev
    kl: Tensor = KLToStandard.apply(q.loc, scale)  # type: ignore[no-untyped-call]
    return kl


@register_kl(DiagonalNormal, DiagonalNormal)  # type: ignore[untyped-decorator]
def _kl_normal_normal(q: DiagonalNormal, p: DiagonalNormal) -> Tensor:
    """Sum of log(s_p / s_q) + (s_q^2 + (m_q - m_p)^2) / (2 s_p^2) - 1/2."""
    dims = tuple(range(-q.event_dim, 0))
    square = q.stddev.square() + (q.loc - p.loc).square()
    return (p.scale.log() - q.scale.log() + square / (2 * p.scale.square()) - 0.5).sum(dims)
