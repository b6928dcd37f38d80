r"""A mixture of normals over z."""

from __future__ import annotations

__all__ = ["Mixture"]

import torch
from torch import Tensor

from ..distributions import NormalMixture
from .base import Prior


class Mixture(Prior):
    r"""A fixed mixture of normals, :math:`p(z) = \sum_k \pi_k \mathcal{N}(z \mid m_k, S_k)`.

    It is fitted to where z of the training rows are, after training (Ghosh et al., 2020), and is
    from then on the model's p(z): samples, bounds and log p(x) are of the model with it. At first
    all components are N(0, I).

    Arguments:
        latent_dim: Number of latent dimensions, at least 1.
        components: How many normals, at least 1.
    """

    log_weight: Tensor
    loc: Tensor
    scale_tril: Tensor

    def __init__(self, latent_dim: int, components: int = 1) -> None:
        super().__init__()
        for name, value in (("latent_dim", latent_dim), ("components", components)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}.")
        self.latent_dim = latent_dim
        self.register_buffer("log_weight", torch.full((components,), 1 / components).log())
        self.register_buffer("loc", torch.zeros(components, latent_dim))
        self.register_buffer("scale_tril", torch.eye(latent_dim).repeat(components, 1, 1))

    @classmethod
    def of(cls, weights: Tensor, means: Tensor, covariances: Tensor) -> Mixture:
        """Return the mixture with these weights (k,), means (k, latent_dim) and covariances, as
        float32.
        """
        found = cls(means.shape[1], len(means))
        found.log_weight.copy_((weights / weights.sum()).log())
        found.loc.copy_(means)
        found.scale_tril.copy_(torch.linalg.cholesky(covariances))
        return found

    @property
    def components(self) -> int:
        """How many normals."""
        return len(self.log_weight)

    def forward(self) -> NormalMixture:
        """Return p(z), with event shape (latent_dim,)."""
        return NormalMixture(self.log_weight, self.loc, self.scale_tril)
