r"""A linear map of independent normals: values that are correlated in the units of the data.

.. math:: x = R t, \quad t \sim \mathcal{N}(m, \operatorname{diag} s^2) \;\Rightarrow\;
    x_O \sim \mathcal{N}\bigl((R m)_O, \; (R \operatorname{diag}(s^2) R^\top)_{OO}\bigr)
"""

from __future__ import annotations

__all__ = ["MixedNormal", "mixed"]

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import Distribution

from .factorised import Incomplete
from .gated import GatedNormals
from .given import GivenNormals
from .normal import LOG_2PI, DiagonalNormal


class MixedNormal(Incomplete):
    """R t of rows t (*batch, D) with independent coordinates, of which values may be missing.

    Arguments:
        inner: The distribution of t.
        mixing: R, of shape (D, D).
    """

    arg_constraints = {}  # noqa: RUF012 (the base class asks for a dict)
    has_rsample = True

    def __init__(self, inner: DiagonalNormal, mixing: Tensor) -> None:
        self.inner, self.mixing = inner, mixing
        super().__init__(inner.batch_shape, inner.event_shape, validate_args=False)

    @property
    def mean(self) -> Tensor:
        """The mean, of shape (*batch, D)."""
        return self.inner.mean @ self.mixing.T

    @property
    def mode(self) -> Tensor:
        """The mode, equal to the mean."""
        return self.mean

    @property
    def variance(self) -> Tensor:
        """The variance of each value, of shape (*batch, D)."""
        return self.inner.variance @ self.mixing.square().T

    @property
    def covariance(self) -> Tensor:
        """The covariance, of shape (*batch, D, D)."""
        return (self.mixing * self.inner.variance[..., None, :]) @ self.mixing.T

    def rsample(
        self, sample_shape: Sequence[int] = (), generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw values, of shape (*sample_shape, *batch, D)."""
        return self.inner.rsample(sample_shape, generator) @ self.mixing.T

    @torch.no_grad()
    def sample(
        self, sample_shape: Sequence[int] = (), generator: torch.Generator | None = None
    ) -> Tensor:
        """Like `rsample`, without gradients."""
        return self.rsample(sample_shape, generator)

    def given(self, value: Tensor) -> GivenNormals:
        """Return the distribution of what is missing from rows, given what is there."""
        shape = torch.broadcast_shapes(value.shape, self.mean.shape)
        loc, value = self.mean.expand(shape)[..., None, :], value.expand(shape)
        return GivenNormals(
            loc.new_zeros(*shape[:-1], 1), loc, self.covariance[..., None, :, :], value
        )

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density of ``value`` (*sample, *batch, D), in nats."""
        return self.log_prob_of_observed(value)

    def log_prob_of_observed(self, value: Tensor) -> Tensor:
        """Return the log-density of the values that are there, in nats; 0 for a row without any."""
        there, centred, triangle = self._observed(value)
        shape = torch.broadcast_shapes(centred.shape, triangle.shape[:-1])
        triangle = triangle.expand(*shape, shape[-1])
        noise = torch.linalg.solve_triangular(
            triangle, centred.expand(shape)[..., None], upper=False
        )
        log_det = triangle.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        found: Tensor = -0.5 * noise.square().sum((-2, -1)) - log_det
        return found - 0.5 * LOG_2PI * there.sum(-1)

    def local_quadratic(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the means of t and log s, turned so that the information is diagonal; and at the
        first sample the gradient of log p(x) for them and their Fisher information (see
        `Likelihood.local_quadratic`).
        """
        precision, centred = self._solved(x)
        precision, centred = precision[0], centred[0]
        of_t = self.mixing.T @ precision @ self.mixing
        pull = (precision @ centred[..., None])[..., 0] @ self.mixing
        information, turn = torch.linalg.eigh(of_t)
        features = (turn.mT @ self.inner.loc[..., None])[..., 0]
        score = (turn.mT @ pull[..., None])[..., 0]
        information = information.clamp_min(0.0)
        if self.inner.scale.shape != self.inner.loc.shape:
            return features, score, information
        scale = self.inner.scale
        square = scale[0].square()
        held = square * of_t.diagonal(dim1=-2, dim2=-1)
        seen = square * pull.square()
        # as of one normal: between Fisher's information and what is observed
        score = torch.cat([score, seen - held], -1)
        information = torch.cat([information, held * (seen + held)], -1)
        return torch.cat([features, scale.log()], -1), score, information

    def _observed(self, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return which values are there, 1 or 0; what is left of them beyond the mean; and the
        triangle of their covariance. A missing value stands alone, with variance 1, at its mean.
        """
        gone = value.isnan()
        there = (~gone).to(value)
        kept = there[..., :, None] * there[..., None, :] * self.covariance
        triangle = torch.linalg.cholesky(kept + torch.diag_embed(1 - there))
        centred = there * (value.masked_fill(gone, 0.0) - self.mean)
        return there, centred, triangle

    def _solved(self, value: Tensor) -> tuple[Tensor, Tensor]:
        """Return the precision of the values that are there, 0 for others, (*, D, D), and what is
        left of them beyond the mean.
        """
        there, centred, triangle = self._observed(value)
        precision = torch.cholesky_inverse(triangle) - torch.diag_embed(1 - there)
        return precision, centred


def mixed(p: Distribution, mixing: Tensor) -> MixedNormal | GatedNormals:
    """Return the distribution of R t, for t that is normal, or a mixture of normals.

    Arguments:
        p: The distribution of t, of event shape (D,).
        mixing: R, of shape (D, D).

    Raises:
        TypeError: t is neither.
    """
    if isinstance(p, DiagonalNormal):
        return MixedNormal(p, mixing)
    if isinstance(p, GatedNormals):
        moved = mixing @ p.scale_tril
        triangle = torch.linalg.cholesky(moved @ moved.mT)
        return GatedNormals(p.log_weight, p.loc @ mixing.T, triangle, p.event_shape)
    raise TypeError(
        f"p(t|z) is of type {type(p).__name__}, of whose mixed values none can be left out. "
        "Fit with scale='standard' where values are missing."
    )
