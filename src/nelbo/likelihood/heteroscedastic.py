r"""Normal noise that the decoder reads from z."""

from __future__ import annotations

__all__ = ["HeteroscedasticGaussian"]

import torch
from torch import Tensor
from torch.nn.functional import softplus

from .. import distributions
from ..linear import LinearGaussian, ppca
from .base import VARIANCE_FLOOR, Likelihood, independent, of_values
from .noise import Noise
from .shared import relative


class HeteroscedasticGaussian(Likelihood):
    r""":math:`p(x \mid z) = \mathcal{N}(x \mid f(z), \operatorname{diag} \beta^2(z))`,
    both read from the decoder.

    Arguments:
        shape: The shape of one example. The decoder outputs twice its first dimension: first the
            means, then numbers that softplus maps to standard deviations.
        floor: The variance below which :math:`\beta^2(z)` cannot fall; its root is added to
            the standard deviation.
    """

    starts_linear = True
    linear_is_exact = True
    usual_variance = "heteroscedastic"
    usual_noise = "Its noise is read from z."

    def __init__(self, shape: tuple[int, ...], floor: float = VARIANCE_FLOOR) -> None:
        super().__init__()
        if not floor > 0:
            raise ValueError(f"floor must be a positive variance, got {floor}.")
        self.shape = of_values(shape)
        self.in_shape = (2 * shape[0], *shape[1:])
        self.floor = floor

    def forward(self, h: Tensor) -> distributions.DiagonalNormal:
        """Map features h, of shape (*batch, 2 * shape[0], *shape[1:]), to p(x|z)."""
        loc, raw = h.chunk(2, dim=-len(self.shape))
        raw = raw.contiguous()  # softplus of values with gaps between them takes ten times as long
        return distributions.DiagonalNormal(loc, softplus(raw) + self.floor**0.5, len(self.shape))

    def noise(self) -> Noise:
        """Return that the noise depends on z."""
        return Noise("from z", type(self).__name__, None, self.floor, normal=True)

    def linear_model(self, mean: Tensor, covariance: Tensor, latent_dim: int) -> LinearGaussian:
        """Return pPCA: at the start the noise is one number."""
        return ppca(mean, covariance, latent_dim, floor=relative(self.floor, covariance))

    def start_at(self, model: LinearGaussian) -> tuple[Tensor, Tensor]:
        """Return a decoder whose means are the model's, and whose noise is its, whatever z."""
        std = (model.variance.sqrt() - self.floor**0.5).clamp_min(1e-6)
        raw = distributions.softplus_inverse(std).expand_as(model.bias)
        weight = torch.cat([model.weight, torch.zeros_like(model.weight)])
        return weight, torch.cat([model.bias, raw])

    def at_marginals(self, x: Tensor, left: Tensor | None = None) -> Tensor:
        """Return means and raw standard deviations of the values, of shape ``in_shape``."""
        return self.start_at(independent(x, self.floor, left))[1].reshape(self.in_shape)
