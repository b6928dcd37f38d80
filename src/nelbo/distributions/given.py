r"""Values that are missing, given those of the same row that are there, under a mixture of normals.

.. math::
    p(x_M \mid x_O) = \sum_k r_k \, \mathcal{N}(x_M \mid m_{k,M} + C_{k,MO} C_{k,OO}^{-1}
        (x_O - m_{k,O}), \; C_{k,MM} - C_{k,MO} C_{k,OO}^{-1} C_{k,OM}),
    \quad r_k \propto w_k \, \mathcal{N}(x_O \mid m_{k,O}, C_{k,OO})
"""

from __future__ import annotations

__all__ = ["GivenNormals"]

from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from .normal import LOG_2PI


class GivenNormals(Distribution):
    """A mixture of normals given the values that are there, which keep their values.

    Arguments:
        log_weight: The logarithm of each component's share, (*batch, K).
        loc: The means, (*batch, K, D).
        covariance: The covariances, (*batch, K, D, D), or a shape that broadcasts to it.
        value: Rows (*batch, D), in which a missing value is NaN.
    """

    arg_constraints = {}  # noqa: RUF012 (the base class asks for a dict)

    def __init__(self, log_weight: Tensor, loc: Tensor, covariance: Tensor, value: Tensor) -> None:
        gone = value.isnan()
        there = (~gone).to(loc)[..., None, :]
        kept = there[..., :, None] * there[..., None, :] * covariance
        # A missing value stands alone, with variance 1, at its mean: it says nothing.
        triangle = torch.linalg.cholesky(kept + torch.diag_embed(1 - there))
        centred = there * (value.nan_to_num(0.0)[..., None, :] - loc)
        weight = torch.cholesky_solve(centred[..., None], triangle)[..., 0] * there
        square = (centred * weight).sum(-1)
        log_det = 2 * triangle.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        density = -0.5 * (square + log_det + LOG_2PI * there.sum(-1))
        self.log_weight = (log_weight + density).log_softmax(-1)
        self.gone = gone
        moved = loc + (covariance @ weight[..., None])[..., 0]
        self.loc = torch.where(gone[..., None, :], moved, value.nan_to_num(0.0)[..., None, :])
        across = there[..., :, None] * covariance
        rest = covariance - across.mT @ torch.cholesky_solve(across, triangle)
        absent = gone.to(loc)[..., None, :]
        self.covariance = absent[..., :, None] * absent[..., None, :] * rest
        super().__init__(self.loc.shape[:-2], self.loc.shape[-1:], validate_args=False)

    @property
    def mean(self) -> Tensor:
        """The mean, of shape (*batch, D)."""
        found: Tensor = (self.log_weight.exp()[..., None] * self.loc).sum(-2)
        return found

    @property
    def mode(self) -> Tensor:
        """The mean of the component with the largest share, of shape (*batch, D)."""
        best = self.log_weight.argmax(-1)[..., None, None]
        best = best.expand(*self.loc.shape[:-2], 1, self.loc.shape[-1])
        return self.loc.gather(-2, best)[..., 0, :]

    @property
    def variance(self) -> Tensor:
        """The variance of each value, of shape (*batch, D)."""
        inside = self.covariance.diagonal(dim1=-2, dim2=-1) + self.loc.square()
        second = (self.log_weight.exp()[..., None] * inside).sum(-2)
        found: Tensor = (second - self.mean.square()).clamp_min(0.0)
        return found

    def each(self, value: Tensor) -> Tensor:
        """Return the log-density of each value that was missing, given those that were there, of
        value's shape; 0 for these.

        Arguments:
            value: What the missing values might be, (*batch, D).
        """
        variance = self.covariance.diagonal(dim1=-2, dim2=-1) + (~self.gone)[..., None, :]
        square = (value[..., None, :] - self.loc).square() / variance
        density = -0.5 * (square + variance.log() + LOG_2PI)
        found = (self.log_weight[..., None] + density).logsumexp(-2)
        return torch.where(self.gone, found, 0.0)

    @torch.no_grad()
    def sample(self, sample_shape: Any = (), generator: torch.Generator | None = None) -> Tensor:
        """Draw rows, of shape (*sample_shape, *batch, D)."""
        shape = torch.Size(sample_shape) + self.batch_shape
        components, d = self.loc.shape[-2:]
        share = self.log_weight.exp().expand(*shape, components).reshape(-1, components)
        chosen = torch.multinomial(share, 1, generator=generator).reshape(*shape, 1)
        loc = self.loc.expand(*shape, components, d)
        loc = loc.gather(-2, chosen[..., None].expand(*shape, 1, d))[..., 0, :]
        solid = torch.diag_embed((~self.gone).to(self.loc))[..., None, :, :]
        values, vectors = torch.linalg.eigh(self.covariance + solid)
        root = vectors * values.clamp_min(0.0).sqrt()[..., None, :]
        root = root.expand(*shape, components, d, d)
        root = root.gather(-3, chosen[..., None, None].expand(*shape, 1, d, d))[..., 0, :, :]
        like: dict[str, Any] = {"dtype": loc.dtype, "device": loc.device}
        noise = torch.randn(*shape, d, generator=generator, **like)
        drawn: Tensor = loc + (root @ noise[..., None])[..., 0] * self.gone
        return drawn
