r"""A normal with every correlation of z: what a diagonal one loses, it keeps.

.. math:: q(z \mid x) = \mathcal{N}(z \mid \mu, L L^\top), \qquad
    \log q = -\tfrac12 |L^{-1} (z - \mu)|^2 - \sum_i \log L_{ii} - \tfrac{d}{2} \log 2\pi
"""

from __future__ import annotations

__all__ = ["FullNormal"]

import torch
from torch import Tensor
from torch.distributions import Distribution, register_kl
from torch.nn.functional import softplus

from ..distributions import LOG_2PI, FromNoise, Normal01, softplus_inverse
from ..linear import LinearGaussian
from .base import SMALLEST_STD, Posterior


class FullNormal(Posterior):
    r""":math:`q(z \mid x) = \mathcal{N}(\mu(x), L(x) L(x)^\top)`
    (Rezende et al., 2014; Kingma & Welling, 2019).

    The posterior of a linear model with one variance per feature is such a normal, and no diagonal
    one. The encoder outputs the mean, the diagonal of the Cholesky factor L, which softplus makes
    positive, and what is below it, row by row: :math:`d (d + 3) / 2` numbers.

    Arguments:
        latent_dim: Number of latent dimensions d, at least 1.
    """

    starts_linear = True

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        if latent_dim < 1:
            raise ValueError(f"latent_dim must be at least 1, got {latent_dim}.")
        self.latent_dim = latent_dim
        self.in_shape = (latent_dim * (latent_dim + 3) // 2,)

    def forward(self, h: Tensor) -> _FullNormal:
        """Map features h, of shape (*batch, *in_shape), to q(z|x)."""
        d = self.latent_dim
        diagonal = softplus(h[..., d : 2 * d].contiguous()).clamp_min(SMALLEST_STD)
        row, column = torch.tril_indices(d, d, -1, device=h.device)
        triangle = torch.diag_embed(diagonal)
        triangle[..., row, column] = h[..., 2 * d :]
        return _FullNormal(h[..., :d], triangle)

    def start_at(self, model: LinearGaussian) -> tuple[Tensor, Tensor]:
        """Return the exact posterior: its means, and the covariance that all rows share."""
        gain, offset = model.posterior_affine()
        triangle = torch.linalg.cholesky(model.posterior(model.bias[None])[1])
        row, column = torch.tril_indices(self.latent_dim, self.latent_dim, -1)
        below = triangle[row, column]
        bias = torch.cat([offset, softplus_inverse(triangle.diagonal()), below])
        weight = gain.new_zeros(len(bias), gain.shape[1])
        weight[: self.latent_dim] = gain
        return weight, bias

    def as_normal(self, q: Distribution) -> tuple[Tensor, Tensor] | None:
        """Return mean and triangle."""
        if isinstance(q, _FullNormal):
            return q.loc, q.scale_tril
        return super().as_normal(q)


class _FullNormal(FromNoise):
    """A normal whose noise comes from an explicit generator.

    Arguments:
        loc: The mean, of shape (*batch, d).
        scale_tril: Lower triangles, of shape (*batch, d, d), with a positive diagonal.
    """

    def __init__(self, loc: Tensor, scale_tril: Tensor) -> None:
        self.loc, self.scale_tril, self.like = loc, scale_tril, loc
        super().__init__(loc.shape[:-1], loc.shape[-1:], validate_args=False)

    @property
    def mean(self) -> Tensor:
        """The mean, of shape (*batch, d)."""
        return self.loc

    @property
    def variance(self) -> Tensor:
        """The variance of each coordinate, of shape (*batch, d)."""
        return self.scale_tril.square().sum(-1)

    def log_scale(self) -> Tensor:
        """Return the logarithm of the triangle's determinant, of shape (*batch,)."""
        return self.scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)

    def from_noise(self, u: Tensor) -> Tensor:
        """Return ``loc + L u`` for standard normal noise u (*sample, *batch, d)."""
        moved: Tensor = self.loc + (self.scale_tril @ u.unsqueeze(-1)).squeeze(-1)
        return moved

    def to_noise(self, value: Tensor) -> Tensor:
        """Return the noise that `from_noise` maps to ``value`` (*sample, *batch, d)."""
        centred = (value - self.loc).unsqueeze(-1)
        noise: Tensor = torch.linalg.solve_triangular(self.scale_tril, centred, upper=False)
        return noise.squeeze(-1)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density of ``value`` (*sample, *batch, d), in nats."""
        square = self.to_noise(value).square().sum(-1)
        return -0.5 * (square + LOG_2PI * self.loc.shape[-1]) - self.log_scale()

    def entropy(self) -> Tensor:
        """Return the entropy, of shape (*batch,), in nats."""
        return self.log_scale() + 0.5 * (1 + LOG_2PI) * self.loc.shape[-1]


@register_kl(_FullNormal, Normal01)  # type: ignore[untyped-decorator]
def _kl(q: _FullNormal, p: Normal01) -> Tensor:
    """1/2 (|L|^2 + |m|^2 - d) - log det L."""
    square = q.scale_tril.square().sum((-2, -1)) + q.loc.square().sum(-1)
    return 0.5 * (square - q.loc.shape[-1]) - q.log_scale()
