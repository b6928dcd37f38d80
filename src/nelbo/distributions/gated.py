r"""Mixtures whose shares and means differ from row to row; each component has its covariance.

.. math:: \log p(x) = \log \sum_k r_k \, \mathcal{N}(x \mid m_k, L_k L_k^\top)
"""

from __future__ import annotations

__all__ = ["GatedNormals"]

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .factorised import Incomplete
from .given import GivenNormals
from .normal import LOG_2PI


class GatedNormals(Incomplete):
    r"""A mixture of K normals over one event of D values.

    Arguments:
        log_weight: :math:`\log r`, of shape (*batch, K); each row's shares sum to 1.
        loc: The means m, of shape (*batch, K, D).
        scale_tril: Lower triangles L with a positive diagonal, of shape (K, D, D), which all rows
            share.

    """

    arg_constraints = {}  # noqa: RUF012 (the base class asks for a dict)
    has_rsample = False

    def __init__(
        self, log_weight: Tensor, loc: Tensor, scale_tril: Tensor, shape: Sequence[int]
    ) -> None:
        self.log_weight, self.loc, self.scale_tril = log_weight, loc, scale_tril
        super().__init__(log_weight.shape[:-1], torch.Size(shape), validate_args=False)

    @property
    def mean(self) -> Tensor:
        """The mean, of shape (*batch, *event)."""
        return self._shaped(self._mean())

    @property
    def variance(self) -> Tensor:
        """The variance of each value, of shape (*batch, *event)."""
        inside = self.scale_tril.square().sum(-1) + self.loc.square()
        second = (self.log_weight.exp()[..., None] * inside).sum(-2)
        return self._shaped((second - self._mean().square()).clamp_min(0.0))

    def variance_along(self, directions: Tensor) -> Tensor:
        """Return the variance of ``directions @ x``, of shape (*batch, m).

        Arguments:
            directions: Of shape (m, D).
        """
        width = (directions @ self.scale_tril).square().sum(-1)  # (K, m)
        moved = (self.loc - self._mean()[..., None, :]) @ directions.T
        return (self.log_weight.exp()[..., None] * (width + moved.square())).sum(-2)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density of ``value`` (*sample, *batch, *event), in nats."""
        if self.missing:
            return self.log_prob_of_observed(value)
        return self.log_joint(value).logsumexp(-1)

    def log_joint(self, value: Tensor) -> Tensor:
        """Return the log-density of ``value`` and each component, of shape (*sample, *batch, K)."""
        noise = torch.einsum("...kd,ked->...ke", self._centred(value), self.whitening)
        log_det = self.scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        constant = log_det + 0.5 * LOG_2PI * self.loc.shape[-1]
        return self.log_weight - constant - 0.5 * noise.square().sum(-1)

    def log_prob_of_observed(self, value: Tensor) -> Tensor:
        """Return the log-density of the values that are there, in nats; 0 for a row without any."""
        value = value.flatten(value.ndim - len(self.event_shape))
        gone = value.isnan()
        there = (~gone).to(value)[..., None, :]  # (*batch, 1, D)
        covariance = self.scale_tril @ self.scale_tril.mT
        # A missing value stands alone, with variance 1, at its mean: it says nothing.
        kept = there[..., :, None] * there[..., None, :] * covariance
        triangle = torch.linalg.cholesky(kept + torch.diag_embed(1 - there))
        centred = there * (value.masked_fill(gone, 0.0)[..., None, :] - self.loc)
        shape = torch.broadcast_shapes(centred.shape, triangle.shape[:-1])
        triangle = triangle.expand(*shape, shape[-1])
        centred = centred.expand(shape)[..., None]
        square = (
            torch.linalg.solve_triangular(triangle, centred, upper=False).square().sum((-2, -1))
        )
        log_det = triangle.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        log_det = log_det + 0.5 * LOG_2PI * there.sum(-1)
        found: Tensor = (self.log_weight - 0.5 * square - log_det).logsumexp(-1)
        return found

    def given(self, value: Tensor) -> GivenNormals:
        """Return the distribution of what is missing from rows (*batch, *event), given what is
        there.
        """
        flat = value.flatten(value.ndim - len(self.event_shape))
        covariance = self.scale_tril @ self.scale_tril.mT
        flat = flat.expand(*self.batch_shape, flat.shape[-1])
        return GivenNormals(self.log_weight, self.loc, covariance, flat)

    @property
    def whitening(self) -> Tensor:
        """The inverse of each triangle, of shape (K, D, D)."""
        eye = torch.eye(self.loc.shape[-1], dtype=self.loc.dtype, device=self.loc.device)
        inverse: Tensor = torch.linalg.solve_triangular(
            self.scale_tril, eye.expand_as(self.scale_tril), upper=False
        )
        return inverse

    @torch.no_grad()
    def sample(
        self, sample_shape: Sequence[int] = (), generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw values, of shape (*sample, *batch, *event)."""
        components, d = self.loc.shape[-2:]
        shape = torch.Size(sample_shape) + self.batch_shape
        weight = self.log_weight.exp().expand(*shape, components).reshape(-1, components)
        chosen = torch.multinomial(weight, 1, generator=generator)[:, 0]
        like: dict[str, Any] = {"dtype": self.loc.dtype, "device": self.loc.device}
        noise = torch.randn(len(chosen), d, generator=generator, **like)
        loc = self.loc.expand(*shape, components, d).reshape(-1, components, d)
        drawn = loc[torch.arange(len(chosen), device=chosen.device), chosen]
        for k in range(components):
            mine = chosen == k
            drawn[mine] += noise[mine] @ self.scale_tril[k].T
        return drawn.view(*shape, *self.event_shape)

    def local_quadratic(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor] | None:
        """Return means and logarithms of shares; and at the first sample the gradient of log p(x)
        for them and a diagonal curvature (see `Likelihood.local_quadratic`).

        It is None where values may be missing.
        """
        if self.missing:
            return None
        share = self.log_joint(x)[0].softmax(-1)[..., None]  # (n, K, 1)
        first = self._centred(x)[0]
        whitening = self.whitening
        pull = torch.einsum("nkd,kde->nke", first, whitening.mT @ whitening)
        precision = (whitening.square().sum(-2) * share).flatten(1)
        features = torch.cat([self.loc.flatten(2), self.log_weight], -1)
        score = torch.cat([(share * pull).flatten(1), share[..., 0]], -1)
        prior = self.log_weight[0].exp()
        return features, score, torch.cat([precision, prior * (1 - prior)], -1)

    def _mean(self) -> Tensor:
        return (self.log_weight.exp()[..., None] * self.loc).sum(-2)

    def _centred(self, value: Tensor) -> Tensor:
        """Return x - m of each component, (*sample, *batch, K, D)."""
        flat = value.flatten(value.ndim - len(self.event_shape))
        return flat[..., None, :] - self.loc

    def _shaped(self, values: Tensor) -> Tensor:
        return values.reshape(*self.batch_shape, *self.event_shape)
